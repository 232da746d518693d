"""The model card of an exported folder: README.md, as the Hugging Face hub reads it, from the files of the run.

YAML between two lines of dashes says what the hub searches for and shows as results; the text is assets/card.md.j2.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from inkwash.files import write_text
from inkwash.interop.latents import latents_of
from inkwash.interop.output import Options, write_record
from inkwash.reports.run_files import RunFiles
from inkwash.run import Run
from inkwash.runs.directory import RunDirectory
from inkwash.runs.provenance import version

# The hub's names.
LIBRARIES = {"diffusers": "diffusers", "transformer": "diffusers", "onnx": "onnx", "torch_export": "pytorch"}
TASK = "unconditional-image-generation"
# Where our data sets are on the hub.
DATASETS = {"cifar10": "uoft-cs/cifar10", "mnist": "ylecun/mnist", "fashion_mnist": "zalando-datasets/fashion_mnist"}
OF_A_PATH = ("folder", "parquet", "parquet_stream", "webdataset", "hf")  # choices of data that the path names
RECIPE = ("model", "schedule", "prediction", "weighting", "times", "loss", "optimizer", "learning_rate", "sampler")


@dataclass
class About:
    """Describe an export for its model card.

    Attributes:
        run: as it was loaded.
        directory: of the run.
        format, weights, checkpoint: as they were chosen; of a folder without a pipeline the format is `transformer`.
        contracts: of files for other programs, the meaning of their inputs, outputs and settings.
    """

    run: Run
    directory: Path
    format: str
    weights: str
    checkpoint: str
    contracts: dict[str, dict[str, str]] = field(default_factory=dict)


def write(folder: Path, about: About, options: Options) -> None:
    """Write README.md, samples.png and inkwash.json into a folder."""
    files = RunFiles(RunDirectory(about.directory))
    grids = [path for step, path in files.grids("step-*.png") if step <= about.run.step]
    if grids:
        shutil.copyfile(grids[-1], folder / "samples.png")
    rows = _metrics(files, about)
    head = yaml.safe_dump(_front_matter(files, about, options, rows), sort_keys=False, allow_unicode=True, width=100)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "assets"), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    text = environment.get_template("card.md.j2").render(
        about=about, options=options, run=about.run, name=files.name, folder=options.repo or ".", grid=bool(grids),
        data=_data(files), recipe=_recipe(files, about), metrics=rows, made_with=_made_with(files),
        imported=files.record.get("imported"), ddim=_samples_by_ddim(about.run),
        latents=latents_of(about.run),
    )  # fmt: skip
    write_text(folder / "README.md", f"---\n{head}---\n\n{text}")
    write_record(folder, options.record)


def _samples_by_ddim(run: Run) -> bool:
    """Tell whether diffusers' own DDPMPipeline samples in few steps by DDIM, for which it must be told."""
    chain = run.denoiser.schedule.discrete and not run.config["model"].get("learn_variance")
    return chain and run.num_classes is None and latents_of(run) is None


def _front_matter(files: RunFiles, about: About, options: Options, rows: list[dict[str, Any]]) -> dict[str, Any]:
    data = _data(files)["name"]
    conditional = [] if about.run.num_classes is None else ["class-conditional"]
    head = {
        "license": options.license,
        "library_name": LIBRARIES[about.format],
        "pipeline_tag": TASK,
        "tags": ["inkwash", "diffusion", "image-generation", *conditional],
        "datasets": [DATASETS[data]] if data in DATASETS else None,
        "metrics": list(dict.fromkeys(row["type"] for row in rows)) or None,
    }
    if rows:
        values = [{"type": row["type"], "name": row["name"], "value": row["value"]} for row in rows]
        result = {
            "task": {"type": TASK, "name": "Image generation"},
            "dataset": {"type": DATASETS.get(data, data), "name": data},
            "metrics": values,
        }
        head["model-index"] = [{"name": (options.repo or files.name).rpartition("/")[2], "results": [result]}]
    return {key: value for key, value in head.items() if value is not None}


def _metrics(files: RunFiles, about: About) -> list[dict[str, Any]]:
    """Return a row for each metric of these weights, measured at the checkpoint's step, or last before it."""
    found: dict[str, dict[str, Any]] = {}
    for record in files.records:
        if record.get("weights") == about.weights and record.get("step", 0) <= about.run.step:
            found[record["name"]] = record
    rows = []
    for name, record in found.items():
        real = f", {record['n_real']:,} real ones ({record['reference']})" if record.get("n_real") else ""
        protocol = (
            f"step {record.get('step')}: {record.get('n_fake', 0):,} images{real}; {record.get('extractor')} features; "
            f"{record.get('sampler')}, {record.get('steps')} steps, guidance {record.get('guidance')}"
        )
        kind = name.rpartition("_")[0] or name  # without the number of images
        row = {"name": name, "type": kind, "value": record["value"], "floor": files.floor(name)}
        rows.append(row | {"protocol": protocol})
    return rows


def _data(files: RunFiles) -> dict[str, Any]:
    """Return what is known of the images: name, number of each split, classes and shape."""
    data, config = files.data, files.config.get("data") or {}
    splits = {name: (data.get(name) or {}).get("images") for name in ("train", "heldout")}
    name = (files.record.get("choices") or {}).get("data") or data.get("source") or _class_of(config.get("source"))
    if name in OF_A_PATH and (path := config.get("path")):
        name = path if name == "hf" and not Path(path).exists() else Path(path).stem
    return {"name": str(name), **splits, "classes": files.classes, "shape": list(files.shape or ())}


def _recipe(files: RunFiles, about: About) -> dict[str, str]:
    """Return the facts of the training by their names."""
    config, choices = about.run.config, files.record.get("choices") or {}
    chosen = {key: str(choices.get(key) or _class_of(config.get(key))) for key in RECIPE}
    batch = config["data"].get("batch_size")
    chosen["model"] += f", {sum(p.numel() for p in about.run.denoiser.net.parameters()):,} parameters"
    chosen["optimizer"] += f", learning rate {config['optimizer'].get('lr')}"
    return {
        "steps": f"{about.run.step:,} of {batch} images",
        **{key.replace("_", " "): value for key, value in chosen.items()},
        "weights": "as they were trained" if about.weights == "raw" else f"{about.weights}, averaged over the training",
    }


def _made_with(files: RunFiles) -> dict[str, str]:
    """Return commits and versions: of the training, and of this export."""
    record = files.record
    trained = {"trained at commit": record.get("commit"), "exported at commit": version()}
    return {key: str(value) for key, value in {**trained, **(record.get("versions") or {})}.items() if value}


def _class_of(node: Any) -> str:
    return str(node.get("_target_", "unknown")).rpartition(".")[2] if isinstance(node, dict) else "unknown"
