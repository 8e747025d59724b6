"""The page of an evaluation: a prediction and the baselines against a reference, and the study over angles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.kspace import DegradationSpec, acquired_shape, degrade, grid_affine, resample_grid
from mdcsrn.kspace.measurement import AxisMeasurement, Measurement
from mdcsrn.report.page import Array, Comparison, Page, Rotations
from mdcsrn.report.rotation import baselines_of, in_plane, study

if TYPE_CHECKING:
    from mdcsrn.io.volume import Volume

Restore = Callable[["Volume", tuple[int, int, int]], Array]
"""From a volume on the acquired grid and the shape wanted to the restored array on that grid."""

SR = "SR"
BEFORE = "zero-filled"


def shorten(reference: Volume, spec: DegradationSpec) -> Volume:
    """The scan that was not long enough, on its acquired grid, with the affine of its samples."""
    array = degrade(torch.from_numpy(reference.array), replace(spec, grid="acquired"))
    affine = grid_affine(torch.from_numpy(reference.affine), reference.shape, tuple(array.shape)).numpy()
    return reference.replace(array.numpy(), affine)


def acquired_of(low: Volume, reference: Volume, spec: DegradationSpec | None) -> Volume:
    """Bring a low-resolution volume to its acquired grid.

    A volume that is on the reference's grid is cropped in k-space to the matrix of `spec`, or, without one, to the band
    that it is found to have.

    Raises:
        GeometryError: it has a third grid that is finer than the reference's.
    """
    from mdcsrn.data.band import crop_to_band

    if low.shape == reference.shape:
        if spec is None:
            return crop_to_band(low)
        shape = acquired_shape(low.shape, spec.reduction)
        affine = grid_affine(torch.from_numpy(low.affine), low.shape, shape).numpy()
        return low.replace(resample_grid(torch.from_numpy(low.array), shape).numpy(), affine)
    if any(n > m for n, m in zip(low.shape, reference.shape, strict=True)):
        raise GeometryError(
            "the low-resolution volume is finer than the reference", got=low.shape, allowed=reference.shape
        )
    return low


def page_of_evaluation(
    title: str,
    reference: Volume,
    prediction: Array,
    acquired: Volume | None = None,
    mask: NDArray[Any] | None = None,
    rotations: Rotations | None = None,
    facts: Mapping[str, str] | None = None,
) -> Page:
    """Make the page.

    Args:
        title: name of the subject; no patient data.
        reference: the truth.
        prediction: (D, H, W) on its grid, same unit.
        acquired: the short scan on its own grid: gives the baselines and the measured band; None: neither.
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
        candidates = baselines_of(acquired.array, reference.shape)
        a, b, c = (m / n for m, n in zip(acquired.shape, reference.shape, strict=True))
        shares = a, b, c
    known = {"Grid": " × ".join(map(str, reference.shape)) + " voxels"}
    if acquired is not None:
        known["Acquired matrix"] = " × ".join(map(str, acquired.shape))
    return Page(
        title=title,
        before=candidates[BEFORE] if acquired is not None else reference.array,
        before_name=BEFORE if acquired is not None else "reference",
        after=prediction,
        after_name=SR,
        affine=reference.affine,
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
        candidates = baselines_of(short.array, turned.shape)
        return candidates if restore is None else {**candidates, SR: restore(short, reference.shape)}

    return study(np.asarray(reference.array), methods, angles, in_plane(spec.reduction), reference.spacing, after)
