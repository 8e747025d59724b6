"""Draw one picture of one subject: LR, SR, HR and both errors, in three planes and enlarged, with a scale."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdcsrn.errors import MissingDependencyError
from mdcsrn.files import atomic_path
from mdcsrn.metrics import head_mask, nrmse, psnr, ssim
from mdcsrn.optional import install_command
from mdcsrn.report.views import AnyVolume, Image, Plane, Scene, error_limit, make_scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, MARK = "#f2f2f2", "#9aa0a6", "#ffb000"
COLUMN_INCHES = 2.3
ZOOM = 3.0


@dataclass(frozen=True)
class _Row:
    """One row of the picture: five cells of one cut, or of a part of it."""

    label: str
    plane: Plane
    cells: list[Image]
    part: tuple[slice, slice] | None = None

    def shown(self, column: int) -> Image:
        return self.cells[column] if self.part is None else self.cells[column][self.part]


def panel(
    path: str | os.PathLike[str],
    lr: AnyVolume,
    sr: AnyVolume,
    hr: AnyVolume,
    affine: NDArray[np.float64] | Tensor | None = None,
    title: str = "",
    names: tuple[str, str, str] = ("LR (zero-filled)", "SR", "HR (reference)"),
    zoom: bool = True,
) -> None:
    """Write the picture, in one step.

    Rows: axial, coronal and sagittal through the middle of the head, each with square millimetres, and a part of the
    axial plane three times enlarged. Columns: LR, SR, HR, |LR − HR|, |SR − HR|. Grey from 0 to the 99.9th percentile of
    HR; both errors on one scale, in percent of it. The titles carry PSNR, SSIM and NRMSE (3D, in the head mask).

    Args:
        path: .png (or .pdf, .svg).
        lr: (D, H, W) or (1, D, H, W), low resolution on the reference grid.
        sr: restored, same shape and unit.
        hr: reference, same shape and unit.
        affine: voxel index to millimetres, (4, 4); None: that of a MetaTensor `hr`, else array axes and 1 mm.
        title: line above the picture: subject and degradation.
        names: titles of the first three columns.
        zoom: add the enlarged row.

    Raises:
        GeometryError: shapes differ.
        DataError: the reference has no signal.
        MissingDependencyError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    scene = make_scene({"lr": lr, "sr": sr, "hr": hr}, "hr", affine)
    rows = _rows(scene, zoom)
    # the scale is that of the LR error in all planes together, so that rows can be compared
    limit = error_limit([np.concatenate([row.cells[3].ravel() for row in rows])], scene.peak)
    titles = [*names, *(f"|{_short(name)} − HR|" for name in names[:2])]
    heads = list(zip(titles, _figures(scene), strict=True))
    _draw(path, scene, rows, heads, limit, title)


def _rows(scene: Scene, zoom: bool) -> list[_Row]:
    rows = []
    for plane in scene.planes:
        low, restored, truth = (scene.cut(name, plane) for name in ("lr", "sr", "hr"))
        rows.append(_Row(plane.name, plane, [low, restored, truth, np.abs(low - truth), np.abs(restored - truth)]))
    if zoom:
        first = rows[0]
        part = busiest_part(first.cells[2], first.cells[3])
        rows.append(_Row(f"{first.plane.name} ×{ZOOM:g}", first.plane, first.cells, part))
    return rows


def busiest_part(truth: Image, error: Image) -> tuple[slice, slice]:
    """The window, a third as wide and high, that holds the most LR error and no air: detail that LR has lost."""
    sizes = [min(n, max(2, round(n / ZOOM))) for n in truth.shape]
    score = np.where(truth > 0, error, 0).astype(np.float64)
    sums = np.pad(score.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    h, w = sizes
    windows = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    # Only windows whose centre lies in the middle of the plane: the brain, not the scalp.
    rows, columns = (np.arange(n) for n in windows.shape)
    middle = np.abs(rows / max(1, len(rows) - 1) - 0.5)[:, None] < 0.3
    middle = middle & (np.abs(columns / max(1, len(columns) - 1) - 0.5)[None] < 0.3)
    top, left = np.unravel_index(np.argmax(np.where(middle, windows, -1)), windows.shape)
    return slice(int(top), int(top) + h), slice(int(left), int(left) + w)


def _figures(scene: Scene) -> list[str]:
    """The line under each column's title: figures of LR and SR, the grid of HR, the error of LR and SR."""
    low, restored, truth = (torch.from_numpy(np.ascontiguousarray(scene.volumes[key])) for key in ("lr", "sr", "hr"))
    mask = head_mask(truth)
    fidelity, error = [], []
    for candidate in (low, restored):
        decibel, similarity = psnr(candidate, truth, scene.peak, mask), ssim(candidate, truth, scene.peak, mask)
        fidelity.append(f"PSNR {decibel:.2f} dB   SSIM {similarity:.4f}")
        error.append(f"NRMSE {nrmse(candidate, truth, scene.peak, mask):.4f}")
    voxel = " × ".join(f"{edge:.2f}" for edge in scene.spacing)
    return [*fidelity, f"voxel {voxel} mm", *error]


def _short(name: str) -> str:
    return name.split(" (")[0]


def _draw(
    path: str | os.PathLike[str], scene: Scene, rows: list[_Row], heads: list[tuple[str, str]], limit: float, title: str
) -> None:
    figure = _figure()
    heights = [_height_over_width(scene, row) for row in rows]
    top, bottom, left, right, gap = 0.82 if title else 0.5, 0.72, 0.3, 0.05, 0.04  # inches
    width = left + right + 5 * COLUMN_INCHES + 4 * gap
    height = top + bottom + COLUMN_INCHES * sum(heights) + gap * (len(rows) - 1)
    figure.set_size_inches(width, height)
    error_image: Any = None
    y = height - top
    for row, ratio in zip(rows, heights, strict=True):
        y -= COLUMN_INCHES * ratio
        for column in range(5):
            x = left + column * (COLUMN_INCHES + gap)
            axes = figure.add_axes((x / width, y / height, COLUMN_INCHES / width, COLUMN_INCHES * ratio / height))
            image = _cell(axes, scene, row, column, limit)
            error_image = image if column >= 3 else error_image
            if row is rows[0]:
                _head(axes, *heads[column])
            if column == 2 and row.part is None:
                _letters(axes, row.plane)
            if row is rows[0] and rows[-1].part is not None and column < 3:
                _outline(axes, rows[-1].part)
        middle = (y + COLUMN_INCHES * ratio / 2) / height
        figure.text(left / 2 / width, middle, row.label, color=INK, rotation=90, ha="center", va="center", fontsize=10)
        y -= gap
    start = left + 3 * (COLUMN_INCHES + gap)
    bar = figure.add_axes((start / width, 0.46 / height, (2 * COLUMN_INCHES + gap) / width, 0.1 / height))
    _error_bar(figure, bar, error_image)
    note = "Grey: 0 to the 99.9th percentile of HR.  PSNR, SSIM, NRMSE: 3D, inside the head mask."
    figure.text(left / width, 0.46 / height, note, color=FAINT, fontsize=8.5, va="bottom")
    if title:
        figure.text(left / width, 1 - 0.1 / height, title, color=INK, fontsize=12, weight="bold", va="top")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=160, facecolor="black", metadata=None)


def _figure() -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("pictures need matplotlib", remedy=install_command("report")) from error
    figure = Figure(facecolor="black")  # no pyplot: no global state, no display
    FigureCanvasAgg(figure)
    return figure


def _height_over_width(scene: Scene, row: _Row) -> float:
    pixel_height, pixel_width = scene.pixel(row.plane)
    rows, columns = row.shown(0).shape
    return rows * pixel_height / (columns * pixel_width)


def _cell(axes: Axes, scene: Scene, row: _Row, column: int, limit: float) -> Any:
    image, peak = row.shown(column), scene.peak
    percent = 100 / peak
    colours, end = ("gray", 100.0) if column < 3 else ("inferno", limit * percent)
    axes.set_axis_off()
    # The axes have the shape of the cut in millimetres, so "auto" gives square millimetres.
    return axes.imshow(image * percent, cmap=colours, vmin=0, vmax=end, aspect="auto", interpolation="antialiased")


def _head(axes: Axes, name: str, figures: str) -> None:
    axes.text(0.5, 1.02, figures, color=FAINT, fontsize=8.5, ha="center", va="bottom", transform=axes.transAxes)
    axes.annotate(
        name, (0.5, 1.02), xytext=(0, 13), xycoords="axes fraction", textcoords="offset points",
        color=INK, fontsize=11, ha="center", va="bottom",
    )  # fmt: skip


def _letters(axes: Axes, plane: Plane) -> None:
    places = ((0.03, 0.5), (0.97, 0.5), (0.5, 0.97), (0.5, 0.03))
    for letter, (x, y) in zip(plane.letters, places, strict=True):
        axes.text(x, y, letter, color=MARK, fontsize=8, ha="center", va="center", transform=axes.transAxes)


def _outline(axes: Axes, part: tuple[slice, slice]) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = part
    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=MARK, linewidth=0.8))


def _error_bar(figure: Figure, axes: Axes, image: Any) -> None:
    bar = figure.colorbar(image, cax=axes, orientation="horizontal", extend="max")
    bar.set_label("absolute error, % of the data range (99.9th percentile of HR)", color=FAINT, fontsize=8.5)
    bar.ax.tick_params(colors=FAINT, labelsize=8)
    bar.outline.set_visible(False)
