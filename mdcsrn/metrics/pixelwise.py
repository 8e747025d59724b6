"""Voxel-by-voxel fidelity: peak signal-to-noise ratio and normalised root-mean-square error."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.metrics.reference import data_range as reference_range
from mdcsrn.metrics.regions import check_pair, check_range, masked_mean

Normalization = Literal["range", "euclidean"]


def _mean_square(values: Tensor, mask: Tensor | None) -> float:
    # The difference of two float32 numbers is exact enough; its square is summed in float64.
    return masked_mean(values.float().square(), mask)


def psnr(prediction: Tensor, reference: Tensor, data_range: float, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio: 10·log10(data_range² / mean squared error).

    Args:
        prediction: any shape, the reference's unit.
        reference: the same shape.
        data_range: peak intensity in the same unit, above 0; see :func:`mdcsrn.metrics.data_range`.
        mask: voxels to count where not zero; broadcasts to the reference. None counts all.

    Returns:
        PSNR in dB; ``inf`` for equal volumes.

    Raises:
        GeometryError: shapes differ.
        DataError: nothing to count.
        ConfigError: the range is not above 0.

    >>> import torch
    >>> reference = torch.ones(8, 8, 8)
    >>> round(psnr(0.9 * reference, reference, data_range=1.0), 3), psnr(reference, reference, 1.0)
    (20.0, inf)
    """
    check_pair(prediction, reference, mask)
    peak = check_range(data_range)
    error = _mean_square((prediction - reference) / peak, mask)
    return math.inf if error == 0 else -10.0 * math.log10(error)


def nrmse(
    prediction: Tensor,
    reference: Tensor,
    data_range: float | None = None,
    mask: Tensor | None = None,
    normalization: Normalization = "range",
) -> float:
    """Root-mean-square error, divided by the data range or by the reference's root-mean-square.

    Args:
        prediction: any shape, the reference's unit.
        reference: the same shape.
        data_range: divisor with ``"range"``; None takes :func:`mdcsrn.metrics.data_range` of the reference.
        mask: voxels to count where not zero. None counts all.
        normalization: ``"range"``: RMSE / data_range. ``"euclidean"``: ‖prediction − reference‖ / ‖reference‖, both
            inside the mask (scikit-image's default; the figure of the mDCSRN papers).

    Returns:
        A number ≥ 0 without unit; 0 for equal volumes; ``inf`` or ``nan`` when the Euclidean divisor is 0.

    Raises:
        GeometryError, DataError, ConfigError: as :func:`psnr`; or an unknown normalisation.

    >>> import torch
    >>> reference = 4 * torch.ones(8, 8, 8)
    >>> nrmse(reference + 1, reference), nrmse(reference + 1, reference, data_range=10.0)
    (0.25, 0.1)
    """
    check_pair(prediction, reference, mask)
    root = math.sqrt(_mean_square(prediction - reference, mask))
    if normalization == "range":
        return root / check_range(reference_range(reference) if data_range is None else data_range)
    if normalization == "euclidean":
        norm = math.sqrt(_mean_square(reference, mask))
        return root / norm if norm else (math.inf if root else math.nan)
    raise ConfigError("unknown normalisation of NRMSE", got=normalization, allowed="range, euclidean")
