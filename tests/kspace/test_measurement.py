"""The measurement operator against explicit NumPy matrices, and the projector's properties over random grids."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.kspace import AxisMeasurement, Measurement, resample_grid
from mdcsrn.kspace.measurement import axis_inverse, axis_matrix

COMMON = settings(max_examples=100, deadline=None)


@st.composite
def fourier_axes(draw):
    n = draw(st.integers(1, 13))
    return AxisMeasurement(n, draw(st.integers(1, n)))


@st.composite
def profile_axes(draw):
    n = draw(st.integers(2, 6))
    kind = draw(st.sampled_from(["box", "gaussian"]))
    return AxisMeasurement(n * draw(st.integers(2, 4)), n, kind, draw(st.floats(0.5, 1.2)))


axes = st.one_of(fourier_axes(), profile_axes())
measurements = st.builds(lambda a, b, c: Measurement((a, b, c)), axes, axes, axes)
seeds = st.integers(0, 10_000)


def image(shape, seed):
    return torch.from_numpy(np.random.default_rng(seed).gamma(0.5, 100.0, shape))


def dense(measurement):
    """The whole operator as one NumPy matrix."""
    d, h, w = (axis_matrix(axis).numpy() for axis in measurement.axes)
    return np.kron(np.kron(d, h), w)


def _dft(n):
    k = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * np.outer(k, k) / n) / np.sqrt(n)


def _crop_matrix(n, s):
    """k-space crop n -> s written down anew: centred DFT, selection with the Nyquist sum, inverse DFT, mean kept."""
    select = np.zeros((s, n))
    for row, k in enumerate(np.arange(s) - s // 2):
        select[row, k + n // 2] = 1
    if s % 2 == 0 and s < n:
        select[0, s // 2 + n // 2] = 1
    return np.sqrt(s / n) * _dft(s).conj().T @ select @ _dft(n)


@pytest.mark.parametrize(("n", "s"), [(7, 7), (8, 4), (8, 5), (9, 4), (9, 6), (9, 8), (12, 11), (13, 1), (6, 2)])
def test_fourier_axis_is_the_crop_written_down_in_numpy(n, s):
    expected = _crop_matrix(n, s)
    np.testing.assert_allclose(expected.imag, 0, atol=1e-14)
    axis = AxisMeasurement(n, s)
    np.testing.assert_allclose(axis_matrix(axis).numpy(), expected.real, atol=1e-14)
    np.testing.assert_allclose(axis_inverse(axis).numpy(), np.linalg.pinv(expected.real), atol=1e-13)


@COMMON
@given(st.tuples(fourier_axes(), fourier_axes(), fourier_axes()), seeds)
def test_fourier_operator_is_the_grid_change(three, seed):
    measurement = Measurement(three)
    x = image(measurement.result_shape, seed)
    y = resample_grid(x, measurement.measured_shape)
    torch.testing.assert_close(measurement.forward(x), y, atol=1e-9, rtol=0)
    zero_filled = resample_grid(y, measurement.result_shape)
    torch.testing.assert_close(measurement.pseudo_inverse(y), zero_filled, atol=1e-9, rtol=0)


@COMMON
@given(measurements, seeds)
def test_operator_and_pseudo_inverse_are_those_of_the_dense_matrix(measurement, seed):
    if np.prod(measurement.result_shape) > 600:
        return
    matrix = dense(measurement)
    x = image(measurement.result_shape, seed)
    np.testing.assert_allclose(measurement.forward(x).numpy().ravel(), matrix @ x.numpy().ravel(), atol=1e-9)
    y = image(measurement.measured_shape, seed + 1)
    inverse = np.linalg.pinv(matrix, rcond=1e-9)
    np.testing.assert_allclose(measurement.pseudo_inverse(y).numpy().ravel(), inverse @ y.numpy().ravel(), atol=1e-6)


@COMMON
@given(measurements, seeds, st.floats(0, 3))
def test_projection_is_idempotent_orthogonal_and_never_raises_the_error(measurement, seed, wrong):
    truth = image(measurement.result_shape, seed)
    measured = measurement.forward(truth)
    result = truth + wrong * image(measurement.result_shape, seed + 1)
    projected = measurement.project(result, measured)
    scale = float(result.norm()) + float(truth.norm())
    assert measurement.certify(projected, measured).relative_error < 1e-10
    torch.testing.assert_close(measurement.project(projected, measured), projected, atol=1e-9 * scale, rtol=0)
    assert float((projected - truth).norm()) <= float((result - truth).norm()) * (1 + 1e-9) + 1e-9 * scale
    # Pythagoras: what changed and what is left are perpendicular.
    left = float((projected - truth).norm()) ** 2 + float((projected - result).norm()) ** 2
    assert left == pytest.approx(float((result - truth).norm()) ** 2, rel=1e-7, abs=1e-9 * scale**2)


@COMMON
@given(measurements, seeds)
def test_mean_of_a_flat_image_and_linearity(measurement, seed):
    flat = torch.full(measurement.result_shape, 7.0, dtype=torch.float64)
    torch.testing.assert_close(
        measurement.forward(flat), torch.full(measurement.measured_shape, 7.0, dtype=torch.float64), atol=1e-10, rtol=0
    )
    x, z = image(measurement.result_shape, seed), image(measurement.result_shape, seed + 1)
    both = measurement.forward(2 * x - z)
    torch.testing.assert_close(both, 2 * measurement.forward(x) - measurement.forward(z), atol=1e-8, rtol=0)


@COMMON
@given(measurements, seeds)
def test_plain_values_give_the_same_operator(measurement, seed):
    again = Measurement.from_dict(json.loads(json.dumps(measurement.to_dict())))
    assert again == measurement
    x = image(measurement.result_shape, seed)
    assert torch.equal(again.forward(x), measurement.forward(x))


def test_nyquist_binds_the_sum_and_not_the_two():
    """Moving energy from -2 to +2 cycles with the sum kept is not a change of what was measured (8 -> 4 samples)."""
    measurement = Measurement((AxisMeasurement(1, 1), AxisMeasurement(1, 1), AxisMeasurement(8, 4)))
    truth = image((1, 1, 8), 0)
    phase = 2 * np.pi * 2 * (torch.arange(8, dtype=torch.float64) - 4) / 8
    unseen = torch.sin(phase).view(1, 1, 8)  # its +-2 samples are opposite: their sum is zero
    seen = torch.cos(phase).view(1, 1, 8)
    measured = measurement.forward(truth)
    free = measurement.project(truth + 50 * unseen, measured)
    torch.testing.assert_close(free, truth + 50 * unseen, atol=1e-10, rtol=0)
    bound = measurement.project(truth + 50 * seen, measured)
    torch.testing.assert_close(bound, truth, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    "last", [AxisMeasurement(40, 23), AxisMeasurement(40, 10, "gaussian"), AxisMeasurement(40, 40)]
)
def test_float32_result_meets_the_bound(last):
    measurement = Measurement((AxisMeasurement(33, 17), AxisMeasurement(36, 18), last))
    measured = measurement.forward(image(measurement.result_shape, 0)).float()
    result = image(measurement.result_shape, 1).float()
    projected = measurement.project(result, measured)
    assert projected.dtype == torch.float32
    certificate = measurement.certify(projected, measured)
    assert certificate.relative_error <= 1e-6  # an order below what is promised
    assert measurement.certify(result, measured).relative_error > 0.1
    assert certificate.bound_share == pytest.approx(17 * 18 * last.measured / (33 * 36 * 40))


def test_certificate_is_the_relative_error_written_down_in_numpy():
    measurement = Measurement((AxisMeasurement(5, 5), AxisMeasurement(6, 3), AxisMeasurement(8, 4, "box", 0.8)))
    x, y = image((5, 6, 8), 0), image((5, 3, 4), 1)
    simulated = dense(measurement) @ x.numpy().ravel()
    expected = np.linalg.norm(simulated - y.numpy().ravel()) / np.linalg.norm(y)
    certificate = measurement.certify(x, y)
    assert certificate.relative_error == pytest.approx(expected, rel=1e-12)
    assert certificate.kinds == ("fourier", "fourier", "box")
    assert json.loads(json.dumps(certificate.to_dict()))["measured_shape"] == [5, 3, 4]
    nothing = measurement.certify(x, torch.zeros(5, 3, 4, dtype=torch.float64))
    assert nothing.relative_error == pytest.approx(np.linalg.norm(simulated), rel=1e-12)


def test_one_changed_voxel_shows_in_the_certificate():
    measurement = Measurement((AxisMeasurement(40, 40), AxisMeasurement(36, 18), AxisMeasurement(32, 16)))
    measured = measurement.forward(image((40, 36, 32), 0)).float()
    projected = measurement.project(image((40, 36, 32), 1).float(), measured)
    before = measurement.certify(projected, measured).relative_error
    projected[20, 18, 16] += 0.05 * projected.max()
    assert measurement.certify(projected, measured).relative_error > 100 * before


@pytest.mark.parametrize("kind", ["box", "gaussian"])
@pytest.mark.parametrize("thickness", [0.6, 1.0, 1.3])
def test_slice_profile_is_the_integral_over_each_plane(kind, thickness):
    n, m = 5, 15
    matrix = axis_matrix(AxisMeasurement(m, n, kind, thickness)).numpy()
    sigma = thickness / np.sqrt(8 * np.log(2))

    def profile(z):
        return (abs(z) <= thickness / 2) / thickness if kind == "box" else stats.norm.pdf(z, scale=sigma)

    row = 2  # its slab lies inside the field of view
    for j in range(m):
        centre = (j - m // 2) * n / m + n // 2 - row
        breaks = [p for p in (-thickness / 2, thickness / 2) if abs(p - centre) < n / (2 * m)]
        area, _ = integrate.quad(profile, centre - n / (2 * m), centre + n / (2 * m), points=breaks or None)
        assert matrix[row, j] == pytest.approx(area, abs=1e-4)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    half = matrix[row] @ ((np.arange(m) - m // 2) * n / m + n // 2)
    assert half == pytest.approx(row, abs=1e-12)  # its centre of mass is where the slice is


def test_gap_leaves_the_planes_between_slices_free():
    """Slices of half the distance: a plane in the middle of a gap belongs to none and keeps the network's value."""
    axis = AxisMeasurement(20, 5, "box", 0.4)
    free = np.flatnonzero(axis_matrix(axis).numpy().sum(axis=0) == 0)
    assert len(free) > 0
    measurement = Measurement((AxisMeasurement(3, 3), AxisMeasurement(3, 3), axis))
    result = image((3, 3, 20), 0)
    projected = measurement.project(result, image((3, 3, 5), 1))
    assert torch.equal(projected[..., free], result[..., free])


def test_condition_says_when_slices_overlap_too_much():
    assert AxisMeasurement(40, 10).condition == 1
    assert AxisMeasurement(40, 10, "gaussian", 1.0).condition < 4
    assert AxisMeasurement(40, 10, "gaussian", 2.5).condition > 30


def test_batches_and_projection_onto_an_identity():
    measurement = Measurement((AxisMeasurement(4, 2), AxisMeasurement(5, 5), AxisMeasurement(6, 3)))
    x, y = image((2, 3, 4, 5, 6), 0), image((2, 3, 2, 5, 3), 1)
    projected = measurement.project(x, y)
    assert torch.equal(projected[1, 2], measurement.project(x[1, 2], y[1, 2]))
    same = Measurement((AxisMeasurement(4, 4), AxisMeasurement(5, 5), AxisMeasurement(6, 6)))
    torch.testing.assert_close(same.project(x, x + 1), x + 1, atol=1e-12, rtol=1e-12)
    before = x.clone()
    same.forward(x).add_(1)  # a copy, never the input itself
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "values",
    [
        {"result": 4, "measured": 5},
        {"result": 4, "measured": 0},
        {"result": 4.0, "measured": 2},
        {"result": 4, "measured": 2, "kind": "sinc"},
        {"result": 4, "measured": 2, "kind": "box", "thickness": 0},
        {"result": 4, "measured": 2, "kind": "box", "thickness": float("nan")},
        {"result": 4, "measured": 2, "width": 3},
        {"result": 4},
    ],
)
def test_values_that_are_no_measurement_are_refused(values):
    good = {"result": 4, "measured": 2}
    with pytest.raises(ConfigError):
        Measurement.from_dict({"axes": [good, good, values]})


def test_wrong_grids_are_refused():
    measurement = Measurement((AxisMeasurement(4, 2), AxisMeasurement(4, 4), AxisMeasurement(4, 4)))
    with pytest.raises(GeometryError):
        measurement.forward(torch.zeros(5, 4, 4))
    with pytest.raises(GeometryError):
        measurement.project(torch.zeros(4, 4, 4), torch.zeros(4, 4, 4))
    with pytest.raises(GeometryError):
        measurement.certify(torch.zeros(2, 4, 4, 4), torch.zeros(2, 4, 4))
    with pytest.raises(ConfigError):
        measurement.forward(torch.zeros(4, 4, 4, dtype=torch.int16))
