"""Resample label maps to another grid: each new voxel takes the label at its world position; none is invented."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mdcsrn.errors import DataError
from mdcsrn.io.forms import Forms, with_kept
from mdcsrn.io.volume import Volume

MAX_EXACT_LABEL = 2**24  # the integers up to here are exact in float32
# A new sample may lie exactly between two old ones; rounding errors would then decide at random. This much, in voxels,
# decides for the higher index.
TIE = 1e-6


def carry_labels(
    labels: Volume, like_affine: NDArray[np.float64], like_shape: Sequence[int], like_forms: Forms | None = None
) -> Volume:
    """Put a label map (or mask) on another grid by nearest neighbour in world space.

    Args:
        labels: the map; its grid may be any, also another orientation than the new one.
        like_affine: of the new grid, voxel index to millimetres, shape (4, 4).
        like_shape: of the new grid, (D, H, W).
        like_forms: of the new grid, for the header.

    Returns:
        The map on the new grid, same stored type; 0 outside the old field of view (half a voxel beyond its outermost
        samples).

    Raises:
        DataError: the two grids do not overlap, or a label is too large to be exact.
    """
    name = "label map" if labels.path is None else str(labels.path)
    if float(np.abs(labels.array).max()) > MAX_EXACT_LABEL:
        raise DataError(
            f"{name} holds a label too large to be exact", got=float(labels.array.max()), allowed=MAX_EXACT_LABEL
        )
    shape = d, h, w = tuple(int(n) for n in like_shape)
    to_old = np.linalg.solve(labels.affine, np.asarray(like_affine, dtype=np.float64))
    if not _overlap(to_old, shape, labels.shape):
        raise DataError(
            f"{name} lies elsewhere: its field of view does not meet that of the scan",
            remedy="give a map that was drawn on this scan",
        )
    carried = np.zeros((d, h, w), dtype=np.float32)
    # "grid-constant" takes a sample up to half a voxel beyond the edge; "constant" would cut there.
    ndimage.affine_transform(
        labels.array, to_old[:3, :3], to_old[:3, 3] + TIE, (d, h, w), carried, order=0, mode="grid-constant", cval=0.0
    )
    forms = with_kept(like_forms, labels.forms)
    return Volume(carried, like_affine, labels.dtype, labels.path, labels.warnings, forms)


def _overlap(to_old: NDArray[np.floating], shape: Sequence[int], old_shape: Sequence[int]) -> bool:
    """True where the boxes of the two grids meet (by their bounds along the old axes)."""
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in shape], indexing="ij")).reshape(3, -1)
    there = to_old[:3, :3] @ corners + to_old[:3, 3:]
    return bool(((there.max(axis=1) > -0.5) & (there.min(axis=1) < np.array(old_shape) - 0.5)).all())
