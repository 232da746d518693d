"""`inkwash sample run=DIR`: sample or edit images with a run, in a process of its own (jobs/sample.py)."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from inkwash.commands.export import one_sentence
from inkwash.commands.output import output_folder, writing_to
from inkwash.config import cli
from inkwash.config.validate import check
from inkwash.errors import UserError, user_error
from inkwash.files import read_json, write_text
from inkwash.interop import hub
from inkwash.interop.dataset_card import LABELS, SENT, write_dataset_card
from inkwash.launch.environment import RankEnv
from inkwash.launch.start import exit_code, start
from inkwash.runs.directory import RunDirectory
from inkwash.runs.labels import label_of
from inkwash.runs.names import new_directory
from inkwash.runs.relative_paths import place

# What is written beside sample.yaml (jobs/sample_results.py), and beside all that for push=.
FILES = (
    "images", "images.npy", "grid.png", "trajectory.png", "trajectory.gif", "trajectory.mp4", "report.json",
    "summary.json", "unfinished",
)  # fmt: skip
OF_A_PUSH = ("README.md", LABELS)


def sample(config: DictConfig) -> None:
    """Write OUT/grid.png and OUT/images/000000.png, ..., and print where they are."""
    try:
        check(config)
        if RankEnv.given() is not None:
            raise UserError("sample draws in a process of its own: run it once, without torchrun or srun")
        run = RunDirectory.find(config.run)
        if config.num_images < 1:
            raise UserError(f"num_images={config.num_images} must be at least 1")
        for key in ("batch_size", "columns", "folder_size"):
            if config[key] is not None and config[key] < 1:
                raise UserError(f"{key}={config[key]} must be at least 1, or null")
        if config.trajectory < 0:
            raise UserError(f"trajectory={config.trajectory} must be a number of images, or 0")
        if config.trajectory and not config.task._target_.endswith((".Generate", ".Inpaint")):
            raise UserError("trajectory=... shows images that come from noise: pass task=generate or task=inpaint")
        if config.push is not None:
            hub.check_repo(config.push)
        if config.guidance is not None and not math.isfinite(config.guidance):
            raise UserError(f"guidance={config.guidance} must be a finite number")
        label = label_of(config.label, run)  # before there is a folder
        choices = HydraConfig.get().runtime.choices
        plain: Any = OmegaConf.to_container(config, resolve=True)
        own = only_sampler(run, plain, list(HydraConfig.get().overrides.task))
        plain["sampler"] = own or plain["sampler"]
        chosen, steps = "consistency" if own else choices["sampler"], plain["sampler"]["spacing"]["steps"]
        name = f"{choices['task']}-{chosen}-{steps}steps-seed{config.seed}"
        files = (*FILES, *OF_A_PUSH) if config.push is not None else FILES
        with writing_to(config.out or run.samples):
            out = output_folder(config.out, "sample.yaml", files) if config.out else new_directory(run.samples, name)
        plain["run"] = str(place(run.path))
        plain["label"] = label
        with writing_to(out):
            write_text(out / "sample.yaml", OmegaConf.to_yaml(plain))
    except (UserError, OSError) as error:
        print(f"error: {user_error(error) or error}", file=sys.stderr)
        sys.exit(1)
    with going_on(out, config.num_images):
        if status := start("inkwash.jobs.sample:sample", out / "sample.yaml", config.trainer.accelerator, 1):
            sys.exit(exit_code(status))
    drawn = read_json(out / "summary.json")
    part = f" (the first {drawn['rows_in_grid']} of {drawn['rows']})" if drawn["rows_in_grid"] < drawn["rows"] else ""
    for path in sorted(out.glob("trajectory.*")):
        print(path)
    print(f"{out}/grid.png{part}    and {drawn['images']} images in {out}/images")
    if config.push is not None:
        with one_sentence():
            write_dataset_card(out, plain, run, config.push)
            hub.push(out, config.push, "dataset", config.dry, config.private, SENT)


def only_sampler(run: RunDirectory, plain: dict[str, Any], typed: list[str]) -> dict[str, Any] | None:
    """Return the sampler that a run was made for, if it is of consistency, with the steps that were typed.

    The steps of others between the times of such a run are not what it has learned. None for other runs and tasks, and
    if a sampler or a spacing was typed.
    """
    trained: dict[str, Any] = run.config.get("sampler") or {"_target_": ""}
    keys = {word.lstrip("+").partition("=")[0] for word in typed}
    chosen = any(key in ("sampler", "spacing") or key.startswith("sampler.") for key in keys)
    if chosen or not (trained["_target_"].endswith(".Consistency") and plain["task"]["_target_"].endswith(".Generate")):
        return None
    steps = {"steps": plain["spacing"]["steps"]} if "spacing.steps" in keys else {}
    return {**trained, "spacing": {**trained["spacing"], **steps}}


@contextmanager
def going_on(out: Path, rows: int) -> Iterator[None]:
    """Say how to go on if the job ends early, with an error or by a signal."""
    try:
        yield
    except SystemExit:
        with suppress(UserError, LookupError):
            done = read_json(out / "unfinished" / "progress.json")["rows"]
            print(f"{out} has {done} of {rows} rows: the same command with out={out} goes on", file=sys.stderr)
        raise


def main() -> None:
    cli.run(sample, "sample")
