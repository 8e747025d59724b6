"""Placement and intensity of the baselines against SciPy, NumPy and the k-space grid change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.evaluation import baselines, upsample
from mdcsrn.evaluation.baselines import METHODS, lanczos_matrix
from mdcsrn.kspace import DegradationSpec, degrade, grid_affine

sizes = st.tuples(*[st.integers(4, 11)] * 3)
ORDERS = {"nearest": 0, "trilinear": 1, "cubic B-spline": 3}


def old_indices(old: tuple[int, ...], new: tuple[int, ...]) -> np.ndarray:
    """Voxel indices of every new sample on the old grid, by the affine alone: (3, m0, m1, m2)."""
    affine = grid_affine(torch.eye(4, dtype=torch.float64), old, new).numpy()
    points = np.stack(np.meshgrid(*[np.arange(m) for m in new], indexing="ij")).reshape(3, -1)
    return (affine[:3, :3] @ points + affine[:3, 3:]).reshape(3, *new)


@settings(max_examples=25, deadline=None)
@given(sizes, sizes, st.sampled_from(["trilinear", "cubic B-spline"]), st.integers(0, 99))
def test_splines_sample_where_the_affine_says(old: tuple, new: tuple, method: str, seed: int) -> None:
    volume = np.random.default_rng(seed).random(old).astype(np.float32)
    expected = map_coordinates(volume.astype(float), old_indices(old, new), order=ORDERS[method], mode="nearest")
    assert np.abs(upsample(torch.from_numpy(volume), new, method).numpy() - expected).max() < 1e-5


@settings(max_examples=25, deadline=None)
@given(sizes, sizes, st.integers(0, 99))
def test_nearest_takes_a_nearest_sample(old: tuple, new: tuple, seed: int) -> None:
    index_volume = torch.arange(float(np.prod(old))).reshape(old)
    taken = upsample(index_volume, new, "nearest").numpy().astype(int)
    chosen, wanted = np.stack(np.unravel_index(taken, old)), old_indices(old, new)
    limits = np.array(old).reshape(3, 1, 1, 1) - 1
    assert np.abs(chosen - np.clip(wanted, 0, limits)).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), [((8, 9, 10), (16, 18, 15)), ((7, 8, 9), (13, 16, 9)), ((8, 8, 8), (8, 8, 8))])
def test_a_constant_stays_and_the_centre_stays(method: str, old: tuple, new: tuple) -> None:
    flat = torch.full((2, *old), 37.0)
    assert torch.allclose(upsample(flat, new, method), torch.full((2, *new), 37.0), atol=1e-3)
    ramp = torch.arange(float(old[1]))[None, :, None].expand(old)
    centre = upsample(ramp, new, method)[new[0] // 2, new[1] // 2, new[2] // 2] if method != "zero-filled" else None
    if centre is not None:
        assert float(centre) == pytest.approx(old[1] // 2, abs=1e-4), "sample m // 2 is the old sample n // 2"


def test_a_smooth_landmark_keeps_its_place_under_every_method() -> None:
    """A broad Gaussian blob is far below the band edge: each method must give it back without a shift."""
    shape, spec = (24, 31, 32), DegradationSpec(reduction=(1, 2, 2), grid="acquired")
    axes = [torch.arange(float(n)) - c for n, c in zip(shape, (11.3, 16.6, 14.2), strict=True)]
    blob = torch.exp(-(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2) / (2 * 4.0**2))
    for name, volume in baselines(degrade(blob, spec), shape, METHODS).items():
        weights = volume.clamp(min=0)
        for axis, expected in enumerate((11.3, 16.6, 14.2)):
            position = torch.arange(float(shape[axis])).reshape([-1 if a == axis else 1 for a in range(3)])
            centre = float((weights * position).sum() / weights.sum())
            # A tie of nearest goes to the upper sample: a quarter of an acquired voxel on average
            tolerance = 0.55 if name == "nearest" else 0.06
            assert abs(centre - expected) < tolerance, (name, axis)
    assert (
        float((baselines(degrade(blob, spec), shape, ["cubic B-spline"])["cubic B-spline"] - blob).abs().max()) < 0.02
    )


def test_zero_filled_is_the_degradation_on_the_reference_grid() -> None:
    volume = torch.rand(1, 14, 15, 16)
    for reduction in [(1, 2, 2), (2, 2, 1), (1, 1.5, 3)]:
        acquired = degrade(volume, DegradationSpec(reduction=reduction, grid="acquired"))
        filled = degrade(volume, DegradationSpec(reduction=reduction))
        assert torch.allclose(upsample(acquired, volume.shape[-3:], "zero-filled"), filled, atol=1e-5)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ConfigError, match="lanczos"):
        upsample(torch.rand(4, 4, 4), (8, 8, 8), "lanczos")
    with pytest.raises(GeometryError):
        upsample(torch.rand(4, 4), (8, 8, 8), "nearest")


def test_lanczos_equals_simpleitk_with_its_five_lobes() -> None:
    """SimpleITK's interpolator has five lobes and does not divide by the sum of the weights: divided here by that."""
    import SimpleITK as sitk

    old, new = (24, 26, 22), (48, 39, 44)
    volume = np.random.default_rng(3).random(old)
    points = old_indices(old, new)

    def sampled(array: np.ndarray) -> np.ndarray:
        image, target = sitk.GetImageFromArray(array), sitk.Image(new[::-1], sitk.sitkFloat64)
        target.SetSpacing([o / n for o, n in zip(old[::-1], new[::-1], strict=True)])
        target.SetOrigin([float(points[axis, 0, 0, 0]) for axis in (2, 1, 0)])
        return sitk.GetArrayFromImage(sitk.Resample(image, target, sitk.Transform(), sitk.sitkLanczosWindowedSinc))

    theirs, weights = sampled(volume), sampled(np.ones(old))
    d, h, w = (lanczos_matrix(o, n, lobes=5) for o, n in zip(old, new, strict=True))
    ours = np.einsum("ai,bj,ck,ijk->abc", d, h, w, volume)
    limits = np.array(old).reshape(3, 1, 1, 1) - 1
    inner = ((points >= 6) & (points <= limits - 6)).all(axis=0)
    assert inner.sum() > 1000
    assert np.abs(ours[inner] - theirs[inner] / weights[inner]).max() < 1e-3, "SimpleITK's weights are tabulated"


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 30))
def test_lanczos_keeps_samples_that_it_falls_on(old: int, new: int) -> None:
    matrix = lanczos_matrix(old, new)
    assert np.allclose(matrix.sum(axis=1), 1)
    for j in range(new):
        place = (j - new // 2) * old / new + old // 2
        if place == int(place) and 0 <= place < old:
            assert np.allclose(matrix[j], np.eye(old)[int(place)], atol=1e-12)
