"""RandThickSlices(d): slices of a known profile, their aliasing and unequal brightness; draws depend on the seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.transforms import RandThickSlices, RandThickSlicesD, RandThickSlicesd, RandThickSlicesDict
from mdcsrn.transforms.rand_thick_slices import Slices, apply_slices


def volume(shape=(12, 15, 24), seed=0):
    return torch.rand((1, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _sinc_up(measured, n):
    """NumPy: trigonometric interpolation of an odd number of samples, index k // 2 on index n // 2."""
    k = len(measured)
    spectrum = np.fft.fft(np.roll(measured, -(k // 2), axis=0), axis=0)
    frequency = np.fft.fftfreq(k, 1 / k)
    position = (np.arange(n) - n // 2) / n
    waves = np.exp(2j * np.pi * position[:, None] * frequency[None])
    return np.tensordot(waves, spectrum, axes=1).real / k


def test_box_slices_are_means_of_planes_that_ring_between():
    """21 planes, 7 slices 3 apart and as thick: each is the mean of its three planes."""
    x = volume((21, 5, 6))
    out = apply_slices(x, Slices(axis=0, reduction=3.0, thickness=1.0, profile="box"))
    planes = np.stack([x[0].numpy()[3 * i : 3 * i + 3].mean(axis=0) for i in range(7)])
    np.testing.assert_allclose(out[0].numpy(), _sinc_up(planes, 21), atol=1e-12)
    np.testing.assert_allclose(out[0].numpy()[1::3], planes, atol=1e-12)


def test_every_second_slice_differs_in_brightness():
    x = torch.ones((1, 21, 4, 4), dtype=torch.float64)
    out = apply_slices(x, Slices(0, 3.0, 1.0, "gaussian", 0.1))
    np.testing.assert_allclose(out[0, 1::3, 0, 0], [1, 1.1, 1, 1.1, 1, 1.1, 1], atol=1e-12)


def test_slices_alias_and_a_low_pass_does_not():
    """A wave beyond half the slices' rate comes back as a slower one: gaps let more of it through."""
    wave = torch.cos(2 * torch.pi * 10 / 48 * torch.arange(48, dtype=torch.float64)).view(1, 48, 1, 1)
    energy = [float(apply_slices(wave, Slices(0, 48 / 15, share, "box")).square().mean()) for share in (1.5, 1.0, 0.3)]
    assert energy[0] < energy[1] < energy[2]
    assert energy[2] > 0.3
    spectrum = np.abs(np.fft.rfft(apply_slices(wave, Slices(0, 48 / 15, 0.3, "box"))[0, :, 0, 0].numpy()))
    assert spectrum.argmax() == 5  # |10 - 15|


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(8, 17)] * 3))
def test_other_axes_are_left_alone_and_shape_and_mean_are_kept(seed, shape):
    transform = RandThickSlices((1.0, 5.0), (0.5, 1.5)).set_random_state(seed=seed)
    flat = torch.full((1, *shape), 3.0)
    torch.testing.assert_close(transform(flat), flat)
    x = volume(shape, seed % 89)
    y = transform(x, randomize=False)
    drawn = transform.slices
    assert y.shape == x.shape
    line = y.movedim(drawn.axis + 1, -1).reshape(-1, shape[drawn.axis])
    single = x.movedim(drawn.axis + 1, -1).reshape(-1, shape[drawn.axis])
    for i in (0, len(line) - 1):  # each line by itself
        alone = apply_slices(single[i].view(1, 1, 1, -1), Slices(2, drawn.reduction, drawn.thickness, drawn.profile))
        np.testing.assert_allclose(line[i], alone.flatten(), atol=1e-9)


def test_draws_cover_their_ranges_and_depend_on_the_seed_alone():
    def draws(seed):
        transform = RandThickSlices((2, 5), (0.7, 1.2), interleave=(0.01, 0.05)).set_random_state(seed=seed)
        found = []
        for _ in range(80):
            transform.randomize()
            found.append(transform.slices)
        return found

    found = draws(3)
    assert found == draws(3) != draws(4)
    assert {s.axis for s in found} == {0, 1, 2}
    assert {s.profile for s in found} == {"box", "gaussian"}
    assert all(2 <= s.reduction <= 5 and 0.7 <= s.thickness <= 1.2 and 0.01 <= abs(s.interleave) <= 0.05 for s in found)
    assert min(s.reduction for s in found) < 2.3 < 4.7 < max(s.reduction for s in found)
    assert {s.interleave > 0 for s in found} == {True, False}


def test_improbable_draws_leave_the_volume_alone():
    x = volume()
    assert torch.equal(RandThickSlices(prob=0.0)(x), x)
    assert torch.equal(RandThickSlices((1, 1))(x), x)


def test_keys_get_the_same_draw_and_keep_their_meta_data():
    affine = torch.diag(torch.tensor([1.0, 0.9, 1.2, 1.0], dtype=torch.float64))
    x = MetaTensor(volume().float(), affine=affine)
    out = RandThickSlicesd(["a", "b"], axes=[2]).set_random_state(seed=5)({"a": x, "b": x, "other": x})
    assert torch.equal(out["a"], out["b"])
    assert torch.equal(out["other"], x)
    assert not torch.equal(out["a"], x)
    assert torch.equal(out["a"].affine, affine)
    assert RandThickSlicesD is RandThickSlicesDict is RandThickSlicesd


@pytest.mark.parametrize(
    "settings",
    [
        {"reduction": (0.5, 2)},
        {"reduction": (3, 2)},
        {"reduction": (1, float("inf"))},
        {"reduction": (1, float("nan"))},
        {"reduction": "ab"},
        {"thickness": (0, 1)},
        {"interleave": (-0.1, 0.1)},
        {"interleave": (0, 1)},
        {"profiles": ()},
        {"profiles": "sinc"},
        {"axes": ()},
        {"axes": (0, 3)},
    ],
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        RandThickSlices(**settings)


def test_a_volume_without_a_channel_is_refused():
    with pytest.raises(GeometryError):
        RandThickSlices()(torch.rand(5, 6, 7))
