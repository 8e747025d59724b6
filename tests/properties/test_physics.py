"""Invariants of the imaging chain over random shapes, factors and images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdcsrn.kspace import (
    DegradationSpec,
    certify,
    degrade,
    fft,
    grid_affine,
    ifft,
    low_pass,
    passband,
    project,
    resample_grid,
    window_names,
)

sizes = st.tuples(*[st.integers(4, 13)] * 3)
factors = st.tuples(*[st.one_of(st.just(1.0), st.integers(100, 400).map(lambda i: i / 100))] * 3)
seeds = st.integers(0, 10_000)
COMMON = settings(max_examples=150, deadline=None)


def image(shape, seed):
    """Positive, as a magnitude image, with values over several orders."""
    return torch.from_numpy(np.random.default_rng(seed).gamma(0.5, 100.0, shape))


@COMMON
@given(
    sizes,
    factors,
    seeds,
    st.sampled_from(window_names(binary=True)),
    st.sampled_from(["reference", "acquired"]),
    st.floats(0, 3),
)
def test_projection_never_raises_the_whole_volume_error(shape, reduction, seed, kind, grid, wrong):
    spec = DegradationSpec(reduction, window=kind, grid=grid)
    truth = image(shape, seed)
    measured = degrade(truth, spec)
    result = truth + wrong * image(shape, seed + 1)
    projected = project(result, measured, spec)
    assert float((projected - truth).norm()) <= float((result - truth).norm()) * (1 + 1e-12) + 1e-10
    assert certify(projected, measured, spec).relative_error < 1e-10
    # Orthogonal: what changed and what is left are perpendicular (Pythagoras), not just smaller.
    left = float((projected - truth).norm()) ** 2 + float((projected - result).norm()) ** 2
    assert left == pytest.approx(float((result - truth).norm()) ** 2, rel=1e-8, abs=1e-10)


@COMMON
@given(sizes, factors, seeds, st.sampled_from(window_names()))
def test_low_pass_keeps_the_mean_and_never_adds_energy(shape, reduction, seed, kind):
    x = image(shape, seed)
    y = low_pass(x, DegradationSpec(reduction, window=kind))
    assert float(y.mean()) == pytest.approx(float(x.mean()), rel=1e-12)
    assert float(y.norm()) <= float(x.norm()) * (1 + 1e-12)


@COMMON
@given(sizes, factors, st.sampled_from(window_names(binary=True)))
def test_passband_is_symmetric_about_the_zero_frequency(shape, reduction, kind):
    mask = passband(shape, DegradationSpec(reduction, window=kind)).expand(shape).numpy()
    for k in np.argwhere(mask):
        mirrored = [2 * (n // 2) - i for i, n in zip(k, shape, strict=True)]
        reduced = [r > 1 for r in reduction]
        # an axis that is not reduced keeps its unpaired sample -n/2, whose partner is itself
        mirrored = [i if r else m % n for i, m, n, r in zip(k, mirrored, shape, reduced, strict=True)]
        assert mask[tuple(mirrored)]


@COMMON
@given(sizes, seeds)
def test_energy_is_the_same_on_both_sides(shape, seed):
    x = image(shape, seed)
    assert float(fft(x).abs().square().sum()) == pytest.approx(float(x.square().sum()), rel=1e-12)
    torch.testing.assert_close(ifft(fft(x)).real, x, atol=1e-10, rtol=0)


@COMMON
@given(sizes, sizes, seeds)
def test_grid_change_keeps_mean_and_centre(old, new, seed):
    x = image(old, seed)
    y = resample_grid(x, new)
    assert float(y.mean()) == pytest.approx(float(x.mean()), rel=1e-10)
    # The samples at index n // 2 are one and the same point.
    before, after = torch.eye(4, dtype=torch.float64), grid_affine(torch.eye(4, dtype=torch.float64), old, new)
    point_old = before @ torch.tensor([*(n // 2 for n in old), 1.0], dtype=torch.float64)
    point_new = after @ torch.tensor([*(m // 2 for m in new), 1.0], dtype=torch.float64)
    torch.testing.assert_close(point_new, point_old, atol=1e-12, rtol=0)
