"""PSNR and NRMSE against scikit-image, data range and head mask against NumPy and SciPy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import binary_fill_holes
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio

from mdcsrn.errors import ConfigError, DataError, GeometryError
from mdcsrn.io import read_volume
from mdcsrn.metrics import data_range, head_mask, nrmse, psnr

volumes = array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=7).flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.floats(0, 1000, width=32)),
        arrays(np.float32, shape, elements=st.floats(-100, 1100, width=32)),
    )
)


@settings(max_examples=60, deadline=None)
@given(volumes, st.floats(0.5, 2000))
def test_psnr_and_nrmse_equal_skimage_on_any_shape(pair: tuple[np.ndarray, np.ndarray], peak: float) -> None:
    reference, prediction = pair
    x, y = torch.from_numpy(prediction), torch.from_numpy(reference)
    mse = float(np.mean((prediction.astype(np.float64) - reference) ** 2))
    if mse == 0:
        assert psnr(x, y, peak) == math.inf
        return
    wide_reference, wide_prediction = reference.astype(np.float64), prediction.astype(np.float64)
    if mse > 1e-6:  # below, float32 squares underflow
        expected = peak_signal_noise_ratio(wide_reference, wide_prediction, data_range=peak)
        assert psnr(x, y, peak) == pytest.approx(expected, abs=1e-4)
        assert nrmse(x, y, peak) == pytest.approx(math.sqrt(mse) / peak, rel=1e-5)
        if reference.max() > 1:
            euclidean = normalized_root_mse(wide_reference, wide_prediction)
            assert nrmse(x, y, normalization="euclidean") == pytest.approx(euclidean, rel=1e-5)


def test_mask_selects_exactly_its_voxels() -> None:
    generator = np.random.default_rng(1)
    reference = generator.random((9, 8, 7)).astype(np.float32)
    prediction = reference + generator.normal(0, 0.1, reference.shape).astype(np.float32)
    mask = generator.random(reference.shape) > 0.6
    x, y, m = (torch.from_numpy(a) for a in (prediction, reference, mask))
    assert psnr(x, y, 1.0, m) == pytest.approx(
        peak_signal_noise_ratio(reference[mask], prediction[mask], data_range=1.0), abs=1e-5
    )
    assert nrmse(x, y, None, m, "euclidean") == pytest.approx(
        normalized_root_mse(reference[mask], prediction[mask]), rel=1e-5
    )
    spoiled = torch.where(m, x, torch.full_like(x, 1e6))
    assert psnr(spoiled, y, 1.0, m) == psnr(x, y, 1.0, m)
    assert psnr(x[None], y[None], 1.0, m) == psnr(x, y, 1.0, m), "a (D, H, W) mask serves a (C, D, H, W) volume"


def test_nrmse_default_range_is_the_references() -> None:
    reference = torch.linspace(0, 10, 5000).reshape(10, 20, 25)
    assert nrmse(reference + 1, reference) == pytest.approx(1 / np.percentile(reference.numpy(), 99.9), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, array_shapes(min_dims=3, max_dims=3, max_side=12), elements=st.floats(0.125, 4096, width=32)))
def test_data_range_is_numpys_percentile(volume: np.ndarray) -> None:
    assert data_range(torch.from_numpy(volume)) == pytest.approx(
        np.percentile(volume.astype(np.float64), 99.9), rel=1e-6
    )


def test_data_range_has_no_size_limit() -> None:
    """17 million voxels: one million more than torch.quantile takes."""
    volume = torch.zeros(17 * 10**6).index_fill_(0, torch.arange(0, 17 * 10**6, 500), 7.0)
    assert data_range(volume) == 7.0


def test_head_mask_fills_what_is_enclosed_and_only_that() -> None:
    volume = torch.zeros(12, 12, 12)
    volume[2:10, 2:10, 2:10] = 100
    volume[4:6, 4:6, 4:6] = 0  # a ventricle
    volume[7:9, 7:9, 7:10] = 0  # a bay open to the air
    volume[0, 0, 0] = 1.9  # below 2 %
    mask = head_mask(volume)
    expected = binary_fill_holes((volume > 2).numpy())
    assert np.array_equal(mask.numpy(), expected)
    assert mask[4, 4, 4]
    assert not mask[7, 7, 8]
    assert not mask[0, 0, 0]
    batch = torch.stack((volume, volume.flip(0)))
    assert torch.equal(head_mask(batch)[1], mask.flip(0)), "each leading index is filled by itself"


def test_real_head_is_one_filled_region(shared_data: Path) -> None:
    file = sorted((shared_data / "t1w" / "val").glob("*.nii.gz"))[0]
    volume = read_volume(file).array
    mask = head_mask(torch.from_numpy(volume)).numpy()
    assert np.array_equal(mask, binary_fill_holes(volume > 0.02 * np.percentile(volume, 99.9)))
    assert 0.05 < mask.mean() < 0.9


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (GeometryError, lambda v: psnr(v, v[1:], 1.0)),
        (GeometryError, lambda v: nrmse(v, v, 1.0, mask=torch.ones(3, 3, 3))),
        (DataError, lambda v: psnr(v, v, 1.0, mask=torch.zeros_like(v))),
        (ConfigError, lambda v: psnr(v, v, 0.0)),
        (ConfigError, lambda v: psnr(v, v, math.nan)),
        (ConfigError, lambda v: nrmse(v, v, 1.0, normalization="mean")),  # type: ignore[arg-type]
        (DataError, lambda v: data_range(torch.zeros_like(v))),
        (DataError, lambda v: data_range(v.index_fill(0, torch.tensor([1]), math.nan))),
        (DataError, lambda v: data_range(v[:0])),
    ],
)
def test_what_cannot_be_compared_is_refused(error: type[Exception], call: object) -> None:
    with pytest.raises(error):
        call(torch.rand(4, 5, 6) + 1)  # type: ignore[operator]
