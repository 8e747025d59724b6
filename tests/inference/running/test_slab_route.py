"""Plans of a run: the region is covered once, slabs keep to the memory, and the work counted is the work done."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.inference.running.slab_route import CELL, MOST_COLUMNS, SLABS, TooLittleMemory, plan_route, steps

shapes = st.tuples(*[st.one_of(st.integers(1, 97), st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 96, 97]))] * 3)
kinds = st.sampled_from(["all", "ball", "corner", "specks", "plane"])


def region_of(kind: str, shape: tuple[int, int, int], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if kind == "all":
        return torch.ones(shape, dtype=torch.bool)
    region = torch.zeros(shape, dtype=torch.bool)
    if kind == "corner":
        region[-1, -1, -1] = True
    elif kind == "plane":
        region[:, shape[1] // 2] = True
    elif kind == "specks":
        for _ in range(4):
            region[tuple(int(torch.randint(n, (1,), generator=generator)) for n in shape)] = True
    else:
        axes = [(torch.arange(n) - (n - 1) / 2) / max(n / 3, 1) for n in shape]
        region = sum(a**2 for a in torch.meshgrid(*axes, indexing="ij")) < 1  # type: ignore[arg-type]
        region[shape[0] // 2, shape[1] // 2, shape[2] // 2] = True
    return region


def slab_bytes(planes: int, area: int) -> float:
    return area * (100.0 * planes + 300.0)


@settings(max_examples=100, deadline=None)
@given(shapes, kinds, st.integers(0, 99), st.integers(1, 20), st.sampled_from([math.inf, 8e6, 2e6, 3e5]))
def test_the_region_is_covered_once_within_the_memory(shape, kind, seed, margin, memory) -> None:
    region = region_of(kind, shape, seed)
    try:
        route = plan_route(region, margin, memory, slab_bytes, least=2)
    except TooLittleMemory:
        smallest_plane = math.prod(sorted(shape)[:2])
        assert slab_bytes(2, smallest_plane) > memory, "one column over the whole plane would have done"
        return
    turned = region.movedim(route.axis, 0)
    kept = torch.zeros(turned.shape, dtype=torch.int32)
    for column in route.columns:
        kept[tuple(slice(*span) for span in column.kept)] += 1
        assert slab_bytes(route.planes, column.area) <= memory
        for (first, last), (begin, end), n in zip(column.read, column.kept, turned.shape, strict=True):
            assert 0 <= first <= begin < end <= last <= n
            assert first == max(begin - margin, 0), "the margin is whole but for the volume's faces"
            assert last == min(end + margin, n)
        # After its slabs, the last kept plane is through the lag, and one slab less would not do.
        through = column.read[0][0] + steps(column, route.planes, margin) * route.planes - margin
        assert through >= column.kept[0][1] > through - route.planes
    assert int(kept.max()) == 1, "kept parts do not overlap"
    assert bool(kept.bool()[turned].all()), "the region is covered"
    assert route.planes in SLABS
    assert route.work >= route.computed(margin) >= int(region.sum())


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 20), st.integers(0, 99))
def test_planes_of_the_user_are_kept(planes, seed) -> None:
    region = region_of("specks", (40, 30, 50), seed)
    assert plan_route(region, 5, math.inf, slab_bytes, 2, planes).planes == planes


def test_less_memory_never_means_less_work() -> None:
    region = region_of("ball", (96, 80, 64), 0)
    work = [plan_route(region, 17, m, slab_bytes, 4).work for m in (1e12, 4e6, 3e6, 2.5e6, 2.2e6)]
    assert work == sorted(work)
    assert work[-1] > work[0]


def test_air_costs_nothing() -> None:
    whole = torch.ones(96, 96, 96, dtype=torch.bool)
    head = torch.zeros_like(whole)
    head[30:60, 34:62, 28:70] = True
    assert plan_route(head, 5, 1e9, slab_bytes, 2).work < 0.15 * plan_route(whole, 5, 1e9, slab_bytes, 2).work


def test_the_longest_axis_is_run_along() -> None:
    """Margins and lag are paid once per column: a rod is run along itself, whichever axis it lies on."""
    for axis in range(3):
        shape = [20, 20, 20]
        shape[axis] = 97
        route = plan_route(torch.ones(shape, dtype=torch.bool), 17, 1e9, slab_bytes, 4)
        assert route.axis == axis


def test_nothing_wanted_is_no_work() -> None:
    route = plan_route(torch.zeros(9, 9, 9, dtype=torch.bool), 3, 1e9, slab_bytes, 2)
    assert route.columns == ()
    assert route.computed(3) == 0


@pytest.mark.parametrize("memory", [-1e9, 0.0, 1e4])
def test_an_impossible_budget_is_refused_by_name(memory) -> None:
    region = torch.ones(64, 64, 64, dtype=torch.bool)
    with pytest.raises(ConfigError, match="too small for one slab") as caught:
        plan_route(region, 17, memory, slab_bytes, 4)
    assert "-" not in str(caught.value.got), "no negative memory is told"
    assert "allow" in str(caught.value.remedy)


def test_the_refusal_says_what_would_do() -> None:
    region = torch.ones(64, 64, 64, dtype=torch.bool)
    gib = 2**30

    def cost(planes: int, area: int) -> float:
        return gib * (planes / 4 + area / 64**2)

    with pytest.raises(TooLittleMemory) as caught:
        plan_route(region, 17, 1.0 * gib, cost, 4)
    least = float(str(caught.value.allowed).split()[2])
    widest = (math.ceil(16 / MOST_COLUMNS) * CELL + 2 * 17) ** 2 / 64**2  # of 6 by 6 columns
    assert least == pytest.approx(1 + widest, abs=0.01)
    assert plan_route(region, 17, (least + 0.01) * gib, cost, 4).planes == 4
