"""Charts of a page, made with plotly, each with a sentence that says what it shows. Without torch."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inkwash.reports.page import Chart, number
from inkwash.reports.run_files import Curve

MOST = 1500  # points of a curve
# Okabe and Ito's colours, which the colour-blind can tell apart, without yellow and black; the blue seen in the dark.
COLOURS = ("#1F83C6", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
GREY = "#8c9198"
SCALE = "Viridis"
LEGEND = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}


def literal(text: Any) -> str:
    """Return text as plotly shows it: `<b>` in it would else be bold letters."""
    return html.escape(str(text), quote=False)


def figure(data: Sequence[Any], x: str, y: str, **layout: Any) -> Any:
    """Return a plotly figure with our look: no background of its own, the legend below."""
    import plotly.graph_objects as go

    axis = {"automargin": True, "gridcolor": "#ccc", "linecolor": "#ccc", "zerolinecolor": "#ccc"}
    return go.Figure(
        data=list(data),
        layout={
            "template": "none",
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
            "font": {"family": "system-ui, sans-serif", "size": 12},
            "colorway": COLOURS,
            "legend": LEGEND,
            "hovermode": "x unified",
            **layout,
            "xaxis": {**axis, "title": {"text": literal(x)}, **layout.get("xaxis", {})},
            "yaxis": {**axis, "title": {"text": literal(y)}, **layout.get("yaxis", {})},
        },
    )


def scatter(x: Sequence[Any], y: Sequence[Any], name: str = "", **more: Any) -> Any:
    """Return a line; `mode` and others are plotly's."""
    import plotly.graph_objects as go

    if "text" in more:
        more["text"] = [literal(text) for text in more["text"]]
    return go.Scatter(x=x, y=y, name=literal(name), **{"mode": "lines", **more})


def look(index: int) -> dict[str, str]:
    """Return colour and dash of a line by its place."""
    return {"color": COLOURS[index % len(COLOURS)], "dash": "solid" if index < len(COLOURS) else "dot"}


def thinned(curve: Curve) -> Curve:
    """Return at most MOST points of a curve, evenly spaced, the first and the last among them."""
    steps, values = curve
    if len(steps) <= MOST:
        return curve
    chosen = np.linspace(0, len(steps) - 1, MOST).round().astype(int).tolist()
    return [steps[i] for i in chosen], [values[i] for i in chosen]


def curves(
    title: str, series: Mapping[str, Curve], y: str, floors: Mapping[str, float] | None = None, **layout: Any
) -> Chart:
    """Draw values against steps, and floors as dashed lines from edge to edge.

    The colour is that of the place in `series`, where a curve may be empty.
    """
    lines = []
    for index, (name, curve) in enumerate(series.items()):
        steps, values = thinned(curve)
        if not steps:
            continue
        mode = "lines+markers" if len(steps) <= 40 else "lines"
        lines.append(scatter(steps, values, name, mode=mode, line=look(index), marker={"size": 5}))
    # From step 0: a single value would else have an axis of its own, 299 to 301.
    drawn = figure(lines, "step", y, **{"xaxis": {"rangemode": "tozero"}, "showlegend": len(lines) > 1, **layout})
    for name, value in (floors or {}).items():
        label = {"text": literal(f"{name}: {number(value)}"), "font": {"color": GREY}}
        line = {"dash": "dash", "color": GREY, "width": 1.5}
        drawn.add_hline(y=value, line=line, annotation=label, annotation_position="top left")
    told = [f"{name} goes {_way(curve)}" for name, curve in list(series.items())[:4] if curve[0]]
    told += [f"{name} have {number(value)}" for name, value in (floors or {}).items()]
    text, first = "; ".join(told), next(iter(series), "")
    # A name stays as it is written; words begin with a capital letter.
    return Chart(
        title, drawn, sentence(text) if " " in first or (title.lower() == first and first.isalpha()) else f"{text}."
    )


def sentence(text: str) -> str:
    """Return text with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def _way(curve: Curve) -> str:
    steps, values = curve
    if len(steps) == 1:
        return f"to {number(values[0])} at step {steps[0]:,}, its only value"
    return f"from {number(values[0])} at step {steps[0]:,} to {number(values[-1])} at step {steps[-1]:,}"


def loss_by_noise(columns: Mapping[str, Curve]) -> Chart:
    """Draw the loss against log SNR, a line for each of up to 6 steps of the training.

    Args:
        columns: `loss_by_log_snr/-4_to_-2` and the like, of metrics.csv.
    """
    from plotly.colors import sample_colorscale

    bins: dict[float, dict[int, float]] = {}
    for name, (steps, values) in columns.items():
        low, _, high = name.rpartition("/")[2].partition("_to_")
        bins[(float(low) + float(high)) / 2] = dict(zip(steps, values, strict=True))
    steps = sorted({step for values in bins.values() for step in values})
    chosen = sorted({steps[i] for i in np.linspace(0, len(steps) - 1, min(6, len(steps))).round().astype(int)})
    tones = sample_colorscale(SCALE, [0.05 + 0.75 * i / max(1, len(chosen) - 1) for i in range(len(chosen))])
    lines = []
    for step, tone in zip(chosen, tones, strict=True):
        points = [(middle, values[step]) for middle, values in sorted(bins.items()) if step in values]
        x, y = zip(*points, strict=True)
        lines.append(scatter(x, y, f"step {step:,}", mode="lines+markers", line={"color": tone}))
    last = {middle: values[chosen[-1]] for middle, values in bins.items() if chosen[-1] in values}
    worst, best = max(last, key=lambda key: last[key]), min(last, key=lambda key: last[key])
    text = (
        f"At step {chosen[-1]:,} the loss is largest, {number(last[worst])}, at log SNR {worst:g}, and smallest, "
        f"{number(last[best])}, at {best:g}. Points are middles of bins; left is noise, right is almost clean."
    )
    drawn = figure(lines, "log SNR = log(alpha² / sigma²)", "loss", yaxis={"rangemode": "tozero"})
    return Chart("Loss by noise level", drawn, text)


def shares(title: str, parts: Mapping[str, float], unit: str) -> Chart:
    """Draw parts of a whole as one bar."""
    import plotly.graph_objects as go

    total = sum(parts.values()) or 1.0
    bars = [
        go.Bar(
            x=[value], y=[""], name=name, orientation="h", marker={"color": colour},
            text=f"{value / total:.0%}", textposition="inside", insidetextanchor="middle", textangle=0,
            hovertemplate=f"{name}: {number(round(value, 2))} {unit}<extra></extra>",
        )
        for (name, value), colour in zip(parts.items(), COLOURS, strict=False)
    ]  # fmt: skip
    drawn = figure(bars, unit, "", barmode="stack", hovermode="closest", legend={**LEGEND, "traceorder": "normal"})
    told = ", ".join(f"{name} {value / total:.1%}" for name, value in parts.items())
    return Chart(title, drawn, f"{number(round(total, 1))} {unit}: {told}.", height=210)


def bars(title: str, names: Sequence[str], groups: Mapping[str, Sequence[float]], y: str, text: str) -> Chart:
    """Draw numbers by name, a bar of each group side by side."""
    import plotly.graph_objects as go

    x = [literal(name) for name in names]
    drawn = [go.Bar(x=x, y=list(values), name=literal(group)) for group, values in groups.items()]
    layout = {"barmode": "group", "xaxis": {"type": "category"}, "showlegend": len(groups) > 1}
    return Chart(title, figure(drawn, "", y, **layout), text, height=280)
