"""Intensity range of a metric and the region called "head", from the reference volume alone."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from mdcsrn.errors import DataError
from mdcsrn.kspace.intensity import METRIC_HEAD_FRACTION, intensity_scale


def data_range(reference: Tensor) -> float:
    """Intensity range of a reference: its 99.9th percentile, with linear interpolation as in ``numpy.percentile``.

    The maximum would follow one bright vessel or spike; the minimum is taken as 0, where air lies.

    Args:
        reference: volume of any shape, unit and size (``torch.quantile`` would stop at 16 M voxels).

    Returns:
        The range in the unit of the reference, above 0.

    Raises:
        DataError: the volume is empty, holds NaN or Inf, or its 99.9th percentile is not above 0.

    >>> import torch
    >>> data_range(torch.arange(1001.0))
    999.0
    """
    if reference.numel() == 0:
        raise DataError("an empty reference has no intensity range", got=f"shape {tuple(reference.shape)}")
    if not bool(torch.isfinite(reference).all()):
        raise DataError("the reference holds NaN or Inf", remedy="repair or leave out this volume")
    value = float(intensity_scale(reference.float()))
    if value <= 0:
        raise DataError(
            "the reference has no signal", got=f"99.9th percentile {value:g}", allowed="above 0",
            remedy="check that the right file was given",
        )  # fmt: skip
    return value


def head_mask(reference: Tensor, spatial_dims: int = 3) -> Tensor:
    """Voxels of the head: above 2 % of the reference's range, with enclosed holes (ventricles, sinuses) filled.

    Args:
        reference: (..., D, H, W), or (..., H, W) with ``spatial_dims=2``; any unit, 0 = air.
        spatial_dims: trailing axes that are space; holes are filled in each leading index by itself.

    Returns:
        Boolean tensor of the same shape on the same device.

    Raises:
        DataError: as :func:`data_range`.

    >>> import torch
    >>> cube = torch.zeros(16, 16, 16)
    >>> cube[4:12, 4:12, 4:12] = 1
    >>> cube[6:10, 6:10, 6:10] = 0  # an enclosed hole belongs to the head
    >>> int(head_mask(cube).sum()) == 8**3
    True
    """
    above = (reference > METRIC_HEAD_FRACTION * data_range(reference)).detach().cpu().numpy()
    images = above.reshape(-1, *above.shape[above.ndim - spatial_dims :])
    filled = np.stack([binary_fill_holes(image) for image in images]).reshape(above.shape)
    return torch.from_numpy(filled).to(reference.device)
