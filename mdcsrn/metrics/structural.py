"""Structural similarity (SSIM) of volumes: luminance, contrast and structure compared in a sliding 3D window.

Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 13(4), 2004. Agrees with
``skimage.metrics.structural_similarity``; the volume passes through in slabs and in float64, because a variance taken
as E[x²] − E[x]² loses its digits in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError, DataError
from mdcsrn.metrics.regions import check_pair, check_range, masked_mean

WindowShape = Literal["gaussian", "uniform"]

_SLAB_VOXELS = 2**19  # five float64 moments of a slab: 21 MB, near the size of a cache


def window_weights(shape: WindowShape, size: int, sigma: float) -> Tensor:
    """One-dimensional window of SSIM, sum 1.

    Args:
        shape: ``"gaussian"`` or ``"uniform"``.
        size: odd number of voxels, ≥ 3.
        sigma: standard deviation in voxels, used by ``"gaussian"`` alone.

    Returns:
        (size,) float64.

    Raises:
        ConfigError: unknown shape, even or small size, sigma not above 0.
    """
    if size < 3 or size % 2 == 0:
        raise ConfigError("the SSIM window needs an odd size", got=size, allowed="3, 5, 7, ...")
    if shape == "uniform":
        return torch.full((size,), 1.0 / size, dtype=torch.float64)
    if shape != "gaussian":
        raise ConfigError("unknown SSIM window", got=shape, allowed="gaussian, uniform")
    if not sigma > 0:
        raise ConfigError("the Gaussian SSIM window needs a width", got=sigma, allowed="sigma > 0")
    offset = torch.arange(size, dtype=torch.float64) - size // 2
    weights = torch.exp(-0.5 * (offset / sigma) ** 2)
    return weights / weights.sum()


@dataclass(frozen=True)
class SSIMWindow:
    """The sliding window of SSIM; by default that of Wang 2004, eleven voxels wide.

    Attributes:
        shape: ``"gaussian"`` (Wang 2004) or ``"uniform"``.
        size: width in voxels on every spatial axis, odd, ≥ 3.
        sigma: standard deviation of the Gaussian in voxels, above 0.
        sample_covariance: variances with N − 1 instead of N, N = size^axes.

    Raises:
        ConfigError: unknown shape, even or small size, sigma not above 0.

    >>> SSIMWindow("uniform", size=7, sample_covariance=True).weights()[0] * 7
    tensor(1., dtype=torch.float64)
    """

    shape: WindowShape = "gaussian"
    size: int = 11
    sigma: float = 1.5
    sample_covariance: bool = False

    def __post_init__(self) -> None:
        self.weights()

    def weights(self) -> Tensor:
        """The window along one axis, (size,) float64, sum 1."""
        return window_weights(self.shape, self.size, self.sigma)

    def sample_scale(self, axes: int) -> float:
        """Factor of the variances: N / (N − 1) where they are those of a sample, else 1."""
        count = self.size**axes
        return count / (count - 1) if self.sample_covariance else 1.0


GAUSSIAN = SSIMWindow()


def smoothing_matrix(length: int, weights: Tensor) -> Tensor:
    """Filter of one axis as a matrix, mirrored at the borders with the edge voxel repeated.

    Args:
        length: voxels along the axis.
        weights: symmetric kernel of an odd number of voxels.

    Returns:
        (length, length), banded, the kernel's dtype.
    """
    radius = weights.numel() // 2
    rows = torch.arange(length)[:, None].expand(-1, weights.numel())
    columns = (rows + torch.arange(-radius, radius + 1)) % (2 * length)
    columns = torch.where(columns < length, columns, 2 * length - 1 - columns)
    matrix = torch.zeros(length, length, dtype=weights.dtype)
    return matrix.index_put_((rows, columns), weights.expand(length, -1), accumulate=True)


def _smooth(moments: Tensor, matrices: list[Tensor]) -> Tensor:
    """Apply one matrix to each spatial axis of (5, n0, n1[, n2])."""
    for axis, matrix in enumerate(matrices, start=1):
        moments = torch.tensordot(matrix, moments, dims=([1], [axis])).movedim(0, axis)
    return moments


def _ssim_from_moments(moments: Tensor, sample_scale: float) -> Tensor:
    """SSIM of intensities divided by the data range, from smoothed x, y, x², y², xy."""
    mean_x, mean_y, xx, yy, xy = moments
    c1, c2 = 0.01**2, 0.03**2
    var_x, var_y = sample_scale * (xx - mean_x**2), sample_scale * (yy - mean_y**2)
    covariance = sample_scale * (xy - mean_x * mean_y)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance * (2 * covariance + c2) / (var_x + var_y + c2)


def ssim_map(
    prediction: Tensor,
    reference: Tensor,
    data_range: float,
    window: SSIMWindow = GAUSSIAN,
    spatial_dims: int = 3,
) -> Tensor:
    """SSIM around every voxel; constants K1 = 0.01, K2 = 0.03; mirrored borders.

    Args:
        prediction: (..., D, H, W), or (..., H, W) with ``spatial_dims=2``; the reference's unit.
        reference: the same shape.
        data_range: intensity range in the same unit, above 0.
        window: shape and width.
        spatial_dims: trailing axes that the window covers, 2 or 3; leading axes are independent images.

    Returns:
        The map, same shape, float32, each value in [−1, 1] (up to rounding).

    Raises:
        GeometryError, DataError, ConfigError: shapes differ; too few axes; a setting out of range.

    >>> import torch
    >>> cube = torch.zeros(16, 16, 16)
    >>> cube[4:12, 4:12, 4:12] = 1
    >>> values = ssim_map(0.5 * cube, cube, data_range=1.0)
    >>> values.shape, round(float(values[0, 0, 0]), 3), round(float(values[8, 8, 8]), 3)
    (torch.Size([16, 16, 16]), 1.0, 0.644)
    """
    check_pair(prediction, reference)
    scale = check_range(data_range)
    if spatial_dims not in (2, 3) or reference.ndim < spatial_dims:
        raise ConfigError(
            "SSIM needs 2 or 3 spatial axes", got=f"spatial_dims {spatial_dims}, shape {tuple(reference.shape)}"
        )
    weights, sample_scale = window.weights(), window.sample_scale(spatial_dims)
    spatial = reference.shape[reference.ndim - spatial_dims :]
    matrices = [smoothing_matrix(n, weights).to(reference.device) for n in spatial]
    result = torch.empty(reference.shape, dtype=torch.float32, device=reference.device)
    images = zip(*(volume.reshape(-1, *spatial) for volume in (prediction, reference, result)), strict=True)
    radius, planes = window.size // 2, max(1, _SLAB_VOXELS // int(spatial[1:].numel()))
    for image, truth, out in images:
        for start in range(0, spatial[0], planes):
            stop = min(start + planes, spatial[0])
            near = slice(max(0, start - radius), stop + radius)  # the band of the matrix reaches no further
            x, y = image[near].double() / scale, truth[near].double() / scale
            slab = [matrices[0][start:stop, near], *matrices[1:]]
            out[start:stop] = _ssim_from_moments(_smooth(torch.stack((x, y, x * x, y * y, x * y)), slab), sample_scale)
    return result


def ssim(
    prediction: Tensor,
    reference: Tensor,
    data_range: float,
    mask: Tensor | None = None,
    window: SSIMWindow = GAUSSIAN,
    spatial_dims: int = 3,
    crop_border: bool = False,
) -> float:
    """Mean of :func:`ssim_map` over the whole volume, or over the mask.

    Every voxel counts, also those whose window is mirrored at the border, so that a masked mean needs no second rule.
    ``skimage.metrics.structural_similarity`` returns the same map (``full=True``) but averages it without a border of
    ``window.size // 2`` voxels: ``crop_border=True`` does as it does.

    Args:
        prediction: (..., D, H, W), or (..., H, W) with ``spatial_dims=2``; the reference's unit.
        reference: the same shape.
        data_range: intensity range in the same unit, above 0.
        mask: voxels to count where not zero; broadcasts to the reference. None counts all.
        window: shape and width.
        spatial_dims: trailing axes that the window covers, 2 or 3.
        crop_border: leave out ``window.size // 2`` voxels at every face.

    Returns:
        Mean SSIM, 1 for equal volumes.

    Raises:
        GeometryError, DataError, ConfigError: as :func:`ssim_map`; nothing is left to count.

    >>> import torch
    >>> cube = torch.zeros(16, 16, 16)
    >>> cube[4:12, 4:12, 4:12] = 1
    >>> ssim(cube, cube, data_range=1.0), round(ssim(0.5 * cube, cube, data_range=1.0), 3)
    (1.0, 0.742)
    """
    check_pair(prediction, reference, mask)
    values = ssim_map(prediction, reference, data_range, window, spatial_dims)
    if crop_border:
        border = window.size // 2
        values = _without_border(values, border, spatial_dims)
        mask = None if mask is None else _without_border(mask.expand(reference.shape), border, spatial_dims)
        if values.numel() == 0 or (mask is not None and not bool((mask != 0).any())):
            raise DataError(
                "nothing is left inside the border of the SSIM window", allowed=f"axes above {window.size - 1}"
            )
    return masked_mean(values, mask)


def _without_border(values: Tensor, border: int, spatial_dims: int) -> Tensor:
    for axis in range(values.ndim - spatial_dims, values.ndim):
        inner = max(0, values.shape[axis] - 2 * border)
        values = values.narrow(axis, min(border, values.shape[axis]), inner)
    return values
