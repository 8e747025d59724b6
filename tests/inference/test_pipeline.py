"""From a scan to a restored volume: better than zero-filling, consistent, on the right grid, in the input's unit."""

from __future__ import annotations

import contextlib
import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mdcsrn.errors import ConfigError, DataError, RefusedError
from mdcsrn.inference import Prediction, RunSettings, Task, predict
from mdcsrn.inference.backends.kept import RUNNERS
from mdcsrn.inference.planning.head_region import head_region
from mdcsrn.inference.planning.prepare import prepare
from mdcsrn.inference.running.memory import GIB, give_back, resident
from mdcsrn.inference.running.slab_route import TooLittleMemory
from mdcsrn.inference.uncertainty import symmetries
from mdcsrn.io import Volume, read_volume
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.kspace.intensity import percentile
from mdcsrn.metrics import data_range, head_mask, psnr
from mdcsrn.networks import load_weights, save_weights

FACTS = ScanFacts(contrast="T1w", acquisition="3D")
# Oblique, left-handed, anisotropic.
AFFINE = np.array([[-0.9, 0.1, 0.05, 40.0], [0.12, 1.1, -0.2, -30.0], [0.02, 0.15, 1.3, 12.0], [0, 0, 0, 1.0]])
PLAIN = {"backend": "eager", "precision": "float32"}  # the same arithmetic as the reference


@pytest.fixture(scope="module")
def truth(shared_data) -> Volume:
    """The middle of a brain that was in no training."""
    scan = read_volume(shared_data / "t1w/test/ds002748-66_T1w.nii.gz")
    return scan.replace(scan.array[40:104, 46:110, 14:74])


@pytest.fixture(scope="module")
def small(random_network, tmp_path_factory) -> Path:
    """Weights of a network that is quick, and wrong enough for consistency to have something to do."""
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    network = random_network(2, 2, 2)
    network.recon.weight.mul_(0.1)
    save_weights(path, network)
    return path


@pytest.fixture(scope="module")
def ball() -> Volume:
    """Bright tissue with texture in noisy air; shape (30, 36, 33)."""
    shape, rng = (30, 36, 33), np.random.default_rng(0)
    grid = np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    head = np.sqrt((grid**2).sum(axis=0)) < 12
    return Volume(head * rng.gamma(4, 50, shape) + np.abs(rng.normal(0, 2, shape)), AFFINE)


def restore(volume: Volume, weights: Path, factor=(1.0, 1.5, 2.0), **settings) -> Prediction:
    task = settings.pop("task", None) or Task("factor", factor=factor)
    progress = settings.pop("progress", None)
    run = RunSettings(**{**PLAIN, **settings})
    return predict(volume, task, run, facts=FACTS, model=weights, progress=progress)


def coefficients(array: NDArray, shape: tuple[int, ...]) -> NDArray:
    """NumPy's k-space of an image at |k| < n/2 of `shape`, over the number of voxels: an independent certificate."""
    k = np.fft.fftn(np.fft.ifftshift(array.astype(np.float64))) / array.size
    for axis, (n, size) in enumerate(zip(shape, k.shape, strict=True)):
        k = k.take(np.r_[0 : (n + 1) // 2, size - (n - 1) // 2 : size], axis)
    return k


def world(affine: NDArray, index: NDArray) -> NDArray:
    return index @ affine[:3, :3].T + affine[:3, 3]


def test_a_zero_filled_scan_is_restored(truth) -> None:
    """The scanner's interpolation is found, and the restored scan is nearer to the truth than the zero-filled one."""
    exact = torch.from_numpy(truth.array)
    scan = truth.replace(degrade(exact, DegradationSpec((1.0, 2.0, 2.0))).numpy())
    found = predict(scan, facts=FACTS)
    assert found.plan.kind == "same-grid"
    assert found.plan.reduction == pytest.approx((1, 2, 2), rel=0.08)
    np.testing.assert_array_equal(found.volume.affine, truth.affine)
    peak, head = data_range(exact), head_mask(exact)
    before, after = (psnr(torch.from_numpy(v.array), exact, peak, head) for v in (scan, found.volume))
    assert after > before + 0.3
    assert found.certificate is not None
    assert found.certificate.relative_error <= 1e-5
    assert found.raw_certificate.relative_error > 10 * found.certificate.relative_error
    assert found.volume.array.dtype == np.float32
    assert set(found.maps) == {"invention"}


def test_a_finer_grid_of_a_real_scan(truth) -> None:
    """`--factor` on a scan of the acquired grid: every measured coefficient is still there, says NumPy."""
    whole = torch.from_numpy(truth.array)
    scan = truth.replace(degrade(whole, DegradationSpec((1.0, 2.0, 2.0), grid="acquired")).numpy())
    found = predict(scan, Task("factor", factor=(1, 2, 2)), RunSettings(**PLAIN), facts=FACTS)
    assert found.volume.shape == tuple(n * f for n, f in zip(scan.shape, (1, 2, 2), strict=True))
    measured = coefficients(scan.array, scan.shape)
    kept = coefficients(found.volume.array, scan.shape)
    assert np.abs(kept - measured).max() <= 1e-5 * np.abs(measured).max()
    assert np.linalg.norm(kept - measured) <= 1e-5 * np.linalg.norm(measured)
    assert found.certificate.relative_error <= 1e-5
    added = found.maps["invention"].array
    assert added.min() >= 0
    assert added.max() > 0


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (Task("factor", factor=(1, 1.5, 2)), (30, 54, 66)),
        (Task("factor", factor=(1.34, 1, 1)), (40, 36, 33)),
        (Task("to-spacing", spacing=(0.7, 1.0, 0.9)), None),
    ],
)
def test_grid_and_consistency(ball, small, task, shape) -> None:
    found = restore(ball, small, task=task)
    if shape is None:
        spacing = np.linalg.norm(AFFINE[:3, :3], axis=0)
        shape = tuple(round(n * s / t) for n, s, t in zip(ball.shape, spacing, task.spacing, strict=True))
        assert found.volume.spacing == pytest.approx(spacing * np.array(ball.shape) / shape)
    assert found.volume.shape == shape
    n, m = np.array(ball.shape), np.array(shape)
    j = np.random.default_rng(1).uniform(0, m, (27, 3))
    old = (j - m // 2) * n / m + n // 2  # DESIGN 2.5
    np.testing.assert_allclose(world(found.volume.affine, j), world(ball.affine, old), atol=1e-9)
    assert found.certificate.relative_error <= 1e-5
    assert found.raw_certificate.relative_error > 1e-3, "this network breaks what was measured"
    measured = coefficients(ball.array, ball.shape)
    np.testing.assert_allclose(
        coefficients(found.volume.array, ball.shape), measured, rtol=0, atol=1e-5 * np.abs(measured).max()
    )
    for other in (found.low, *found.maps.values()):
        assert other.shape == shape
        np.testing.assert_array_equal(other.affine, found.volume.affine)


@pytest.mark.parametrize("region", ["head", "all"])
def test_without_consistency_it_is_the_masked_network(ball, small, region) -> None:
    """The independent reference: one pass over all, the mask, the scale undone."""
    found = restore(ball, small, region=region, task=Task("factor", factor=(1, 1.5, 2), consistency=False))
    assert found.certificate is None
    assert found.raw_certificate is None
    low = torch.from_numpy(found.low.array)
    scale = np.percentile(found.low.array.astype(np.float64), 99.9)
    assert found.facts["scale"] == pytest.approx(scale, rel=1e-5)
    inside = head_region(low / found.facts["scale"]) if region == "head" else torch.ones_like(low, dtype=torch.bool)
    whole = load_weights(small)(low[None, None] / found.facts["scale"])[0, 0].detach() * found.facts["scale"]
    expected = torch.where(inside, whole, low).numpy()
    assert np.abs(found.volume.array - expected).max() <= 1e-5 * np.abs(expected).max()
    assert (region == "all") == bool(inside.all())


def test_the_flips_of_the_ensemble(ball, small) -> None:
    """Mean and spread against eight whole passes and NumPy."""
    shares: list[float] = []
    found = restore(ball, small, uncertainty=True, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert found.facts["ensemble"] == 8
    plan, network, scale = found.plan, load_weights(small), found.facts["scale"]
    low, y = torch.from_numpy(found.low.array) / scale, plan.measured(torch.from_numpy(ball.array)) / scale
    inside, passes = head_region(low), []
    for one in symmetries(plan):
        flipped = one.apply(low)
        result = torch.where(one.apply(inside), network(flipped[None, None])[0, 0].detach(), flipped)
        passes.append(plan.measurement.project(one.undo(result), y).numpy().astype(np.float64) * scale)
    peak = np.abs(found.volume.array).max()
    np.testing.assert_allclose(found.volume.array, passes[0], rtol=0, atol=1e-5 * peak)
    np.testing.assert_allclose(found.maps["mean"].array, np.mean(passes, axis=0), rtol=0, atol=1e-5 * peak)
    np.testing.assert_allclose(found.maps["spread"].array, np.std(passes, axis=0, ddof=1), rtol=0, atol=1e-5 * peak)
    assert found.maps["spread"].array.min() >= 0
    assert found.maps["spread"].array.max() > 1e-3 * peak
    mean = torch.from_numpy(found.maps["mean"].array)
    assert plan.measurement.certify(mean, y * scale).relative_error <= 1e-5
    np.testing.assert_array_equal(found.volume.array, restore(ball, small).volume.array)


@pytest.mark.parametrize("gain", [1024.0, 2.0**-60])
def test_the_unit_of_the_input_is_kept(ball, small, gain) -> None:
    plain, other = restore(ball, small), restore(ball.replace(ball.array * np.float32(gain)), small)
    peak = np.abs(plain.volume.array).max()
    for ours, theirs in ((plain.volume, other.volume), (plain.maps["invention"], other.maps["invention"])):
        np.testing.assert_allclose(theirs.array / gain, ours.array, rtol=0, atol=1e-5 * peak)
    assert other.certificate.relative_error <= 1e-5


def test_negative_intensities_are_nothing_special(ball, small) -> None:
    """No clipping anywhere: signed images, and those with an offset, stay consistent."""
    found = restore(ball.replace(ball.array - 100), small)
    assert found.volume.array.min() < -50
    assert found.certificate.relative_error <= 1e-5


@pytest.mark.parametrize("value", [0.0, -7.0])
def test_no_signal_is_refused(small, value) -> None:
    with pytest.raises(DataError, match="no signal"):
        restore(Volume(np.full((8, 9, 10), value), AFFINE), small)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 33), (3, 5, 2), (2, 1, 19), (7, 33, 1)])
def test_thin_and_tiny_volumes(small, shape) -> None:
    array = np.random.default_rng(0).gamma(2, 100, shape)
    found = restore(Volume(array, np.diag([1.0, 1.0, 1.0, 1.0])), small, factor=(1.0, 2.0, 2.0))
    # An axis of one sample cannot be refined.
    assert found.volume.shape == tuple(n if n == 1 else round(n * f) for n, f in zip(shape, (1, 2, 2), strict=True))
    assert found.certificate is None or found.certificate.relative_error <= 1e-5


def test_nothing_to_do_returns_the_very_input(ball, small) -> None:
    for task in (Task("factor", factor=(1, 1, 1)), Task()):
        found = restore(ball, small, task=task)
        assert found.plan.kind == "nothing"
        assert found.volume is ball
        assert found.low is ball
        assert (found.certificate, found.maps) == (None, {})
        assert found.facts["weights"]["file"] == "small.pt"
        with pytest.raises(RefusedError):
            restore(ball, small, task=task, strict=True)


def test_strict_refuses_what_lies_outside_the_trained_range(ball, small) -> None:
    names = {notice.name for notice in prepare(ball, Task("factor", factor=(1, 2, 2))).notices}
    assert {"contrast-unknown", "field-of-view-outside-trained-range"} <= names
    with pytest.raises(RefusedError, match="contrast-unknown"):
        predict(ball, Task("factor", factor=(1, 2, 2)), RunSettings(strict=True))
    with pytest.raises(RefusedError, match="trained-range-unknown"):
        restore(ball, small, strict=True)
    assert "trained-range-unknown" in {notice.name for notice in restore(ball, small).notices}


def test_warnings_of_the_file_are_told(ball, small) -> None:
    odd = Volume(ball.array, ball.affine, warnings=("qform and sform disagree",))
    found = restore(odd, small)
    assert [str(notice) for notice in found.notices if notice.name == "header"] == ["header: qform and sform disagree"]
    assert found.volume.warnings == odd.warnings


def test_memory_changes_nothing_and_twice_is_the_same(ball, small) -> None:
    first, again = restore(ball, small), restore(ball, small)
    np.testing.assert_array_equal(first.volume.array, again.volume.array)
    # What earlier tests left would make room in the middle of an attempt.
    RUNNERS.clear()
    gc.collect()
    little, allowed = None, 0.1  # GiB beside what the process holds: the first that suffices is just enough
    while little is None:
        allowed += 0.002
        give_back()
        with contextlib.suppress(TooLittleMemory):
            little = restore(ball, small, max_memory=resident() / GIB + allowed)
    assert little.facts["planes"] < first.facts["planes"]
    peak = np.abs(first.volume.array).max()
    np.testing.assert_allclose(little.volume.array, first.volume.array, rtol=0, atol=1e-5 * peak)


def test_the_input_stays_as_it_is(ball, small) -> None:
    before = ball.array.copy()
    restore(ball, small, uncertainty=True)
    np.testing.assert_array_equal(ball.array, before)


def test_what_is_told_of_a_prediction(ball, small) -> None:
    found = restore(ball, small, maps=False)
    assert found.maps == {}
    assert json.loads(json.dumps(found.facts, allow_nan=False)) == found.facts
    assert str(small.parent) not in json.dumps(found.facts), "no path of this machine"
    assert {"software", "torch", "weights", "region", "scale", "backend", "precision", "planes"} <= set(found.facts)
    assert {"plan", "zero-filling", "region", "network", "consistency"} <= set(found.timings)
    assert all(seconds >= 0 for seconds in found.timings.values())
    low = found.plan.low(torch.from_numpy(ball.array))
    np.testing.assert_array_equal(found.low.array, low.numpy())
    assert found.facts["scale"] == pytest.approx(float(percentile(low, 99.9)))


def test_settings_out_of_range(ball, small) -> None:
    for settings in ({"region": "brain"}, {"backend": "abacus"}, {"precision": "int3"}, {"max_memory": -1.0}):
        with pytest.raises(ConfigError):
            restore(ball, small, **settings)


CHILD = """
import sys
import numpy
from mdcsrn.inference import Task, predict
from mdcsrn.io import Volume
array = numpy.random.default_rng(0).gamma(2, 100, (12, 13, 14))
predict(Volume(array, numpy.eye(4)), Task("factor", factor=(1, 2, 2)), model=sys.argv[1])
print(sorted(name for name in ("monai", "ignite", "SimpleITK", "matplotlib") if name in sys.modules))
"""


def test_nothing_is_imported_that_is_not_needed(small) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, str(small)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
