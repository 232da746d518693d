"""The top level of a configuration: what keys there are, checked by Hydra itself."""

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
    data: Any = MISSING
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
class Drawer:
    """trainer of conf/sample.yaml."""

    accelerator: str = "auto"
    precision: str | None = None
    threads: int | None = None


@dataclass
class Drawers(Drawer):
    """trainer of conf/evaluate.yaml."""

    devices: Any = "auto"


@dataclass
class Sample:
    """conf/sample.yaml."""

    run: str = MISSING
    checkpoint: str = "last.ckpt"
    weights: str = "ema"
    num_images: int = 64
    columns: int | None = None
    label: int | None = None
    guidance: float | None = None
    seed: int = 0
    batch_size: int = 256
    out: str | None = None
    tracking: Any = None
    task: Any = MISSING
    guide: Any = MISSING
    sampler: Any = MISSING
    spacing: Any = MISSING
    trainer: Drawer = field(default_factory=Drawer)


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
    batch_size: int = 256
    reference: str = "heldout"
    reference_file: str | None = None
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
    trainer: Drawers = field(default_factory=Drawers)


def register() -> None:
    """Make the schemas known to Hydra as train_schema, sample_schema and evaluate_schema."""
    ConfigStore.instance().store(name="train_schema", node=Train)
    ConfigStore.instance().store(name="sample_schema", node=Sample)
    ConfigStore.instance().store(name="evaluate_schema", node=Evaluate)
