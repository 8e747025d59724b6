"""Page of an evaluation: a prediction and the baselines against a reference, and the study over angles."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.io.names import is_picture_name
from mdcsrn.kspace import DegradationSpec, acquired_shape, degrade, grid_affine, resample_grid
from mdcsrn.kspace.measurement import AxisMeasurement, Measurement
from mdcsrn.report.page import Array, Comparison, Page, Rotations
from mdcsrn.report.rotation import baselines_of, in_plane, study
from mdcsrn.report.views import upright

if TYPE_CHECKING:
    from mdcsrn.io.volume import Volume

Restore = Callable[["Volume", tuple[int, int, int]], Array]
"""From a volume on the acquired grid and the shape wanted to the restored array on that grid."""

SR = "SR"
BEFORE = "zero-filled"


def measured_shape(shape: Sequence[int], reduction: Sequence[float]) -> tuple[int, int, int]:
    """Samples that the passband keeps per axis: odd, since an even grid's unpaired sample is not measured."""
    d, h, w = (n if r == 1 else 2 * math.ceil(n / (2 * r)) - 1 for n, r in zip(shape, reduction, strict=True))
    return d, h, w


def shorten(reference: Volume, spec: DegradationSpec) -> Volume:
    """Simulate a shorter scan, on the samples that it measures alone, with the affine of its grid."""
    low = degrade(torch.from_numpy(reference.array), replace(spec, grid="reference"))
    return regrid(reference.replace(low.numpy(), reference.affine), measured_shape(reference.shape, spec.reduction))


def acquired_of(low: Volume, reference: Volume, spec: DegradationSpec | None) -> Volume:
    """Bring a low-resolution volume to the samples that were measured.

    With `spec`, those are its passband's; without one, a volume on the reference's grid is cropped to the band that it
    is found to have, and any other is taken as it is.

    Raises:
        GeometryError: it is finer than the reference, or holds fewer samples than `spec` measures.
    """
    from mdcsrn.data.band import crop_to_band

    if any(n > m for n, m in zip(low.shape, reference.shape, strict=True)):
        raise GeometryError(
            "the low-resolution volume is finer than the reference", got=low.shape, allowed=reference.shape
        )
    if spec is None:
        return crop_to_band(low) if low.shape == reference.shape else low
    shape = measured_shape(reference.shape, spec.reduction)
    if any(n < m for n, m in zip(low.shape, shape, strict=True)):
        raise GeometryError("the low-resolution volume is coarser than its degradation", got=low.shape, allowed=shape)
    return regrid(low, shape)


def regrid(volume: Volume, shape: tuple[int, int, int]) -> Volume:
    """The volume on another sampling grid of the same field of view, by k-space, with the affine of that grid."""
    affine = grid_affine(torch.from_numpy(volume.affine), volume.shape, shape).numpy()
    return volume.replace(resample_grid(torch.from_numpy(volume.array), shape).numpy(), affine)


def _baselines(acquired: Volume, shape: tuple[int, int, int], spec: DegradationSpec | None) -> dict[str, Array]:
    """The baselines start from the grid of ``grid: acquired``, as in every table of this project."""
    start = acquired if spec is None else regrid(acquired, acquired_shape(shape, spec.reduction))
    return baselines_of(start.array, shape)


def page_of_evaluation(
    title: str,
    reference: Volume,
    prediction: Array,
    acquired: Volume | None = None,
    spec: DegradationSpec | None = None,
    mask: NDArray[Any] | None = None,
    rotations: Rotations | None = None,
    facts: Mapping[str, str] | None = None,
) -> Page:
    """Make the page.

    Args:
        title: name of the subject; no patient data.
        reference: the truth.
        prediction: (D, H, W) on its grid, same unit.
        acquired: the short scan on the samples that it measured (:func:`shorten`, :func:`acquired_of`): gives the
            baselines and the measured band; None: neither.
        spec: what made it, where that is known.
        mask: (D, H, W), counted where not 0 beside the head.
        rotations: of :func:`study_of`.
        facts: label to text.

    Raises:
        GeometryError: the shapes differ.
    """
    candidates: dict[str, Array] = {}
    shares = certificate = None
    if acquired is not None:
        d, h, w = (AxisMeasurement(n, m) for n, m in zip(reference.shape, acquired.shape, strict=True))
        measured = torch.from_numpy(acquired.array)
        certificate = Measurement((d, h, w)).certify(torch.from_numpy(prediction), measured).to_dict()
        candidates = _baselines(acquired, reference.shape, spec)
        a, b, c = (m / n for m, n in zip(acquired.shape, reference.shape, strict=True))
        shares = a, b, c
    picture = reference.path is not None and is_picture_name(reference.path)
    known = {"Grid": " × ".join(map(str, reference.shape)) + " voxels"}
    if acquired is not None:
        known["Acquired matrix"] = " × ".join(map(str, acquired.shape))
    return Page(
        title=title,
        before=candidates[BEFORE] if acquired is not None else reference.array,
        before_name=BEFORE if acquired is not None else "reference",
        after=prediction,
        after_name=SR,
        affine=upright(reference.affine) if picture else reference.affine,
        picture=picture,
        shares=shares,
        certificate=certificate,
        facts={**known, **(facts or {})},
        comparison=Comparison(reference.array, {**candidates, SR: prediction}, mask, rotations),
    )


def study_of(
    reference: Volume,
    spec: DegradationSpec,
    angles: Sequence[float],
    restore: Restore | None,
    after: Callable[[], None] | None = None,
) -> Rotations:
    """Turn, shorten and restore the reference at every angle.

    Args:
        reference: the truth.
        spec: the degradation; its two reduced axes span the plane of rotation.
        angles: degrees.
        restore: the method beside the baselines; None: baselines alone.
        after: called after each angle.

    Raises:
        ConfigError: no usable angle, or a degradation that leaves no acquired matrix to start from.
    """
    if spec.has_partial_fourier:
        raise ConfigError("the study over rotations takes no partial Fourier", got=spec.partial_fourier)

    def methods(turned: Array) -> dict[str, Array]:
        short = shorten(reference.replace(turned, reference.affine), spec)
        candidates = _baselines(short, reference.shape, spec)
        return candidates if restore is None else {**candidates, SR: restore(short, reference.shape)}

    return study(np.asarray(reference.array), methods, angles, in_plane(spec.reduction), reference.spacing, after)
