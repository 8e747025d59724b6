"""Certify the voxels as stored after rounding to whole numbers, and warn where the rounding is coarse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mdcsrn.io.pictures import clipped_pixels
from mdcsrn.notices import Notice

if TYPE_CHECKING:
    from mdcsrn.inference.pipeline import Prediction
    from mdcsrn.io.volume import Volume

COARSE = 0.01  # relative error of rounding above which an integer type is warned of


def certify_stored(prediction: Prediction, source: Volume, array: NDArray[np.float32]) -> dict[str, Any] | None:
    """Consistency of a result's voxels as a reader gets them back; None where there is no certificate.

    Args:
        prediction: with the measurement.
        source: the scan.
        array: the stored voxels, rescaled.
    """
    measurement = prediction.plan.measurement
    if prediction.certificate is None or measurement is None:
        return None
    import torch

    measured = prediction.plan.measured(torch.from_numpy(source.array))
    return measurement.certify(torch.from_numpy(array), measured).to_dict()


def clipping_notices(volume: Volume, dtype: np.dtype) -> list[Notice]:
    """A warning where a picture's type cannot hold a value that was computed."""
    count = clipped_pixels(volume, dtype)
    if not count:
        return []
    text = f"{count} of {volume.array.size} pixels lie outside {dtype} and are stored as its limits"
    return [Notice("clipped-pixels", f"{text}: -o NAME.nii.gz keeps every value")]


def rounding_notices(certificate: dict[str, Any] | None, dtype: np.dtype, where: str = "") -> list[Notice]:
    """A warning where whole numbers are too coarse, as for values between 0 and 1 behind a scale factor."""
    if certificate is None or dtype.kind == "f" or certificate["relative_error"] <= COARSE:
        return []
    cost = f"{100 * certificate['relative_error']:.2g} % of what was measured (at most 1 %)"
    return [Notice("rounding-too-coarse", f"rounding to {dtype}{where} costs {cost}")]
