"""Ensemble of flips against NumPy; the invention map finds what was added outside the measured band alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mdcsrn.errors import ConfigError
from mdcsrn.inference.planning.task import Task, make_plan
from mdcsrn.inference.uncertainty import Symmetry, ensemble, invention, symmetries
from mdcsrn.io import Volume
from mdcsrn.io.acquisition import ScanFacts


def plan_of(shape, factor=(1, 2, 2), spacing=(1.0, 2.0, 2.0), seed=0):
    array = np.random.default_rng(seed).gamma(2, 50, shape).astype(np.float32)
    volume = Volume(array, np.diag([*spacing, 1.0]))
    plan = make_plan(volume, ScanFacts(acquisition="3D"), Task("factor", factor=factor))
    return plan, torch.from_numpy(volume.array)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 5)] * 3),
    st.sets(st.integers(0, 2)).map(lambda s: tuple(sorted(s))),
    st.permutations(range(3)).map(tuple),
)
def test_a_rearrangement_is_that_of_numpy_and_is_undone(shape, flips, order) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(np.float32)
    member = Symmetry(flips, order)
    there = member.apply(torch.from_numpy(array))
    np.testing.assert_array_equal(there.numpy(), np.flip(array.transpose(order), flips))
    assert there.is_contiguous()
    assert torch.equal(member.undo(there), torch.from_numpy(array))
    batch = torch.from_numpy(array)[None, None]
    assert torch.equal(member.undo(member.apply(batch)), batch)


def test_eight_flips_and_the_transposes_that_the_scan_allows() -> None:
    plan, _ = plan_of((12, 6, 6))  # 12x12x12 at 1 mm, axes 1 and 2 reduced alike
    eight = symmetries(plan)
    assert len(set(eight)) == 8
    assert eight[0] == Symmetry()
    both = symmetries(plan, transposes=True)
    assert len(set(both)) == 16
    assert {member.order for member in both} == {(0, 1, 2), (0, 2, 1)}
    assert len(symmetries(plan_of((6, 6, 6), (2, 2, 2), (2, 2, 2))[0], transposes=True)) == 48
    assert len(symmetries(plan_of((12, 6, 5))[0], transposes=True)) == 8  # sizes differ
    assert len(symmetries(plan_of((12, 6, 6), spacing=(1, 2, 2.2))[0], transposes=True)) == 8  # spacings differ
    assert len(symmetries(plan_of((12, 6, 12), (1, 2, 1), (1, 2, 1))[0], transposes=True)) == 16
    assert len(symmetries(plan_of((4, 6, 12), (3, 2, 1), (3, 2, 1))[0], transposes=True)) == 8  # reductions differ


def test_equivariant_network_has_no_spread() -> None:
    plan, array = plan_of((9, 6, 7))
    low = plan.low(array)
    result = ensemble(lambda x: x.abs() * 1.5 + 3, low, symmetries(plan))
    torch.testing.assert_close(result.mean, low.abs() * 1.5 + 3)
    assert float(result.spread.max()) < 1e-4 * float(low.max())
    assert result.count == 8


def test_mean_and_spread_are_those_of_numpy() -> None:
    plan, array = plan_of((6, 5, 4))
    low = plan.low(array)
    weights = torch.from_numpy(np.random.default_rng(3).normal(1, 0.2, low.shape).astype(np.float32))
    members = symmetries(plan)
    result = ensemble(lambda x: x * weights, low, members)  # weights stay while the input turns
    stack = np.stack([member.undo(member.apply(low) * weights).numpy() for member in members]).astype(np.float64)
    np.testing.assert_allclose(result.mean.numpy(), stack.mean(axis=0), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(result.spread.numpy(), stack.std(axis=0, ddof=1), rtol=1e-3, atol=1e-3)
    assert float(result.spread.max()) > 1


def test_further_volumes_turn_with_the_input() -> None:
    plan, array = plan_of((6, 5, 4))
    low = plan.low(array)
    region = low > low.median()
    seen = []

    def run(volume, inside):
        assert inside.dtype == torch.bool
        seen.append(torch.equal(inside, volume > low.median()))
        return torch.where(inside, volume, 0)

    done = []
    result = ensemble(run, low, symmetries(plan), (region,), after=done.append)
    assert seen == [True] * 8
    assert done == list(range(1, 9))
    torch.testing.assert_close(result.mean, torch.where(region, low, 0))


def test_mean_is_consistent_and_the_spread_is_of_what_was_not_measured() -> None:
    plan, array = plan_of((16, 12, 10))
    low, measured = plan.low(array), plan.measured(array)
    assert plan.measurement is not None
    weights = torch.from_numpy(np.random.default_rng(3).normal(1, 0.2, low.shape).astype(np.float32))
    free = ensemble(lambda x: x * weights, low, symmetries(plan))
    bound = ensemble(lambda x: x * weights, low, symmetries(plan), measurement=plan.measurement, measured=measured)
    assert plan.measurement.certify(free.mean, measured).relative_error > 1e-2
    assert plan.measurement.certify(bound.mean, measured).relative_error < 1e-6
    assert float(bound.spread.square().sum()) < float(free.spread.square().sum())
    # errors inside the band alone leave no spread
    inside = ensemble(
        lambda x: x + plan.low(plan.measured(array) * 0 + 1) * weights.mean(),
        low,
        symmetries(plan),
        measurement=plan.measurement,
        measured=measured,
    )
    assert float(inside.spread.max()) < 1e-3 * float(low.max())


def test_one_member_has_no_spread_and_none_is_refused() -> None:
    plan, array = plan_of((6, 5, 4))
    low = plan.low(array)
    assert float(ensemble(lambda x: 2 * x, low, [Symmetry((1,))]).spread.abs().max()) == 0
    with pytest.raises(ConfigError):
        ensemble(lambda x: x, low, [])
    with pytest.raises(ConfigError):
        ensemble(lambda x: x, low, [Symmetry()], measurement=plan.measurement)


def test_input_is_left_alone_by_a_network_that_returns_it() -> None:
    plan, array = plan_of((6, 5, 4))
    low = plan.low(array)
    before = low.clone()
    result = ensemble(lambda x: x, low, symmetries(plan))
    assert torch.equal(low, before)
    torch.testing.assert_close(result.mean, low)


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.integers(4, 14)] * 3), st.tuples(*[st.sampled_from([1.0, 1.5, 2.0, 2.7])] * 3), st.integers(0, 99)
)
def test_zero_filled_input_has_no_invention(shape, factor, seed) -> None:
    plan, array = plan_of(shape, factor, seed=seed)
    low = plan.low(array)
    assert float(invention(low, plan).max()) <= 1e-5 * float(low.abs().max())


def test_what_was_added_is_found_where_it_is() -> None:
    plan, array = plan_of((40, 20, 20))
    low = plan.low(array)
    # A checkerboard along the reduced axes lies at Nyquist, far outside the band; a Gaussian keeps it local.
    grid = np.indices(plan.shape)
    texture = 40.0 * (-1.0) ** (grid[1] + grid[2]) * np.exp(-((grid - 20) ** 2).sum(axis=0) / (2 * 4.0**2))
    found = invention(low + torch.from_numpy(texture.astype(np.float32)), plan).numpy()
    assert found.dtype == np.float32
    assert found.min() >= 0
    expected = np.sqrt(ndimage.gaussian_filter(texture**2, 2.0, mode="constant"))
    np.testing.assert_allclose(found, expected, atol=0.02 * expected.max())
    assert np.unravel_index(found.argmax(), found.shape) == (20, 20, 20)
    assert found[2, 2, 2] < 0.01 * found.max()


def test_what_consistency_undoes_is_no_invention() -> None:
    """A result that is wrong inside the band differs from its input there, and has invented nothing."""
    plan, array = plan_of((20, 10, 10))
    low = plan.low(array)
    wrong = low + 0.5 * plan.low(torch.flip(array, (0,)))
    assert float((wrong - low).abs().max()) > 10
    assert float(invention(wrong, plan).max()) <= 1e-4


def test_window_is_in_millimetres() -> None:
    plan, array = plan_of((40, 20, 20), spacing=(0.5, 2.0, 2.0))
    low = plan.low(array)
    spot = torch.zeros(plan.shape)
    spot[20, 20, 20] = 100.0
    found = invention(low + spot, plan).numpy()
    # 3 mm away along either axis is equally far, whatever the voxel.
    assert found[26, 20, 20] == pytest.approx(found[20, 23, 20], rel=0.2)
