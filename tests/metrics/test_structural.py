"""SSIM map and mean against scikit-image, in both conventions of the mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from mdcsrn.errors import ConfigError, DataError
from mdcsrn.io import read_volume
from mdcsrn.metrics import SSIMWindow, data_range, head_mask, legacy_metrics, ssim, ssim_map, structural


def noisy_pair(shape: tuple[int, ...], seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    reference = generator.random(shape) * scale
    return (reference + generator.normal(0, 0.2 * scale, shape)).astype(np.float32), reference.astype(np.float32)


def skimage_gaussian(x: np.ndarray, y: np.ndarray, peak: float) -> tuple[float, np.ndarray]:
    wide = x.astype(np.float64), y.astype(np.float64)
    return structural_similarity(
        *wide, data_range=peak, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(11, 19), min_size=2, max_size=3), st.integers(0, 1000), st.sampled_from([1.0, 0.01, 4095.0])
)
def test_gaussian_map_and_mean_equal_skimage(shape: list[int], seed: int, scale: float) -> None:
    x, y = noisy_pair(tuple(shape), seed, scale)
    mean, full = skimage_gaussian(x, y, scale)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    dims = len(shape)
    assert np.abs(ssim_map(*tensors, scale, spatial_dims=dims).numpy() - full).max() < 1e-5
    assert ssim(*tensors, scale, spatial_dims=dims) == pytest.approx(full.mean(), abs=1e-6)
    assert ssim(*tensors, scale, spatial_dims=dims, crop_border=True) == pytest.approx(mean, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(7, 15), min_size=3, max_size=3), st.integers(0, 1000), st.booleans())
def test_uniform_map_and_mean_equal_skimage(shape: list[int], seed: int, sample: bool) -> None:
    x, y = noisy_pair(tuple(shape), seed)
    mean, full = structural_similarity(
        x.astype(np.float64), y.astype(np.float64), data_range=2.0, win_size=7, use_sample_covariance=sample, full=True
    )
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    window = SSIMWindow("uniform", 7, sample_covariance=sample)
    result = ssim_map(*tensors, 2.0, window)
    assert np.abs(result.numpy() - full).max() < 1e-5
    ours = ssim(*tensors, 2.0, window=window, crop_border=True)
    assert ours == pytest.approx(mean, abs=1e-6)


def test_map_does_not_depend_on_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = (torch.from_numpy(a) for a in noisy_pair((23, 12, 13), 3))
    whole = ssim_map(x, y, 1.0)
    monkeypatch.setattr(structural, "_SLAB_VOXELS", 1)
    assert torch.allclose(ssim_map(x, y, 1.0), whole, atol=1e-6)


def test_volumes_smaller_than_the_window_mirror_as_scipy_does() -> None:
    from scipy.ndimage import gaussian_filter

    values = np.random.default_rng(0).random((3, 2, 4))
    weights = structural.window_weights("gaussian", 11, 1.5)
    matrices = [structural.smoothing_matrix(n, weights) for n in values.shape]
    ours = structural._smooth(torch.from_numpy(values)[None], matrices)[0]
    assert np.abs(ours.numpy() - gaussian_filter(values, 1.5, truncate=3.5, mode="reflect")).max() < 1e-12


def test_leading_axes_are_independent_images() -> None:
    x, y = (torch.from_numpy(a) for a in noisy_pair((2, 12, 11, 13), 5))
    assert torch.equal(ssim_map(x, y, 1.0)[1], ssim_map(x[1], y[1], 1.0))
    slices = ssim_map(x[0], y[0], 1.0, spatial_dims=2)
    assert torch.equal(slices[4], ssim_map(x[0, 4], y[0, 4], 1.0, spatial_dims=2))


def test_mask_averages_the_map_and_equal_volumes_give_one() -> None:
    x, y = (torch.from_numpy(a) for a in noisy_pair((12, 13, 14), 6))
    mask = torch.rand(x.shape) > 0.5
    assert ssim(x, y, 1.0, mask) == pytest.approx(float(ssim_map(x, y, 1.0)[mask].double().mean()), abs=1e-9)
    assert ssim(y, y, 1.0) == pytest.approx(1.0, abs=1e-12)


def test_flat_bright_regions_keep_their_digits() -> None:
    """Intensities of 1e4 with a ripple of 1e-3 of the range: E[x^2] - E[x]^2 in float32 would lose it."""
    x, y = noisy_pair((12, 12, 12), 7)
    x, y = (9000 + x).astype(np.float32), (9000 + y).astype(np.float32)
    _, full = skimage_gaussian(x, y, 1000.0)
    assert np.abs(ssim_map(torch.from_numpy(x), torch.from_numpy(y), 1000.0).numpy() - full).max() < 1e-6


def test_real_brain_equals_skimage_inside_the_head(shared_data: Path) -> None:
    file = sorted((shared_data / "t1w" / "val").glob("*.nii.gz"))[0]
    volume = read_volume(file).array
    middle = tuple(slice(n // 2 - 30, n // 2 + 30) for n in volume.shape)
    reference = np.ascontiguousarray(volume[middle])
    blurred = (reference + np.roll(reference, 1, 0) + np.roll(reference, 1, 1)) / 3
    x, y = torch.from_numpy(blurred), torch.from_numpy(reference)
    peak, mask = data_range(y), head_mask(y)
    _, full = skimage_gaussian(blurred, reference, peak)
    assert ssim(x, y, peak, mask) == pytest.approx(full[mask.numpy()].mean(), abs=1e-6)


def test_legacy_figures_are_skimages_defaults_on_unit_images() -> None:
    x, y = noisy_pair((10, 11, 12), 8, scale=300.0)
    unit_x, unit_y = (a.astype(np.float64) / y.max() for a in (x, y))
    ours = legacy_metrics(torch.from_numpy(x), torch.from_numpy(y))
    assert ours["legacy_ssim"] == pytest.approx(structural_similarity(unit_x, unit_y, data_range=2.0), abs=1e-6)
    assert ours["legacy_nrmse"] == pytest.approx(normalized_root_mse(unit_y, unit_x), rel=1e-5)
    assert ours["legacy_psnr"] == pytest.approx(peak_signal_noise_ratio(unit_y, unit_x, data_range=1.0), abs=1e-4)
    honest = structural_similarity(unit_x, unit_y, data_range=1.0)
    assert ours["legacy_ssim"] > honest, "range 2 flatters"


@pytest.mark.parametrize(
    ("error", "settings"),
    [
        (ConfigError, {"spatial_dims": 4}),
        (ConfigError, {"data_range": 0.0}),
        (DataError, {"crop_border": True}),
    ],
)
def test_bad_settings_are_refused(error: type[Exception], settings: dict[str, object]) -> None:
    volume = torch.rand(6, 6, 6)
    with pytest.raises(error):
        ssim(volume, volume, **{"data_range": 1.0, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [{"size": 4}, {"size": 1}, {"sigma": 0.0}, {"shape": "hann"}])
def test_bad_windows_are_refused(window: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="SSIM window"):
        SSIMWindow(**window)  # type: ignore[arg-type]
