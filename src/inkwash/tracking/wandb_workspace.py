"""Build the W&B workspace of a project: a panel for every value that a run has logged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from inkwash.runs.best import best_column

STEP = "trainer/global_step"
LR = "optimizer.lr"


@dataclass
class Logged:
    """Names of what a run has logged.

    Attributes:
        values: names of numbers.
        pictures: names of images.
        tables: names of tables.
        settings: dotted keys of the configuration that sweeps vary.
        directions: of values, whether less is better, None for those that have no best; the most important first.
        data: lines of the report of the data set.
    """

    values: Sequence[str]
    pictures: Sequence[str]
    tables: Sequence[str]
    settings: Sequence[str]
    directions: Mapping[str, bool | None]
    data: Sequence[str] = ()

    def starting(self, *prefixes: str) -> list[str]:
        """Return the values whose names have one of these beginnings."""
        return [name for name in self.values if name.startswith(prefixes)]

    @property
    def scores(self) -> list[str]:
        """The values that have a best, in the order of `directions`."""
        return [name for name, lower in self.directions.items() if lower is not None and name in self.values]


def build(logged: Logged, entity: str, project: str, name: str) -> ws.Workspace:
    """Return a workspace with sections for quality, samples, training, sweeps and data, without empty ones."""
    sections = (
        ws.Section(name="Quality", panels=quality(logged), is_open=True),
        ws.Section(name="Samples", panels=samples(logged), is_open=True),
        ws.Section(name="Training", panels=training(logged), is_open=True),
        ws.Section(name="Sweeps", panels=sweeps(logged), is_open=False),
        ws.Section(name="Data", panels=data(logged), is_open=False),
    )
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[section for section in sections if section.panels],
        settings=ws.WorkspaceSettings(x_axis=STEP),
        runset_settings=ws.RunsetSettings(
            pinned_columns=[f"summary:{best_column(score)}" for score in logged.scores],
            order=[
                expr.Ordering(expr.Summary(best_column(score)), ascending=bool(logged.directions[score]))
                for score in logged.scores[:1]
            ],
        ),
    )


def to_json(view: ws.Workspace) -> str:
    """Return the workspace as it would be sent to W&B."""
    return view._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2)


def quality(logged: Logged) -> list[Any]:
    """Return a panel for each metric; a distance is shown beside its floor, that of as many real images."""
    scores = [score for score in logged.scores if score.startswith("metrics/")]
    panels = []
    for score in scores:
        floor = [name for name in logged.values if name == f"{score}_of_train_images"]
        distance = score.startswith(("metrics/fd_", "metrics/fid_"))
        panels.append(line(score.removeprefix("metrics/"), [score, *floor], log_y=distance))
    best = map(best_column, scores)
    return [*panels, *(wr.ScalarChart(title=column, metric=wr.SummaryMetric(column)) for column in best)]


def training(logged: Logged) -> list[Any]:
    """Return panels for losses, losses by noise level, and other values of the training."""
    losses = [name for name in ("train/loss", "heldout/loss") if name in logged.values]
    by_noise = sorted(logged.starting("loss_by_log_snr/"), key=lowest)
    rest = [name for name in logged.starting("train/") if name not in losses]
    groups = [("loss", losses, True), ("loss by log SNR", by_noise, True)]
    groups += [(name.removeprefix("train/"), [name], name == "train/grad_norm") for name in rest]
    groups += [("seconds for metrics", logged.starting("metrics/seconds"), False)]
    return [line(title, names, log_y) for title, names, log_y in groups if names]


def lowest(name: str) -> float:
    """Return the lower end of a bin loss_by_log_snr/LOW_to_HIGH."""
    return float(name.rpartition("/")[2].partition("_to_")[0])


def samples(logged: Logged) -> list[Any]:
    """Return browsers of images, with a slider over the steps, and tables."""
    browsers = [wr.MediaBrowser(title=name, media_keys=[name], gallery_axis="step") for name in logged.pictures]
    return [*browsers, *(wr.WeavePanelSummaryTable(table_name=name) for name in logged.tables)]


def sweeps(logged: Logged) -> list[Any]:
    """Return panels that relate the settings of a sweep to the first metric."""
    if not logged.scores:
        return []
    best = wr.SummaryMetric(best_column(logged.scores[0]))
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(k), display_name=k.split(".")[-1]) for k in logged.settings]
    columns.append(wr.ParallelCoordinatesPlotColumn(best, log=logged.directions[logged.scores[0]]))
    panels = [
        wr.ParallelCoordinatesPlot(title=f"what leads to {best.name}", columns=columns),
        wr.ParameterImportancePlot(with_respect_to=best.name),
        wr.RunComparer(diff_only="split"),
    ]
    if LR in logged.settings:
        panels.insert(2, wr.ScatterPlot(title=f"{best.name} against {LR}", x=wr.Config(LR), y=best, log_x=True))
    return panels


def data(logged: Logged) -> list[Any]:
    """Return the report of the data set as text."""
    text = "\n".join(["```", *logged.data, "```"])
    return [wr.MarkdownPanel(markdown=text)] if logged.data else []


def line(title: str, names: Sequence[str], log_y: bool) -> Any:
    """Return a line plot of values over the optimizer step."""
    return wr.LinePlot(title=title, x=STEP, y=list(names), log_y=log_y or None, title_x="step")
