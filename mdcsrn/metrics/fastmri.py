"""Metrics as fastMRI defines them, so that figures of its leaderboard and papers can be read beside ours.

J. Zbontar et al., "fastMRI: An open dataset and benchmarks for accelerated MRI", arXiv 1811.08839; in its code,
``fastmri.evaluate``. The data range is the maximum of the reference volume, not of a slice; SSIM is that of
scikit-image's defaults (uniform window 7x7, sample covariance, no border) for each slice, then the mean; NMSE is the
squared error over the squared reference. They cover the whole volume, air included. Never a default of ours.
"""

from __future__ import annotations

from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.metrics.pixelwise import nrmse, psnr
from mdcsrn.metrics.regions import check_pair
from mdcsrn.metrics.structural import SSIMWindow, ssim

WINDOW = SSIMWindow("uniform", size=7, sample_covariance=True)


def fastmri_metrics(prediction: Tensor, reference: Tensor) -> dict[str, float]:
    r"""PSNR (dB), SSIM and NMSE of a volume by fastMRI's definitions.

    With :math:`M = \max y` of the reference volume y and the prediction x of N voxels: PSNR is
    :math:`10 \log_{10}(M^2 N / \|x - y\|^2)`, NMSE is :math:`\|x - y\|^2 / \|y\|^2`, SSIM is the mean over slices
    of scikit-image's ``structural_similarity(..., data_range=M)``.

    Args:
        prediction: (slices, H, W), the reference's unit; H and W at least 7.
        reference: the same shape, a magnitude: its maximum is above 0.

    Returns:
        ``fastmri_psnr``, ``fastmri_ssim``, ``fastmri_nmse``.

    Raises:
        GeometryError: the shapes differ.
        DataError: a slice is smaller than the window of SSIM.
        ConfigError: fewer than three axes, or a reference whose maximum is not above 0.

    >>> import torch
    >>> cube = torch.zeros(3, 16, 16)
    >>> cube[:, 4:12, 4:12] = 1
    >>> {name: round(value, 3) for name, value in fastmri_metrics(0.9 * cube, cube).items()}
    {'fastmri_psnr': 26.021, 'fastmri_ssim': 0.989, 'fastmri_nmse': 0.01}
    """
    check_pair(prediction, reference)
    if reference.ndim < 3:
        raise ConfigError(
            "fastMRI's metrics are those of a volume", got=tuple(reference.shape), allowed="(slices, H, W)"
        )
    peak = float(reference.max())
    return {
        "fastmri_psnr": psnr(prediction, reference, peak),
        "fastmri_ssim": ssim(prediction, reference, peak, window=WINDOW, spatial_dims=2, crop_border=True),
        "fastmri_nmse": nrmse(prediction, reference, normalization="euclidean") ** 2,
    }
