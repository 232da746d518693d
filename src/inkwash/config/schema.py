"""Dataclasses with the top-level keys of each command's configuration, which Hydra checks."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Train:
    """conf/train.yaml. `Any` nodes are groups: a `_target_` and its constructor's arguments."""

    run: str | None = None
    sweep: str | None = None
    resume: str = "auto"
    init_from: str | None = None
    seed: int = 0
    compile: Any = False
    profiler: str | None = None
    data: Any = MISSING
    augment: Any = None
    autoencoder: Any = None
    model: Any = MISSING
    schedule: Any = MISSING
    prediction: Any = MISSING
    weighting: Any = MISSING
    times: Any = MISSING
    loss: Any = MISSING
    sampler: Any = MISSING
    spacing: Any = MISSING
    optimizer: Any = MISSING
    learning_rate: Any = MISSING
    ema: Any = MISSING
    averages: Any = None
    extractor: Any = MISSING
    metrics: Any = field(default_factory=dict)
    callbacks: Any = MISSING
    logger: Any = MISSING
    trainer: Any = MISSING


@dataclass
class SampleTrainer:
    """The key `trainer` of conf/sample.yaml."""

    accelerator: str = "auto"
    precision: str | None = None
    threads: int | None = None


@dataclass
class EvaluateTrainer(SampleTrainer):
    """The key `trainer` of conf/evaluate.yaml."""

    devices: Any = "auto"


@dataclass
class Sample:
    """conf/sample.yaml."""

    run: str = MISSING
    checkpoint: str = "last.ckpt"
    weights: str = "ema"
    num_images: int = 64
    columns: int | None = None
    folder_size: int | None = 10_000
    trajectory: int = 0
    label: Any = None
    guidance: float | None = None
    seed: int = 0
    batch_size: int | None = None
    out: str | None = None
    push: str | None = None
    dry: bool = True
    private: bool = True
    tracking: Any = None
    task: Any = MISSING
    guide: Any = MISSING
    sampler: Any = MISSING
    spacing: Any = MISSING
    trainer: SampleTrainer = field(default_factory=SampleTrainer)


@dataclass
class Evaluate:
    """conf/evaluate.yaml."""

    run: str | None = None
    images: str | None = None
    pipeline: str | None = None
    checkpoint: str = "last.ckpt"
    weights: str = "ema"
    num_images: int | None = None
    seed: int = 0
    guidance: float = 1.0
    batch_size: int | None = None
    reference: str = "heldout"
    reference_file: str | None = None
    labels: str | None = None
    cache_dir: str = MISSING
    out: str | None = None
    data: Any = None
    extractor: Any = None
    metrics: Any = field(default_factory=dict)
    likelihood: Any = None
    tracking: Any = None
    guide: Any = MISSING
    sampler: Any = None
    spacing: Any = MISSING
    trainer: EvaluateTrainer = field(default_factory=EvaluateTrainer)


@dataclass
class Data:
    """conf/data.yaml."""

    seed: int = 0
    out: str | None = None
    data: Any = MISSING


@dataclass
class EncodeTrainer:
    """The key `trainer` of conf/encode.yaml."""

    accelerator: str = "auto"
    devices: Any = "auto"


@dataclass
class Encode:
    """conf/encode.yaml."""

    out: str = MISSING
    seed: int = 0
    data: Any = MISSING
    autoencoder: Any = MISSING
    trainer: EncodeTrainer = field(default_factory=EncodeTrainer)


@dataclass
class Export:
    """conf/export.yaml."""

    run: str = MISSING
    out: str = MISSING
    format: str = "diffusers"
    checkpoint: str = "last.ckpt"
    weights: str = "ema"
    guidance: float | None = None
    batch: int | None = None
    license: str | None = None
    push: str | None = None
    dry: bool = True
    private: bool = True
    sampler: Any = MISSING
    spacing: Any = MISSING


@dataclass
class Import:
    """conf/import.yaml."""

    folder: str = MISSING
    run: str = MISSING
    num_classes: int | None = None


@dataclass
class Dashboard:
    """conf/dashboard.yaml."""

    run: str = "latest"
    out: str | None = None
    name: str = "Inkwash"
    entity: str | None = None
    project: str | None = None


@dataclass
class Report:
    """conf/report.yaml."""

    run: str | None = None
    sweep: str | None = None
    runs: Any = None
    out: str | None = None
    draw: bool = True


@dataclass
class Runs:
    """conf/runs.yaml."""

    sweep: str | None = None
    state: str | None = None
    sort: str = "time"


@dataclass
class Compare:
    """conf/compare.yaml."""

    runs: Any = MISSING
    out: str | None = None


@dataclass
class CleanRuns:
    """conf/clean-runs.yaml."""

    runs: Any = None
    dry: bool = True


@dataclass
class Sync:
    """conf/sync.yaml."""

    run: str | None = None
    dry: bool = False


SCHEMAS = {
    "train": Train,
    "sample": Sample,
    "evaluate": Evaluate,
    "data": Data,
    "encode": Encode,
    "export": Export,
    "import": Import,
    "dashboard": Dashboard,
    "report": Report,
    "runs": Runs,
    "compare": Compare,
    "clean-runs": CleanRuns,
    "sync": Sync,
}


def register() -> None:
    """Register the schemas with Hydra as train_schema, sample_schema, ..."""
    for name, node in SCHEMAS.items():
        ConfigStore.instance().store(name=f"{name}_schema", node=node)
