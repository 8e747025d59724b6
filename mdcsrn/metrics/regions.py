"""Check and mask inputs of every metric: equal shapes, a usable range, a mask that holds something."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError, DataError, GeometryError


def check_pair(prediction: Tensor, reference: Tensor, mask: Tensor | None = None) -> None:
    """Refuse a pair that cannot be compared.

    Raises:
        GeometryError: the shapes differ, or the mask does not broadcast to them.
        DataError: there is no voxel, or the mask selects none.
    """
    if prediction.shape != reference.shape:
        raise GeometryError(
            "prediction and reference have different shapes",
            got=tuple(prediction.shape),
            allowed=tuple(reference.shape),
        )
    if reference.numel() == 0:
        raise DataError("prediction and reference are empty", got=f"shape {tuple(reference.shape)}")
    if mask is not None:
        try:
            shape = torch.broadcast_shapes(mask.shape, reference.shape)
        except RuntimeError:
            shape = None
        if shape != reference.shape:
            raise GeometryError(
                "the mask does not fit the reference", got=tuple(mask.shape), allowed=tuple(reference.shape)
            )
        if not bool((mask != 0).any()):
            raise DataError("the mask selects no voxel", remedy="give a mask that overlaps the head")


def check_range(value: float) -> float:
    """Return `value` as a float when it can divide an error.

    Raises:
        ConfigError: it is not finite or not above 0.
    """
    value = float(value)
    if not (math.isfinite(value) and value > 0):
        raise ConfigError("a metric needs a finite positive data range", got=value, allowed="> 0")
    return value


def masked_mean(values: Tensor, mask: Tensor | None) -> float:
    """Mean of `values` over the voxels where the mask is not zero (all voxels without one), summed in float64.

    >>> import torch
    >>> values = torch.tensor([1.0, 2.0, 6.0])
    >>> masked_mean(values, None), masked_mean(values, torch.tensor([1, 1, 0]))
    (3.0, 1.5)
    """
    if mask is None:
        return float(values.sum(dtype=torch.float64)) / values.numel()
    inside = (mask != 0).expand(values.shape)
    return float(values[inside].sum(dtype=torch.float64)) / int(inside.sum())
