"""What a training leaves is of use to every command: each works on every kind of run, or refuses in one sentence.

RUNS says what is trained, COMMANDS what follows in that order, REFUSED what is refused and with which words. All else
must work, and leave what CHECKS look for.
"""

import csv
import io
import json
import math
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from inkwash.metrics.extractors import classifier
from support.in_process import Commands, Ended
from support.selection import mostly_slow

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
NUM_DATA, CLASSES = 60, 3
NO_WORKERS = "data.num_workers=0"
HELD_OUT = "data.source.heldout_fraction=0.2"
EVERY_METRIC = "metrics=[fid,kid,isc,prc,dc,memorised,memorised_pixels,accuracy,interval,infinity]"
SLOW_AVERAGE = "averages={slow: {_target_: inkwash.training.ema.ConstantDecay, decay: 0.99}}"
LEARNED = "inkwash.process.variances.LearnedRange"
QUICK = (
    "debug=fast", "trainer=cpu", "trainer.threads=1", "trainer.precision=32-true", "model.channels=8",
    "data.batch_size=16", "trainer.max_steps=2", "callbacks.evaluation.every_n_steps=2",
)  # fmt: skip

# --- Data -------------------------------------------------------------------------------------------------------------


def png(i: int, shape: tuple[int, int, int]) -> bytes:
    """Image i, whose class i mod CLASSES is its brightness."""
    channels, height, width = shape
    noise = np.random.default_rng(i).integers(0, 40, (height, width, channels))
    levels = (noise + 40 + 80 * (i % CLASSES)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels.squeeze(), MODES[channels]).save(file, "PNG")
    return file.getvalue()


def folder(path: Path, shape: tuple[int, int, int], labelled: bool) -> tuple[str, ...]:
    for i in range(NUM_DATA):
        file = path / (f"class{i % CLASSES}" if labelled else ".") / f"{i:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(i, shape))
    return ("data=folder", HELD_OUT)


def parquet(path: Path, shape: tuple[int, int, int], labelled: bool) -> tuple[str, ...]:
    path.mkdir(parents=True)
    columns: dict[str, list] = {"image": [{"bytes": png(i, shape), "path": None} for i in range(NUM_DATA)]}
    if labelled:
        columns["label"] = [i % CLASSES for i in range(NUM_DATA)]
    pq.write_table(pa.table(columns), path / "train.parquet", row_group_size=10)
    return ("data=parquet", HELD_OUT, *(() if labelled else ("data.source.label_column=null",)))


def parquet_stream(path: Path, shape: tuple[int, int, int], labelled: bool) -> tuple[str, ...]:
    _, *more = parquet(path, shape, labelled)
    return ("data=parquet_stream", NO_WORKERS, *more)


def webdataset(path: Path, shape: tuple[int, int, int], labelled: bool) -> tuple[str, ...]:
    path.mkdir(parents=True)
    for shard in range(2):
        with tarfile.open(path / f"{shard}.tar", "w") as file:
            for i in range(shard, NUM_DATA, 2):
                parts = {"png": png(i, shape), **({"cls": str(i % CLASSES).encode()} if labelled else {})}
                for ending, content in parts.items():
                    member = tarfile.TarInfo(f"{i:03d}.{ending}")
                    member.size = len(content)
                    file.addfile(member, io.BytesIO(content))
    return ("data=webdataset", NO_WORKERS, HELD_OUT, *(() if labelled else ("data.source.label=null",)))


def arrays(path: Path, shape: tuple[int, int, int], labelled: bool) -> tuple[str, ...]:
    """A source of somebody's own, for a number of channels that no image file has."""
    target = f"+data.source={{_target_: support.parts.Pictures, n: {NUM_DATA}, labelled: {str(labelled).lower()}}}"
    return ("data=digits", "~data.source", target)


Maker = Callable[[Path, tuple[int, int, int], bool], tuple[str, ...]]


class Data:
    """Images for a run: of make(path, shape, labelled), or scikit-learn's digits."""

    def __init__(self, make: Maker | None = None, shape: tuple[int, int, int] = (1, 8, 8), labelled: bool = True):
        self.make, self.shape, self.labelled = make, shape, labelled
        self._made: dict[Path, tuple[str, ...]] = {}

    def overrides(self, path: Path) -> tuple[str, ...]:
        """What makes a command use them; the files are written to each `path` once."""
        if self.make is None:
            return ("data=digits",)
        if path not in self._made:
            self._made[path] = self.make(path, self.shape, self.labelled)
        classes = (10 if self.make is arrays else CLASSES) if self.labelled else "null"
        own = () if self.make is arrays else (f"data.path={path}",)
        shape = f"data.shape=[{','.join(map(str, self.shape))}]"
        return (*self._made[path], *own, shape, f"data.num_classes={classes}")


# --- Runs -------------------------------------------------------------------------------------------------------------

JUMPS = ("schedule=flow", "prediction=flow", "model.two_times=true", "model.time_scale=0.001")
# Together of every path, number of channels, kind of data, shape, loss and network.
FEW: dict[str, tuple[Data, tuple[str, ...]]] = {
    "unconditional": (Data(), ("model.num_classes=null", SLOW_AVERAGE, "callbacks.evaluation.weights=[ema,slow]")),
    "wide-hybrid": (
        Data(parquet, (3, 8, 12)),
        ("schedule=linear", "prediction=eps", "loss=hybrid", "model.learn_variance=true", "times=importance"),
    ),
}  # fmt: skip
MORE: dict[str, tuple[Data, tuple[str, ...]]] = {
    "two-channels-edm": (
        Data(arrays, (2, 8, 8)),
        ("schedule=edm", "prediction=edm", "weighting=edm", "times=log_normal", "model.patch_size=2"),
    ),
    "rgba-flow": (
        Data(parquet_stream, (4, 8, 8), labelled=False), ("schedule=flow", "prediction=flow", "times=logit_normal"),
    ),
    "grey-folder-vlb": (
        Data(folder, (1, 8, 8), labelled=False), ("schedule=quadratic", "prediction=mu", "loss=vlb"),
    ),
    "tar-vp": (Data(webdataset, (3, 8, 8)), ("schedule=vp", "prediction=eps", "weighting=uncertainty")),
    "digits": (Data(), ()),
    "linear": (Data(), ("schedule=linear", "prediction=eps")),
    "quadratic": (Data(), ("schedule=quadratic", "prediction=x0")),
    "sigmoid": (Data(), ("schedule=sigmoid",)),
    "vp": (Data(), ("schedule=vp", "prediction=v")),
    "shifted": (Data(), ("schedule=cosine_shifted",)),
    "edm": (Data(), ("schedule=edm", "prediction=edm", "weighting=edm", "times=log_normal")),
    "flow": (Data(), ("schedule=flow", "prediction=flow", "times=logit_normal")),
    "hybrid": (Data(), ("loss=hybrid", "model.learn_variance=true", "prediction=eps", "sampler=ancestral")),
    "hybrid-unconditional": (
        Data(), ("loss=hybrid", "model.learn_variance=true", "prediction=eps", "model.num_classes=null"),
    ),
    "vlb-learned": (
        Data(),
        ("loss=vlb", "schedule=linear", "prediction=eps", f"loss.variance._target_={LEARNED}",
         "model.learn_variance=true", "times=importance"),
    ),
    "consistency": (
        Data(),
        ("schedule=edm", "prediction=edm", "times=log_normal", "loss=consistency", "sampler=consistency"),
    ),
    "mean-flow": (Data(), ("loss=meanflow", "sampler=euler", "times=logit_normal", *JUMPS)),
    "shortcut": (Data(), ("loss=shortcut", "sampler=ddim", "model.num_classes=null", *JUMPS)),
    "latents": (Data(), ("autoencoder={_target_: support.autoencoders.Blocks, latent_shape: [4,4,4]}",)),
    "uncertainty": (Data(), ("weighting=uncertainty",)),
    "importance": (Data(), ("times=importance",)),
    "no-dropout": (Data(), ("loss.label_dropout=0",)),
    "averages": (Data(), (SLOW_AVERAGE, "callbacks.evaluation.weights=[slow,ema,raw]")),
    "muon": (Data(), ("optimizer=muon",)),
    "patches": (Data(), ("model.patch_size=2",)),
    "only-accuracy": (Data(), ("model.num_classes=null", "metrics=[accuracy]")),
    "no-metrics": (Data(), ("~callbacks.evaluation",)),
    "no-grids": (Data(), ("~callbacks.samples",)),
    "wandb": (Data(), ("logger=wandb",)),
    "folder": (Data(folder, (3, 8, 8)), ()),
    "folder-unconditional": (Data(folder, (3, 8, 8)), ("model.num_classes=null",)),
    "rgba": (Data(parquet, (4, 12, 8)), ()),
    "rgba-unlabelled": (Data(parquet, (4, 8, 8), labelled=False), ()),
    "two-channels": (Data(arrays, (2, 8, 8)), ()),
    "two-channels-unlabelled": (Data(arrays, (2, 8, 8), labelled=False), ()),
    "stream": (Data(parquet_stream, (3, 8, 8)), ()),
    "stream-unconditional": (Data(parquet_stream, (1, 8, 8)), ("model.num_classes=null",)),
    "tar": (Data(webdataset, (3, 8, 8)), ()),
    "tar-unlabelled": (Data(webdataset, (3, 8, 8), labelled=False), ()),
    "small": (Data(parquet, (3, 4, 4)), ()),
    "odd": (Data(parquet, (3, 9, 15)), ("model.channel_mult=[1]",)),
}  # fmt: skip
RUNS = FEW | MORE

# --- Commands ---------------------------------------------------------------------------------------------------------

NUM_IMAGES, NUM_MEASURED = 2, 12
DRAW = ("sample", f"num_images={NUM_IMAGES}", "trainer.accelerator=cpu", "trainer.threads=1", "spacing.steps=2")
MEASURE = (
    "evaluate", f"num_images={NUM_MEASURED}", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.devices=1",
)  # fmt: skip
HERE, STEPS = "run={run}", "spacing.steps=2"
AUTO = ("guide=auto", "guide.bad.run={run}", "guide.bad.weights=raw", "guidance=2")
BOUND = ("likelihood=bound", "likelihood.times=2")
OWN_EXTRACTOR = "extractor=auto"

# {run} is the name of the run, {data} its data, {settings} all of its training.
COMMANDS: dict[str, tuple[str, ...]] = {
    "sample": (*DRAW, HERE),
    "guide": (*DRAW, HERE, *AUTO),
    "inpaint": (*DRAW, HERE, "task=inpaint"),
    "evaluate": (*MEASURE, HERE, STEPS),
    "all metrics, bound": (*MEASURE, HERE, STEPS, EVERY_METRIC, *BOUND),
    "flow": (*MEASURE, HERE, STEPS, "metrics=[]", "likelihood=flow", "likelihood.spacing.steps=2"),
    "diffusers": ("export", HERE),
    "import": ("import", "folder={run}/diffusers", "run={run}-imported"),
    "imported: sample": (*DRAW, "run={run}-imported"),
    "resume": ("train", "{settings}", HERE, "trainer.max_steps=4"),
}  # fmt: skip
FURTHER: dict[str, tuple[str, ...]] = {
    "heun": (*DRAW, HERE, "sampler=heun", "spacing=karras"),
    "guidance": (*DRAW, HERE, "guidance=2"),
    "safetensors": ("export", HERE, "format=safetensors"),
    "imported: evaluate": (*MEASURE, "run={run}-imported", STEPS, "{data}", OWN_EXTRACTOR),
    **{name: (*DRAW, HERE, f"sampler={name}") for name in ("ancestral", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "euler")},
    "heun, trailing": (*DRAW, HERE, "sampler=heun", "spacing.steps=3"),
    **{name: (*DRAW, HERE, f"spacing={name}") for name in ("leading", "linspace", "log_snr")},
    "label": (*DRAW, HERE, "label=1"),
    "raw": (*DRAW, HERE, "weights=raw"),
    "slow": (*DRAW, HERE, "weights=slow"),
    "best": (*DRAW, HERE, "checkpoint=best.ckpt"),
    "guide, rescaled": (*DRAW, HERE, *AUTO, "guide.rescale=0.5", "guide.interval=[0.2,5]"),
    "projected": (*DRAW, HERE, "guide=apg", "guidance=4"),
    **{task: (*DRAW, HERE, f"task={task}") for task in ("img2img", "interpolate", "reconstruct")},
    "tracked sample": (*DRAW, HERE, "tracking=wandb"),
    "only accuracy": (*MEASURE, HERE, STEPS, "metrics=[accuracy]"),
    "only the bound": (*MEASURE, HERE, "metrics=[]", *BOUND),
    "no metrics": (*MEASURE, HERE, "metrics=[]"),
    "by the classifier": (*MEASURE, HERE, STEPS, "extractor=classifier", "metrics=[fid,kid]"),
    "inception": (*MEASURE, HERE, "extractor=inception", "extractor.weights_path=nowhere.pth"),
    "guided": (*MEASURE, HERE, STEPS, "guidance=2", "metrics=[fid]"),
    "auto-guided": (*MEASURE, HERE, STEPS, *AUTO, "metrics=[fid,accuracy]"),
    "reference": (*MEASURE, HERE, STEPS, "reference=train", "metrics=[fid]", "weights=raw"),
    "two samplers": (*MEASURE, HERE, "sampler=ddim,dpmpp_2m", STEPS, "metrics=[fid]"),
    "tracked evaluation": (*MEASURE, HERE, STEPS, "metrics=[kid]", "tracking=wandb"),
    "other shape": (*MEASURE, HERE, "data=digits", "data.shape=[1,16,16]"),
    "drawn": (*DRAW, HERE, f"num_images={NUM_MEASURED}"),
    "images": (*MEASURE, "images={run}/drawn/images", "{data}", OWN_EXTRACTOR),
    "pipeline": (*MEASURE, "pipeline={run}/diffusers", "{data}", OWN_EXTRACTOR, STEPS),
    "imported: inpaint": (*DRAW, "run={run}-imported", "task=inpaint"),
    "imported: measure": (*MEASURE, "run={run}-imported", STEPS),
    "imported: bound": (*MEASURE, "run={run}-imported", STEPS, "{data}", OWN_EXTRACTOR, "metrics=[]", *BOUND),
    "imported: diffusers": ("export", "run={run}-imported"),
    "imported: init_from": ("train", "{settings}", "run={run}-from-imported", "init_from={run}-imported"),
    "imported: train": ("train", "{settings}", "run={run}-imported"),
    "init_from": ("train", "{settings}", "run={run}-from", "init_from={run}"),
    "dashboard": ("dashboard", HERE),
    "sync": ("sync", HERE),
}  # fmt: skip
# What looks at a run comes before what changes it.
LAST = ("imported: train", "init_from", "resume")

# --- Refusals ---------------------------------------------------------------------------------------------------------

TOLD = {"mean-flow", "shortcut"}
CONTINUOUS = {"rgba-flow", "two-channels-edm", "tar-vp", "vp", "shifted", "edm", "flow", "consistency", *TOLD}
UNLABELLED = {name for name, (data, _) in RUNS.items() if not data.labelled}
WITHOUT_CLASSES = UNLABELLED | {name for name, (_, own) in RUNS.items() if "model.num_classes=null" in own}
WITH_CLASSES = {*RUNS} - WITHOUT_CLASSES
GENTLE = {"schedule=linear", "schedule=quadratic"}  # where even Heun's first step is no leap
OWN = {name for name, (data, _) in RUNS.items() if data.make and data.labelled}  # too few images for a classifier
STEEP = {name for name in {*RUNS} - CONTINUOUS if not GENTLE & {*RUNS[name][1]}}
PATCHES = {"two-channels-edm", "patches"}
# What diffusers has no word for.
FLOWS = {"rgba-flow", "flow"}
ALIEN = CONTINUOUS - FLOWS | PATCHES | {"grey-folder-vlb", "latents"}
TWO_CHANNELS = {name for name, (data, _) in RUNS.items() if data.shape[0] == 2}
COLOURS = {name for name, (data, _) in RUNS.items() if data.shape[0] in (1, 3)}
# An imported run has no state of a loss, and no further averages.
STATEFUL = {"wide-hybrid", "vlb-learned", "uncertainty", "importance", "averages", "unconditional"}

REFUSED: list[tuple[set[str], tuple[str, ...], str]] = [
    ({*RUNS}, ("no metrics",), r"metrics=\[\] measures nothing: list some, or pass likelihood=bound"),
    ({*RUNS}, ("other shape",), r"data.shape=\[1, 16, 16\], but run=runs/.* draws images of shape"),
    ({*RUNS} - {"averages", "unconditional"}, ("slow",), r"weights=slow: this run has ema, raw"),
    (ALIEN, ("diffusers",), r"has no counterpart in (diffusers|UNet2DModel)"),
    ({*RUNS} - ALIEN, ("imported: measure",), r"run=runs/.*-imported was imported and has no data.path: pass data="),
    ({*RUNS} - ALIEN, ("imported: inpaint",), r"own images cannot be loaded .*: pass task.images="),
    (COLOURS, ("inception",), r"extractor.weights_path=nowhere.pth cannot be read"),
    ({*RUNS} - COLOURS, ("inception",), r"Inception sees 1 or 3 channels, not \d: use extractor=classifier"),
    (UNLABELLED, ("by the classifier",), r"no fd: extractor=classifier needs labels of at least two classes.*=auto"),
    ({"small"}, ("by the classifier",), r"extractor=classifier needs images of at least 8 x 8, not 4 x 4: use .*=auto"),
    (WITHOUT_CLASSES, ("guidance", "guided", "projected"), r"guidance needs class labels: train with model.num"),
    (WITHOUT_CLASSES, ("label",), r"label=1: this run was trained with model.num_classes=None"),
    (WITHOUT_CLASSES, ("only accuracy",), r"metrics=\[accuracy\] measures nothing: no accuracy: the images are drawn"),
    ({"small"} | OWN, ("only accuracy",), r"no accuracy: pyramid does not know the data set's classes"),
    (WITH_CLASSES, ("pipeline",), r"draws by class, and there are no classes to ask it for: make import folder="),
    ({"no-dropout"}, ("guidance", "guided", "projected"), r"this one was not \(loss.label_dropout=0\)"),
    (STEEP, ("heun, trailing",), r"sampler=heun steps in sigma / alpha, .*: use spacing=karras"),
    (FLOWS, ("imported: bound",), r"the variational bound needs a chain of whole steps"),
    (CONTINUOUS, ("all metrics, bound", "only the bound"), r"the variational bound needs a chain of whole steps"),
    ({"consistency"}, ("all metrics, bound", "only the bound", "flow"), r"likelihood: .* not the mean of x_0"),
    ({"latents"}, ("all metrics, bound", "only the bound", "flow"), r"likelihood= measures bits of pixels"),
    ({*RUNS} - CONTINUOUS, ("flow",), r"the likelihood of the probability flow needs continuous time"),
    (STATEFUL, ("imported: train",), r"the checkpoint does not fit: .*start from its weights with .*init_from="),
    (TWO_CHANNELS, ("images",), r"image files have 1, 3 or 4 channels, not the 2 of data.shape"),
    ({"wandb"}, ("sync",), r"there is no API key to upload with"),
    ({"sigmoid"}, ("imported: train",), r"runs/.* holds a checkpoint of another schedule.* init_from="),
]  # fmt: skip


def refusals(run: str, command: str) -> list[str]:
    """The sentences that a command may be refused with, none where it must work."""
    return [sentence for runs, commands, sentence in REFUSED if run in runs and command in commands]


# --- What is left -----------------------------------------------------------------------------------------------------


def check_images(out: Path, data: Data, arguments: list[str]) -> None:
    """Pictures of the run's size, and every channel of them."""
    channels, height, width = data.shape
    count = next(int(a.partition("=")[2]) for a in reversed(arguments) if a.startswith("num_images="))
    if "task=interpolate" in arguments:
        count *= 9
    files = sorted((out / "images").iterdir())
    assert len(files) == count
    with Image.open(files[0]) as image:
        assert image.size == (width, height)
        assert image.mode == {1: "L", 4: "RGBA"}.get(channels, "RGB")
    with Image.open(out / "grid.png") as grid:
        assert grid.width >= width
    if channels in (2, 4):
        rows = np.load(out / "images.npy")
        assert rows.shape == (count, *data.shape)
        assert rows.dtype == np.uint8
    if "task=reconstruct" in arguments:
        assert math.isfinite(json.loads((out / "report.json").read_text())["rmse_levels"])


def check_table(out: Path, arguments: list[str], classes: bool, ended: Ended) -> None:
    """Finite values of every metric that there can be, and a line for the others."""
    cells = json.loads((out / "table.json").read_text())
    assert len(cells) == 1 + any("," in a for a in arguments if a.startswith("sampler="))
    for cell in cells:
        values = cell["metrics"]
        assert values, ended.text
        assert all(math.isfinite(value) for value in values.values()), values
        assert ("bits_per_dim" in values) == ("likelihood=bound" in arguments)
        assert ("bits_per_dim_flow" in values) == ("likelihood=flow" in arguments)
        others = any(a.startswith("metrics=") and "accuracy" not in a for a in arguments)
        if f"fd_classifier_{NUM_MEASURED}" in values and not others:
            assert (f"accuracy_classifier_{NUM_MEASURED}" in values) == classes
            assert ended.text.count("no accuracy: the images are drawn without class labels") == (not classes)
    assert (out / "table.csv").is_file()


def check_training(directory: Path, steps: int) -> None:
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["steps"] == steps
    assert math.isfinite(summary["loss"])
    assert all(math.isfinite(record["value"]) for record in summary["metrics"].values())
    with open(directory / "metrics.csv", newline="") as file:
        assert int(list(csv.DictReader(file))[-1]["step"]) == steps
    assert (directory / "checkpoints" / "last.ckpt").is_file()


def check(run: str, name: str, place: Path, out: Path, arguments: list[str], ended: Ended) -> None:
    """What a command that worked has left."""
    data, command = RUNS[run][0], arguments[0]
    if command == "sample":
        check_images(out, data, arguments)
    elif command == "evaluate":
        from_run = any(a.startswith("run=") for a in arguments)
        check_table(out, arguments, from_run and run in WITH_CLASSES, ended)
    elif command == "export":
        assert out.is_file() if name == "safetensors" else (out / "model_index.json").is_file()
    elif command == "import":
        assert (place / "runs" / f"{run}-imported" / "checkpoints" / "last.ckpt").is_file()
    elif command == "train":
        target = next(a.partition("=")[2] for a in arguments if a.startswith("run="))
        check_training(place / "runs" / target, 4 if "trainer.max_steps=4" in arguments else 2)
    elif command == "dashboard":
        assert json.loads(out.read_text())
    elif command == "sync":
        assert "nothing to upload" in ended.text


# --- The chains -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where all of it happens, with a judge that is trained in no time."""
    folder = tmp_path_factory.mktemp("chains")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INKWASH_DATA", str(folder / "cache"))
        patch.setattr(classifier, "STEPS", 20)
        yield folder


def chain(run: str, commands: dict[str, tuple[str, ...]], place: Path) -> None:
    """Train, then do what follows."""
    go, (data, own) = Commands(place), RUNS[run]
    images = data.overrides(place / "images" / run)
    settings = (*QUICK, "logger=csv", *images, *own)
    first = go("train", *settings, f"run={run}")
    assert first.code == 0, first.text
    check_training(place / "runs" / run, 2)
    (place / run).mkdir()
    lists = {"{data}": images, "{settings}": settings}
    for name, template in commands.items():
        if run in ALIEN and name.startswith(("import", "pipeline")):  # there is nothing to import
            continue
        arguments = [a.replace("{run}", run) for part in template for a in lists.get(part, (part,))]
        out = place / run / name.replace(": ", "-").replace(", ", "-").replace(" ", "-")
        if arguments[0] in ("sample", "evaluate", "export", "dashboard"):
            arguments.append(f"out={out.relative_to(place)}")
        ended = go(*arguments)
        if possible := refusals(run, name):
            assert ended.code == 1, f"{run}: {name} works, but should be refused"
            assert any(re.search(sentence, ended.error) for sentence in possible), ended.error
        else:
            assert ended.error == "", f"{run}: {name}: {ended.text}"
            check(run, name, place, out, arguments, ended)


@pytest.mark.parametrize("run", mostly_slow([*FEW], "unconditional"))
def test_every_command_works_on_a_run_or_refuses_it_in_a_sentence(run, place):
    chain(run, COMMANDS, place)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("run", RUNS)
def test_every_command_with_every_option_works_on_a_run_or_refuses_it_in_a_sentence(run, tmp_path, monkeypatch):
    monkeypatch.setenv("INKWASH_DATA", os.fspath(tmp_path / "cache"))
    monkeypatch.setattr(classifier, "STEPS", 20)
    every = COMMANDS | FURTHER
    names = [*(name for name in every if name not in LAST), *LAST]
    chain(run, {name: every[name] for name in names}, tmp_path)
