"""The page of a run, report.html in its directory, made of what the run has left so far. Without torch."""

import time
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from inkwash.reports.page import Notes, Page, Section, number, write_page
from inkwash.reports.run_curves import curve_section, evaluation_section, noise_section, speed_section
from inkwash.reports.run_facts import again_section, config_section, data_section, schedule_section
from inkwash.reports.run_files import RunFiles
from inkwash.reports.run_pictures import (
    class_section,
    forward_section,
    neighbour_section,
    reverse_section,
    sample_section,
)
from inkwash.runs.directory import RunDirectory

SECTIONS: tuple[Callable[[RunFiles], Section | None], ...] = (
    sample_section,
    curve_section,
    noise_section,
    class_section,
    reverse_section,
    forward_section,
    schedule_section,
    neighbour_section,
    speed_section,
    evaluation_section,
    data_section,
    config_section,
    again_section,
)
BROKEN = "could not be drawn"


def write_run_report(run: RunDirectory, path: Path | None = None, killed: bool = False) -> None:
    """Write the page of a run, complete as of now: report.html in its directory, or another file; see run_page."""
    write_page(path or run.report_path, run_page(run, killed))


def run_page(run: RunDirectory, killed: bool = False) -> Page:
    """Return the page of a run; what cannot be shown is said at its top.

    Args:
        killed: whether a run that says it is running has been killed. Only another process can find out, by the lock
            of the run directory, which a look from its own process would give up.
    """
    files = RunFiles(run)
    sections = [section for build in SECTIONS if (section := attempted(build, files)) is not None]
    state = "killed" if killed and files.status["state"] == "running" else str(files.status["state"])
    if error := files.status.get("error"):
        sections.insert(0, Section("Why it failed", "failed", [Notes("The error", str(error).splitlines()[:40])]))
    return Page(
        files.name,
        "Training run",
        state,
        lead(files, state),
        headline(files),
        list(dict.fromkeys(files.missing)),
        sections,
    )


def attempted(build: Callable[[Any], Section | None], files: Any) -> Section | None:
    """Build a section; if that fails, whatever the files hold, the page is written without it and says so."""
    try:
        return build(files)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        name = build.__name__.removesuffix("_section")
        files.missing.append(f"the section {name} {BROKEN}: {type(error).__name__}: {error} ({where.name})")
        return None


def lead(files: RunFiles, state: str) -> list[str]:
    """Return what the run is, and how far it is, in sentences."""
    choices = files.record.get("choices") or {}
    names = [str(choices[group]) for group in ("data", "model", "schedule", "prediction") if choices.get(group)]
    most = files.max_steps
    step = f"step {files.step:,}" + (f" of {most:,} ({files.step / most:.0%})" if most else "")
    told = [" · ".join([*names, step])]
    if state == "running":
        told.append(
            "The page grows while the run trains. If the run was killed, it is complete as of the step above, and the "
            "same command goes on from the last checkpoint."
        )
    if state == "killed":
        told.append("It was killed. `make resume` goes on from its last checkpoint.")
    when = files.status.get("time")
    if state not in ("running", "killed") and isinstance(when, int | float):
        told.append(f"{state.capitalize()} {datetime.fromtimestamp(when).astimezone():%Y-%m-%d %H:%M %Z}.")
    return told


def headline(files: RunFiles) -> list[tuple[str, str, str]]:
    """Return the large numbers: the metrics beside what real images reach, loss, speed, duration."""
    found = []
    names = [name for name in files.latest if files.directions.get(f"metrics/{name}") is not None]
    for name in names[:3]:
        floor = files.floor(name)
        remark = f"real images: {number(floor)}" if floor is not None else ""
        found.append((name, number(files.latest[name]["value"]), remark))
    for column, title in (("heldout/loss", "held-out loss"), ("train/images_per_second", "images a second")):
        if column in files.curves:
            found.append((title, number(files.curves[column][1][-1]), f"step {files.curves[column][0][-1]:,}"))
    if isinstance(seconds := files.summary.get("seconds"), int | float):
        clock = time.strftime("%H:%M:%S", time.gmtime(seconds)) if seconds < 86400 else f"{seconds / 86400:.1f} days"
        found.append(("duration", clock, "h:m:s" if seconds < 86400 else ""))
    return found
