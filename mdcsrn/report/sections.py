"""Sections of a page that every result has: pictures, k-space, curves slice by slice, differences."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from mdcsrn.kspace.band import power_spectrum
from mdcsrn.report import analysis, charts, pictures
from mdcsrn.report.page import Array, Page
from mdcsrn.report.views import Scene, error_limit, scene_of, to_ras

SLICES = ("sagittal slices, left to right", "coronal slices, back to front", "axial slices, bottom to top")
DIRECTIONS = ("left–right", "back–front", "bottom–top")
CENTRAL = ("back–front (across) and bottom–top", "left–right and bottom–top", "left–right and back–front")
COLUMNS_ROWS = ("columns, left to right", "rows, bottom to top", "planes")  # of a picture
ACROSS_DOWN = ("across", "down", "from plane to plane")
MAP_TEXT = {
    "spread": "spread of the flip ensemble",
    "invention": "invention: what was added outside the measured band",
    "mean": "mean of the flip ensemble",
}


@dataclass(frozen=True)
class Figure:
    """A picture of a section: its bytes as a data address, and words for those who cannot see it."""

    source: str
    alt: str
    caption: str
    kind: str
    heading: str = ""


@dataclass(frozen=True)
class Table:
    """Head and rows of text; the first column is a name, the others are figures."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """One part of a page."""

    name: str
    title: str
    text: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    table: Table | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """A page with what several sections need of it.

    Attributes:
        page: the page.
        mask: head, (D, H, W).
        peak: data range of the page's truth.
        order: array axis that runs closest to right, anterior, superior.
        signs: its direction.
    """

    page: Page
    mask: NDArray[np.bool_]
    peak: float
    order: list[int] = field(default_factory=list)
    signs: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, page: Page) -> Subject:
        """Find head, data range and orientation."""
        mask, peak = analysis.head_of(page.truth)
        return cls(page, mask, peak, *to_ras(np.asarray(page.affine, np.float64)))

    @property
    def worlds(self) -> list[int]:
        """Of right, anterior and superior (0, 1, 2) those along which there are several samples."""
        return [world for world, axis in enumerate(self.order) if self.page.after.shape[axis] > 1]

    def turned(self, curves: tuple[NDArray[np.float64], ...]) -> list[NDArray[np.float64]]:
        """One curve per array axis, in the order and direction right, anterior, superior."""
        return [curves[axis][::sign] for axis, sign in zip(self.order, self.signs, strict=True)]

    def scene(self, volumes: Mapping[str, Array]) -> Scene:
        """Volumes turned for drawing."""
        return scene_of(volumes, np.asarray(self.page.affine, np.float64), self.mask, self.peak, self.page.picture)


def figure(data: bytes, kind: str, alt: str, caption: str, heading: str = "") -> Figure:
    """A figure from the bytes of a PNG or SVG file."""
    mime = "image/png" if kind == "png" else "image/svg+xml"
    return Figure(f"data:{mime};base64,{base64.b64encode(data).decode()}", alt, caption, kind, heading)


def pictures_section(subject: Subject) -> Section:
    """Three planes of both volumes, their difference and every map: what those see who have no WebGL."""
    page, percent = subject.page, 100 / subject.peak
    maps = {name: array for name, array in page.maps.items() if name != "mean"}
    scene = subject.scene({"before": page.before, "after": page.after, "change": page.after - page.before, **maps})
    limit = plane_limit(scene, "change", percent)
    columns = [
        pictures.Column("before", page.before_name, "gray", 0, 100),
        pictures.Column("after", page.after_name, "gray", 0, 100),
        pictures.Column("change", "difference", "RdBu_r", -limit, limit, "difference, % of the data range"),
    ]
    columns += [
        pictures.Column(name, name, "inferno", 0, plane_limit(scene, name, percent), f"{name}, % of the data range")
        for name in maps
    ]
    data = pictures.planes_png(scene, columns, percent, ("before", "after"))
    planes = ", ".join(plane.name for plane in scene.planes)
    alt = (
        f"Planes through the head ({planes}) and an enlarged part: {page.before_name}, "
        f"{page.after_name}, their difference on a scale of ±{limit:.1f} % of the data range"
        + "".join(f", {MAP_TEXT.get(name, name)}" for name in maps)
    )
    caption = "Grey: 0 to the 99.9th percentile."
    if not page.picture:
        caption += " L left, R right, A front, P back, S top, I bottom."
    return Section("pictures", "Pictures", figures=[figure(data, "png", alt, caption)])


def kspace_section(subject: Subject) -> Section:
    """The central planes of k-space before and after, and the energy along each axis."""
    page = subject.page
    shares = None if page.shares is None else [page.shares[axis] for axis in subject.order]
    volumes = page.volumes
    scene = subject.scene(volumes)
    central = {name: analysis.central_planes(scene.volumes[name]) for name in volumes}
    across = [plane for plane in range(3) if not set(range(3)) - set(subject.worlds) - {plane}] or [0, 1, 2]
    directions = ACROSS_DOWN if page.picture else DIRECTIONS
    rows = [(name, [planes[plane] for plane in across]) for name, planes in central.items()]
    titles = ["across and down"] if page.picture else [CENTRAL[plane] for plane in across]
    outlined = "" if shares is None else " The green frame holds what was measured."
    planes = figure(
        pictures.kspace_png(rows, titles, shares, across), "png",
        "Log magnitude of the central planes of k-space for " + ", ".join(volumes) + "." + outlined,
        "Brightness is the logarithm of the magnitude; coarse shape is in the centre, fine detail outside." + outlined,
        "Central planes",
    )  # fmt: skip
    panels = []
    for world in subject.worlds:
        series = {}
        for name in volumes:
            array = np.ascontiguousarray(
                scene.volumes[name], dtype=np.float32
            )  # turned to R-A-S: a view with steps back
            decibel = 10 * power_spectrum(torch.from_numpy(array), world).numpy()
            series[name] = (np.linspace(0, 100, len(decibel)), decibel)
        top = max(y.max() for _, y in series.values())
        series = {name: (x, np.maximum(y - top, -140)) for name, (x, y) in series.items()}
        edges = () if shares is None or shares[world] >= 1 else (100 * shares[world],)
        panels.append(charts.Panel(directions[world], "frequency, % of this grid's highest", series, edges))
    lines = figure(
        charts.chart(panels, "mean power, dB", page.after_name, "edge of the measured band"), "svg",
        "Mean power of k-space along each axis, from the centre to the highest frequency of the grid.",
        "A fall at the edge of the band means that nothing was measured beyond it; the result should continue the "
        "slope from inside, not exceed it.",
        "Energy along each axis",
    )  # fmt: skip
    if shares is None:
        text = ["It is not known which part of k-space was measured."]
    elif min(shares) >= 1:
        text = ["The scan fills the whole k-space of this grid."]
    else:
        each = ", ".join(f"{100 * shares[world]:.0f} % {directions[world]}" for world in subject.worlds)
        whole = f"{100 * np.prod(shares):.0f} % in all"
        text = [f"Measured share of the frequencies along each axis of this grid: {each}; {whole}."]
    return Section("kspace", "k-space", text, [planes, lines])


def slices_section(subject: Subject) -> Section:
    """Mean, energy outside the measured band and difference, slice by slice along each axis."""
    page, percent = subject.page, 100 / subject.peak
    volumes = page.volumes
    means = analysis.slice_means(volumes)
    figures = [
        _slice_figure(
            subject, means.curves, percent, "mean, % of the data range", "Mean intensity",
            "Mean of every whole slice. Where data consistency holds, the curves coincide.",
        )
    ]  # fmt: skip
    if page.shares is not None and min(page.shares) < 1:
        shares = page.shares
        outside = {name: analysis.outside_band(array, shares) for name, array in volumes.items()}
        energy = analysis.slice_energy(outside, subject.mask)
        figures.append(
            _slice_figure(
                subject, energy.curves, percent, "RMS, % of the data range", "Detail outside the measured band",
                "Root mean square, in the head, of the image part that lies outside the measured band: near 0 before, "
                "and after it what was restored. A slice that stands out deserves a look.",
            )
        )  # fmt: skip
    change = analysis.slice_differences(page.before, page.after, subject.mask)
    figures.append(
        _slice_figure(
            subject, change.curves, percent, "mean |change|, % of range", "Change",
            f"Mean of |{page.after_name} − {page.before_name}|, in the head.",
        )
    )  # fmt: skip
    return Section("slices", "Slice by slice", figures=figures)


def differences_section(subject: Subject) -> Section:
    """How large the changes are, over all voxels of the head."""
    page, percent = subject.page, 100 / subject.peak
    values = (page.after - page.before)[subject.mask] * percent
    limit = max(float(np.percentile(np.abs(values), 99.9)), 0.1)
    centres, shares = analysis.histogram(values, limit)
    series = {"share of the head's voxels": (centres, _positive(100 * shares))}
    label = f"{page.after_name} − {page.before_name}, % of the data range"
    panel = charts.Panel("", label, series, log=True, steps=True)
    root = float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
    median, high = np.percentile(np.abs(values), (50, 99))
    text = [
        f"In the head the two differ by {root:.2f} % of the data range (root mean square); half of the voxels by less "
        f"than {median:.2f} %, one in a hundred by more than {high:.1f} %."
    ]
    drawn = figure(
        charts.chart([panel], "voxels per bin, %"), "svg", f"Histogram of differences between ±{limit:.1f} %.",
        "Logarithmic scale; the ends hold what lies beyond.",
    )  # fmt: skip
    return Section("differences", "Histogram of differences", text, [drawn])


def _slice_figure(
    subject: Subject,
    curves: Mapping[str, tuple[NDArray[np.float64], ...]],
    scale: float,
    ylabel: str,
    heading: str,
    caption: str,
) -> Figure:
    return figure(
        charts.chart(slice_panels(subject, curves, scale), ylabel, subject.page.after_name), "svg",
        f"{heading} of each slice along every axis, for " + ", ".join(curves) + ".", caption, heading,
    )  # fmt: skip


def slice_panels(
    subject: Subject, curves: Mapping[str, tuple[NDArray[np.float64], ...]], scale: float = 1.0
) -> list[charts.Panel]:
    """One panel per anatomical axis that has several slices; x is the slice's number."""
    names = COLUMNS_ROWS if subject.page.picture else SLICES
    turned = {name: subject.turned(axes) for name, axes in curves.items()}
    return [
        charts.Panel(
            names[world], "slice",
            {name: (np.arange(1.0, len(axes[world]) + 1), scale * axes[world]) for name, axes in turned.items()},
        )
        for world in subject.worlds
    ]  # fmt: skip


def plane_limit(scene: Scene, name: str, scale: float) -> float:
    """Upper end of a scale for a volume's planes: nearly their largest magnitude, in percent of the data range."""
    return error_limit(
        [scale * np.abs(np.concatenate([scene.cut(name, plane).ravel() for plane in scene.planes]))], 100
    )


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN instead of 0, for a logarithmic scale."""
    return np.where(values > 0, values, np.nan)
