"""Float values as 16-bit integers: the slope, the intercept, and the rounding error that they cost."""

from __future__ import annotations

import decimal
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdcsrn.io.volume import Volume

LEVELS = 65535
DIGITS = 9  # of slope and intercept: a DICOM decimal string has 16 characters, sign and exponent included


@dataclass(frozen=True)
class Storage:
    """How values are stored: value = stored x slope + intercept, stored in 0 to 65535.

    Attributes:
        slope: above 0, in the values' unit, at most 9 digits.
        intercept: in the values' unit, at most 9 digits.
        largest_error: largest difference between a value and what its stored form gives back.
    """

    slope: float
    intercept: float
    largest_error: float

    def quantize(self, values: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Stored form of values, same shape."""
        stored = np.rint((values.astype(np.float64) - self.intercept) / self.slope)
        return np.clip(stored, 0, LEVELS).astype(np.uint16)

    def restore(self, stored: NDArray[np.uint16]) -> NDArray[np.float64]:
        """Values of a stored form, same shape."""
        return stored.astype(np.float64) * self.slope + self.intercept

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a sidecar."""
        return {
            "dtype": "uint16",
            "slope": self.slope,
            "intercept": self.intercept,
            "largest_rounding_error": self.largest_error,
        }


def storage(volume: Volume) -> Storage:
    """Finest storage that holds every value of a volume; whole numbers within 0 to 65535 of each other stay exact.

    Args:
        volume: any.

    Returns:
        The storage, with its rounding error on this volume.
    """
    low, high = float(volume.array.min()), float(volume.array.max())
    intercept = _rounded(low, decimal.ROUND_FLOOR)
    whole = high - np.floor(low) <= LEVELS and bool((volume.array == np.rint(volume.array)).all())
    slope = 1.0 if whole or high == intercept else _rounded((high - intercept) / LEVELS, decimal.ROUND_CEILING)
    trial = Storage(slope, intercept, 0.0)
    errors = (
        float(np.abs(trial.restore(trial.quantize(plane)) - plane).max()) for plane in np.moveaxis(volume.array, 2, 0)
    )
    return Storage(slope, intercept, max(errors))


def _rounded(value: float, rounding: str) -> float:
    """Nearest value of few digits in one direction."""
    return float(decimal.Context(prec=DIGITS, rounding=rounding).create_decimal_from_float(value))
