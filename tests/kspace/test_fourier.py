"""The centred Fourier transform and grid changes against an explicit DFT, and a blob whose place is known in mm."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.kspace import (
    DegradationSpec,
    align_samples,
    decimate,
    fft,
    frequencies,
    grid_affine,
    ifft,
    low_pass,
    resample_grid,
    resample_grid_adjoint,
)

SHAPES = [(6, 8, 10), (7, 9, 5), (8, 7, 6), (1, 5, 4)]
CHANGES = [
    ((12, 12, 12), (8, 8, 8)),  # even to even
    ((12, 13, 12), (7, 7, 9)),  # to odd
    ((13, 11, 15), (8, 6, 10)),  # odd to even
    ((9, 8, 7), (16, 15, 12)),  # finer
    ((10, 9, 12), (14, 9, 6)),  # finer, same, coarser
]


def random(shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def inner(a, b):
    return complex((a.conj() * b).sum())


def dft_matrix(n):
    """Orthonormal DFT with origin and zero frequency at index n // 2, from the definition."""
    j = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * np.outer(j, j) / n) / np.sqrt(n)


@pytest.mark.parametrize("shape", SHAPES)
def test_fft_is_the_centred_dft(shape):
    x = random(shape)
    expected = np.einsum("ai,bj,ck,ijk->abc", *(dft_matrix(n) for n in shape), x.numpy())
    np.testing.assert_allclose(fft(x).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_fft_is_unitary(shape):
    x, y = random(shape, 1).to(torch.complex128), random(shape, 2) * 1j
    scale = float(x.norm() * y.norm())
    assert abs(inner(fft(x), fft(x + y)) - inner(x, x + y)) <= 1e-12 * float(x.norm()) ** 2
    assert abs(inner(fft(x), y) - inner(x, ifft(y))) <= 1e-12 * scale
    assert float((ifft(fft(x)) - x).abs().max()) <= 1e-12
    assert float((fft(ifft(x)) - x).abs().max()) <= 1e-12


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_frequencies_are_those_of_numpy(n):
    np.testing.assert_array_equal(frequencies(n).numpy(), np.fft.fftshift(np.fft.fftfreq(n) * n).round())


def test_zero_frequency_is_the_mean():
    x = random((5, 6, 7))
    assert complex(fft(x)[2, 3, 3]).real == pytest.approx(float(x.mean()) * math.sqrt(5 * 6 * 7), abs=1e-12)


def reference_resample(x, shape):
    """Evaluate the trigonometric interpolant of x at the new grid's points, the Nyquist term of even axes as a cosine.

    A coarser grid first drops every frequency above its own limit; the pair at its Nyquist folds into one sample.
    """
    for axis, m in enumerate(shape):
        n = x.shape[axis]
        if n == m:
            continue
        k = np.arange(n) - n // 2
        points = (np.arange(m) - m // 2) * n / m  # old index minus n // 2
        basis = np.exp(2j * np.pi * np.outer(points, k) / n)
        if n % 2 == 0:
            basis[:, 0] = np.cos(np.pi * points)  # -n/2 stands for both ends of the band
        if m < n:
            basis[:, np.abs(k) > m / 2] = 0
        analysis = np.exp(-2j * np.pi * np.outer(k, np.arange(n) - n // 2) / n) / n
        x = np.moveaxis(np.tensordot((basis @ analysis).real, x, (1, axis)), 0, axis)
    return x


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_resample_grid_is_trigonometric_interpolation(old, new):
    x = random(old)
    np.testing.assert_allclose(resample_grid(x, new).numpy(), reference_resample(x.numpy(), new), atol=1e-12)


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_resample_grid_keeps_mean_realness_and_type(old, new):
    x = random((2, *old), dtype=torch.float32)
    y = resample_grid(x, new)
    assert y.dtype == torch.float32
    assert y.shape == (2, *new)
    torch.testing.assert_close(y.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-6, rtol=1e-5)
    complex_result = resample_grid(x.to(torch.complex128), new)
    assert float(complex_result.imag.abs().max()) < 1e-12  # no imaginary part had to be dropped


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_resample_grid_adjoint(old, new):
    x, y = random(old, 1), random(new, 2)
    forward, backward = inner(resample_grid(x, new), y), inner(x, resample_grid_adjoint(y, old))
    assert abs(forward - backward) <= 1e-6 * abs(forward)


@pytest.mark.parametrize("new", [(8, 9, 10), (9, 12, 7), (11, 10, 20)])
def test_finer_grid_and_back_is_the_identity(new):
    x = random((8, 9, 7))
    torch.testing.assert_close(resample_grid(resample_grid(x, new), x.shape), x, atol=1e-12, rtol=0)


def affine_oblique():
    """Anisotropic, oblique and left-handed, with an offset."""
    angle = 0.3
    rotation = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, -1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([0.8, 1.1, 1.4])
    affine[:3, 3] = [-21.5, 13.25, 7.75]
    return torch.from_numpy(affine)


def blob(shape, affine, centre, width):
    """Gaussian in world coordinates, evaluated at the samples where `affine` says that they are."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    world = index @ affine.numpy()[:3, :3].T + affine.numpy()[:3, 3]
    return torch.from_numpy(np.exp(-((world - centre) ** 2).sum(-1) / (2 * width**2)))


def centre_of_mass(volume, affine):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in volume.shape), indexing="ij"), axis=-1)
    index = (grid * volume.numpy()[..., None]).sum((0, 1, 2)) / float(volume.sum())
    return affine.numpy()[:3, :3] @ index + affine.numpy()[:3, 3]


LANDMARK_SHAPES = [(32, 32, 32), (33, 32, 31), (33, 33, 33)]


@pytest.mark.parametrize("old", LANDMARK_SHAPES)
@pytest.mark.parametrize("new", [(24, 24, 24), (25, 24, 27), (23, 25, 21), (48, 50, 40), (49, 41, 45)])
def test_landmark_stays_in_place(old, new):
    affine = affine_oblique()
    centre = (affine @ torch.tensor([16.3, 15.6, 15.9, 1.0], dtype=torch.float64)).numpy()[:3]
    volume = blob(old, affine, centre, width=2.9)
    moved_affine = grid_affine(affine, old, new)
    moved = resample_grid(volume, new)
    # The whole blob where the new affine says, and its centre within a thousandth of a voxel (0.8 mm the smallest).
    torch.testing.assert_close(moved, blob(new, moved_affine, centre, width=2.9), atol=5e-4, rtol=0)
    assert np.abs(centre_of_mass(moved, moved_affine) - centre_of_mass(volume, affine)).max() < 0.8e-3


def test_grid_affine_states_the_rule_of_the_samples():
    affine = affine_oblique()
    old, new = (10, 11, 12), (7, 22, 6)
    moved = grid_affine(affine, old, new)
    for j in [(0, 0, 0), (3, 11, 3), (6, 21, 5)]:
        i = [(a - m // 2) * n / m + n // 2 for a, n, m in zip(j, old, new, strict=True)]
        expected = affine @ torch.tensor([*i, 1.0], dtype=torch.float64)
        torch.testing.assert_close(moved @ torch.tensor([*j, 1.0], dtype=torch.float64), expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(grid_affine(moved, new, old), affine, atol=1e-10, rtol=0)


def test_bad_grids_are_refused():
    x = random((4, 4, 4))
    with pytest.raises(GeometryError, match="three axes"):
        resample_grid(x, (4, 4))
    with pytest.raises(GeometryError, match="at least one sample"):
        resample_grid(x, (4, 0, 4))
    with pytest.raises(ConfigError, match="floating-point"):
        resample_grid(x.to(torch.int16), (3, 4, 4))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_decimation_keeps_every_rth_sample(r, s, m, q):
    """For every parity of the sizes, of an image without frequencies above the new grid's."""
    fine = low_pass(random((2, r * m, s * q)), DegradationSpec((1, r, s)))
    torch.testing.assert_close(decimate(fine, (1, r, s)), fine[:, ::r, ::s])


def test_decimation_by_a_number_that_does_not_divide():
    for factor in ((1, 1, 4), (1, 0, 1), (1, 2)):
        with pytest.raises(GeometryError, match="divisors"):
            decimate(random((2, 4, 6)), factor)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_aligned_samples_are_those_of_a_decimation(r, s, m, q):
    fine = low_pass(random((2, r * m, s * q)), DegradationSpec((1, r, s)))
    acquired = resample_grid(fine, (2, m, q))
    torch.testing.assert_close(align_samples(acquired, (1, r, s)), decimate(fine, (1, r, s)))
