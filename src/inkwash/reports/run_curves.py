"""Sections of a run's page that show numbers against steps: loss, metrics, noise levels, speed. Without torch."""

from collections.abc import Iterator

from inkwash.reports import figures
from inkwash.reports.page import Cell, Chart, Notes, Section, Table, number
from inkwash.reports.run_files import RunFiles

PROTOCOL = ("extractor", "weights", "sampler", "steps", "guidance")  # of a metric's record, in the table
LOSSES = {"train/loss": "training loss", "heldout/loss": "held-out loss"}


def curve_section(files: RunFiles) -> Section:
    """Loss and every metric against steps, with the floor of real images."""
    blocks: list[object] = []
    losses = {title: files.curves[name] for name, title in LOSSES.items() if name in files.curves}
    if losses:
        blocks.append(figures.curves("Loss", losses, "loss"))
    blocks += metric_charts(files)
    if files.latest:
        blocks.append(metric_table(files))
    if not blocks:
        blocks.append(Notes("Nothing yet", ["No loss and no metric has been logged so far."]))
    elif not files.latest:
        blocks.append(Notes("Metrics", ["No metric has been measured so far."]))
    return Section("Loss and metrics", "curves", blocks)


def metric_charts(files: RunFiles) -> Iterator[Chart]:
    """Yield a chart for each metric, those of one kind on top of each other."""
    for name in files.latest:
        if (curve := files.curves.get(f"metrics/{name}")) is None:
            continue
        lower, floor = files.directions.get(f"metrics/{name}"), files.floor(name)
        floors = {} if floor is None else {"real images": floor}
        chart = figures.curves(name, {name: curve}, name, floors, yaxis={"rangemode": "tozero"})
        best = "" if lower is None else "Less is better. " if lower else "More is better. "
        yield Chart(name, chart.figure, best + chart.text)


def metric_table(files: RunFiles) -> Table:
    """The last value of each metric with its protocol, and below the title what is to be known of it."""
    rows, told = [], []
    for name, record in files.latest.items():
        notes, made = record.get("notes"), [record.get(key) for key in ("step", "n_fake", "n_real", *PROTOCOL)]
        told += [f"{name}: {note}." for note in notes] if isinstance(notes, list) else []
        rows.append([name, record["value"], files.floor(name), *made])
    columns = ("metric", "value", "real images", "at step", "generated", "real", *PROTOCOL)
    return Table("Last values, and how they were measured", columns, rows, " ".join(told))


def noise_section(files: RunFiles) -> Section | None:
    """The loss by log SNR; None if it was not logged."""
    columns = {name: curve for name, curve in files.curves.items() if name.startswith("loss_by_log_snr/")}
    if not columns:
        return None
    return Section("Loss by noise level", "noise", [figures.loss_by_noise(columns)])


def speed_section(files: RunFiles) -> Section | None:
    """Learning rate, gradient norm, throughput, and what the time went to; None if nothing of it was logged."""
    shown = {
        "train/learning_rate": ("Learning rate", "learning rate"),
        "train/grad_norm": ("Gradient norm before clipping", "norm"),
        "train/images_per_second": ("Throughput", "images a second"),
        "train/ema_distance": ("Distance of the averaged weights", "|average - weights| / |weights|"),
        "train/communication": ("Share of a step spent waiting for other processes", "share"),
    }
    blocks: list[object] = [
        figures.curves(title, {title.lower(): files.curves[name]}, unit, yaxis={"rangemode": "tozero"})
        for name, (title, unit) in shown.items()
        if name in files.curves
    ]
    if parts := time_parts(files):
        blocks.append(figures.shares("Where the time went", parts, "seconds"))
    return Section("Optimisation and speed", "speed", blocks) if blocks else None


def time_parts(files: RunFiles) -> dict[str, float]:
    """Return seconds of training, metrics and the rest from summary.json; {} before the end."""
    names = ("seconds", "seconds_outside_training", "seconds_measuring")
    values = [files.summary.get(name) for name in names]
    if not all(isinstance(value, int | float) for value in values):
        return {}
    total, outside, measuring = map(float, values)  # pyright: ignore[reportArgumentType]
    return {
        "training, with its start": max(0.0, total - outside),
        "metrics": measuring,
        "grids, checkpoints, report": max(0.0, outside - measuring),
    }


def evaluation_section(files: RunFiles) -> Section | None:
    """The evaluations of the run, with links to their pages; None without any."""
    rows = []
    for folder, results in files.evaluations:
        for result in results:
            values = result.get("metrics") or {}
            told = ", ".join(f"{name} {number(value)}" for name, value in list(values.items())[:3])
            page = folder / "report.html"
            link = f"evaluations/{folder.name}/report.html" if page.is_file() else None
            rows.append([Cell(folder.name, folder.name, link), result.get("name"), result.get("evaluations"), told])
    if not rows:
        return None
    columns = ("evaluation", "settings", "network evaluations", "first values")
    return Section("Evaluations", "evaluations", [Table("Measured after the training", columns, rows, sortable=True)])
