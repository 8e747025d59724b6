"""A calibration set for 8-bit arithmetic: what a network meets on columns through the middle of a real volume."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdcsrn.inference.backends.base import Tensors, as_tuple
from mdcsrn.networks.slab import SlabMDCSRN

AIR = 0.05  # mean of a piece, as a share of the volume's 99.9th percentile, below which it says nothing


@torch.inference_mode()
def sample_columns(module: nn.Module, cells: Tensor, edge: int = 32, least: int = 12) -> tuple[Tensors, ...]:
    """Arguments of a network; for a slab network with its states, computed in float32.

    Args:
        module: a slab network, or one of a single argument, which gets cubes of the columns.
        cells: what it reads of the volume, shape (c, D, H, W), 99.9th percentile 1.
        edge: of the columns, cells; the volume's own where that is less.
        least: samples to gather, if the volume has as many.

    Returns:
        Arguments of one shape; pieces of air are left out, unless there is nothing else.
    """
    slab = module if isinstance(module, SlabMDCSRN) else None
    turned = cells if slab is None else cells.movedim(1 + slab.axis, 1)
    planes = min(edge, cells.shape[1]) if slab is None else slab.planes
    depth, height, width = turned.shape[1:]
    rows, columns = min(edge, height), min(edge, width)
    samples: list[tuple[float, Tensors]] = []
    for share in (0.5, 0.3, 0.7):
        top, left = int((height - rows) * share), int((width - columns) * share)
        state = () if slab is None else tuple(torch.zeros(shape) for shape in slab.state_shapes(rows, columns))
        for first in range(0, max(depth - planes, 0) + 1, planes):
            x = torch.zeros(1, cells.shape[0], planes, rows, columns)
            piece = turned[:, first : first + planes, top : top + rows, left : left + columns]
            x[0, :, : piece.shape[1]] = piece
            arguments: Tensors = (x,)
            if slab is not None:
                position = torch.arange(first - slab.context, first + planes)
                valid = ((position >= 0) & (position < depth)).float().view(1, 1, -1, 1, 1)
                arguments = (x, valid, *state)
                state = as_tuple(slab(*arguments))[1:]
            samples.append((float(x.abs().mean()), arguments))
        found = tuple(arguments for mean, arguments in samples if mean > AIR)
        if len(found) >= least:
            break
    return found or tuple(arguments for _, arguments in samples)
