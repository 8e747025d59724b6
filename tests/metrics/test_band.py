"""Band error against an independent NumPy transform, and its fixed points."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.metrics import band_error


def numpy_band_error(x: np.ndarray, y: np.ndarray, reduction: tuple[float, ...]) -> float:
    """Written from the definition: |k| < n / (2 r) is measured on every reduced axis."""
    inside = np.ones(y.shape, bool)
    for axis, (n, r) in enumerate(zip(y.shape, reduction, strict=True)):
        if r > 1:
            k = np.abs(np.round(np.fft.fftfreq(n) * n)).reshape([-1 if a == axis else 1 for a in range(3)])
            inside &= k < n / (2 * r)
    error, truth = np.fft.fftn(x.astype(float) - y)[~inside], np.fft.fftn(y.astype(float))[~inside]
    return float(np.linalg.norm(error) / np.linalg.norm(truth))


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.integers(4, 14)] * 3), st.sampled_from([(1, 2, 2), (2, 2, 1), (2, 2, 2), (1, 1, 3), (1, 1.5, 2)]),
    st.integers(0, 1000),
)  # fmt: skip
def test_equals_numpy_on_odd_and_even_sizes(shape: tuple[int, int, int], reduction: tuple, seed: int) -> None:
    generator = np.random.default_rng(seed)
    y = generator.random(shape).astype(np.float32)
    x = (y + generator.normal(0, 0.3, shape)).astype(np.float32)
    ours = band_error(torch.from_numpy(x), torch.from_numpy(y), DegradationSpec(reduction=reduction))
    assert ours == pytest.approx(numpy_band_error(x, y, reduction), rel=1e-4)


def test_zero_filled_is_one_and_the_truth_is_zero() -> None:
    spec = DegradationSpec(reduction=(1, 2, 2))
    truth = torch.rand(1, 12, 13, 14)
    low = degrade(truth, spec)
    assert band_error(low, truth, spec) == pytest.approx(1.0, abs=1e-5)
    assert band_error(truth, truth, spec) == 0.0
    shifted = truth + 5 * degrade(torch.rand_like(truth), spec)
    assert band_error(shifted, truth, spec) < 1e-4, "an error inside the band does not count"


def test_mask_is_applied_to_the_images() -> None:
    generator = np.random.default_rng(2)
    y, x = generator.random((2, 10, 11, 12)).astype(np.float32)
    mask = generator.random(y.shape) > 0.4
    tensors = [torch.from_numpy(a) for a in (x, y, mask)]
    ours = band_error(tensors[0], tensors[1], DegradationSpec(reduction=(2, 1, 2)), tensors[2])
    assert ours == pytest.approx(numpy_band_error(x * mask, y * mask, (2, 1, 2)), rel=1e-4)


def test_without_a_reduced_axis_there_is_nothing_outside() -> None:
    volume = torch.rand(4, 5, 6)
    assert math.isnan(band_error(volume + 1, volume, DegradationSpec(reduction=(1, 1, 1))))


def test_bad_input_is_refused() -> None:
    spec = DegradationSpec()
    with pytest.raises(GeometryError):
        band_error(torch.rand(4, 5, 6), torch.rand(4, 5, 7), spec)
    with pytest.raises(ConfigError):
        band_error(torch.rand(5, 6), torch.rand(5, 6), spec)
