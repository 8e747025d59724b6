"""Compare affines by what they do to the corners of a volume, and tell a sound affine from a singular one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CORNER_TOLERANCE_VOXELS = 1e-3  # two grids are one where no corner of the volume moves by more
MIN_AXES_SINE = 1e-4  # volume of the voxel over that of a brick with the same edges; below, the axes are dependent


def volume_corners(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Voxel indices of the eight corner samples of a volume, homogeneous.

    Args:
        shape: (D, H, W); missing axes count as one sample, further ones are left out.

    Returns:
        One column a corner, shape (4, 8).

    >>> volume_corners((2, 3, 4)).max(axis=1).tolist()
    [1.0, 2.0, 3.0, 1.0]
    """
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in (*shape, 1, 1)[:3]])).reshape(3, -1)
    return np.vstack([corners, np.ones(corners.shape[1])])


def corners_apart(affine: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Largest distance between the corners of one grid under two affines.

    Args:
        affine: voxel index to millimetres, shape (4, 4), invertible.
        other: likewise.
        shape: (D, H, W) of the grid.

    Returns:
        Distance along an array axis, in voxels of `affine`; :data:`CORNER_TOLERANCE_VOXELS` is what counts as none.

    >>> moved = np.eye(4)
    >>> moved[0, 3] = 0.5
    >>> corners_apart(np.diag([2.0, 1, 1, 1]), np.diag([2.0, 1, 1, 1]) @ moved, (4, 4, 4))
    0.5
    """
    corners = volume_corners(shape)
    return float(np.abs(np.linalg.solve(affine, other @ corners) - corners).max())


def corners_apart_mm(affine: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Largest distance along a world axis, in millimetres, between the corners of a grid under two affines.

    Arguments as for :func:`corners_apart`; neither affine need be invertible.

    >>> corners_apart_mm(np.eye(4), np.diag([1, 1, 1.5, 1]), (3, 3, 3))
    1.0
    """
    return float(np.abs((affine - other)[:3] @ volume_corners(shape)).max())


def has_independent_axes(affine: NDArray[np.float64]) -> bool:
    """True where the three axes of an affine span a volume: it can be inverted, and images can be resampled.

    Args:
        affine: voxel index to millimetres, shape (4, 4), finite.

    >>> has_independent_axes(np.eye(4)), has_independent_axes(np.eye(4)[:, [0, 0, 2, 3]])
    (True, False)
    """
    axes = affine[:3, :3]
    lengths = np.sqrt((axes**2).sum(axis=0))
    return bool(lengths.min() > 0) and bool(abs(np.linalg.det(axes / lengths)) >= MIN_AXES_SINE)
