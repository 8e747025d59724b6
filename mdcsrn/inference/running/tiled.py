"""Run any network over a volume in exact tiles, on the grid of its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from mdcsrn.inference.running.tiling import Box, Tile, plan_core, plan_tiles

Network = Callable[[Tensor], Tensor]


def tiles_of(
    shape: Sequence[int],
    margin: Sequence[int | None],
    multiple: Sequence[int] = (1, 1, 1),
    max_voxels: int | None = None,
    core: Sequence[int] | None = None,
) -> list[Tile]:
    """Tiles whose joined result is that of one pass.

    Args:
        shape: (D, H, W) of the network's input.
        margin: voxels to each side that an output voxel depends on, per axis; None: the whole axis, which is not cut.
        multiple: tile origins are multiples of this.
        max_voxels: most voxels that a tile may read; None: no limit.
        core: edge lengths of a core instead of a plan.

    Raises:
        ConfigError: not even the smallest tile fits, or `core` is no multiple.
    """
    known = [size if m is None else m for m, size in zip(margin, shape, strict=True)]
    edges = list(core or plan_core(shape, known, multiple, max_voxels))
    edges = [size if m is None else edge for edge, m, size in zip(edges, margin, shape, strict=True)]
    return list(plan_tiles(shape, edges, known, multiple))


def run_tiles(volume: Tensor, network: Network, tiles: Iterable[Tile], scale: Sequence[int] = (1, 1, 1)) -> Tensor:
    """Run a network tile by tile.

    Args:
        volume: input, shape (N, C, D, H, W).
        network: (N, C, d, h, w) -> (N, C', scale x (d, h, w)).
        tiles: of the input; voxels of the result that no tile gives are 0.
        scale: voxels of the result for each voxel of the input, per axis.

    Returns:
        float32, shape (N, C', scale x (D, H, W)), on the input's device.
    """
    shape = [size * factor for size, factor in zip(volume.shape[-3:], scale, strict=True)]
    result: Tensor | None = None
    for tile in tiles:
        part = network(volume[(..., *tile.read)])[(..., *scaled(tile.crop, scale))]
        if result is None:
            result = torch.zeros((*part.shape[:2], *shape), dtype=torch.float32, device=volume.device)
        result[(..., *scaled(tile.core, scale))] = part.float()
    return volume.new_zeros((*volume.shape[:2], *shape)).float() if result is None else result


def scaled(box: Box, scale: Sequence[int]) -> Box:
    """The voxels of the result that belong to a box of the input."""
    first, second, third = (slice(s.start * f, s.stop * f) for s, f in zip(box, scale, strict=True))
    return first, second, third
