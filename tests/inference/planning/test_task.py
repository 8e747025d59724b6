"""Plans: the band edge end to end on four kinds of one scan, the three tasks, padding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.inference.planning.plan import Plan, pad_periodic
from mdcsrn.inference.planning.task import Task, make_plan
from mdcsrn.io import Volume, read_volume
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.kspace import resample_grid

UNKNOWN = ScanFacts()
THREE_D = ScanFacts(acquisition="3D")


def native(shape, spacing=(1.0, 1.0, 1.0), seed=0):
    """A volume whose band is full: smooth anatomy and noise."""
    rng = np.random.default_rng(seed)
    array = 100 * ndimage.gaussian_filter(rng.random(shape), 2, mode="wrap") + rng.normal(0, 3, shape) + 50
    return Volume(array.astype(np.float32), np.diag([*spacing, 1.0]))


def zero_filled(shape, acquired, spacing=(1.0, 1.0, 1.0)):
    volume = native(acquired)
    return Volume(resample_grid(torch.from_numpy(volume.array), shape).numpy(), np.diag([*spacing, 1.0]))


# One real scan, four ways to store it: (name, out-of-band energy from, to, found).
STORED = [
    ("float", lambda low, full: low, 1e-9, 1e-5, True),
    ("int16", lambda low, full: np.rint(low), 1e-4, 1e-2, True),
    ("magnitude", lambda low, full: np.abs(low), 1e-3, 3e-2, True),
    ("full band", lambda low, full: full, 2e-2, 2e-1, False),
]


@pytest.fixture(scope="module")
def scan_and_low(shared_data: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """A real full-band scan (axis 2 along its rows) and itself with half of axis 0 left out."""
    full = read_volume(shared_data / "t1w/test/fnndsc-adi_T1w.nii.gz").array[:, 40:-40, 30:-30].copy()
    kept = full.shape[0] // 2
    crop = resample_grid(torch.from_numpy(full), (kept, *full.shape[1:]))
    return full, resample_grid(crop, full.shape).numpy(), kept


@pytest.mark.parametrize(("name", "store", "least", "most", "found"), STORED, ids=[row[0] for row in STORED])
def test_band_edge_end_to_end(scan_and_low, name, store, least, most, found) -> None:
    full, low, kept = scan_and_low
    array = store(low, full).astype(np.float32)
    spectrum = np.abs(np.fft.fft(array.astype(np.float64), axis=0)) ** 2
    beyond = np.abs(np.fft.fftfreq(len(array)) * len(array)) > kept / 2 + 1
    assert least < np.sqrt(spectrum[beyond].sum() / spectrum[1:].sum()) < most  # what a fixed level would have met
    plan = make_plan(Volume(array, np.eye(4)), THREE_D, Task())
    if not found:
        assert plan.kind == "nothing"
        assert [notice.name for notice in plan.notices] == ["no-empty-band"]
        np.testing.assert_array_equal(plan.low(torch.from_numpy(array)).numpy(), array)
        return
    assert plan.kind == "same-grid"
    assert plan.notices == ()
    assert plan.acquired_shape[0] in (kept - 1, kept + 1)  # odd: the Nyquist pair of an even matrix is in, or not
    assert plan.acquired_shape[1:] == full.shape[1:]
    assert f"acquired {plan.acquired_shape[0]} of {len(array)} samples" in plan.reasons[0]
    assert "step" in plan.reasons[0]
    assert "margin" in plan.reasons[0]
    filled = plan.low(torch.from_numpy(array)).numpy()
    spectrum = np.abs(np.fft.fft(filled.astype(np.float64), axis=0)) ** 2
    assert spectrum[beyond].sum() < 1e-10 * spectrum.sum()  # what rounding and magnitude left there is not taken
    inside = np.linalg.norm(filled - low) / np.linalg.norm(low)
    assert inside < (0.02 if name == "magnitude" else 0.01)


def test_real_interpolated_scan_and_its_plain_values(shared_data: Path) -> None:
    volume = read_volume(shared_data / "t1w/val/ds000011-05_T1w.nii.gz")
    plan = make_plan(volume, UNKNOWN, Task())
    assert plan.kind == "same-grid"
    assert 0.72 <= plan.acquired_shape[0] / 160 <= 0.82
    np.testing.assert_allclose(plan.affine, volume.affine)
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again.to_dict() == plan.to_dict()
    array = torch.from_numpy(volume.array)
    assert torch.equal(again.low(array), plan.low(array))
    assert plan.measurement is not None
    certificate = plan.measurement.certify(plan.low(array), plan.measured(array))
    assert certificate.relative_error < 1e-6


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(2, 14)] * 3),
    st.tuples(*[st.one_of(st.just(1.0), st.floats(1, 3.5))] * 3),
    st.integers(0, 99),
)
def test_factor_refines_by_zero_filling(shape, factor, seed) -> None:
    volume = native(shape, (0.8, 1.0, 1.3), seed)
    plan = make_plan(volume, THREE_D, Task("factor", factor=factor))
    assert plan.shape == tuple(round(n * f) for n, f in zip(shape, factor, strict=True))
    assert plan.acquired_shape == shape
    array = torch.from_numpy(volume.array)
    torch.testing.assert_close(plan.low(array), resample_grid(array, plan.shape), atol=1e-3, rtol=1e-5)
    assert torch.equal(plan.measured(array), array)
    expected = [d * n / m for d, n, m in zip((0.8, 1.0, 1.3), shape, plan.shape, strict=True)]
    np.testing.assert_allclose(plan.spacing, expected, rtol=1e-12)
    # Index n // 2 of the two grids is one point of the world.
    for matrix, size in ((volume.affine, shape), (plan.affine, plan.shape)):
        point = matrix @ [*(n // 2 for n in size), 1]
        np.testing.assert_allclose(point, volume.affine @ [*(n // 2 for n in shape), 1], atol=1e-9)
    if plan.shape == shape:
        assert plan.kind == "nothing"
        assert [n.name for n in plan.notices] == ["nothing-to-refine"]
    else:
        assert plan.kind == "factor"
        np.testing.assert_allclose(plan.reduction, np.array(plan.shape) / shape)


def test_to_spacing_writes_what_the_grid_has() -> None:
    volume = native((40, 36, 50), (1.2, 1.0, 0.9))
    plan = make_plan(volume, THREE_D, Task("to-spacing", spacing=(0.7, 0.7, 0.7)))
    assert plan.shape == (round(40 * 1.2 / 0.7), round(36 / 0.7), round(50 * 0.9 / 0.7))
    np.testing.assert_allclose(plan.spacing, [48 / 69, 36 / 51, 45 / 64], rtol=1e-12)
    assert plan.padding == ((0, 0), (0, 0), (0, 0))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(30, 90),
    st.sampled_from([0.875, 1.0, 1.2, 4 / 3, 1.5]),
    st.sampled_from([0.5, 0.7, 0.75, 0.8]),
    st.integers(0, 2),
)
def test_exact_field_meets_the_spacing_and_keeps_the_samples_in_place(size, edge, target, axis) -> None:
    shape, spacing, targets = [7, 8, 9], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]
    shape[axis], spacing[axis], targets[axis] = size, edge, target
    volume = native(shape, spacing)
    plan = make_plan(volume, THREE_D, Task("to-spacing", spacing=tuple(targets), exact_field=True))
    np.testing.assert_allclose(plan.spacing, targets, rtol=1e-4)
    padded = [n + before + after for n, (before, after) in zip(shape, plan.padding, strict=True)]
    assert plan.acquired_shape == tuple(padded)
    assert padded[axis] * edge == pytest.approx(plan.shape[axis] * plan.spacing[axis], rel=1e-9)
    array = torch.from_numpy(volume.array)
    # Zero-filling interpolates: cropping back gives the input's voxels, where they were before.
    back = resample_grid(plan.low(array), padded)
    inner = tuple(slice(b, b + n) for n, (b, _) in zip(shape, plan.padding, strict=True))
    torch.testing.assert_close(back[inner], array, atol=1e-2, rtol=1e-4)
    # Index m // 2 of the result is index N // 2 of the padded volume.
    middle = [n // 2 - b for n, (b, _) in zip(padded, plan.padding, strict=True)]
    np.testing.assert_allclose(
        plan.affine @ [*(m // 2 for m in plan.shape), 1], volume.affine @ [*middle, 1], atol=1e-9
    )


def test_padding_that_would_more_than_double_an_axis_is_refused() -> None:
    with pytest.raises(ConfigError, match="no padding of axis 0"):
        make_plan(
            native((8, 8, 8), (0.859375, 1, 1)), THREE_D, Task("to-spacing", spacing=(0.7, 1, 1), exact_field=True)
        )


def test_padding_makes_no_new_edge() -> None:
    array = torch.linspace(0, 10, 11).view(1, 1, 11)
    padded = pad_periodic(array, ((0, 0), (0, 0), (1, 3)))
    expected = [2.0, *range(11), 8.0, 6.0, 4.0]  # periodically 10, 8, 6, 4, 2, 0
    torch.testing.assert_close(padded.flatten(), torch.tensor(expected))
    assert pad_periodic(array, ((0, 0), (0, 0), (0, 0))) is array


def test_coarser_target_keeps_the_axis_and_says_so() -> None:
    plan = make_plan(native((40, 36, 34), (0.5, 1.0, 1.0)), THREE_D, Task("to-spacing", spacing=(0.7, 0.7, 1.0)))
    assert plan.shape == (40, 51, 34)
    assert plan.spacing[0] == pytest.approx(0.5)
    assert [notice.name for notice in plan.notices] == ["coarser-than-scan"]
    assert "0.5 mm" in plan.notices[0].text
    assert "0.7 mm" in plan.notices[0].text


def test_interpolated_scan_is_refined_from_its_acquired_matrix() -> None:
    volume = zero_filled((64, 48, 40), (40, 48, 40), (0.5, 1.0, 1.0))
    plan = make_plan(volume, THREE_D, Task("factor", factor=(1, 2, 1)))
    assert plan.shape == (64, 96, 40)
    assert plan.acquired_shape[0] in (39, 41)
    assert plan.acquired_shape[1:] == (48, 40)
    # a target coarser than the interpolated grid and finer than the acquired one gives up nothing
    coarse = make_plan(volume, THREE_D, Task("to-spacing", spacing=(0.7, 0.5, 1.0)))
    assert coarse.shape == (round(64 * 0.5 / 0.7), 96, 40)
    assert coarse.notices == ()
    assert coarse.acquired_shape == plan.acquired_shape


def test_short_axes_are_not_assessed() -> None:
    plan = make_plan(native((20, 64, 64)), THREE_D, Task("same-grid"))
    assert plan.reasons[0].startswith("axis 0: not assessed (20 samples")
    assert "no empty band among 64 samples" in plan.reasons[1]
    assert plan.kind == "nothing"


def test_single_sample_axis_stays() -> None:
    plan = make_plan(native((1, 40, 40)), THREE_D, Task("factor", factor=(2, 2, 2)))
    assert plan.shape == (1, 80, 80)
    assert [notice.name for notice in plan.notices] == ["single-sample-axis"]


def test_consistency_off_leaves_the_band_known() -> None:
    plan = make_plan(native((40, 40, 40)), THREE_D, Task("factor", factor=(1, 2, 2), consistency=False))
    assert plan.measurement is None
    assert plan.acquired_shape == (40, 40, 40)
    assert plan.shape == (40, 80, 80)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "sharpen"},
        {"kind": "factor"},
        {"kind": "factor", "factor": (0.5, 1, 1)},
        {"kind": "factor", "factor": (2, 2)},
        {"kind": "factor", "factor": (2, 2, float("nan"))},
        {"kind": "factor", "factor": (2, 2, 2), "spacing": (1, 1, 1)},
        {"kind": "to-spacing", "spacing": (0, 1, 1)},
        {"kind": "to-spacing", "spacing": (1, 1, float("inf"))},
        {"kind": "same-grid", "factor": (2, 2, 2)},
        {"kind": "same-grid", "exact_field": True},
        {"slice_profile": "sinc"},
    ],
)
def test_tasks_that_make_no_sense_are_refused(values) -> None:
    with pytest.raises(ConfigError):
        Task(**values)


def test_absurd_size_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(ConfigError, match="absurdly large"):
        make_plan(native((8, 8, 8)), THREE_D, Task("factor", factor=(1000, 1000, 1000)))


def test_plan_is_of_one_volume_and_its_values_are_checked() -> None:
    plan = make_plan(native((8, 9, 10)), THREE_D, Task("factor", factor=(2, 1, 1)))
    with pytest.raises(GeometryError):
        plan.measured(torch.zeros(8, 9, 11))
    values = plan.to_dict()
    for key in set(values) - {"acquired_shape", "spacing_mm"}:  # these two follow from others
        with pytest.raises(ConfigError):
            Plan.from_dict({k: v for k, v in values.items() if k != key})
