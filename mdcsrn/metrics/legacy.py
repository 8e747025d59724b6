"""Metrics of the earlier code and papers, so that old tables can be read beside new ones.

They are scikit-image's defaults of that time on images in [0, 1]: SSIM in a uniform 7³ window with sample covariance
and ``data_range=2`` (the span of a float image, twice that of the data: it flatters by 0.04 to 0.18), averaged without
the border; NRMSE with the Euclidean norm; PSNR with peak 1. Never a default of ours.
"""

from __future__ import annotations

from torch import Tensor

from mdcsrn.metrics.pixelwise import nrmse, psnr
from mdcsrn.metrics.regions import check_pair
from mdcsrn.metrics.structural import SSIMWindow, ssim

LEGACY_SSIM_RANGE = 2.0
LEGACY_SSIM_WINDOW = SSIMWindow("uniform", size=7, sample_covariance=True)


def legacy_metrics(prediction: Tensor, reference: Tensor, spatial_dims: int = 3) -> dict[str, float]:
    """PSNR (dB), SSIM and NRMSE by the definitions above, over the whole volume.

    Args:
        prediction: (..., D, H, W) in the reference's unit.
        reference: the same shape; both are divided by its maximum, which must be above 0.
        spatial_dims: 3, or 2 for slices.

    Returns:
        ``legacy_psnr``, ``legacy_ssim``, ``legacy_nrmse``.

    Raises:
        GeometryError, DataError, ConfigError: as :func:`mdcsrn.metrics.ssim`.

    >>> import torch
    >>> cube = torch.zeros(16, 16, 16)
    >>> cube[4:12, 4:12, 4:12] = 1
    >>> {name: round(value, 3) for name, value in legacy_metrics(0.9 * cube, cube).items()}
    {'legacy_psnr': 29.031, 'legacy_ssim': 0.989, 'legacy_nrmse': 0.1}
    """
    check_pair(prediction, reference)
    peak = float(reference.max())
    return {
        "legacy_psnr": psnr(prediction, reference, peak),
        "legacy_ssim": ssim(
            prediction, reference, LEGACY_SSIM_RANGE * peak, window=LEGACY_SSIM_WINDOW, spatial_dims=spatial_dims,
            crop_border=True,
        ),
        "legacy_nrmse": nrmse(prediction, reference, normalization="euclidean"),
    }  # fmt: skip
