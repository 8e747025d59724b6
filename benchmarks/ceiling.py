"""How far anyone can come: the noise of a reference, the error that it makes unpredictable, and the share that is left.

Noise outside the measured band cannot be predicted from what was measured. A perfect restoration with consistency still
differs from a noisy reference by sigma^2 (1 - share), with sigma^2 the noise variance and share the part of k-space
that was measured (the noise inside the band was measured too, and consistency puts it back).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mdcsrn.errors import DataError
from mdcsrn.kspace import DegradationSpec, passband

# High-pass of Daubechies' wavelet with two vanishing moments, orthonormal: shading and straight edges give no detail.
HIGH_PASS = (-0.48296291314469025, 0.8365163037378079, -0.2241438680420134, -0.12940952255126037)
NORMAL_MAD = 0.6744897501960817  # median absolute value of a standard normal variable


def noise_sigma(reference: Tensor, inside: Tensor) -> float:
    """Noise of a volume: median absolute diagonal detail of one wavelet level over 0.6745.

    D. L. Donoho, I. M. Johnstone, Biometrika 81(3), 1994. The detail is high-pass along all three axes at once, where
    anatomy has least power; only coefficients whose 4^3 voxels are all inside count.

    It **underestimates** where that corner of k-space is empty or damped: an axis that was interpolated or zero-filled,
    a scanner's apodisation, any smoothing or resampling afterwards. It overestimates where anatomy itself is that fine.
    In a magnitude image it holds where the signal is above about three times the noise, hence inside the head.

    Args:
        reference: (D, H, W), any unit.
        inside: boolean, same shape.

    Returns:
        Standard deviation in the reference's unit, >= 0.

    Raises:
        DataError: no 4^3 voxels lie inside together.
    """
    taps = torch.tensor(HIGH_PASS, dtype=torch.float64)
    kernel = torch.einsum("i,j,k->ijk", taps, taps, taps).to(reference.dtype)
    detail = functional.conv3d(reference[None, None], kernel[None, None], stride=2)[0, 0]
    outside = functional.max_pool3d((~inside)[None, None].float(), len(HIGH_PASS), stride=2)[0, 0] > 0
    kept = detail[~outside].abs()
    if not kept.numel():
        raise DataError("no detail coefficient lies inside the head", got=f"{int(inside.sum())} voxels")
    return float(kept.median()) / NORMAL_MAD


def measured_share(shape: Sequence[int], spec: DegradationSpec) -> float:
    """Share of a volume's k-space samples that lie in the measured band."""
    return float(passband(shape, spec).expand(tuple(shape)).double().mean())


def unpredictable_mse(sigma: float, share: float) -> float:
    """Mean squared error that no restoration can avoid: sigma^2 (1 - share), the square of sigma's unit."""
    return sigma**2 * (1 - share)


def ceiling_psnr(sigma: float, peak: float, share: float) -> float:
    """PSNR in dB that :func:`unpredictable_mse` allows; ``inf`` without noise or with nothing left to predict."""
    error = unpredictable_mse(sigma, share) / peak**2
    return math.inf if error == 0 else -10 * math.log10(error)


def removed_share(zero_filled_psnr: float, psnr: float, ceiling: float) -> float:
    """Share of the predictable error that is removed: (MSE_0 - MSE) / (MSE_0 - MSE_noise), from three PSNR in dB.

    Returns:
        1 at the ceiling, 0 at zero-filling, below 0 where the result is worse; ``nan`` where zero-filling is at the
        ceiling already.
    """
    start, now, end = (10 ** (-value / 10) for value in (zero_filled_psnr, psnr, ceiling))
    return (start - now) / (start - end) if start > end else math.nan
