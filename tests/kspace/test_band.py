"""Detection of an empty outer band in torch: spectra and decisions against NumPy and SciPy, real scans included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import fft

from mdcsrn.errors import GeometryError
from mdcsrn.io import read_volume
from mdcsrn.kspace import AxisBand, detect_band, power_spectrum, resample_grid
from mdcsrn.kspace.band import (
    AROUND_SAMPLES,
    EDGE_FRACTIONS,
    LONG_AXIS_VOXELS,
    MAX_FALL_DECADES,
    MIN_AXIS_VOXELS,
    MIN_LINE_BRIGHTNESS,
    MIN_PLANE_VOXELS,
    SHARPNESS,
    SHORT_STEP_DB,
    STEP_DB,
    STEP_SAMPLES,
)

SCANS = [
    "train/ds000011-01", "test/fnndsc-adi", "train/ds002748-01", "train/coregqa-highres", "train/saganon-3y",
    "train/dcmqa-uih-132225", "val/ds002748-16",
]  # fmt: skip


def reference_bands(array, expected=(None, None, None)):
    return tuple(_assess(array, axis, expected[axis]) for axis in range(3))


def _assess(array, axis, expected):
    n = array.shape[axis]
    if n < MIN_AXIS_VOXELS or array.size < n * MIN_PLANE_VOXELS:
        return AxisBand(1.0, n, 0.0, 0.0, 0.0, assessed=False)
    spectrum = reference_spectrum(array, axis)
    band = _find_edge(spectrum, n, STEP_DB if n >= LONG_AXIS_VOXELS else SHORT_STEP_DB)
    if not band.empty and expected is not None:
        there = _find_edge(spectrum, n, STEP_DB, expected // 2)
        return there if there.empty else band
    return band


def reference_spectrum(array, axis):
    n = array.shape[axis]
    # A Hann window: a field of view that was cut has an edge where its ends meet, and that fills the whole band.
    window = np.hanning(n + 2)[1:-1].astype(np.float32)
    lines = np.moveaxis(array, axis, -1).reshape(-1, n)
    brightness = lines @ window
    darkest = brightness.min()
    lines = lines[brightness - darkest >= MIN_LINE_BRIGHTNESS * (np.percentile(brightness, 99) - darkest)]
    power = np.abs(fft.rfft((lines - lines.mean()) * window, axis=-1)) ** 2
    return np.log10(power.mean(axis=0, dtype=np.float64) + np.finfo(np.float32).tiny)


def _find_edge(spectrum, n, least, place=None):
    best = (0.0, 0.0, 0.0, 0)
    last = len(spectrum) - 1
    for edge in range(
        max(AROUND_SAMPLES + 1, int(EDGE_FRACTIONS[0] * n / 2)),
        min(int(EDGE_FRACTIONS[1] * n / 2), last - STEP_SAMPLES) + 1,
    ):
        if place is not None and abs(edge - place) > STEP_SAMPLES:
            continue
        far = min(edge + AROUND_SAMPLES, last)
        floored = np.maximum(spectrum, spectrum[edge - STEP_SAMPLES] - MAX_FALL_DECADES)
        fall = floored[edge - STEP_SAMPLES] - floored[edge + STEP_SAMPLES]
        around = floored[edge - AROUND_SAMPLES] - floored[far]
        if fall <= 0 or around <= 0 or floored[edge + STEP_SAMPLES :].max() > spectrum[edge - STEP_SAMPLES] - fall / 2:
            continue  # a dip or a line, behind which the band goes on
        slope = (around - fall) / (AROUND_SAMPLES + far - edge - 2 * STEP_SAMPLES)
        step_db, sharpness = 10 * (fall - 2 * STEP_SAMPLES * slope), fall / around
        margin = min(step_db / least, sharpness / SHARPNESS)
        best = max(best, (margin, step_db, sharpness, edge))
    margin, step_db, sharpness, edge = best
    if margin < 1:
        return AxisBand(1.0, n, float(step_db), float(sharpness), float(margin))
    inside = edge - 2 * STEP_SAMPLES
    kept = inside + int(np.argmax(spectrum[inside:] < spectrum[inside] - 0.5)) - 1
    samples = min(n, 2 * kept + 1)  # odd: with an even count the two outermost samples would share one place
    return AxisBand(samples / n, samples, float(step_db), float(sharpness), float(margin))


def assert_same(array, expected=(None, None, None)):
    """Decisions are the same, figures are equal to the rounding of float32."""
    ours, theirs = detect_band(torch.from_numpy(array), expected), reference_bands(array, expected)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.samples, one.fraction, one.empty, one.assessed) == (
            other.samples, other.fraction, other.empty, other.assessed,
        )  # fmt: skip
        for name in ("step_db", "sharpness", "margin"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=2e-4)
            assert type(getattr(one, name)) is float  # plain, for JSON
    return ours


@pytest.mark.parametrize("scan", SCANS)
def test_real_scans_are_judged_as_by_the_reference(shared_data, scan):
    array = read_volume(shared_data / f"t1w/{scan}_T1w.nii.gz").array
    bands = assert_same(array)
    assert any(band.empty for band in bands) == ("ds000011" in scan)
    for axis in range(3):
        ours, theirs = power_spectrum(torch.from_numpy(array), axis), reference_spectrum(array, axis)
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


def test_pieces_and_filled_pieces_of_a_real_scan_are_judged_as_by_the_reference(shared_data):
    array = read_volume(shared_data / "t1w/test/fnndsc-adi_T1w.nii.gz").array
    rng = np.random.default_rng(0)
    empty = 0
    for size in (32, 48, 64, 80, 100) * 3:
        start = [int(rng.integers(0, max(1, n - size))) for n in array.shape]
        piece = np.ascontiguousarray(array[tuple(slice(a, a + size) for a in start)])
        assert_same(piece, (None, size // 2, round(0.7 * size)))
        axis, acquired = int(rng.integers(3)), [*piece.shape]
        acquired[axis] = round(float(rng.uniform(0.4, 0.9)) * acquired[axis])
        small = np.ascontiguousarray(piece[tuple(slice(0, n) for n in acquired)])
        filled = resample_grid(torch.from_numpy(small), piece.shape).numpy()
        expected = [n if i == axis else None for i, n in enumerate(acquired)]
        for stored in (filled, np.rint(filled), np.abs(filled)):
            empty += assert_same(stored)[axis].empty
            assert_same(stored, expected)
    assert empty > 10


@pytest.mark.parametrize("shape", [(33, 47, 64), (31, 128, 40), (100, 8, 70), (90, 128, 5)])
def test_noise_is_judged_as_by_the_reference(shape):
    assert_same(np.random.default_rng(0).normal(100, 10, shape).astype(np.float32))


def test_every_axis_order_and_stride_gives_the_same():
    array = np.random.default_rng(0).gamma(2, 10, (40, 60, 90)).astype(np.float32)
    bands = detect_band(torch.from_numpy(array))
    assert detect_band(torch.from_numpy(array).permute(2, 0, 1)) == (bands[2], bands[0], bands[1])


def test_a_batch_is_refused():
    with pytest.raises(GeometryError, match="one volume"):
        detect_band(torch.zeros(1, 40, 40, 40))
