"""Store float values as 16-bit integers: the slope, the intercept, and the rounding error that they cost."""

from __future__ import annotations

import dataclasses
import decimal
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import ConfigError, OutputError
from mdcsrn.io.volume import Volume

SlopeChoice = Literal["exact", "one"]
SLOPES: tuple[SlopeChoice, ...] = ("exact", "one")
LEVELS = 65535
DIGITS = 9  # of slope and intercept: a DICOM decimal string has 16 characters, sign and exponent included


@dataclass(frozen=True)
class Storage:
    """How values are stored in 16 bits: value = stored x slope + intercept.

    Attributes:
        slope: above 0, in the values' unit, at most 9 digits.
        intercept: in the values' unit, at most 9 digits.
        largest_error: largest difference between a value and what its stored form gives back.
        signed: stored in -32768 to 32767, not in 0 to 65535.
    """

    slope: float
    intercept: float
    largest_error: float
    signed: bool = False

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored values."""
        return np.dtype(np.int16 if self.signed else np.uint16)

    def quantize(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Stored form of values, same shape."""
        stored = np.rint((values.astype(np.float64) - self.intercept) / self.slope)
        limits = np.iinfo(self.dtype)
        return np.clip(stored, limits.min, limits.max).astype(self.dtype)

    def restore(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Values of a stored form, same shape."""
        return stored.astype(np.float64) * self.slope + self.intercept

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a sidecar."""
        return {
            "dtype": str(self.dtype),
            "slope": self.slope,
            "intercept": self.intercept,
            "largest_rounding_error": self.largest_error,
        }


def storage(volume: Volume, choice: SlopeChoice = "exact") -> Storage:
    """How a volume is stored.

    Args:
        volume: any.
        choice: ``exact``: the finest slope and intercept that hold every value; whole numbers within 0 to 65535 of each
            other stay exact. ``one``: slope 1 and intercept 0, values rounded to whole numbers, for viewers that
            ignore slope and intercept.

    Returns:
        The storage, with its rounding error on this volume.

    Raises:
        ConfigError: another choice.
        OutputError: with ``one``, a value lies outside 16 bits.
    """
    low, high = float(volume.array.min()), float(volume.array.max())
    if choice == "one":
        trial = _slope_one(low, high)
    elif choice == "exact":
        intercept = _rounded(low, decimal.ROUND_FLOOR)
        whole = high - np.floor(low) <= LEVELS and bool((volume.array == np.rint(volume.array)).all())
        slope = 1.0 if whole or high == intercept else _rounded((high - intercept) / LEVELS, decimal.ROUND_CEILING)
        trial = Storage(slope, intercept, 0.0)
    else:
        raise ConfigError("unknown choice of slope", got=choice, allowed="exact, one")
    errors = (
        float(np.abs(trial.restore(trial.quantize(plane)) - plane).max()) for plane in np.moveaxis(volume.array, 2, 0)
    )
    return dataclasses.replace(trial, largest_error=max(errors))


def _slope_one(low: float, high: float) -> Storage:
    signed = round(low) < 0
    limits = np.iinfo(np.int16 if signed else np.uint16)
    if round(low) < limits.min or round(high) > limits.max:
        raise OutputError(
            "the values do not fit 16 bits with a slope of 1",
            got=f"{low:g} to {high:g}",
            allowed="0 to 65535, or -32768 to 32767",
            remedy="leave out --dicom-slope one: a slope is then chosen that holds every value",
        )
    return Storage(1.0, 0.0, 0.0, signed)


def _rounded(value: float, rounding: str) -> float:
    """Nearest value of few digits in one direction."""
    return float(decimal.Context(prec=DIGITS, rounding=rounding).create_decimal_from_float(value))
