"""Put back what was measured, after the network, and certify how well it holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.kspace.degradation import DegradationSpec
from mdcsrn.kspace.fourier import fft, ifft, resample_grid
from mdcsrn.kspace.lowpass import acquired_shape, low_pass, passband, reduced_dims, window
from mdcsrn.kspace.operator import Certificate

WINDOW_THRESHOLD = 0.1  # an apodised sample is divided by its weight only above this: noise grows by its inverse


@dataclass(frozen=True)
class DegradationOperator:
    """The linear part of a degradation, as an operator: the low-pass, and the acquired grid where it is asked for.

    For a noise-free box or ellipsoid the projection is orthogonal onto the images that agree with the measurement.
    The truth is one of them, so the whole-volume L2 error never grows. With apodisation the measurement is divided by
    the window where its weight is at least `threshold`; the samples below are not bound.

    Attributes:
        spec: the degradation that made the measurement.
        shape: (D, H, W) of the result.
        threshold: smallest window weight to divide by, in (0, 1].

    Raises:
        ConfigError: partial Fourier (its magnitude image has no measured k-space), or `threshold` out of range.

    >>> operator = DegradationOperator(DegradationSpec((1, 2, 2)), (4, 8, 8))
    >>> measured = operator.forward(torch.rand(4, 8, 8))
    >>> operator.certify(operator.project(torch.rand(4, 8, 8), measured), measured).relative_error < 1e-6
    True
    """

    spec: DegradationSpec
    shape: tuple[int, int, int]
    threshold: float = WINDOW_THRESHOLD

    def __post_init__(self) -> None:
        if self.spec.has_partial_fourier:
            raise ConfigError(
                "consistency is off with partial Fourier: a magnitude image does not hold the k-space that was "
                "measured",
                got=self.spec.partial_fourier,
                remedy="switch consistency off for this degradation",
            )
        if not 0 < self.threshold <= 1:
            raise ConfigError("the consistency threshold is a window weight", got=self.threshold, allowed="(0, 1]")

    def forward(self, result: Tensor) -> Tensor:
        """A x: the low-passed image without noise, on the grid that the degradation writes; same dtype."""
        self._require(result)
        image = low_pass(result, self.spec)
        on_acquired = self.spec.grid == "acquired"
        return resample_grid(image, acquired_shape(self.shape, self.spec.reduction)) if on_acquired else image

    def pseudo_inverse(self, measured: Tensor) -> Tensor:
        """A⁺ y: the measurement on the result's grid, divided by the window where that is bound; same dtype."""
        filled, dims = self._fill(measured), reduced_dims(self.spec.reduction)
        if not dims:
            return filled.clone()
        weights, bound = self._bound(filled)
        return ifft(torch.where(bound, fft(filled, dims) / weights.clamp(min=self.threshold), 0), dims).real

    def project(self, result: Tensor, measured: Tensor) -> Tensor:
        """X + A⁺(y - A x): replace the bound part of a result's k-space by the measurement.

        Args:
            result: network output, shape (..., *shape), real.
            measured: in the same unit, on the same grid or on the acquired one.

        Returns:
            Consistent image, same shape and dtype as `result`.

        Raises:
            GeometryError: the grids do not fit each other.
        """
        measured = self._on_grid_of(result, measured)
        dims = reduced_dims(self.spec.reduction)
        if not dims:
            return measured.to(result.dtype).clone()
        weights, bound = self._bound(result)
        correction = torch.where(bound, fft(measured, dims) / weights.clamp(min=self.threshold) - fft(result, dims), 0)
        return result + ifft(correction, dims).real.to(result.dtype)

    def certify(self, result: Tensor, measured: Tensor) -> Certificate:
        """Measure the agreement in float64: ||P (W F x - F y)|| / ||P F y||, with W the window and P the bound part.

        Arguments and errors as for :meth:`project`.
        """
        measured = self._on_grid_of(result, measured).to(torch.float64)
        result = result.to(torch.float64)
        dims = reduced_dims(self.spec.reduction) or (-3, -2, -1)
        weights, bound = self._bound(result)
        target = fft(measured, dims) * bound
        norm = torch.linalg.vector_norm(target)
        error = torch.linalg.vector_norm(fft(result, dims) * (weights * bound) - target)
        return Certificate(
            relative_error=float(error / norm) if norm > 0 else float(error),
            bound_share=float(bound.expand(result.shape[-3:]).double().mean()),
            threshold=self.threshold,
            noisy=self.spec.noise > 0,
            spec_sha256=self.spec.sha256,
        )

    def _bound(self, result: Tensor) -> tuple[Tensor, Tensor]:
        """Window weights, and the boolean part of the passband where they reach the threshold."""
        weights = window(self.shape, self.spec, result.device).to(result.dtype)
        return weights, passband(self.shape, self.spec, result.device) & (weights >= self.threshold)

    def _on_grid_of(self, result: Tensor, measured: Tensor) -> Tensor:
        self._require(result)
        if result.shape[:-3] != measured.shape[:-3]:
            raise GeometryError(
                "result and measurement differ in batch or channels", got=(result.shape, measured.shape)
            )
        return self._fill(measured)

    def _fill(self, measured: Tensor) -> Tensor:
        """A measurement zero-filled to the result's grid."""
        if tuple(measured.shape[-3:]) == self.shape:
            return measured
        if any(m > n for m, n in zip(measured.shape[-3:], self.shape, strict=True)):
            raise GeometryError(
                "the measurement's grid is finer than the result's",
                got=(tuple(measured.shape[-3:]), self.shape),
                remedy="give the volume that the result was made from",
            )
        return resample_grid(measured, self.shape)

    def _require(self, result: Tensor) -> None:
        if result.ndim < 3 or tuple(result.shape[-3:]) != self.shape:
            raise GeometryError(
                "the result is on another grid", got=tuple(result.shape), allowed=f"(..., {self.shape})"
            )


def project(result: Tensor, measured: Tensor, spec: DegradationSpec, threshold: float = WINDOW_THRESHOLD) -> Tensor:
    """Replace the measured part of a result's k-space by the measurement; see :class:`DegradationOperator`.

    Args:
        result: network output, shape (..., D, H, W), real.
        measured: the degraded volume in the same unit, on the same grid or on the acquired one.
        spec: the degradation that made `measured`.
        threshold: smallest window weight to divide by, in (0, 1].

    Returns:
        Consistent image, same shape and dtype as `result`. Nothing is clipped.

    Raises:
        ConfigError: partial Fourier (its magnitude image has no measured k-space), or `threshold` out of range.
        GeometryError: the grids do not fit each other.

    >>> from mdcsrn.kspace import degrade
    >>> truth, spec = torch.rand(4, 8, 8, dtype=torch.float64), DegradationSpec((1, 2, 2))
    >>> torch.allclose(project(truth, degrade(truth, spec), spec), truth)  # the truth agrees already
    True
    """
    return _operator(result, spec, threshold).project(result, measured)


def certify(
    result: Tensor, measured: Tensor, spec: DegradationSpec, threshold: float = WINDOW_THRESHOLD
) -> Certificate:
    """Measure the agreement of a result with the measurement; arguments and errors as for :func:`project`.

    The sums run in float64. A measurement of all zeros gives an absolute error instead of a relative one.

    >>> from mdcsrn.kspace import degrade
    >>> truth, spec = torch.rand(4, 8, 8, dtype=torch.float64), DegradationSpec((1, 2, 2))
    >>> round(certify(1.01 * truth, degrade(truth, spec), spec).relative_error, 6)
    0.01
    """
    return _operator(result, spec, threshold).certify(result, measured)


def _operator(result: Tensor, spec: DegradationSpec, threshold: float) -> DegradationOperator:
    d, h, w = result.shape[-3:]
    return DegradationOperator(spec, (d, h, w), threshold)
