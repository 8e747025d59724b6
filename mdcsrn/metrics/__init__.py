"""Metrics of a restored volume's fidelity: PSNR, SSIM, NRMSE, HFEN, band and power; functions and MONAI metrics.

MONAI metrics are imported on first use: they bring MONAI and Ignite along, which the functions do not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdcsrn.lazy import attributes
from mdcsrn.metrics.band import band_error
from mdcsrn.metrics.fastmri import fastmri_metrics
from mdcsrn.metrics.frequency import hfen, power_error, power_ratio
from mdcsrn.metrics.legacy import legacy_metrics
from mdcsrn.metrics.pixelwise import nrmse, psnr
from mdcsrn.metrics.reference import data_range, head_mask
from mdcsrn.metrics.regions import masked_mean
from mdcsrn.metrics.structural import SSIMWindow, ssim, ssim_map

if TYPE_CHECKING:
    from mdcsrn.metrics.monai_metrics import HeadMaskHFEN, HeadMaskMetric, HeadMaskNRMSE, HeadMaskPSNR, HeadMaskSSIM

__all__ = [
    "HeadMaskHFEN",
    "HeadMaskMetric",
    "HeadMaskNRMSE",
    "HeadMaskPSNR",
    "HeadMaskSSIM",
    "SSIMWindow",
    "band_error",
    "data_range",
    "fastmri_metrics",
    "head_mask",
    "hfen",
    "legacy_metrics",
    "masked_mean",
    "nrmse",
    "power_error",
    "power_ratio",
    "psnr",
    "ssim",
    "ssim_map",
]

__getattr__ = attributes(
    __name__, dict.fromkeys((name for name in __all__ if name.startswith("HeadMask")), "monai_metrics")
)
