"""Pixel-unshuffle and its inverse in three dimensions: each cell of voxels becomes the channels of one coarser voxel.

Their annotations are not text (no ``from __future__ import annotations``): TorchScript reads them.
"""

from typing import List  # noqa: UP035 - TorchScript's word for a list of sizes

from torch import Tensor
from torch.nn import functional


def to_cells(x: Tensor, factor: List[int]) -> Tensor:  # noqa: UP006
    """(N, 1, D, H, W) -> (N, abc, ceil(D / a), ceil(H / b), ceil(W / c)); zeros are appended at the far ends.

    Args:
        x: volumes of one channel.
        factor: a, b, c: voxels of a cell per axis, each >= 1.

    Returns:
        Cells; the channels hold a cell's voxels, the last axis fastest.
    """
    a, b, c = factor[0], factor[1], factor[2]
    x = functional.pad(x, [0, -x.size(4) % c, 0, -x.size(3) % b, 0, -x.size(2) % a])
    n, depth, height, width = x.size(0), x.size(2) // a, x.size(3) // b, x.size(4) // c
    cells = x.reshape(n, depth, a, height, b, width, c)
    return cells.permute(0, 2, 4, 6, 1, 3, 5).reshape(n, a * b * c, depth, height, width)


def from_cells(x: Tensor, factor: List[int], shape: List[int]) -> Tensor:  # noqa: UP006
    """The inverse of :func:`to_cells`.

    Args:
        x: cells, shape (N, abc, D', H', W').
        factor: a, b, c: voxels of a cell per axis.
        shape: (D, H, W) of the volumes; what was appended is cropped.

    Returns:
        Volumes, shape (N, 1, D, H, W).
    """
    a, b, c = factor[0], factor[1], factor[2]
    n, depth, height, width = x.size(0), x.size(2), x.size(3), x.size(4)
    cells = x.reshape(n, a, b, c, depth, height, width).permute(0, 4, 1, 5, 2, 6, 3)
    whole = cells.reshape(n, 1, depth * a, height * b, width * c)
    return whole[:, :, : shape[0], : shape[1], : shape[2]]
