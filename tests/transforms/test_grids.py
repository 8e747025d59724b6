"""Decimation, zero-filling and the divisible crop: voxels against NumPy, and where the affine says that they lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.transforms import (
    Decimate,
    Decimated,
    DivisibleCrop,
    DivisibleCropd,
    KSpaceLowPass,
    ZeroFill,
    ZeroFilld,
)

AFFINE = np.array([[0.0, -1.2, 0.1, 7.0], [0.9, 0.0, 0.0, -3.0], [0.1, 0.0, 2.0, 11.0], [0.0, 0.0, 0.0, 1.0]])
SIZES = st.integers(2, 7)


def volume(shape: tuple[int, ...], seed: int = 0) -> MetaTensor:
    values = np.random.default_rng(seed).random((1, *shape))
    return MetaTensor(torch.from_numpy(values), affine=torch.from_numpy(AFFINE))


def at(image: np.ndarray, index: np.ndarray) -> float:
    """A real band-limited image at any index, from its Fourier series (odd sizes: no unpaired sample)."""
    k = np.fft.fftn(image) / image.size
    waves = [np.exp(2j * np.pi * np.fft.fftfreq(n) * x) for n, x in zip(image.shape, index, strict=True)]
    return float(np.einsum("abc,a,b,c->", k, *waves).real)


@settings(max_examples=25, deadline=None)
@given(SIZES, SIZES, SIZES, st.sampled_from([(1, 2, 2), (1, 3, 3), (2, 1, 4), (2, 2, 2)]))
def test_zero_filling_and_decimation_keep_every_sample_where_it_is(
    d: int, h: int, w: int, scale: tuple[int, int, int]
) -> None:
    """Odd sizes, so that the image is one Fourier series: each voxel of both grids is that series at its place."""
    scan = volume((2 * d + 1, 2 * h + 1, 2 * w + 1))
    fine = ZeroFill(scale)(scan)
    low = Decimate(scale)(fine)
    assert fine.shape[1:] == tuple(n * r for n, r in zip(scan.shape[1:], scale, strict=True))
    assert low.shape == scan.shape
    image = scan.numpy()[0]
    rng = np.random.default_rng(d + 10 * h + 100 * w)
    for grid in (fine, low):
        assert isinstance(grid, MetaTensor)
        to_scan = np.linalg.solve(AFFINE, grid.affine.numpy())
        for _ in range(5):
            index = [int(rng.integers(n)) for n in grid.shape[1:]]
            place = (to_scan @ [*index, 1.0])[:3]
            assert float(grid[(0, *index)]) == pytest.approx(at(image, place), abs=1e-9)


def test_decimation_of_a_low_passed_volume_is_what_was_measured() -> None:
    """Even sizes: nothing is lost of what the low-pass keeps, and the mean stays."""
    scan = volume((6, 12, 16))
    low = KSpaceLowPass({"reduction": [1, 2, 2]})(scan)
    acquired = Decimate((1, 2, 2))(low)
    assert torch.allclose(ZeroFill((1, 2, 2))(acquired).as_tensor(), low.as_tensor(), atol=1e-12)
    assert float(acquired.mean()) == pytest.approx(float(scan.mean()), abs=1e-12)


@given(SIZES, SIZES, SIZES)
@settings(max_examples=20, deadline=None)
def test_a_divisible_crop_is_central_and_says_where_it_is(d: int, h: int, w: int) -> None:
    scan = volume((d, h + 3, w + 3))
    cropped = DivisibleCrop((1, 2, 4))(scan)
    assert cropped.shape[1:] == (d, (h + 3) // 2 * 2, (w + 3) // 4 * 4)
    first = np.linalg.solve(AFFINE, cropped.affine.numpy())[:3, 3]
    where = tuple(slice(round(a), round(a) + n) for a, n in zip(first, cropped.shape[1:], strict=True))
    np.testing.assert_array_equal(cropped[0].numpy(), scan[0].numpy()[where])
    left = [n - c for n, c in zip(scan.shape[1:], cropped.shape[1:], strict=True)]
    assert all(abs(lost - 2 * a) <= 1 + 1e-9 for lost, a in zip(left, first, strict=True))


def test_dictionary_versions_do_the_same() -> None:
    scan = volume((3, 9, 10))
    for array, dictionary in (
        (DivisibleCrop((1, 2, 2)), DivisibleCropd("image", (1, 2, 2))),
        (ZeroFill((1, 2, 2)), ZeroFilld("image", (1, 2, 2))),
        (Decimate((3, 3, 2)), Decimated("image", (3, 3, 2))),
    ):
        expected, found = array(scan), dictionary({"image": scan, "other": 1})
        assert torch.equal(expected, found["image"])
        assert torch.equal(expected.affine, found["image"].affine)
        assert found["other"] == 1


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(GeometryError, match="decimated by divisors"):
        Decimate((1, 2, 2))(volume((4, 5, 6)))
    for wrong in ((2, 2), (1, 2, 0), (1, 2, 1.5), (True, 1, 1)):
        with pytest.raises(ConfigError, match="whole number per axis"):
            ZeroFill(wrong)  # type: ignore[arg-type]
