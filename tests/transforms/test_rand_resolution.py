"""RandResolution(d): a centred crop of k-space with the new grid's affine; draws depend on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.transforms import RandResolution, RandResolutionD, RandResolutiond, RandResolutionDict

AFFINE = torch.tensor([[0, 0, -1.2, 9], [1, 0, 0, -5], [0, 0.9, 0, 2], [0, 0, 0, 1]], dtype=torch.float64)


def volume(shape=(20, 21, 24), seed=0):
    values = torch.rand((1, *shape), generator=torch.Generator().manual_seed(seed))
    return MetaTensor(values, affine=AFFINE)


def _reference_crop(values, shape):
    """NumPy: keep the centre of the uncentred spectrum, fold an even axis's two ends, keep the mean."""
    k = np.fft.fftn(values)
    for axis, (n, m) in enumerate(zip(values.shape, shape, strict=True)):
        if m == n:
            continue
        kept = np.take(k, np.arange(-(m // 2), (m + 1) // 2) % n, axis=axis)
        if m % 2 == 0:
            first = [slice(None)] * 3
            first[axis] = slice(0, 1)
            kept[tuple(first)] += np.take(k, [m // 2], axis=axis)
        k = np.roll(kept, -(m // 2), axis=axis) * m / n
    return np.fft.ifftn(k)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(6, 19)] * 3))
def test_values_are_those_of_a_cropped_spectrum(seed, shape):
    transform = RandResolution((1.0, 2.0), min_size=5).set_random_state(seed=seed)
    x = volume(shape, seed % 97)
    y = transform(x)
    assert tuple(y.shape[1:]) == transform.new_shape(shape)
    # index 0 of the new grid is not index 0 of the old one: both grids agree at their centres n // 2
    shift = [-(n // 2) for n in shape]
    reference = _reference_crop(np.roll(x.numpy()[0].astype(np.float64), shift, (0, 1, 2)), tuple(y.shape[1:]))
    reference = np.roll(reference, [m // 2 for m in y.shape[1:]], (0, 1, 2))
    assert np.abs(reference.imag).max() < 1e-12
    np.testing.assert_allclose(y.numpy()[0], reference.real, atol=2e-6)


def test_the_affine_keeps_the_middle_of_the_field_of_view():
    transform = RandResolution((1.4, 1.4))
    y = transform(volume())
    assert tuple(y.shape) == (1, 14, 15, 17)
    old_centre = AFFINE @ torch.tensor([10, 10, 12, 1], dtype=torch.float64)
    new_centre = y.affine @ torch.tensor([7, 7, 8, 1], dtype=torch.float64)
    torch.testing.assert_close(new_centre, old_centre)
    assert y.pixdim.tolist() == pytest.approx([1.0 * 20 / 14, 0.9 * 21 / 15, 1.2 * 24 / 17])


def test_small_axes_and_improbable_draws_leave_the_volume_alone():
    x = volume()
    assert RandResolution((2.0, 2.0), min_size=30)(x).shape == x.shape
    assert torch.equal(RandResolution((2.0, 2.0), prob=0.0)(x), x)
    assert RandResolution((3.0, 3.0), min_size=18)(x).shape == (1, 18, 18, 18)
    assert torch.equal(RandResolution((1.0, 1.0))(x), x)


def test_draws_cover_their_range_and_depend_on_the_seed_alone():
    transform = RandResolution((1.0, 1.6)).set_random_state(seed=3)
    shapes = [transform(volume()).shape[1:] for _ in range(60)]
    again = RandResolution((1.0, 1.6)).set_random_state(seed=3)
    assert shapes == [again(volume()).shape[1:] for _ in range(60)]
    assert {s[2] for s in shapes} >= {15, 16, 18, 20, 22, 24}
    assert len({tuple(n / m for n, m in zip((20, 21, 24), s, strict=True)) for s in shapes}) > 40  # axes by themselves


def test_all_keys_get_the_same_draw():
    transform = RandResolutiond(["image", "label"], (1.0, 2.0)).set_random_state(seed=1)
    out = transform({"image": volume(), "label": volume(seed=1)})
    assert out["image"].shape == out["label"].shape != volume().shape
    assert torch.equal(out["image"].affine, out["label"].affine)
    assert RandResolutionD is RandResolutionDict is RandResolutiond


@pytest.mark.parametrize("factor", [(0.9, 1.2), (1.5, 1.2), (1.0, float("nan"))])
def test_a_bad_range_is_refused(factor):
    with pytest.raises(ConfigError):
        RandResolution(factor)


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_a_bad_size_is_refused(size):
    with pytest.raises(ConfigError):
        RandResolution(min_size=size)


def test_a_volume_without_a_channel_is_refused():
    with pytest.raises(GeometryError):
        RandResolution()(torch.rand(5, 6, 7))
