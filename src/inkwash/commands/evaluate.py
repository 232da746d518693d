"""`inkwash evaluate run=DIR`: measure images, for every combination of the values that are listed.

sampler=ddim,dpmpp_2m spacing.steps=10,20 is four combinations, the cells of the table. One group of processes measures
all of them with the same feature extractor and reference images. Each result is stored, so that an evaluation that was
interrupted goes on where it stopped (jobs/evaluate.py).
"""

import hashlib
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inkwash.commands.auto_keys import check_shape, is_auto, with_stand_ins
from inkwash.commands.output import output_folder, writing_to
from inkwash.config import cli
from inkwash.config.own_folders import take_flags
from inkwash.config.quotes import with_quotes
from inkwash.config.validate import check
from inkwash.errors import UserError, user_error
from inkwash.files import write_text
from inkwash.launch.environment import RankEnv, check_rank_env
from inkwash.launch.start import exit_code, start
from inkwash.runs.directory import RUNS, RunDirectory
from inkwash.runs.relative_paths import place
from inkwash.sweeps.plan import refuse_counts

AUTO = "inkwash.metrics.extractors.auto.AutoFeatures"
CLASSIFIER = "inkwash.metrics.extractors.classifier.ClassifierFeatures"
SOURCES = ("run", "images", "pipeline")
DEFAULT_IMAGES = 10_000
# What is written beside evaluate.yaml.
FILES = ("cells", "table.json", "table.csv", "seeds.json", "quality.png", "lengths.png", "report.html")
# Keys that may differ from one combination to the next.
OF_A_CELL = ("sampler", "seed", "guidance", "num_images", "weights", "checkpoint", "steps", "labels")


def combinations(overrides: list[str]) -> list[list[str]]:
    """List every choice of one value from each override that lists several, as Hydra's multirun does."""
    flags, overrides = cli.flags_and_overrides(overrides)
    parsed = OverridesParser.create().parse_overrides(overrides)
    refuse_counts(parsed)
    values = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [str(o.input_line)]
        for o in parsed
    ]
    return [[*choice, *flags] for choice in itertools.product(*values)]


def evaluate(config: DictConfig, others: list[list[str]]) -> None:
    """Write evaluate.yaml with all combinations, start the ranks that measure them, and print where the table is.

    Args:
        config: the first combination.
        others: the overrides of the others.
    """
    try:
        mine, env = list(HydraConfig.get().overrides.task), RankEnv.given()
        check_rank_env(env, config.trainer)
        configs = [(mine, config), *((more, compose("evaluate", more)) for more in others)]
        said: dict[str, None] = {}
        for _, composed in configs:
            check_shape(composed)
            check(with_stand_ins(composed))
            said |= dict.fromkeys([*find_data(composed), *default_count(composed)])
            check(composed)
        if env is None or env.rank == 0:
            print(*said, sep="\n", end="\n" * bool(said))
        plans = [plan(composed, overrides) for overrides, composed in configs]
        names = names_of([overrides for overrides, _ in configs])
        common, cells = plans[0][0], [{"name": n, **cell} for n, (_, cell) in zip(names, plans, strict=True)]
        if any(other != common for other, _ in plans):
            changing = sorted({key for other, _ in plans for key in other if other[key] != common[key]})
            raise UserError(f"{changing[0]} cannot be a list: all combinations are measured with the same one")
        directory = out_directory(config, common, cells)
        if env is None or env.rank == 0:
            with writing_to(directory):
                write_text(directory / "evaluate.yaml", OmegaConf.to_yaml({**common, "cells": cells}))
    except (HydraException, OmegaConfBaseException) as error:  # some of them are OSErrors, too
        sys.exit(f"error: {cli.sentence(error, 'evaluate')}")
    except (UserError, OSError) as error:
        sys.exit(f"error: {user_error(error) or error}")
    status = start(
        "inkwash.jobs.evaluate:evaluate", directory / "evaluate.yaml", config.trainer.accelerator,
        config.trainer.devices, env, " ".join(sys.argv[1:]),
    )  # fmt: skip
    if status:
        sys.exit(exit_code(status))
    if env is not None and env.rank > 0:
        return
    patterns = ("table.*", "*.png", "report.html")
    files = ", ".join(path.name for pattern in patterns for path in sorted(directory.glob(pattern)))
    here = Path.cwd()
    print(f"{directory.relative_to(here) if directory.is_relative_to(here) else directory}    {files}")


def find_data(config: DictConfig) -> list[str]:
    """Replace what is `auto` in the data to compare with, in the shape of the run; return what is to be said."""
    if not is_auto(config):
        return []
    from inkwash.commands.auto_data import find  # not at the top: it imports numpy and pyarrow

    shape = RunDirectory.find(config.run).config["data"]["shape"] if config.run is not None else None
    return find(config, None if shape is None else {"shape": shape})


def default_count(config: DictConfig) -> list[str]:
    """Tell how many images are measured if neither the command line nor the run says it."""
    if config.run is None or config.num_images is not None:
        return []
    if "evaluation" in RunDirectory.find(config.run).config["callbacks"]:
        return []
    return [f"num_images={DEFAULT_IMAGES}: the run measured none while it trained; fewer are faster and less exact"]


def plan(config: DictConfig, overrides: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the part of a combination that all have in common, and its own part."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    given = [name for name in SOURCES if plain[name] is not None]
    if len(given) != 1:
        raise UserError(
            f"evaluate needs one of run=DIR, images=DIR and pipeline=DIR, not {' and '.join(given) or 'none'}"
        )
    keys = {override.partition("=")[0].lstrip("+~") for override in overrides}
    plain["steps"] = plain["spacing"]["steps"] if any(key.startswith("spacing") for key in keys) else None
    if plain["run"] is not None:
        run = RunDirectory.find(plain["run"])
        plain["run"] = str(place(run.path))
        trained = run.config
        plain["sampler"] = chosen_sampler(plain, trained["sampler"], "spacing" in keys)
        plain["data"] = plain["data"] or trained["data"]
        plain["extractor"] = plain["extractor"] or measured_with(run, trained["extractor"], plain["cache_dir"])
        if missing := OmegaConf.missing_keys(plain["data"]):
            raise UserError(f"run={run} was imported and has no data.{min(missing)}: pass data=... to compare with")
        if (shape := plain["data"].get("shape")) != (drawn := trained["data"]["shape"]):
            raise UserError(f"data.shape={shape}, but run={run} draws images of shape {drawn}: pass data of that shape")
        measured = trained["callbacks"].get("evaluation", {})
        for key, default in (("num_images", DEFAULT_IMAGES), ("labels", "reference")):
            plain[key] = measured.get(key, default) if plain[key] is None else plain[key]
    else:
        check_foreign(plain)
        plain[given[0]] = str(Path(plain[given[0]]).resolve())
    if not plain["metrics"] and plain["likelihood"] is None:
        raise UserError("metrics=[] measures nothing: list some, or pass likelihood=bound or likelihood=flow")
    if not math.isfinite(plain["guidance"]):
        raise UserError(f"guidance={plain['guidance']} must be a finite number")
    for key in ("num_images", "batch_size"):
        if plain[key] is not None and plain[key] < 2:
            raise UserError(f"{key}={plain[key]} must be at least 2")
    del plain["spacing"], plain["out"]
    return plain, {key: plain.pop(key) for key in OF_A_CELL}


def measured_with(run: RunDirectory, extractor: dict[str, Any], cache_dir: str) -> dict[str, Any]:
    """Return the extractor of a run's own metrics, so that values compare: what extractor=auto has chosen.

    Older versions took the classifier by default, which images without labels do not have: they get another.
    """
    if extractor["_target_"] not in (AUTO, CLASSIFIER):
        return extractor
    first = run.extractor_name if extractor["_target_"] == AUTO else "classifier"
    return {"_target_": AUTO, "cache_dir": extractor.get("cache_dir", cache_dir), "first": first}


def names_of(combined: list[list[str]]) -> list[str]:
    """Name each combination by the overrides that not all have; a single one by its own overrides."""
    common = set.intersection(*map(set, combined))
    if len(combined) > 1:
        return [" ".join(o for o in overrides if o not in common) for overrides in combined]
    asked = (o for o in combined[0] if o.partition("=")[0].partition(".")[0] in (*OF_A_CELL, "spacing"))
    return [" ".join(asked) or "as trained"]


def chosen_sampler(plain: dict[str, Any], trained: dict[str, Any], spacing_chosen: bool) -> dict[str, Any]:
    """Return the sampler of the command line, else that of the run with the command line's spacing or steps."""
    if plain["sampler"] is not None:
        return plain["sampler"]
    if spacing_chosen:
        return {**trained, "spacing": plain["spacing"]}
    if plain["steps"] is not None:
        return {**trained, "spacing": {**trained["spacing"], "steps": plain["steps"]}}
    return trained


def check_foreign(plain: dict[str, Any]) -> None:
    """Raise UserError if the data or the extractor are missing: images and pipelines bring no configuration."""
    for key in ("data", "extractor"):
        if plain[key] is None:
            example = {"data": "data=digits", "extractor": "extractor=auto"}[key]
            raise UserError(f"evaluating images or a pipeline needs {key}=..., as {example}: by what they are compared")
    if plain["likelihood"] is not None:
        raise UserError("likelihood needs run=DIR: images and pipelines have none that Inkwash can compute")
    if plain["images"] is not None and not Path(plain["images"]).is_dir():
        raise UserError(f"images={plain['images']} is not a directory: check the path")
    plain["num_images"] = plain["num_images"] or DEFAULT_IMAGES
    if plain["images"] is not None:
        plain["sampler"] = None


def out_directory(config: DictConfig, common: dict[str, Any], cells: list[dict[str, Any]]) -> Path:
    """Make the folder of the table: `out`, or one named by a hash of what is measured, for the same command again."""
    if config.out is not None:
        return output_folder(config.out, "evaluate.yaml", FILES)
    run = RunDirectory(common["run"] or RUNS)
    measured = {key: value for key, value in common.items() if key != "tracking"}
    asked = json.dumps([measured, cells], sort_keys=True, default=str)
    directory = run.evaluations / hashlib.sha256(asked.encode()).hexdigest()[:10]
    with writing_to(directory):
        directory.mkdir(parents=True, exist_ok=True)
    return directory


def main() -> None:
    program, *overrides = sys.argv
    try:
        typed = take_flags(overrides)
        first, *others = combinations([with_quotes(override) for override in typed])
        if not others:
            first = typed  # which messages repeat, without the quotes
    except UserError as error:
        sys.exit(f"error: {error}")
    except (HydraException, RecursionError):
        first, others = overrides, []  # Hydra reports it when it composes
    sys.argv = [program, *first]

    cli.run(lambda config: evaluate(config, others), "evaluate")
