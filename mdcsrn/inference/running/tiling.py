"""Tiles whose result equals the whole volume's: each core is kept, a receptive field's margin around it is not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mdcsrn.errors import ConfigError

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Tile:
    """One tile of a volume.

    Attributes:
        read: voxels the network sees: the core and its margin, cut off at the volume's faces, where the network's own
            zero padding then stands exactly where it stands for the whole volume.
        core: voxels of the volume that this tile gives the result of; the cores partition the volume.
        crop: the core within the tile's output.
    """

    read: Box
    core: Box
    crop: Box

    @property
    def voxels(self) -> int:
        """Voxels that the network sees."""
        return math.prod(s.stop - s.start for s in self.read)


def plan_tiles(
    shape: Sequence[int], core: Sequence[int], margin: Sequence[int], multiple: Sequence[int] = (1, 1, 1)
) -> Iterator[Tile]:
    """Tiles that cover a volume.

    Args:
        shape: (D, H, W) of the volume.
        core: edge lengths of a core, voxels; multiples of `multiple` where smaller than the volume.
        margin: voxels to each side that an output voxel depends on, per axis.
        multiple: tile origins are multiples of this, per axis (a space-to-depth factor).

    Yields:
        Tiles in array order.
    """
    for size, edge, step in zip(shape, core, multiple, strict=True):
        if edge < 1 or (edge < size and edge % step):
            raise ConfigError(
                "a tile's core is a positive multiple of the network's factor", got=tuple(core), allowed=step
            )
    whole = _whole(margin, multiple)
    axes = [
        [(start, min(start + edge, size)) for start in range(0, size, edge)]
        for size, edge in zip(shape, core, strict=True)
    ]
    for spans in itertools.product(*axes):
        read, kept, crop = zip(
            *(_axis(span, m, n) for span, m, n in zip(spans, whole, shape, strict=True)), strict=True
        )
        yield Tile(read, kept, crop)


def plan_core(
    shape: Sequence[int],
    margin: Sequence[int],
    multiple: Sequence[int] = (1, 1, 1),
    max_voxels: int | None = None,
) -> tuple[int, int, int]:
    """Core that costs the least work with no tile above `max_voxels`, margins counted.

    Args:
        shape: (D, H, W) of the volume.
        margin: see :func:`plan_tiles`.
        multiple: see :func:`plan_tiles`.
        max_voxels: most voxels that a tile may read; None: the whole volume at once.

    Returns:
        Edge lengths of the core.

    Raises:
        ConfigError: not even the smallest tile fits.
    """
    margin = _whole(margin, multiple)
    best: tuple[int, int, tuple[int, int, int]] | None = None
    for counts in itertools.product(*(_counts(n, step) for n, step in zip(shape, multiple, strict=True))):
        core = [math.ceil(math.ceil(n / c) / m) * m for n, c, m in zip(shape, counts, multiple, strict=True)]
        reads = [
            [min(start + edge + m, n) - max(start - m, 0) for start in range(0, n, edge)]
            for n, edge, m in zip(shape, core, margin, strict=True)
        ]
        if max_voxels is not None and math.prod(max(r) for r in reads) > max_voxels:
            continue
        work = math.prod(sum(r) for r in reads)
        candidate = (work, math.prod(len(r) for r in reads), (core[0], core[1], core[2]))
        if best is None or candidate < best:
            best = candidate
    if best is None:
        smallest = math.prod(min(n, 2 * m + step) for n, m, step in zip(shape, margin, multiple, strict=True))
        raise ConfigError(
            "the memory allowed is too small for one tile with its margins",
            got=f"{max_voxels} voxels",
            allowed=f"at least {smallest} voxels",
            remedy="allow more memory",
        )
    return best[2]


def _whole(margin: Sequence[int], multiple: Sequence[int]) -> list[int]:
    """Margins in whole cells: one that is no multiple would put a tile's origin between two cells."""
    return [math.ceil(m / step) * step for m, step in zip(margin, multiple, strict=True)]


def _axis(span: tuple[int, int], margin: int, size: int) -> tuple[slice, slice, slice]:
    start, stop = span
    first = max(start - margin, 0)
    return slice(first, min(stop + margin, size)), slice(start, stop), slice(start - first, stop - first)


def _counts(size: int, step: int) -> list[int]:
    """Numbers of tiles worth trying along an axis: all small ones, then ever coarser steps down to single cells."""
    cells = math.ceil(size / step)
    tried = sorted({math.ceil(cells / edge) for edge in range(1, cells + 1)})
    return tried if len(tried) <= 24 else tried[:18] + tried[18:-1:8] + tried[-1:]
