"""PNG pictures of a report: planes of several volumes side by side, and the central planes of k-space."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mdcsrn.errors import MissingDependencyError
from mdcsrn.optional import install_command
from mdcsrn.report.panel import busiest_part
from mdcsrn.report.views import Image, Plane, Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 12.0  # inches
DPI = 115
GAP = 0.05
LARGEST_CELL = 3.1
INK, FAINT, MARK = "#f2f2f2", "#b8bec6", "#ffb000"
SMALLEST_LOG = -6.5  # decades below the peak of k-space that are still shown


@dataclass(frozen=True)
class Column:
    """One column of pictures.

    Attributes:
        key: name of the volume in the scene.
        title: above the column.
        colours: matplotlib colour map.
        low: intensity of the map's lower end.
        high: intensity of its upper end.
        bar: label of a colour bar below; empty: none.
    """

    key: str
    title: str
    colours: str = "gray"
    low: float = 0.0
    high: float = 1.0
    bar: str = ""


@dataclass(frozen=True)
class _Cell:
    image: Image
    column: Column


@dataclass(frozen=True)
class _Row:
    label: str
    ratio: float  # height over width
    cells: list[_Cell]
    letters: tuple[str, str, str, str] | None = None


def planes_png(
    scene: Scene, columns: Sequence[Column], scale: float, zoom_pair: tuple[str, str] | None = None
) -> bytes:
    """Axial, coronal and sagittal rows through the head, as far as there are such planes, one column per volume.

    Args:
        scene: volumes in R-A-S order.
        columns: what to show.
        scale: factor of all intensities; the columns' limits are in the unit that it makes.
        zoom_pair: names of two volumes; adds a row with the part of the first plane where they differ most.

    Returns:
        PNG file.
    """
    rows = [_plane_row(scene, plane, columns, scale) for plane in scene.planes]
    if zoom_pair is not None:
        plane = scene.planes[0]
        first, second = (scene.cut(key, plane) for key in zoom_pair)
        part = busiest_part(second, np.abs(second - first))
        cells = [_Cell(cell.image[part], cell.column) for cell in rows[0].cells]
        height, width = scene.pixel(plane)
        ratio = cells[0].image.shape[0] * height / (cells[0].image.shape[1] * width)
        rows.append(_Row(f"{plane.name} ×3", ratio, cells))
    return _png(_grid(rows, [column.title for column in columns], list(columns)))


def errors_png(
    scene: Scene, plane: Plane, images: Sequence[Column], errors: Sequence[Column | None], scale: float
) -> bytes:
    """One plane: images above, their errors below, all errors on one scale.

    Args:
        scene: volumes in R-A-S order.
        plane: which cut.
        images: upper row.
        errors: lower row, one per image; None leaves the place empty.
        scale: factor of all intensities.
    """
    height, width = scene.pixel(plane)
    upper = _plane_row(scene, plane, images, scale)
    blank = np.zeros_like(upper.cells[0].image)
    cells = [
        _Cell(blank, images[0]) if error is None else _Cell(scale * scene.cut(error.key, plane), error)
        for error in errors
    ]
    rows = [upper, _Row("|error|", upper.ratio, cells)]
    titles = [image.title for image in images]
    return _png(_grid(rows, titles, [error for error in errors if error is not None][:1]))


def kspace_png(
    rows: Sequence[tuple[str, Sequence[Image]]],
    titles: Sequence[str],
    shares: Sequence[float] | None,
    across: Sequence[int] = (0, 1, 2),
) -> bytes:
    """Central planes of k-space, log magnitude, with the measured band outlined.

    Args:
        rows: name of a volume and its planes.
        titles: of the planes.
        shares: measured share per axis; None: no outline.
        across: the axis that each plane is perpendicular to.
    """
    from matplotlib.patches import Rectangle

    peak = max(float(plane.max()) for _, planes in rows for plane in planes)
    column = Column("", "", "magma", SMALLEST_LOG, 0.0, "log10 of the magnitude relative to the centre")
    listed = [
        # rows of the picture are the second axis of the plane, from top (positive) to bottom
        _Row(name, 1.0, [_Cell(plane.T[::-1] - peak, column) for plane in planes])
        for name, planes in rows
    ]
    figure = _grid(listed, list(titles), [column], width=3.0 * len(titles))
    if shares is not None:
        others = ((1, 2), (0, 2), (0, 1))
        count = len(across)
        for number, axes in enumerate(figure.axes[: count * len(rows)]):
            image = listed[number // count].cells[number % count].image
            (wide, high) = (shares[axis] for axis in others[across[number % count]])
            height, width = image.shape
            # The zero frequency is at n // 2 of the unflipped axis.
            x, y = width // 2, height - 1 - height // 2
            corner = (x - wide * width / 2, y - high * height / 2)
            axes.add_patch(
                Rectangle(corner, wide * width, high * height, fill=False, edgecolor="#5eead4", linewidth=1.3)
            )
    return _png(figure)


def _plane_row(scene: Scene, plane: Plane, columns: Sequence[Column], scale: float) -> _Row:
    height, width = scene.pixel(plane)
    cells = [_Cell(scale * scene.cut(column.key, plane), column) for column in columns]
    rows, count = cells[0].image.shape
    return _Row(plane.name, rows * height / (count * width), cells, plane.letters)


def _grid(rows: Sequence[_Row], titles: Sequence[str], bars: Sequence[Column], width: float = WIDTH) -> Figure:
    """Lay out cells of equal width; colour bars stand below."""
    figure = _figure()
    left, top, bottom = 0.3, 0.32, 0.55 if any(bar.bar for bar in bars) else 0.05
    count = len(titles)
    cell = min(LARGEST_CELL, (width - left - GAP * (count - 1)) / count)
    width = left + count * cell + GAP * (count - 1)
    height = top + bottom + sum(cell * row.ratio for row in rows) + GAP * (len(rows) - 1)
    figure.set_size_inches(width, height)
    y = height - top
    drawn: dict[int, Any] = {}
    for number, row in enumerate(rows):
        y -= cell * row.ratio
        for index, content in enumerate(row.cells):
            x = left + index * (cell + GAP)
            axes = figure.add_axes((x / width, y / height, cell / width, cell * row.ratio / height))
            drawn[id(content.column)] = _show(axes, content)
            if number == 0:
                axes.set_title(titles[index], color=INK, fontsize=10, pad=5)
            if row.letters is not None and index == 0:
                _letters(axes, row.letters)
        figure.text(left / 2 / width, (y + cell * row.ratio / 2) / height, row.label, color=FAINT, rotation=90,
                    ha="center", va="center", fontsize=9.5)  # fmt: skip
        y -= GAP
    for index, bar in enumerate(bars):
        if bar.bar:
            place = index if len(bars) == count else 0
            span = cell if len(bars) == count else min(4.5, width - left)
            x = left + place * (cell + GAP)
            axes = figure.add_axes(((x + 0.06 * span) / width, 0.4 / height, 0.88 * span / width, 0.09 / height))
            _bar(figure, axes, drawn[id(bar)], bar.bar)
    return figure


def _show(axes: Axes, content: _Cell) -> Any:
    column = content.column
    axes.set_axis_off()
    # The axes have the shape of the cut in millimetres, so "auto" gives square millimetres.
    return axes.imshow(
        content.image, cmap=column.colours, vmin=column.low, vmax=column.high, aspect="auto",
        interpolation="antialiased",
    )  # fmt: skip


def _letters(axes: Axes, letters: tuple[str, str, str, str]) -> None:
    places = ((0.03, 0.5), (0.97, 0.5), (0.5, 0.97), (0.5, 0.03))
    for letter, (x, y) in zip(letters, places, strict=True):
        axes.text(x, y, letter, color=MARK, fontsize=9, ha="center", va="center", transform=axes.transAxes)


def _bar(figure: Figure, axes: Axes, image: Any, label: str) -> None:
    bar = figure.colorbar(image, cax=axes, orientation="horizontal")
    bar.set_label(label, color=FAINT, fontsize=8.5, labelpad=2)
    bar.ax.tick_params(colors=FAINT, labelsize=8, length=2, pad=1.5)
    bar.outline.set_visible(False)


def _figure() -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("pictures need matplotlib", remedy=install_command("report")) from error
    figure = Figure(facecolor="black")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, facecolor="black", metadata={"Software": None})
    return stream.getvalue()
