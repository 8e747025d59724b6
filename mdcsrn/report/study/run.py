"""Run a study: every person at every angle, shortened and restored by every method; one volume at a time in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import ConfigError, DataError
from mdcsrn.io.formats import read_image
from mdcsrn.io.same_place import check_same_place
from mdcsrn.io.volume import Volume
from mdcsrn.report.analysis import MIN_HEAD_SHARE, head_of, plane_fidelity
from mdcsrn.report.page import Array
from mdcsrn.report.rotation import rotate_in_plane
from mdcsrn.report.study.brain import brain_mask
from mdcsrn.report.study.methods import Methods
from mdcsrn.report.study.people import Person
from mdcsrn.report.study.shortening import Shortening
from mdcsrn.report.views import to_ras

Curve = NDArray[np.float64]
Mask = NDArray[np.bool_]
DIRECTIONS = ("left to right", "back to front", "bottom to top")
LARGEST, STEP = 50.0, 0.02  # of the histograms, percent of the data range
BINS = round(2 * LARGEST / STEP) + 1
HEAD, BRAIN = "head", "brain"


@dataclass(frozen=True, eq=False)
class SliceCurve:
    """Figures of one method for one person at one angle, in one region.

    Attributes:
        contrast: such as ``T1w``.
        subject: name of the person.
        angle: degrees.
        region: ``head`` or ``brain``.
        method: name.
        slices: (n,) indices along the slice axis, of slices with a figure.
        position: (n,) percent of the head's extent, to the right, front or top.
        psnr: (n,) dB.
        ssim: (n,).
    """

    contrast: str
    subject: str
    angle: float
    region: str
    method: str
    slices: NDArray[np.int64]
    position: Curve
    psnr: Curve
    ssim: Curve


@dataclass(frozen=True, eq=False)
class Middle:
    """The middle slice of one person, as the reference and by every method.

    Attributes:
        subject: name.
        angle: degrees.
        volumes: ``reference`` and methods, each (D, H, W) with one slice.
        affine: voxel index to millimetres, (4, 4).
        masks: region to mask of that slice.
        peak: data range.
    """

    subject: str
    angle: float
    volumes: dict[str, Array]
    affine: NDArray[np.float64]
    masks: dict[str, Mask]
    peak: float


@dataclass(eq=False)
class Study:
    """What a study found.

    Attributes:
        label: how the short scans were made.
        angles: degrees, ascending.
        baselines: names, bicubic first.
        networks: names.
        curves: of every person, angle, region and method.
        counts: (contrast, region, method) to voxels per bin of candidate − reference, bins of :data:`STEP` percent of
            the data range from -:data:`LARGEST` to +:data:`LARGEST`, what lies beyond in the last ones.
        middles: contrast to the slice whose maps are shown: the first person's at the first angle.
        directions: contrast to the directions in which slices are counted.
    """

    label: str
    angles: tuple[float, ...]
    baselines: tuple[str, ...]
    networks: tuple[str, ...]
    curves: list[SliceCurve] = field(default_factory=list)
    counts: dict[tuple[str, str, str], NDArray[np.int64]] = field(default_factory=dict)
    middles: dict[str, Middle] = field(default_factory=dict)
    directions: dict[str, set[str]] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """Baselines, then networks."""
        return (*self.baselines, *self.networks)

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Contrasts, in the order studied."""
        return tuple(dict.fromkeys(curve.contrast for curve in self.curves))

    def regions(self, contrast: str) -> tuple[str, ...]:
        """Head, and brain where everyone of that contrast has a mask."""
        who: dict[str, set[str]] = {}
        for curve in self.curves:
            if curve.contrast == contrast:
                who.setdefault(curve.region, set()).add(curve.subject)
        return tuple(region for region in (HEAD, BRAIN) if who.get(region) == who[HEAD])


def run_study(
    people: Sequence[Person],
    short: Shortening,
    methods: Methods,
    angles: Sequence[float] = (0.0,),
    extract: Path | None = None,
    after: Callable[[], None] | None = None,
) -> Study:
    """Restore every person at every angle by every method, and measure each slice.

    Args:
        people: at least one.
        short: how the short scans are made.
        methods: what is compared.
        angles: degrees of the turn in the plane that loses resolution, before it does.
        extract: folder for HD-BET's files, which finds the brain of those without a mask; None: they have none.
        after: called after each method (people x angles x methods times).

    Raises:
        ConfigError: no angle, or one that is not finite.
        DataError: a scan or mask cannot be read, or a mask is empty; GeometryError: it lies elsewhere than its scan, or
            a network does not have the factor.
    """
    if not angles or not all(np.isfinite(angles)):
        raise ConfigError("a study over rotations needs angles", got=list(angles), allowed="degrees, finite")
    ordered = tuple(sorted({float(angle) for angle in angles}))
    study = Study(short.label, ordered, tuple(methods.baselines), tuple(methods.networks))
    for person in people:
        reference, brain = _read(person, short, extract)
        for angle in ordered:
            _measure(study, person, _turned(reference, brain, angle, short), short, methods, after)
    return study


def _read(person: Person, short: Shortening, extract: Path | None) -> tuple[Volume, Volume | None]:
    whole = read_image(person.image)
    mask = None
    if person.mask is not None:
        mask = read_image(person.mask, allow_constant=True)
        check_same_place(mask, whole, person.mask, person.image)
    elif extract is not None:
        mask = brain_mask(whole, extract)
    if mask is not None and not mask.array.any():
        raise DataError(
            f"the mask {person.mask or 'of HD-BET'} of {person.image.name} is empty", allowed="voxels above 0"
        )
    return short.fitted(whole), None if mask is None else short.fitted(mask)


@dataclass(frozen=True, eq=False)
class _Turned:
    """A reference after a turn: its regions and its data range."""

    angle: float
    volume: Volume
    regions: dict[str, Mask]
    peak: float


def _turned(reference: Volume, brain: Volume | None, angle: float, short: Shortening) -> _Turned:
    array = rotate_in_plane(reference.array, angle, short.plane, reference.spacing)
    head, peak = head_of(array)
    regions = {HEAD: head}
    if brain is not None:
        inside = (brain.array != 0).astype(np.float32)
        regions[BRAIN] = rotate_in_plane(inside, angle, short.plane, reference.spacing, order=0) > 0.5
    return _Turned(angle, reference.replace(array), regions, peak)


def _measure(
    study: Study,
    person: Person,
    turned: _Turned,
    short: Shortening,
    methods: Methods,
    after: Callable[[], None] | None,
) -> None:
    """Add one person's figures at one angle to the study."""
    angle, truth, regions, peak = turned.angle, turned.volume, turned.regions, turned.peak
    axis = short.slice_axis
    direction, position, middle = _places(truth, regions[HEAD], axis)
    study.directions.setdefault(person.contrast, set()).add(direction)
    shown = None
    if person.contrast not in study.middles:
        shown = Middle(
            person.name, angle, {"reference": _slice(truth.array, middle, axis)}, truth.affine,
            {name: _slice(mask, middle, axis) for name, mask in regions.items()}, peak,
        )  # fmt: skip
        study.middles[person.contrast] = shown
    acquired = short.acquire(truth)
    for name, restore in methods.all.items():
        candidate = restore(acquired, truth.shape, person.contrast)
        for region, (psnr, ssim) in plane_fidelity(truth.array, candidate, peak, regions, axis).items():
            kept = np.flatnonzero(np.isfinite(psnr) & np.isfinite(ssim))
            study.curves.append(
                SliceCurve(person.contrast, person.name, angle, region, name,
                           kept, position[kept], psnr[kept], ssim[kept])
            )  # fmt: skip
            bins = _bins((candidate - truth.array)[regions[region]] * (100 / peak))
            key = (person.contrast, region, name)
            study.counts[key] = study.counts.get(key, 0) + bins
        if shown is not None:
            shown.volumes[name] = _slice(candidate, middle, axis)
        if after is not None:
            after()


def _places(truth: Volume, head: Mask, axis: int) -> tuple[str, Curve, int]:
    """Direction of the slices, each one's place in the head (percent), and the index of the middle one."""
    voxels = head.sum(axis=tuple({0, 1, 2} - {axis}))
    filled = np.flatnonzero(voxels >= MIN_HEAD_SHARE * voxels.max())
    first, last = int(filled[0]), int(filled[-1])
    position = 100 * (np.arange(truth.shape[axis]) - first) / max(1, last - first)
    order, signs = to_ras(truth.affine)
    world = order.index(axis)
    return DIRECTIONS[world], position if signs[world] > 0 else 100 - position, (first + last) // 2


def _slice(array: NDArray[Any], index: int, axis: int) -> NDArray[Any]:
    return np.take(array, [index], axis=axis)


def _bins(differences: Array) -> NDArray[np.int64]:
    index = np.rint((np.clip(differences, -LARGEST, LARGEST) + LARGEST) / STEP).astype(np.int64)
    return np.bincount(index, minlength=BINS)
