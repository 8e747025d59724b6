"""Data consistency against NumPy, and the figures of its certificate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.kspace import DegradationSpec, certify, degrade, fft, passband, project, window, window_names


def random(shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


CASES = [((9, 12, 14), (1, 2, 2)), ((8, 11, 13), (2, 1.5, 1)), ((10, 10, 10), (2, 2, 2))]


def numpy_fft(x):
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(x), norm="ortho"))


def numpy_ifft(k):
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(k), norm="ortho"))


@pytest.mark.parametrize(("shape", "reduction"), CASES)
def test_box_replaces_the_passband_and_nothing_else(shape, reduction):
    spec = DegradationSpec(reduction)
    truth, result = random(shape, 1), random(shape, 2)
    projected = project(result, degrade(truth, spec), spec)
    mask = passband(shape, spec).expand(shape).numpy()
    expected = numpy_ifft(np.where(mask, numpy_fft(truth.numpy()), numpy_fft(result.numpy())))
    assert np.abs(expected.imag).max() < 1e-12
    np.testing.assert_allclose(projected.numpy(), expected.real, atol=1e-12)


@pytest.mark.parametrize("kind", window_names())
@pytest.mark.parametrize(("shape", "reduction"), CASES)
def test_projection_is_idempotent_and_keeps_dc(kind, shape, reduction):
    spec = DegradationSpec(reduction, window=kind)
    truth, result = random(shape, 1), random(shape, 2)
    measured = degrade(truth, spec)
    once = project(result, measured, spec)
    torch.testing.assert_close(project(once, measured, spec), once, atol=1e-12, rtol=0)
    assert float(once.mean()) == pytest.approx(float(truth.mean()), abs=1e-14)
    torch.testing.assert_close(project(truth, measured, spec), truth, atol=1e-12, rtol=0)  # the truth agrees already


@pytest.mark.parametrize("kind", window_names(binary=False))
def test_apodised_measurement_is_divided_by_its_window_above_the_threshold(kind):
    shape, spec, threshold = (7, 12, 16), DegradationSpec((1, 2, 2), window=kind), 0.6
    truth, result = random(shape, 1), random(shape, 2)
    projected = project(result, degrade(truth, spec), spec, threshold)
    weights = window(shape, spec).expand(shape)
    bound = weights >= threshold
    assert 0 < int(bound.sum()) < int((weights > 0).sum())
    expected = torch.where(bound, fft(truth), fft(result))
    torch.testing.assert_close(fft(projected), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("shape", "reduction"), CASES)
def test_measurement_on_the_acquired_grid_is_the_same(shape, reduction):
    truth, result = random(shape, 1), random(shape, 2)
    filled = DegradationSpec(reduction)
    acquired = DegradationSpec(reduction, grid="acquired")
    small = degrade(truth, acquired)
    assert small.shape != truth.shape
    torch.testing.assert_close(
        project(result, small, acquired), project(result, degrade(truth, filled), filled), atol=1e-12, rtol=0
    )
    assert certify(truth, small, acquired).relative_error < 1e-12


def test_batches_and_channels():
    spec = DegradationSpec((1, 2, 2))
    truth, result = random((2, 1, 6, 8, 10), 1), random((2, 1, 6, 8, 10), 2)
    measured = degrade(truth, spec)
    both = project(result, measured, spec)
    for i in range(2):
        torch.testing.assert_close(both[i, 0], project(result[i, 0], measured[i, 0], spec), atol=1e-12, rtol=0)


def test_certificate_figures():
    shape, spec = (9, 12, 15), DegradationSpec((1, 2, 2.5))
    truth, result = random(shape, 1), random(shape, 2)
    measured = degrade(truth, spec)
    mask = passband(shape, spec).expand(shape).numpy()
    target = numpy_fft(truth.numpy()) * mask
    expected = np.linalg.norm(numpy_fft(result.numpy()) * mask - target) / np.linalg.norm(target)
    certificate = certify(result, measured, spec)
    assert certificate.relative_error == pytest.approx(expected, rel=1e-10)
    assert certificate.bound_share == pytest.approx(mask.mean(), rel=1e-12)
    assert not certificate.noisy
    assert certificate.spec_sha256 == spec.sha256
    assert certify(project(result, measured, spec), measured, spec).relative_error < 1e-12
    # One per cent more intensity is one per cent of disagreement.
    assert certify(1.01 * truth, measured, spec).relative_error == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize("kind", window_names(binary=False))
def test_certificate_with_apodisation(kind):
    shape, spec, threshold = (7, 12, 16), DegradationSpec((1, 2, 2), window=kind), 0.6
    truth, result = random(shape, 1), random(shape, 2)
    measured = degrade(truth, spec)
    weights = window(shape, spec).expand(shape).numpy()
    bound = weights >= threshold
    target = numpy_fft(measured.numpy())[bound]
    expected = np.linalg.norm((weights * numpy_fft(result.numpy()))[bound] - target) / np.linalg.norm(target)
    certificate = certify(result, measured, spec, threshold)
    assert certificate.relative_error == pytest.approx(expected, rel=1e-10)
    assert certificate.bound_share == pytest.approx(bound.mean(), rel=1e-12)
    assert certificate.threshold == threshold
    assert certify(truth, measured, spec).relative_error < 1e-12


def test_certificate_in_float32_and_with_noise():
    spec = DegradationSpec((1, 2, 2), noise=0.01)
    truth = random((12, 16, 16), 1, torch.float32).abs()
    measured = degrade(truth, spec)
    projected = project(random((12, 16, 16), 2, torch.float32), measured, spec)
    assert projected.dtype == torch.float32
    certificate = certify(projected, measured, spec)
    assert certificate.noisy
    assert certificate.relative_error < 1e-6
    assert set(certificate.to_dict()) == {"relative_error", "bound_share", "threshold", "noisy", "spec_sha256"}


def test_full_scan_binds_everything():
    spec = DegradationSpec((1, 1, 1))
    truth, result = random((4, 5, 6), 1), random((4, 5, 6), 2)
    assert torch.equal(project(result, truth, spec), truth)
    certificate = certify(result, truth, spec)
    assert certificate.bound_share == 1
    assert certificate.relative_error == pytest.approx(float((result - truth).norm() / truth.norm()), rel=1e-10)


def test_empty_measurement_gives_an_absolute_error():
    spec = DegradationSpec((1, 1, 1))
    result = random((4, 5, 6))
    assert certify(result, torch.zeros(4, 5, 6), spec).relative_error == pytest.approx(float(result.norm()), rel=1e-10)


def test_refusals():
    x = random((8, 8, 8))
    with pytest.raises(ConfigError, match="off with partial Fourier"):
        project(x, x, DegradationSpec(partial_fourier=(1, 1, 0.75)))
    for threshold in (0.0, 1.1):
        with pytest.raises(ConfigError, match="threshold"):
            project(x, x, DegradationSpec(), threshold)
    with pytest.raises(GeometryError, match="finer"):
        project(x, random((8, 9, 8)), DegradationSpec())
    with pytest.raises(GeometryError, match="batch or channels"):
        project(x[None], x, DegradationSpec())
