"""Find the head in the input alone, so that air costs nothing."""

from __future__ import annotations

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from mdcsrn.kspace.intensity import REGION_HEAD_FRACTION

CELL = 4  # voxels: the head is looked for on cells of this edge, whose mean is free of single noisy voxels
SMALLEST_PART = 0.005  # of the largest connected part: smaller ones are ghosts and dust


def head_region(low: Tensor) -> Tensor:
    """Region in which the network may change a volume; outside it the network adds nothing.

    Cells of 4^3 voxels whose mean magnitude is above 3 % of the intensity scale, with holes filled, small parts left
    out, and one cell of margin added on every side.

    Args:
        low: the network's input, shape (D, H, W), divided by its 99.9th percentile.

    Returns:
        Boolean mask, shape (D, H, W), on the CPU; all True where nothing stands out.
    """
    shape = low.shape
    edges = [min(CELL, n) for n in shape]  # a pooling window may not be larger than the volume
    cells = functional.avg_pool3d(low.abs()[None, None].float().cpu(), edges, ceil_mode=True, count_include_pad=False)
    bright = (cells[0, 0] > REGION_HEAD_FRACTION).numpy()
    labels, count = ndimage.label(bright)
    if count == 0:
        return torch.ones(shape, dtype=torch.bool)
    sizes = ndimage.sum_labels(bright, labels, range(count + 1))
    kept = (sizes >= SMALLEST_PART * sizes.max())[labels] & bright
    everywhere = ndimage.generate_binary_structure(3, 3)
    head = torch.from_numpy(ndimage.binary_dilation(ndimage.binary_fill_holes(kept), everywhere))
    for axis in range(3):
        head = head.repeat_interleave(CELL, dim=axis)
    return head[: shape[0], : shape[1], : shape[2]].contiguous()
