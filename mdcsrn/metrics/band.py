"""Error of the restored k-space: relative error outside the measured band."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.kspace import DegradationSpec, fft, passband
from mdcsrn.kspace.lowpass import reduced_dims
from mdcsrn.metrics.regions import check_pair


def band_error(prediction: Tensor, reference: Tensor, spec: DegradationSpec, mask: Tensor | None = None) -> float:
    r"""Relative L2 error outside the passband: ‖M F(prediction − reference)‖ / ‖M F reference‖, M = 1 − passband.

    Zero-filling restores nothing there: its figure is 1 for a box without noise. Below 1, true detail was added; above
    1, invention outweighs it. PSNR cannot tell the two from errors inside the band.

    Args:
        prediction: (..., D, H, W) on the reference grid, the reference's unit.
        reference: the same shape.
        spec: the degradation whose measured band is left out; its noise and output grid play no part.
        mask: voxels to keep where not zero, on the image, before the transform (a mask's edge leaks a little between
            the bands, in both norms). None keeps all.

    Returns:
        A number ≥ 0 without unit; ``nan`` where the reference has nothing outside the band (no axis is reduced).

    Raises:
        GeometryError: shapes differ.
        DataError: nothing to count.
        ConfigError: fewer than three axes.

    >>> import torch
    >>> cube = torch.zeros(16, 16, 16)
    >>> cube[4:12, 4:12, 4:12] = 1
    >>> from mdcsrn.kspace import DegradationSpec, degrade
    >>> spec = DegradationSpec((1, 2, 2))
    >>> zero_filled = degrade(cube, spec)
    >>> round(band_error(zero_filled, cube, spec), 4), band_error(cube, cube, spec)
    (1.0, 0.0)
    """
    check_pair(prediction, reference, mask)
    if reference.ndim < 3:
        raise ConfigError("the band error needs three spatial axes", got=f"shape {tuple(reference.shape)}")
    truth = reference.float()
    error = prediction.float() - truth
    if mask is not None:
        inside = mask != 0
        error, truth = error * inside, truth * inside
    missing = _norm_outside(truth, spec)
    return _norm_outside(error, spec) / missing if missing else math.nan


def _norm_outside(volume: Tensor, spec: DegradationSpec) -> float:
    """‖M F volume‖; the transform is unitary, so the axes that are not reduced stay in image space."""
    dims = reduced_dims(spec.reduction)
    if not dims:
        return 0.0
    outside = ~passband(volume.shape[-3:], spec, volume.device)
    energy = torch.view_as_real(fft(volume, dims) * outside).square()
    return math.sqrt(float(energy.sum(dtype=torch.float64)))
