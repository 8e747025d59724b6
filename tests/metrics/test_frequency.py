"""High-frequency error norm against SciPy, radial power against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_laplace

from mdcsrn.errors import ConfigError, DataError, GeometryError
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.metrics import HeadMaskHFEN, head_mask, hfen, power_error, power_ratio
from mdcsrn.metrics.frequency import laplacian_of_gaussian

REDUCTIONS = [(1, 2, 2), (2, 2, 1), (2, 2, 2), (1, 1, 4), (1, 5, 5)]


def scipy_hfen(x: np.ndarray, y: np.ndarray, mask: np.ndarray | None = None) -> float:
    """From the definition; a radius of 7 voxels is the 15-voxel kernel."""
    inside = np.ones(y.shape, bool) if mask is None else mask
    filtered = [gaussian_laplace(volume.astype(float), 1.5, truncate=7 / 1.5) for volume in (x, y)]
    return float(np.linalg.norm((filtered[0] - filtered[1])[inside]) / np.linalg.norm(filtered[1][inside]))


def numpy_ratio(x: np.ndarray, y: np.ndarray, reduction: tuple[float, ...], shells: int) -> list[float]:
    """From the definition, one frequency at a time where it matters: |k| < n / (2 r) is measured."""
    k = np.meshgrid(*(np.round(np.fft.fftfreq(n) * n) for n in y.shape), indexing="ij")
    measured = np.ones(y.shape, bool)
    for axis, (n, r) in enumerate(zip(y.shape, reduction, strict=True)):
        measured &= (np.abs(k[axis]) < n / (2 * r)) | (r == 1)
    radius = np.sqrt(sum((2 * k[axis] / n) ** 2 for axis, n in enumerate(y.shape)))
    power = [np.abs(np.fft.fftn(volume.astype(float))) ** 2 for volume in (x, y)]
    ratios = []
    for shell in range(shells):
        whole = (radius > shell / shells + 1e-10) & (radius <= (shell + 1) / shells + 1e-10)
        inside, enough = whole & ~measured, (whole & ~measured).sum() >= 0.01 * whole.sum()
        ratio = power[0][inside].sum() / power[1][inside].sum() if enough and inside.any() else math.nan
        ratios.append(float(ratio))
    return ratios


def pair(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = generator.random(shape).astype(np.float32)
    return (y + generator.normal(0, 0.3, shape)).astype(np.float32), y


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(3, 20)] * 3), st.integers(0, 999))
def test_hfen_equals_scipy(shape: tuple[int, int, int], seed: int) -> None:
    x, y = pair(shape, seed)
    mask = np.random.default_rng(seed).random(shape) > 0.3
    mask.flat[0] = True
    tensors = [torch.from_numpy(a) for a in (x, y, mask)]
    assert hfen(tensors[0], tensors[1]) == pytest.approx(scipy_hfen(x, y), rel=1e-4)
    assert hfen(*tensors) == pytest.approx(scipy_hfen(x, y, mask), rel=1e-4)


def test_the_filter_equals_scipy_voxel_by_voxel() -> None:
    _, y = pair((17, 30, 9), 5)
    ours = laplacian_of_gaussian(torch.from_numpy(y)[None, None].double())[0, 0].numpy()
    assert np.abs(ours - gaussian_laplace(y.astype(float), 1.5, truncate=7 / 1.5)).max() < 1e-12


def test_hfen_sees_fine_detail_and_not_an_offset() -> None:
    _, y = pair((24, 24, 24), 1)
    truth = torch.from_numpy(y)
    low = degrade(truth, DegradationSpec(reduction=(2, 2, 2)))
    assert hfen(truth, truth) == 0.0
    assert hfen(truth + 3, truth) < 5e-3, "an offset of six times the detail; the cut kernel sums to 1e-5"
    assert hfen(low, truth) > 0.3, "half of every axis is lost"
    assert hfen(2 * truth, truth) == pytest.approx(1.0, abs=1e-5)
    assert math.isnan(hfen(torch.zeros(9, 9, 9), torch.zeros(9, 9, 9)))


def test_the_shell_is_the_function_inside_the_head() -> None:
    x, y = (torch.from_numpy(a) for a in pair((18, 17, 16), 2))
    y[:6] = 0
    value = HeadMaskHFEN()(x[None, None], y[None, None])
    assert float(value) == pytest.approx(hfen(x, y, head_mask(y)), rel=1e-5)
    assert float(HeadMaskHFEN(head=False)(x[None, None], y[None, None])) == pytest.approx(hfen(x, y), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.integers(6, 15)] * 3), st.sampled_from(REDUCTIONS), st.sampled_from([1, 5, 12]), st.integers(0, 99)
)
def test_power_equals_numpy(shape: tuple[int, int, int], reduction: tuple, shells: int, seed: int) -> None:
    x, y = pair(shape, seed)
    ours = power_ratio(torch.from_numpy(x), torch.from_numpy(y), DegradationSpec(reduction=reduction), shells=shells)
    assert ours == pytest.approx(numpy_ratio(x, y, reduction, shells), rel=1e-3, nan_ok=True)


def test_a_shell_that_was_nearly_all_measured_gives_no_ratio() -> None:
    """Half of Nyquist lies on the band's edge: a few frequencies of that shell, whose ratio would be a lottery."""
    y = torch.rand(40, 40, 40, generator=torch.Generator().manual_seed(0))
    ratios = power_ratio(2 * y, y, DegradationSpec(reduction=(1, 2, 2)))
    assert [math.isnan(ratio) for ratio in ratios] == [True] * 6 + [False] * 6
    assert ratios[6:] == pytest.approx([4.0] * 6, rel=1e-4)


def test_power_tells_blur_from_invention() -> None:
    spec = DegradationSpec(reduction=(1, 2, 2))
    truth = torch.rand(20, 21, 22, generator=torch.Generator().manual_seed(0))
    low = degrade(truth, spec)
    assert power_error(truth, truth, spec) == 0.0
    assert power_error(low, truth, spec) == pytest.approx(40.0), "zero-filled: the floor"
    half = low + 0.5**0.5 * (truth - low)
    ratios = power_ratio(half, truth, spec)
    assert [math.isnan(ratio) for ratio in ratios] == [True] * 6 + [False] * 6, "below half of Nyquist all is measured"
    assert ratios[6:] == pytest.approx([0.5] * 6, rel=1e-4)
    assert power_error(half, truth, spec) == pytest.approx(3.0103, abs=1e-3)
    double = low + 2**0.5 * (truth - low)
    assert power_error(double, truth, spec) == pytest.approx(3.0103, abs=1e-3)
    misplaced = low + (truth - low).roll(5, 1)
    assert power_error(misplaced, truth, spec) < 1e-3, "where the detail lies is not asked"
    mask = torch.zeros(20, 21, 22)
    mask[5:15, 5:15, 5:15] = 1
    inside = power_ratio(half * mask, truth * mask, spec)
    assert power_ratio(half, truth, spec, mask) == pytest.approx(inside, rel=1e-5, nan_ok=True)


def test_what_cannot_be_answered_is_refused() -> None:
    volume = torch.rand(8, 8, 8)
    with pytest.raises(ConfigError, match="three axes"):
        hfen(volume[0], volume[0])
    with pytest.raises(ConfigError, match="odd"):
        hfen(volume, volume, size=4)
    with pytest.raises(GeometryError):
        hfen(volume, volume[1:])
    with pytest.raises(DataError, match="left out"):
        power_ratio(volume, volume, DegradationSpec(reduction=(1, 1, 1)))
    with pytest.raises(ConfigError, match="shell"):
        power_ratio(volume, volume, DegradationSpec(), shells=0)
