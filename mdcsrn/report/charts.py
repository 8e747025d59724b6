"""Line charts of a report as SVG: one row of panels with shared colours and one legend."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import MissingDependencyError
from mdcsrn.optional import install_command

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by colour-blind readers too; dashes tell them apart on paper.
STRONG = ("#d55e00", "#7b2cbf", "#8c510a", "#01665e")
COLOURS = ("#6b7580", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("-", "-", "--", "-.", ":", "--", "-.")
INK, FAINT = "#1f2933", "#7b8794"


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel of a chart.

    Attributes:
        title: above it.
        xlabel: below it.
        series: name to (x, y), each (n,); NaN breaks a line.
        edges: vertical lines, x.
        log: y is drawn on a logarithmic scale.
        steps: drawn as steps (a histogram).
        points: each value is marked.
        marks: name of a series to stretches of x, drawn as bars of its colour at the panel's foot.
    """

    title: str
    xlabel: str
    series: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    edges: Sequence[float] = field(default_factory=tuple)
    log: bool = False
    steps: bool = False
    points: bool = False
    marks: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


def chart(panels: Sequence[Panel], ylabel: str, strong: str | Sequence[str] = "", edge_label: str = "") -> bytes:
    """Draw panels side by side.

    Args:
        panels: up to about four; names of series mean the same in each.
        ylabel: label of the first panel's y axis, shared by all.
        strong: names of the series that the reader looks for: drawn in colours of their own, thick.
        edge_label: what the vertical lines are, for the legend.

    Returns:
        SVG document, UTF-8, text as text.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("charts need matplotlib", remedy=install_command("report")) from error
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    sought = [strong] if isinstance(strong, str) else list(strong)
    others = [name for name in names if name not in sought]
    style = {name: _Style(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], 1.2, 3) for i, name in enumerate(others)}
    for i, name in enumerate(sought):  # below, so that equal curves both show
        style[name] = _Style(STRONG[i % len(STRONG)], "-", 2.2, 2)
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": ylabel, "font.family": "sans-serif", "font.size": 9.5}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(11.6, 2.9), layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        rows = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, panel in zip(rows, panels, strict=True):
            _draw(axes, panel, style, edge_label)
        rows[0].set_ylabel(ylabel, color=INK)
        handles, labels = rows[0].get_legend_handles_labels()
        if len(labels) > 1:
            figure.legend(
                handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False, labelcolor=INK
            )
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


@dataclass(frozen=True)
class _Style:
    color: str
    linestyle: str
    linewidth: float
    zorder: float


def _draw(axes: Axes, panel: Panel, style: Mapping[str, _Style], edge_label: str) -> None:
    for name, (x, y) in panel.series.items():
        how: Any = asdict(style[name])
        if panel.steps:
            axes.step(x, y, where="mid", label=name, **how)
        else:
            axes.plot(x, y, marker="o" if panel.points else "", markersize=3.5, label=name, **how)
    for number, (name, stretches) in enumerate(panel.marks.items()):
        height = 0.015 + 0.03 * number  # of the panel
        for first, last in stretches:
            axes.plot([first, last], [height] * 2, transform=axes.get_xaxis_transform(), color=style[name].color,
                      linewidth=4, solid_capstyle="projecting", label="_nolegend_")  # fmt: skip
    for number, edge in enumerate(panel.edges):
        label = edge_label if number == 0 else "_nolegend_"
        axes.axvline(edge, color="#b45309", linewidth=1.1, linestyle=(0, (3, 2)), label=label)
    if panel.log:
        axes.set_yscale("log")
    axes.set_title(panel.title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel(panel.xlabel, color=FAINT)
    axes.tick_params(colors=FAINT, labelsize=8.5, labelleft=True)
    axes.grid(True, color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.margins(x=0.01)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#cbd2d9")
