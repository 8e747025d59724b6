"""Fidelity by frequency: the high-frequency error norm, and the power of the restored band against the reference's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError, DataError
from mdcsrn.kspace import DegradationSpec, fft, frequencies, passband
from mdcsrn.metrics.regions import check_pair, masked_mean
from mdcsrn.metrics.structural import smoothing_matrix, window_weights

MIN_SHELL_SHARE = 0.01  # of a shell's frequencies: of fewer that were not measured, a ratio means little
MIN_POWER_RATIO = 1e-4  # of a power ratio, -40 dB: a shell without power has no logarithm


def hfen(
    prediction: Tensor, reference: Tensor, mask: Tensor | None = None, size: int = 15, sigma: float = 1.5
) -> float:
    r"""High-frequency error norm: ‖LoG(prediction) − LoG(reference)‖ / ‖LoG(reference)‖.

    LoG is the Laplacian of a Gaussian, which passes edges and fine detail (S. Ravishankar, Y. Bresler, "MR image
    reconstruction from highly undersampled k-space data by dictionary learning", IEEE TMI 30(5), 2011, there in 2D,
    with the same 15 voxels and sigma). It is that of ``scipy.ndimage.gaussian_laplace``: edges are mirrored.

    Args:
        prediction: (..., D, H, W), the reference's unit.
        reference: the same shape.
        mask: voxels to count where not zero, after the filter, so that the mask's edge is no detail. None counts all.
        size: width of the kernel in voxels, odd.
        sigma: of the Gaussian, voxels.

    Returns:
        A number ≥ 0 without unit; 0 for equal volumes; ``inf`` or ``nan`` where the reference is flat.

    Raises:
        GeometryError, DataError: shapes differ; nothing to count.
        ConfigError: fewer than three axes, an even size, sigma not above 0.

    >>> import torch
    >>> cube = torch.zeros(16, 16, 16)
    >>> cube[4:12, 4:12, 4:12] = 1
    >>> round(hfen(0.9 * cube, cube), 4), hfen(cube, cube)
    (0.1, 0.0)
    """
    check_pair(prediction, reference, mask)
    if reference.ndim < 3:
        raise ConfigError("the high-frequency error norm needs three axes", got=f"shape {tuple(reference.shape)}")
    truth = reference.float()
    error = masked_mean(laplacian_of_gaussian(prediction.float() - truth, size, sigma).square(), mask)
    detail = masked_mean(laplacian_of_gaussian(truth, size, sigma).square(), mask)
    return math.sqrt(error / detail) if detail else (math.inf if error else math.nan)


def laplacian_of_gaussian(volume: Tensor, size: int = 15, sigma: float = 1.5) -> Tensor:
    """Sum of the second derivatives of the volume smoothed by a Gaussian, mirrored at the edges.

    Args:
        volume: (..., D, H, W), floating-point.
        size: width of the kernel in voxels, odd; beyond it the Gaussian is cut off.
        sigma: of the Gaussian, voxels.

    Returns:
        Same shape and dtype; the unit per voxel squared.
    """
    smooth = window_weights("gaussian", size, sigma)
    offset = torch.arange(size, dtype=torch.float64) - size // 2
    second = smooth * (offset**2 / sigma**4 - 1 / sigma**2)
    shape = volume.shape[-3:]
    smooth_d, smooth_h, smooth_w = (smoothing_matrix(n, smooth).to(volume) for n in shape)
    second_d, second_h, second_w = (smoothing_matrix(n, second).to(volume) for n in shape)
    # Two products along the last axis serve all three terms.
    smoothed, curved = volume @ smooth_w.T, volume @ second_w.T
    across = _along_depth(second_d, smooth_h @ smoothed)
    return across + _along_depth(smooth_d, second_h @ smoothed + smooth_h @ curved)


def _along_depth(matrix: Tensor, volume: Tensor) -> Tensor:
    return torch.einsum("ij,...jhw->...ihw", matrix, volume)


def power_ratio(
    prediction: Tensor, reference: Tensor, spec: DegradationSpec, mask: Tensor | None = None, shells: int = 12
) -> list[float]:
    r"""Power of the prediction over that of the reference outside the measured band, shell by shell.

    :math:`\sum |F x|^2 / \sum |F y|^2` over the frequencies that were not measured and whose radius
    :math:`\rho = \sqrt{\sum_i (2 k_i / n_i)^2}` lies in the shell; 1 is Nyquist of an axis, and the shells share
    (0, 1]. Zero-filling gives 0, a blurred restoration less than 1, invented noise more than 1. Unlike the band error
    it does not ask whether the detail is in the right place.

    Args:
        prediction: (..., D, H, W), the reference's unit.
        reference: the same shape.
        spec: the degradation whose measured band is left out.
        mask: voxels to keep where not zero, on the image, before the transform. None keeps all.
        shells: how many, of equal width.

    Returns:
        One ratio for each shell, from the centre out; ``nan`` where less than one in a hundred of its frequencies was
        not measured, or the reference has no power there.

    Raises:
        GeometryError: shapes differ.
        DataError: nothing to count, or nothing below Nyquist is left out of the measured band.
        ConfigError: fewer than three axes, or no shell.

    >>> import torch
    >>> cube = torch.zeros(16, 16, 16)
    >>> cube[4:12, 4:12, 4:12] = 1
    >>> from mdcsrn.kspace import DegradationSpec
    >>> [round(ratio, 4) for ratio in power_ratio(0.5 * cube, cube, DegradationSpec((1, 2, 2)), shells=4)]
    [nan, nan, 0.25, 0.25]
    """
    check_pair(prediction, reference, mask)
    if reference.ndim < 3 or shells < 1:
        raise ConfigError("radial power needs three axes and a shell", got=f"{tuple(reference.shape)}, {shells} shells")
    shape = reference.shape[-3:]
    radius = torch.zeros((1, 1, 1), dtype=torch.float64, device=reference.device)
    for axis, n in enumerate(shape):
        view = [n if a == axis else 1 for a in range(3)]
        radius = radius + (2 * frequencies(n, reference.device).double() / n).square().view(view)
    # A radius on the edge of a shell belongs to the inner one, whatever the last digit of the square root says.
    number = (radius.sqrt() * shells - 1e-9).ceil().long().clamp(min=1) - 1
    left_out = ~passband(shape, spec, reference.device).expand(shape) & (number < shells)
    if not bool(left_out.any()):
        raise DataError("no frequency below Nyquist is left out of the measured band", got=spec.reduction)
    powers = [_shell_powers(volume, mask, left_out, number, shells) for volume in (prediction, reference)]
    share = (
        torch.bincount(number[left_out], minlength=shells) / torch.bincount(number.flatten(), minlength=shells)[:shells]
    )
    return [float(x / y) if y and s >= MIN_SHELL_SHARE else math.nan for x, y, s in zip(*powers, share, strict=True)]


def power_error(
    prediction: Tensor, reference: Tensor, spec: DegradationSpec, mask: Tensor | None = None, shells: int = 12
) -> float:
    """Mean absolute 10 log10(ratio) over the shells of :func:`power_ratio`, dB: 0 where the spectra agree.

    A ratio below 1e-4 counts as 1e-4 (40 dB, what a zero-filled volume gets); arguments and errors as there.

    >>> import torch
    >>> cube = torch.zeros(16, 16, 16)
    >>> cube[4:12, 4:12, 4:12] = 1
    >>> from mdcsrn.kspace import DegradationSpec
    >>> round(power_error(0.1 * cube, cube, DegradationSpec((1, 2, 2)), shells=4), 4)
    20.0
    """
    return mean_log_ratio(power_ratio(prediction, reference, spec, mask, shells))


def mean_log_ratio(ratios: Sequence[float]) -> float:
    """The same, dB, of ratios that are there already; those that are not defined are left out."""
    found = [max(ratio, MIN_POWER_RATIO) for ratio in ratios if not math.isnan(ratio)]
    return math.fsum(abs(10 * math.log10(ratio)) for ratio in found) / len(found) if found else math.nan


def _shell_powers(volume: Tensor, mask: Tensor | None, left_out: Tensor, number: Tensor, shells: int) -> Tensor:
    image = volume.float() if mask is None else volume.float() * (mask != 0)
    power = torch.view_as_real(fft(image)).square().sum(-1).reshape(-1, *number.shape).sum(0)
    sums = torch.zeros(shells, dtype=torch.float64, device=volume.device)
    return sums.index_add_(0, number[left_out], power[left_out].double())
