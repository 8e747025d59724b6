"""Fidelity of a restored volume: PSNR, SSIM, NRMSE, band error; pure functions and MONAI shells."""

from mdcsrn.metrics.band import band_error
from mdcsrn.metrics.legacy import legacy_metrics
from mdcsrn.metrics.pixelwise import nrmse, psnr
from mdcsrn.metrics.reference import data_range, head_mask
from mdcsrn.metrics.regions import masked_mean
from mdcsrn.metrics.shells import HeadMaskMetric, HeadMaskNRMSE, HeadMaskPSNR, HeadMaskSSIM
from mdcsrn.metrics.structural import ssim, ssim_map

__all__ = [
    "HeadMaskMetric",
    "HeadMaskNRMSE",
    "HeadMaskPSNR",
    "HeadMaskSSIM",
    "band_error",
    "data_range",
    "head_mask",
    "legacy_metrics",
    "masked_mean",
    "nrmse",
    "psnr",
    "ssim",
    "ssim_map",
]
