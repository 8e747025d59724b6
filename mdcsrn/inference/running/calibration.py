"""Collect a calibration set for 8-bit arithmetic: the network's inputs on columns through a real volume's middle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdcsrn.inference.backends.base import Tensors, as_tuple
from mdcsrn.inference.running.streaming import example_of, slab_at
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
    height, width = turned.shape[2:]
    rows, columns = min(edge, height), min(edge, width)
    samples: list[Tensors] = []
    found: list[Tensors] = []
    for share in (0.5, 0.3, 0.7):
        top, left = int((height - rows) * share), int((width - columns) * share)
        column = turned[:, :, top : top + rows, left : left + columns]
        samples += _cubes(column, edge) if slab is None else _slabs(column, slab)
        found = [sample for sample in samples if sample[0].abs().mean() > AIR]
        if len(found) >= least:
            break
    return tuple(found or samples)


def _cubes(column: Tensor, edge: int) -> list[Tensors]:
    """The column in pieces of `edge` planes, or of all that it has."""
    depth = column.shape[1]
    planes = min(edge, depth)
    return [(column[None, :, first : first + planes].clone(),) for first in range(0, depth - planes + 1, planes)]


def _slabs(column: Tensor, slab: SlabMDCSRN) -> list[Tensors]:
    """Whole slabs of the column (one at least), each with the states that the ones before leave."""
    depth = column.shape[1]
    _, _, *state = example_of(slab, *column.shape[2:])
    samples: list[Tensors] = []
    for first in range(0, max(depth - slab.planes, 0) + 1, slab.planes):
        arguments = (*slab_at(column, slab, first, depth), *state)
        _, *state = as_tuple(slab(*arguments))
        samples.append(arguments)
    return samples
