"""Windows and the low-pass against NumPy and SciPy formulae, with exact fractions at the band edge."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.signal import windows as scipy_windows

from mdcsrn.errors import ConfigError
from mdcsrn.kspace import DegradationSpec, acquired_shape, fft, low_pass, passband, window, window_names

CASES = [
    ((16, 18, 20), (1, 2, 2)),
    ((15, 17, 21), (2, 2, 1)),
    ((16, 15, 14), (2, 2, 2)),
    ((12, 20, 25), (1, 5, 5)),
    ((10, 12, 16), (1, 1, 4)),
    ((17, 14, 21), (1.7, 1.4, 2.1)),
    ((13, 16, 19), (1, 1.25, 3.3)),
]


def random(shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def kept(n, r):
    """Integer frequencies that the convention keeps, factors taken as the decimals that they are typed as."""
    edge = Fraction(n) / (2 * Fraction(str(r)))
    return [k for k in range(-(n // 2), (n + 1) // 2) if r == 1 or abs(k) < edge]


def reference_low_pass(x, reduction):
    """Box low-pass with NumPy alone, in unshifted order, one frequency at a time."""
    spectrum = np.fft.fftn(x)
    for axis, r in enumerate(reduction):
        n = x.shape[axis]
        mask = np.zeros(n)
        for k in kept(n, r):
            mask[k % n] = 1
        spectrum = spectrum * np.expand_dims(mask, tuple(a for a in range(3) if a != axis))
    return np.fft.ifftn(spectrum)


@pytest.mark.parametrize(("shape", "reduction"), CASES)
def test_box_against_numpy(shape, reduction):
    x = random(shape, dtype=torch.float32)
    y = low_pass(x, DegradationSpec(reduction))
    expected = reference_low_pass(x.numpy().astype(np.float64), reduction)
    assert np.abs(expected.imag).max() < 1e-12  # the convention itself keeps a real image real
    assert y.dtype == torch.float32
    assert np.abs(y.numpy() - expected.real).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("n", [16, 17, 24, 126, 127])
@pytest.mark.parametrize("r", [1.0, 1.1, 1.4, 1.75, 2.0, 2.5, 3.0, 4.0, 8.0])
def test_passband_counts_and_symmetry(n, r):
    mask = passband((4, 4, n), DegradationSpec((1, 1, r)))
    expected = [k in kept(n, r) for k in range(-(n // 2), (n + 1) // 2)]
    assert mask.expand(1, 1, n).flatten().tolist() == expected
    if r > 1:
        assert int(mask.sum()) % 2 == 1
        assert acquired_shape((4, 4, n), (1, 1, r))[2] >= int(mask.sum())
        # No measured frequency is the acquired grid's unpaired one: both grids then hold the same measurement.
        assert max(kept(n, r)) < acquired_shape((4, 4, n), (1, 1, r))[2] / 2


def test_published_matrix_sizes():
    assert acquired_shape((256, 320, 320), (1, 2, 2)) == (256, 160, 160)
    assert acquired_shape((256, 320, 320), (1, 5, 5)) == (256, 64, 64)
    assert int(passband((1, 1, 320), DegradationSpec((1, 1, 2))).sum()) == 159
    assert int(passband((1, 1, 320), DegradationSpec((1, 1, 5))).sum()) == 63


@pytest.mark.parametrize("kind", window_names())
@pytest.mark.parametrize("shape", [(6, 12, 15), (5, 13, 16)])
def test_dc_is_kept_exactly_and_real_stays_real_and_signed(kind, shape):
    spec = DegradationSpec((1, 2, 2.5), window=kind)
    weights = window(shape, spec)
    assert float(weights[0, shape[1] // 2, shape[2] // 2]) == 1.0
    assert float(weights.min()) >= 0
    assert float(weights.max()) <= 1
    x = random(shape)
    y = low_pass(x, spec)
    assert abs(float(y.mean() - x.mean())) <= 1e-15 + 1e-12 * float(x.abs().mean())
    assert float(y.min()) < 0  # signed, not a magnitude
    assert float(low_pass(x.to(torch.complex128), spec).imag.abs().max()) < 1e-12


@pytest.mark.parametrize("kind", window_names())
def test_low_pass_is_self_adjoint(kind):
    spec = DegradationSpec((1.5, 2, 1), window=kind)
    x, y = random((9, 12, 5), 1), random((9, 12, 5), 2)
    left, right = float((low_pass(x, spec) * y).sum()), float((x * low_pass(y, spec)).sum())
    assert left == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize("kind", window_names(binary=True))
def test_binary_windows_are_idempotent(kind):
    spec = DegradationSpec((2, 1.5, 3), window=kind)
    once = low_pass(random((12, 13, 18)), spec)
    torch.testing.assert_close(low_pass(once, spec), once, atol=1e-13, rtol=0)


def test_ellipsoid_formula():
    shape, reduction = (9, 12, 14), (1, 2, 1.5)
    mask = passband(shape, DegradationSpec(reduction, window="ellipsoid"))
    for j, k in [(y - 6, z - 7) for y in range(12) for z in range(14)]:
        inside = (j / (12 / 4)) ** 2 + (k / (14 / 3)) ** 2 < 1 - 1e-12
        assert bool(mask[0, j + 6, k + 7]) == inside, (j, k)


def line(kind, parameter, n, r):
    """Weights along one axis from k = 0 to the last one that is kept."""
    weights = window((1, 1, n), DegradationSpec((1, 1, r), window=kind, window_parameter=parameter)).flatten().numpy()
    last = max(kept(n, r))
    np.testing.assert_array_equal(weights[: n // 2 - last], 0)
    np.testing.assert_array_equal(weights[n // 2 + last + 1 :], 0)
    np.testing.assert_allclose(
        weights[n // 2 - last : n // 2 + last + 1], weights[n // 2 - last : n // 2 + last + 1][::-1]
    )
    return weights[n // 2 : n // 2 + last + 1]


def test_windows_against_scipy():
    # 40 samples at r = 2: the edge is at |k| = 10, so SciPy's symmetric window of 21 points has it at both ends.
    centre_out = slice(10, 20)  # k = 0 ... 9; the edge itself is not measured
    np.testing.assert_allclose(
        line("hamming", None, 40, 2), scipy_windows.general_hamming(21, 0.54)[centre_out], atol=1e-12
    )
    for share in (0.25, 0.5, 1.0):
        np.testing.assert_allclose(line("tukey", share, 40, 2), scipy_windows.tukey(21, share)[centre_out], atol=1e-12)
    for sigma in (0.3, 0.5):
        np.testing.assert_allclose(
            line("gaussian", sigma, 40, 2), scipy_windows.gaussian(21, sigma * 10)[centre_out], atol=1e-12
        )
    np.testing.assert_array_equal(line("tukey", 0.0, 40, 2), 1)
    np.testing.assert_array_equal(line("box", None, 40, 2), 1)


@pytest.mark.parametrize(("n", "r"), [(21, 1.4), (31, 2.3)])
def test_windows_at_real_factors(n, r):
    u = np.array([k for k in kept(n, r) if k >= 0]) / (n / (2 * r))
    np.testing.assert_allclose(line("hamming", None, n, r), 0.54 + 0.46 * np.cos(math.pi * u), atol=1e-12)
    np.testing.assert_allclose(line("gaussian", 0.4, n, r), np.exp(-0.5 * (u / 0.4) ** 2), atol=1e-12)
    taper = np.where(u <= 0.4, 1, 0.5 + 0.5 * np.cos(math.pi * (u - 0.4) / 0.6))
    np.testing.assert_allclose(line("tukey", 0.6, n, r), taper, atol=1e-12)


def test_windows_multiply_over_the_axes():
    shape = (6, 12, 16)
    both = window(shape, DegradationSpec((1, 2, 2), window="hamming"))
    first = window(shape, DegradationSpec((1, 2, 1), window="hamming"))
    second = window(shape, DegradationSpec((1, 1, 2), window="hamming"))
    torch.testing.assert_close(both, first * second)


def test_no_reduction_leaves_every_bit():
    x = random((5, 6, 7), dtype=torch.float32)
    assert torch.equal(low_pass(x, DegradationSpec((1, 1, 1), window="hamming")), x)


def test_axes_that_are_not_reduced_keep_their_nyquist():
    x = random((8, 8, 8))
    spectrum = fft(low_pass(x, DegradationSpec((1, 1, 2))))
    assert float((spectrum[:, :, 4] - fft(x)[:, :, 4]).abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("kind", "parameter", "message"),
    [("hann", None, "unknown k-space window"), ("box", 0.5, "takes no parameter"), ("tukey", 1.5, "out of range"),
     ("gaussian", 0.0, "out of range"), ("gaussian", math.nan, "out of range")],
)  # fmt: skip
def test_bad_windows_are_refused(kind, parameter, message):
    with pytest.raises(ConfigError, match=message):
        DegradationSpec(window=kind, window_parameter=parameter)
