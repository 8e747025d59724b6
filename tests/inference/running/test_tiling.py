"""Tiles: the cores partition a volume, margins reach far enough, and a plan keeps to the memory it was given."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdcsrn.errors import ConfigError
from mdcsrn.inference import plan_core, plan_tiles

sizes = st.tuples(*[st.integers(1, 97)] * 3)
margins = st.tuples(*[st.integers(0, 20)] * 3)
factors = st.tuples(*[st.sampled_from([1, 1, 2, 3])] * 3)


def widest(shape: tuple, core: tuple, margin: tuple, multiple: tuple) -> int:
    """Voxels that the largest tile reads, from the tiles themselves."""
    return max(
        math.prod(len(range(*part.indices(n))) for part, n in zip(tile.read, shape, strict=True))
        for tile in plan_tiles(shape, core, margin, multiple)
    )


@settings(max_examples=150, deadline=None)
@given(sizes, st.tuples(*[st.integers(1, 5)] * 3), margins, factors)
def test_cores_partition_and_margins_reach(shape: tuple, parts: tuple, margin: tuple, multiple: tuple) -> None:
    core = [math.ceil(n / p / m) * m for n, p, m in zip(shape, parts, multiple, strict=True)]
    visits = np.zeros(shape, dtype=np.int32)
    places = np.arange(math.prod(shape)).reshape(shape)
    for tile in plan_tiles(shape, core, margin, multiple):
        visits[tile.core] += 1
        np.testing.assert_array_equal(places[tile.read][tile.crop], places[tile.core])
        for read, kept, n, m, step in zip(tile.read, tile.core, shape, margin, multiple, strict=True):
            assert read.start % step == 0
            assert read.start <= max(kept.start - m, 0)
            assert read.stop >= min(kept.stop + m, n)
            assert 0 <= read.start < read.stop <= n
    assert (visits == 1).all()


@settings(max_examples=100, deadline=None)
@given(sizes, margins, factors, st.floats(0, 1))
def test_a_plan_keeps_to_its_voxels(shape: tuple, margin: tuple, multiple: tuple, share: float) -> None:
    whole = [math.ceil(m / step) * step for m, step in zip(margin, multiple, strict=True)]
    least = math.prod(min(n, 2 * m + step) for n, m, step in zip(shape, whole, multiple, strict=True))
    most = least + int(share * (math.prod(shape) - least))
    core = plan_core(shape, margin, multiple, most)
    assert all(edge >= n or edge % step == 0 for edge, n, step in zip(core, shape, multiple, strict=True))
    counts = [math.ceil(n / edge) for n, edge in zip(shape, core, strict=True)]
    if math.prod(counts) <= 3000:  # as a plan has them; many more only take time to count
        assert widest(shape, core, margin, multiple) <= most


@settings(max_examples=60, deadline=None)
@given(sizes, margins, factors)
def test_less_than_the_smallest_tile_is_refused(shape: tuple, margin: tuple, multiple: tuple) -> None:
    whole = [math.ceil(m / step) * step for m, step in zip(margin, multiple, strict=True)]
    least = math.prod(min(n, 2 * m + step) for n, m, step in zip(shape, whole, multiple, strict=True))
    with pytest.raises(ConfigError, match=f"got: {least - 1} voxels.*at least {least} voxels.*remedy"):
        plan_core(shape, margin, multiple, least - 1)


def test_without_a_limit_the_volume_is_one_tile() -> None:
    core = plan_core((31, 64, 7), (17, 17, 17))
    assert core == (31, 64, 7)
    (tile,) = plan_tiles((31, 64, 7), core, (17, 17, 17))
    assert tile.read == tile.core == tile.crop == (slice(0, 31), slice(0, 64), slice(0, 7))


def test_a_plan_costs_little_more_than_the_best() -> None:
    """Against every core of a small volume."""
    shape, margin, most = (40, 30, 20), (3, 3, 3), 5000

    def work(core: tuple) -> float:
        if widest(shape, core, margin, (1, 1, 1)) > most:
            return math.inf
        tiles = plan_tiles(shape, core, margin)
        return sum(math.prod(part.stop - part.start for part in tile.read) for tile in tiles)

    edges = [sorted({math.ceil(n / count) for count in range(1, 9)}) for n in shape]
    best = min(work(core) for core in itertools.product(*edges))
    assert work(plan_core(shape, margin, max_voxels=most)) <= 1.02 * best


@pytest.mark.parametrize("core", [(0, 4, 4), (-1, 4, 4), (4, 3, 4)])
def test_a_core_that_fits_no_cell_is_refused(core: tuple) -> None:
    with pytest.raises(ConfigError, match="multiple"):
        list(plan_tiles((10, 10, 10), core, (2, 2, 2), (1, 2, 2)))
