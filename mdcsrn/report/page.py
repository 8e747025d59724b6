"""Content of a report as plain values: volumes of one grid, what was measured, facts and warnings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.notices import Notice

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Rotations:
    """Fidelity of each method when the reference is turned in plane before the scan is shortened.

    Attributes:
        angles: degrees, ascending.
        plane: the two array axes that span the plane of rotation.
        slice_axis: the array axis that the slices are counted along: the one that stands still.
        psnr: method to one PSNR in dB per angle, in the turned head.
        ssim: method to one SSIM per angle, in the turned head.
        slice_psnr: method to PSNR per slice, dB, mean over the angles; NaN where a slice holds no head.
        slice_ssim: method to SSIM per slice, mean over the angles; NaN where a slice holds no head.
    """

    angles: tuple[float, ...]
    plane: tuple[int, int]
    slice_axis: int
    psnr: Mapping[str, tuple[float, ...]]
    ssim: Mapping[str, tuple[float, ...]]
    slice_psnr: Mapping[str, tuple[float, ...]]
    slice_ssim: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class Comparison:
    """A reference and what is held against it.

    Attributes:
        reference: (D, H, W), the truth, same grid and unit as the page's volumes.
        candidates: method to (D, H, W); the page's `before` and `after` are candidates only where they are named here.
        mask: (D, H, W), counted where not 0 beside the head (a brain mask: figures after brain extraction).
        rotations: the study over rotation angles, or None.
    """

    reference: Array
    candidates: Mapping[str, Array]
    mask: NDArray[Any] | None = None
    rotations: Rotations | None = None


@dataclass(frozen=True, eq=False)
class Page:
    """Everything that one report shows.

    Attributes:
        title: name of the scan; no patient data.
        before: (D, H, W), any unit: the input on the result's grid.
        after: (D, H, W), same unit: the result.
        affine: voxel index to millimetres, (4, 4).
        shares: share of each array axis's frequencies on this grid that was measured, in (0, 1]; None: not known.
        maps: name to (D, H, W), ≥ 0, same unit: ``spread``, ``invention`` or any other.
        facts: label to text, in the order shown.
        certificate: plain values of the consistency certificate; needs ``relative_error``, may hold
            ``relative_error_stored`` (of the file, after rounding), ``relative_error_series`` (of the derived DICOM
            series) and ``bound_share``. None: consistency is off.
        notices: warnings.
        comparison: a reference and other candidates: makes the page an evaluation.
        before_name: what `before` is, as ``zero-filled input``.
        after_name: what `after` is.
        unchanged: nothing was to be done: the result is the input.
        picture: the volumes are pictures, which state no orientation; `affine` is :func:`~mdcsrn.report.views.upright`.

    Raises:
        GeometryError: arrays differ in shape or are no volumes.
        ConfigError: a share outside (0, 1].
    """

    title: str
    before: Array
    after: Array
    affine: NDArray[np.float64]
    shares: tuple[float, float, float] | None = None
    maps: Mapping[str, Array] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    certificate: Mapping[str, Any] | None = None
    notices: tuple[Notice, ...] = ()
    comparison: Comparison | None = None
    before_name: str = "before (zero-filled)"
    after_name: str = "after"
    unchanged: bool = False
    picture: bool = False

    def __post_init__(self) -> None:
        named: dict[str, NDArray[Any]] = {self.before_name: self.before, self.after_name: self.after, **self.maps}
        if self.comparison is not None:
            named = {**named, "reference": self.comparison.reference, **self.comparison.candidates}
            if self.comparison.mask is not None:
                named["mask"] = self.comparison.mask
        for name, array in named.items():
            if array.ndim != 3 or array.shape != self.before.shape:
                raise GeometryError(
                    f"the volumes of a report differ in shape: {name}", got=array.shape, allowed=self.before.shape
                )
        if self.shares is not None and not (len(self.shares) == 3 and all(0 < share <= 1 for share in self.shares)):
            raise ConfigError(
                "measured shares of k-space are fractions, one per axis", got=self.shares, allowed="(0, 1]"
            )

    @property
    def volumes(self) -> dict[str, Array]:
        """Name to picture: before, after and, where there is one, the reference."""
        named = {self.before_name: self.before, self.after_name: self.after}
        return named if self.comparison is None else {**named, "reference": self.comparison.reference}

    @property
    def truth(self) -> Array:
        """The volume that decides window, head and planes: the reference where there is one, else the result."""
        return self.after if self.comparison is None else self.comparison.reference
