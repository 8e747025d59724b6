"""Total variation and the gradient loss against NumPy, their invariants, and their derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.losses import TotalVariationLoss, total_variation

SIZES = st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 6)] * 3)


def images(shape: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    one, two = (torch.randn(shape, generator=random, dtype=torch.float64) for _ in range(2))
    return one, two


def _reference_gradient_difference(one: np.ndarray, two: np.ndarray, axes: tuple[int, ...]) -> float:
    """L1 of the difference of the gradients, each gradient by itself, axis by axis."""
    total = 0.0
    for axis in axes:
        if one.shape[axis] > 1:
            total += np.abs(np.diff(one, axis=axis) - np.diff(two, axis=axis)).mean()
    return total


@settings(deadline=None, max_examples=40)
@given(SIZES, st.sampled_from([(-2, -1), (-1,), (-3, -2, -1)]), st.integers(0, 99))
def test_it_is_the_difference_of_the_gradients(shape: tuple[int, ...], axes: tuple[int, ...], seed: int) -> None:
    one, two = images(shape, seed)
    expected = _reference_gradient_difference(one.numpy(), two.numpy(), axes)
    assert float(TotalVariationLoss(axes)(one, two)) == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert float(total_variation(one, axes)) == pytest.approx(
        _reference_gradient_difference(one.numpy(), np.zeros(shape), axes), rel=1e-10, abs=1e-12
    )


@settings(deadline=None, max_examples=30)
@given(SIZES, st.floats(-5, 5), st.floats(0.1, 10), st.integers(0, 99))
def test_a_level_does_not_matter_and_a_gain_scales(
    shape: tuple[int, ...], level: float, gain: float, seed: int
) -> None:
    one, two = images(shape, seed)
    loss = TotalVariationLoss()
    base = float(loss(one, two))
    assert float(loss(one + level, two)) == pytest.approx(base, rel=1e-9, abs=1e-9)
    assert float(loss(gain * one, gain * two)) == pytest.approx(gain * base, rel=1e-9, abs=1e-12)
    assert float(loss(two, one)) == pytest.approx(base, rel=1e-12)
    assert float(loss(one, one)) == 0


def test_planes_alone_count_by_default() -> None:
    volume = torch.arange(5.0).view(1, 1, 5, 1, 1).expand(1, 1, 5, 4, 4)
    assert float(total_variation(volume)) == 0
    assert float(total_variation(volume, (-3,))) == 1


def test_derivatives() -> None:
    one, two = images((2, 1, 2, 4, 3), 3)
    assert torch.autograd.gradcheck(TotalVariationLoss(), (one.requires_grad_(True), two), eps=1e-7, atol=1e-6)
    single = torch.zeros(1, 1, 1, 1, 1, requires_grad=True)
    TotalVariationLoss()(single, torch.ones(1, 1, 1, 1, 1)).backward()
    assert float(single.grad) == 0


def test_refusals() -> None:
    with pytest.raises(GeometryError, match=r"\(1, 1, 4\).*\(1, 1, 5\)"):
        TotalVariationLoss((-1,))(torch.zeros(1, 1, 4), torch.zeros(1, 1, 5))
    with pytest.raises(GeometryError, match="an axis of the total variation"):
        total_variation(torch.zeros(2, 2), (-3,))
    for axes in ((), (-1, -1)):
        with pytest.raises(ConfigError, match="axes of the total variation"):
            TotalVariationLoss(axes)
