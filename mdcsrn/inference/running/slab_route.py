"""Plan a run through a volume: columns along one axis, each computed slab by slab, over the head alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mdcsrn.errors import ConfigError
from mdcsrn.inference.running.tiling import plan_tiles

CELL = 4  # voxels: columns are cut to cells of this edge
MOST_COLUMNS = 6  # along each axis of a plane; with more, the margins cost more than air saves
SLABS = (32, 24, 16, 12, 8, 6, 4, 3, 2)  # planes of a slab worth trying
SLAB_OVERHEAD = 2.0  # planes of extra work in each slab: joining it to the one before

Span = tuple[int, int]


class TooLittleMemory(ConfigError):
    """Not even the smallest slab fits."""


@dataclass(frozen=True)
class Column:
    """A part of the volume that is run through plane by plane. Spans are first and one-past-last index.

    Attributes:
        read: of each axis (run axis first): what the network sees; margins are in it, cut off at the volume's faces.
        kept: of each axis: what this column gives the result of.
    """

    read: tuple[Span, Span, Span]
    kept: tuple[Span, Span, Span]

    @property
    def area(self) -> int:
        """Voxels of a plane."""
        return math.prod(last - first for first, last in self.read[1:])


@dataclass(frozen=True)
class Route:
    """How a volume is run through.

    Attributes:
        axis: array axis that the columns run along.
        planes: of a slab.
        columns: whose kept parts do not overlap and cover the region.
        work: voxels that the network computes, joins and the planes after a face included.
    """

    axis: int
    planes: int
    columns: tuple[Column, ...]
    work: int

    def computed(self, margin: int) -> int:
        """Voxels of all slabs."""
        return sum(steps(column, self.planes, margin) * self.planes * column.area for column in self.columns)


def plan_route(
    region: Tensor, margin: int, memory: float, cost: Callable[[int, int], float], least: int, planes: int | None = None
) -> Route:
    """The cheapest route whose slabs fit into the memory.

    Args:
        region: boolean, shape (D, H, W): where the result is wanted.
        margin: voxels to each side that an output voxel depends on.
        memory: bytes that a slab may take.
        cost: bytes of a slab, of its number of planes and the voxels of a plane.
        least: smallest number of planes of a slab.
        planes: of a slab, where the user fixed it.

    Raises:
        TooLittleMemory: not even the smallest slab fits.
    """
    best: Route | None = None
    smallest = math.inf
    sizes = (planes,) if planes is not None else sorted({*(s for s in SLABS if s >= least), least}, reverse=True)
    # Spans are looked for on coarse cells: a hundred plans of a large volume cost nothing then, and a few voxels more.
    cells = functional.max_pool3d(region[None, None].float(), CELL, ceil_mode=True)[0, 0] > 0
    for axis in range(3):
        shape = torch.Size([region.shape[axis], *(n for a, n in enumerate(region.shape) if a != axis)])
        for counts in itertools.product(range(1, MOST_COLUMNS + 1), repeat=2):
            columns = tuple(_columns(cells.movedim(axis, 0), shape, margin, counts))
            widest = max((column.area for column in columns), default=0)
            for size in sizes:
                needed = cost(size, widest)
                smallest = min(smallest, needed)
                if needed > memory:
                    continue
                work = int(sum(_work(column, size, margin) for column in columns))
                if best is None or work < best.work:
                    best = Route(axis, size, columns, work)
    if best is None:
        raise TooLittleMemory(
            "the memory allowed is too small for one slab with its margins",
            got=f"{max(memory, 0) / 2**30:.2f} GiB left for the network",
            allowed=f"at least {smallest / 2**30:.2f} GiB",
            remedy=f"allow {(smallest - memory) / 2**30 + 0.01:.2f} GiB more, or close other programs",
        )
    return best


def _columns(cells: Tensor, shape: Sequence[int], margin: int, counts: Sequence[int]) -> Iterator[Column]:
    """Split the planes into parts, and cut each part to its share of the region."""
    depth, height, width = cells.shape
    cores = (depth, math.ceil(height / counts[0]), math.ceil(width / counts[1]))
    for tile in plan_tiles((depth, height, width), cores, (0, 0, 0)):
        inside = cells[tile.core]
        if not bool(inside.any()):
            continue
        kept = []
        for axis, core in enumerate(tile.core):
            others = [a for a in range(3) if a != axis]
            hit = torch.nonzero(inside.any(dim=others[1]).any(dim=others[0]))
            last = (core.start + int(hit[-1]) + 1) * CELL
            kept.append(((core.start + int(hit[0])) * CELL, min(last, shape[axis])))
        read = [(max(a - margin, 0), min(b + margin, n)) for (a, b), n in zip(kept, shape, strict=True)]
        yield Column((read[0], read[1], read[2]), (kept[0], kept[1], kept[2]))


def steps(column: Column, planes: int, margin: int) -> int:
    """Slabs until the last kept plane has come through the lag, which equals the margin."""
    return math.ceil((column.kept[0][1] + margin - column.read[0][0]) / planes)


def _work(column: Column, planes: int, margin: int) -> float:
    return steps(column, planes, margin) * (planes + SLAB_OVERHEAD) * column.area
