"""Count voxels that are NaN or infinite, and fill them from their neighbourhood so that they never spread."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import ConfigError, DataError

NonFinite = Literal["refuse", "fill"]
MIN_FINITE_NEIGHBOURS = (
    13  # of 26 neighbours: a hole in the image has that many finite ones, a masked background has fewer
)


def fill_nonfinite(array: NDArray[np.float32], name: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Replace NaN and infinities: small holes by the mean of their finite neighbours, everything else by 0.

    A single bad voxel, a line or a plane lies among finite ones and takes their mean (at least 13 of 26 finite). What
    has fewer is the inside of a larger region, most often a background that some program wrote as NaN: it becomes 0.
    No other voxel is touched.

    Args:
        array: volume, shape (D, H, W), any unit.
        name: of the file, for the error.

    Returns:
        The array (the same one where it was finite), and one sentence with the counts, or none.

    Raises:
        DataError: no voxel is finite.
    """
    bad = ~np.isfinite(array)
    count = int(np.count_nonzero(bad))
    if not count:
        return array, ()
    if count == array.size:
        raise DataError(f"{name} holds no finite value", got=f"{count} of {array.size} voxels are NaN or infinite")
    places = np.stack(np.nonzero(bad))
    limits = np.array(array.shape)[:, None] - 1
    total, finite = np.zeros(count), np.zeros(count, dtype=np.int64)
    for step in itertools.product((-1, 0, 1), repeat=3):
        beside = places + np.array(step)[:, None]
        inside = ((beside >= 0) & (beside <= limits)).all(axis=0)
        values = array[tuple(np.clip(beside, 0, limits))]
        usable = inside & np.isfinite(values)
        total += np.where(usable, values, 0.0)
        finite += usable
    hole = finite >= MIN_FINITE_NEIGHBOURS
    filled = array.copy()
    filled[bad] = np.where(hole, total / np.maximum(finite, 1), 0.0)
    local = int(np.count_nonzero(hole))
    text = f"{count} of {array.size} voxels were NaN or infinite: {local} filled with the mean of their neighbours"
    return filled, (f"{text}, {count - local} with 0",)


def treat_nonfinite(
    array: NDArray[np.float32], nonfinite: NonFinite, name: str
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Fill where that was asked for; otherwise leave the array as it is (a Volume refuses it with the count).

    Raises:
        ConfigError: another word than ``refuse`` or ``fill``.
        DataError: see :func:`fill_nonfinite`.
    """
    if nonfinite not in ("refuse", "fill"):
        raise ConfigError("unknown treatment of NaN and infinite voxels", got=nonfinite, allowed="refuse or fill")
    return fill_nonfinite(array, name) if nonfinite == "fill" else (array, ())
