"""Refuse what an evaluation cannot measure, before any image is drawn: by the run's schedule, and by its classes."""

from typing import Any

from inkwash.autoencoders.refusals import check_clip, check_likelihood
from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.runs.averages import length_in, parts_of
from inkwash.runs.directory import RunDirectory


def check_path(config: dict[str, Any]) -> dict[str, str]:
    """Return why cells cannot be measured, by name.

    The run's schedule does not allow every sampler, and its snapshots do not give every average of the weights.

    Raises:
        UserError: none of them can be measured, or not the likelihood.
    """
    if config["run"] is None:
        return {}
    run = RunDirectory(config["run"])
    trained = run.config
    schedule = build(trained["schedule"])
    if config["likelihood"] is not None:
        check_likelihood(trained)
        if not (loss := build(trained["loss"])).posterior_mean:
            raise UserError(
                f"likelihood: what a network of {type(loss).__name__} estimates is not the mean of x_0, from which a "
                "likelihood follows: evaluate a run of loss=l2, that it was tuned from for one"
            )
        build(config["likelihood"]).check(schedule, bool(trained["model"].get("learn_variance")))
    refused: dict[str, str] = {}
    for cell in config["cells"]:
        try:
            sampler = build(cell["sampler"])
            sampler.check(schedule)
            check_clip(sampler.clip, trained)
            sampler.check_estimates(lambda: build(trained["loss"]).posterior_mean)
            if (length := length_in(cell["weights"])) is not None:
                parts_of(run.snapshots, length)
        except UserError as error:
            refused[cell["name"]] = str(error)
    if all(cell["name"] in refused for cell in config["cells"]):
        raise UserError(next(iter(refused.values())))
    return refused


def check_labels(config: dict[str, Any], data: Any) -> None:
    """Raise UserError for a likelihood of held-out images whose classes the run was not trained with."""
    known, labels = classes_of(config), data.heldout.labels
    if known is None or config["likelihood"] is None or not len(labels):
        return
    if (largest := int(labels.max())) >= known:
        raise UserError(
            f"likelihood: the held-out images have labels up to {largest}, but run={config['run']} was trained with "
            f"model.num_classes={known}: pass data=... with its classes"
        )


def classes_of(config: dict[str, Any]) -> int | None:
    """Return the number of classes of the run; None for a run without classes, image files and pipelines."""
    return RunDirectory(config["run"]).config["model"].get("num_classes") if config["run"] is not None else None
