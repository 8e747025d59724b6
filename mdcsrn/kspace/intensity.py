"""Define the intensity scale of a volume and the thresholds of a head on it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SCALE_PERCENT = 99.9  # percentile of the whole low-resolution volume: in training, inference and metrics alike
METRIC_HEAD_FRACTION = 0.02  # of the reference's scale: voxels above it are judged
REGION_HEAD_FRACTION = 0.03  # of the input's scale: means of 4^3 voxels above it are restored; air holds less,
# magnitude noise of a usable scan included


def intensity_scale(volume: Tensor) -> Tensor:
    """What a volume is divided by before a network reads it: its 99.9th percentile; no offset, no clipping.

    Args:
        volume: any shape, any unit.

    Returns:
        Scalar tensor on the volume's device.

    >>> import torch
    >>> float(intensity_scale(torch.arange(1001.0)))
    999.0
    """
    return percentile(volume, SCALE_PERCENT)


def percentile(volume: Tensor, percent: float) -> Tensor:
    """Percentile of all voxels, linear between neighbours as in NumPy; any size (torch.quantile stops at 16 M).

    Args:
        volume: any shape, at least one voxel.
        percent: 0 to 100.

    Returns:
        Scalar tensor on the volume's device.

    >>> float(percentile(torch.tensor([4.0, 1.0, 2.0]), 75))
    3.0
    """
    flat = volume.detach().flatten()
    position = (flat.numel() - 1) * percent / 100
    low = math.floor(position)
    # Only the top of the sorted order is needed: topk is far cheaper than a sort for a high percentile.
    top = torch.topk(flat, flat.numel() - low, sorted=True).values
    below = top[-1]
    above = top[-2] if top.numel() > 1 else below
    return below + (above - below) * (position - low)
