r"""Protocol of a linear measurement operator, and the certificate that every implementation gives.

An operator A says what would be measured of an image x; y is the measurement. Data consistency is
:math:`x + A^+ (y - A x)`. Two operators are at hand: :class:`mdcsrn.kspace.DegradationOperator` (a specification's
low-pass, on the grid of the result) and :class:`mdcsrn.kspace.Measurement` (the acquired matrix, axis by axis).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class Certificate:
    """How far a result agrees with what was measured, and what of it is bound.

    Fields that an operator has no use for are None and left out of :meth:`to_dict`.

    Attributes:
        relative_error: ||A x - y|| / ||y|| over the bound part, with x the result and y the measurement, sums in
            float64; the absolute error where the measurement is all zero.
        bound_share: share of the result's k-space samples that are bound.
        threshold: smallest window weight that is bound.
        noisy: the measurement has noise, which consistency then puts back too.
        spec_sha256: hash of the degradation.
        result_shape: (D, H, W) of the result.
        measured_shape: (D, H, W) of the measurement.
        kinds: of the three axes: ``fourier``, or a slice profile.

    >>> Certificate(relative_error=1e-7, bound_share=0.25, threshold=0.1).to_dict()
    {'relative_error': 1e-07, 'bound_share': 0.25, 'threshold': 0.1}
    """

    relative_error: float
    bound_share: float
    threshold: float | None = None
    noisy: bool | None = None
    spec_sha256: str | None = None
    result_shape: tuple[int, int, int] | None = None
    measured_shape: tuple[int, int, int] | None = None
    kinds: tuple[str, str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a sidecar file."""
        stated = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in stated.items()}


@runtime_checkable
class LinearOperator(Protocol):
    """What was measured of an image. Volumes have shape (..., D, H, W), are real, in any unit.

    >>> from mdcsrn.kspace import AxisMeasurement, Measurement
    >>> isinstance(Measurement((AxisMeasurement(8, 8), AxisMeasurement(8, 4), AxisMeasurement(8, 4))), LinearOperator)
    True
    """

    def forward(self, result: Tensor) -> Tensor:
        """A x: what would have been measured of a result, without noise; same dtype, the mean is kept."""

    def pseudo_inverse(self, measured: Tensor) -> Tensor:
        """A⁺ y: the smallest image with this measurement, on the grid of the result, same dtype."""

    def project(self, result: Tensor, measured: Tensor) -> Tensor:
        """X + A⁺(y - A x): the result with its measured part replaced, shape and dtype of `result`; no clipping.

        Raises:
            GeometryError: a shape does not fit.
        """

    def certify(self, result: Tensor, measured: Tensor) -> Certificate:
        """Measure the agreement of a result with a measurement, in float64; errors as for :meth:`project`."""
