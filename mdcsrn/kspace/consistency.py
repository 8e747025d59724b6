"""Data consistency: what was measured is put back after the network, and a certificate says how well it holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.kspace.degradation import DegradationSpec
from mdcsrn.kspace.fourier import fft, ifft, resample_grid
from mdcsrn.kspace.lowpass import passband, reduced_dims, window

WINDOW_THRESHOLD = 0.1  # an apodised sample is divided by its weight only above this: noise grows by its inverse


@dataclass(frozen=True)
class Certificate:
    """How far a result agrees with the measured part of k-space.

    Attributes:
        relative_error: ||P (W F x - F y)|| / ||P F y||, with x the result, y the measurement, W the window and P the
            part of the passband that consistency binds.
        bound_share: share of all k-space samples that are bound.
        threshold: smallest window weight that is bound.
        noisy: the measurement has noise, which consistency then puts back too.
        spec_sha256: hash of the degradation.
    """

    relative_error: float
    bound_share: float
    threshold: float
    noisy: bool
    spec_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a sidecar file."""
        return asdict(self)


def project(result: Tensor, measured: Tensor, spec: DegradationSpec, threshold: float = WINDOW_THRESHOLD) -> Tensor:
    """Replace the measured part of a result's k-space by the measurement.

    For a noise-free box or ellipsoid this is the orthogonal projection onto the images that agree with the
    measurement. The truth is one of them, so the whole-volume L2 error never grows. With apodisation the measurement
    is divided by the window where its weight is at least `threshold`. Nothing is clipped.

    Args:
        result: network output, shape (..., D, H, W), real.
        measured: the degraded volume in the same unit, on the same grid or on the acquired one.
        spec: the degradation that made `measured`.
        threshold: smallest window weight to divide by, in (0, 1].

    Returns:
        Consistent image, same shape and dtype as `result`.

    Raises:
        ConfigError: partial Fourier (its magnitude image has no measured k-space), or `threshold` out of range.
        GeometryError: the grids do not fit each other.
    """
    measured = _on_grid_of(result, measured, spec)
    dims = reduced_dims(spec.reduction)
    if not dims:
        return measured.to(result.dtype).clone()
    weights, bound = _bound(result, spec, threshold)
    correction = torch.where(bound, fft(measured, dims) / weights.clamp(min=threshold) - fft(result, dims), 0)
    return result + ifft(correction, dims).real.to(result.dtype)


def certify(
    result: Tensor, measured: Tensor, spec: DegradationSpec, threshold: float = WINDOW_THRESHOLD
) -> Certificate:
    """Measure the agreement of a result with the measurement; arguments and errors as for :func:`project`.

    The sums run in float64. A measurement of all zeros gives an absolute error instead of a relative one.
    """
    measured = _on_grid_of(result, measured, spec).to(torch.float64)
    result = result.to(torch.float64)
    dims = reduced_dims(spec.reduction) or (-3, -2, -1)
    weights, bound = _bound(result, spec, threshold)
    target = fft(measured, dims) * bound
    norm = torch.linalg.vector_norm(target)
    error = torch.linalg.vector_norm(fft(result, dims) * (weights * bound) - target)
    relative = float(error / norm) if norm > 0 else float(error)
    share = float(bound.expand(result.shape[-3:]).double().mean())
    return Certificate(relative, share, threshold, spec.noise > 0, spec.sha256)


def _bound(result: Tensor, spec: DegradationSpec, threshold: float) -> tuple[Tensor, Tensor]:
    """Window weights, and the boolean part of the passband where they reach the threshold."""
    if not 0 < threshold <= 1:
        raise ConfigError("the consistency threshold is a window weight", got=threshold, allowed="(0, 1]")
    shape = result.shape[-3:]
    weights = window(shape, spec, result.device).to(result.dtype)
    return weights, passband(shape, spec, result.device) & (weights >= threshold)


def _on_grid_of(result: Tensor, measured: Tensor, spec: DegradationSpec) -> Tensor:
    if spec.has_partial_fourier:
        raise ConfigError(
            "consistency is off with partial Fourier: a magnitude image does not hold the k-space that was measured",
            got=spec.partial_fourier,
            remedy="switch consistency off for this degradation",
        )
    if result.shape[:-3] != measured.shape[:-3]:
        raise GeometryError("result and measurement differ in batch or channels", got=(result.shape, measured.shape))
    if result.shape == measured.shape:
        return measured
    if any(m > n for m, n in zip(measured.shape[-3:], result.shape[-3:], strict=True)):
        raise GeometryError(
            "the measurement's grid is finer than the result's",
            got=(tuple(measured.shape[-3:]), tuple(result.shape[-3:])),
            remedy="give the volume that the result was made from",
        )
    return resample_grid(measured, result.shape[-3:])
