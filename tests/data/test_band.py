"""The empty outer band: found in real interpolated scans and in synthetic ones of every kind, never in native scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from mdcsrn.data.band import crop_to_band
from mdcsrn.data.scan_report import inspect_image
from mdcsrn.io import Volume, read_volume
from mdcsrn.kspace import DegradationSpec, degrade, grid_affine, resample_grid
from mdcsrn.kspace import detect_band as detect_band_of
from mdcsrn.kspace.band import MIN_AXIS_VOXELS, MIN_PLANE_VOXELS, STEP_DB

# (file, region, axis, acquired share): full-band scans, whole head and skull-stripped; zero-filled below.
FULL_BAND = [
    ("t1w/test/fnndsc-adi_T1w.nii.gz", np.s_[:, 20:-20, :], 0, 0.5),
    ("t1w/test/fnndsc-adi_T1w.nii.gz", np.s_[:, 20:-20, :], 2, 0.78),
    ("t1w/train/ds002748-01_T1w.nii.gz", np.s_[:, :, :], 1, 0.64),
    ("t1w/train/ds002748-01_T1w.nii.gz", np.s_[:, :, :], 0, 0.9),
    ("t1w/train/coregqa-highres_T1w.nii.gz", np.s_[:, 30:-20, 20:], 0, 0.5),
]


def detect_band(array: np.ndarray):
    return detect_band_of(torch.from_numpy(array))


def _rounded_to(values: np.ndarray, top: float) -> np.ndarray:
    return np.rint(values * (top / values.max()))


STORED = {
    "float": lambda z: z,
    "int16": np.rint,
    "magnitude": np.abs,
    "magnitude in 256 grey values": lambda z: _rounded_to(np.abs(z), 255),
    "cut field of view": lambda z: z[6:-6, 6:-6, 6:-6],
    "air set to zero": lambda z: np.where(
        ndimage.binary_dilation(z > 0.1 * np.percentile(z, 99.9), iterations=2), z, 0
    ),
}


@pytest.fixture(scope="module")
def zero_filled(shared_data: Path) -> dict[int, tuple[np.ndarray, int, int]]:
    made = {}
    for number, (name, region, axis, share) in enumerate(FULL_BAND):
        array = np.ascontiguousarray(read_volume(shared_data / name).array[region])
        shape = list(array.shape)
        shape[axis] = round(shape[axis] / share)
        made[number] = resample_grid(torch.from_numpy(array), shape).numpy(), axis, array.shape[axis]
    return made


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("number", range(len(FULL_BAND)))
def test_zero_filling_is_found(zero_filled: dict, number: int, stored: str) -> None:
    filled, axis, acquired = zero_filled[number]
    array = STORED[stored](filled).astype(np.float32)
    bands = detect_band(array)
    assert bands[axis].empty
    share = acquired / filled.shape[axis]
    # Within two samples on each side, and never beyond what was measured by more than the window's one sample.
    assert share - 5 / array.shape[axis] < bands[axis].fraction <= share + 2 / array.shape[axis]
    assert bands[axis].margin >= 1
    assert not any(band.empty for other, band in enumerate(bands) if other != axis)


def test_out_of_band_energy_is_never_zero(zero_filled: dict) -> None:
    """The four kinds differ by orders of magnitude in what lies outside the band: a fixed level could not serve."""
    filled, axis, acquired = zero_filled[2]
    n = filled.shape[axis]
    outside = np.abs(np.fft.fftfreq(n) * n) > acquired / 2 + 1

    def energy(array: np.ndarray) -> float:
        spectrum = np.abs(np.fft.fft(array, axis=axis)) ** 2
        spectrum = np.delete(spectrum, 0, axis=axis)
        return float(np.sqrt(np.compress(outside[1:], spectrum, axis=axis).sum() / spectrum.sum()))

    as_float, as_int, as_magnitude = energy(filled), energy(np.rint(filled)), energy(np.abs(filled))
    assert 0 < as_float < 1e-5 < as_int < as_magnitude


def test_real_interpolated_scans_are_found(shared_data: Path) -> None:
    scans = sorted(shared_data.glob("t1w/*/ds000011-*_T1w.nii.gz"))
    assert len(scans) == 6
    for path in scans:
        bands = detect_band(read_volume(path).array)
        assert 0.72 <= bands[0].fraction <= 0.82, path.name
        assert bands[0].step_db > STEP_DB
        assert not bands[1].empty, path.name
        assert not bands[2].empty, path.name


def test_real_native_scans_raise_no_alarm(shared_data: Path) -> None:
    scans = [path for path in sorted(shared_data.glob("t1w/*/*.nii.gz")) if "ds000011" not in path.name]
    assert len(scans) == 32
    for path in scans:
        assert not any(band.empty for band in detect_band(read_volume(path).array)), path.name


def test_crop_returns_the_acquired_matrix_and_its_geometry(zero_filled: dict) -> None:
    filled, axis, acquired = zero_filled[2]
    affine = np.diag([1.0, 0.64, 1.5, 1.0])
    affine[:3, 3] = (-80, -90, -70)
    cropped = crop_to_band(Volume(filled, affine))
    assert acquired - 4 <= cropped.shape[axis] <= acquired
    np.testing.assert_allclose(
        cropped.affine, grid_affine(torch.from_numpy(affine), filled.shape, cropped.shape).numpy(), atol=1e-12
    )
    back = resample_grid(torch.from_numpy(cropped.array), filled.shape).numpy()
    # Only the outermost samples of the band were given up.
    assert np.linalg.norm(back - filled) < 0.01 * np.linalg.norm(filled)
    assert cropped.array.mean() == pytest.approx(filled.mean(), rel=1e-4)
    assert not any(band.empty for band in detect_band(cropped.array))


def test_a_native_volume_is_left_as_it_is() -> None:
    array = np.random.default_rng(0).normal(100, 10, (40, 36, 34)).astype(np.float32)
    volume = Volume(array, np.eye(4))
    assert crop_to_band(volume) is volume


def test_a_short_axis_is_not_judged() -> None:
    array = np.random.default_rng(0).normal(100, 10, (MIN_AXIS_VOXELS - 1, 40, 40)).astype(np.float32)
    bands = detect_band(array)
    assert [band.assessed for band in bands] == [False, True, True]


def test_pieces_of_native_scans_raise_hardly_an_alarm(shared_data: Path) -> None:
    """On a short axis the apodisation of these scanners spans a few samples, as sharp as an edge."""
    rng = np.random.default_rng(0)
    judged = alarms = 0
    for name in ("train/saganon-3y", "train/coregqa-highres", "train/dcmqa-uih-132225", "test/ds002748-63"):
        array = read_volume(shared_data / f"t1w/{name}_T1w.nii.gz").array
        head = 0.1 * np.percentile(array, 99.9)
        for size in (32, 40, 48, 56, 64, 80) * 4:
            start = [int(rng.integers(0, max(1, n - size))) for n in array.shape]
            piece = np.ascontiguousarray(array[tuple(slice(a, a + size) for a in start)])
            if (piece > head).mean() > 0.3:
                bands = [band for band in detect_band(piece) if band.assessed]
                judged, alarms = judged + len(bands), alarms + sum(band.empty for band in bands)
    assert judged > 150
    assert alarms <= 0.01 * judged


@pytest.mark.parametrize("size", [48, 64, 80])
def test_an_exact_edge_is_found_on_a_short_axis_too(shared_data: Path, size: int) -> None:
    array = read_volume(shared_data / "t1w/test/fnndsc-adi_T1w.nii.gz").array[60:130, 60:130, 60:130]
    acquired = np.ascontiguousarray(array[: round(0.7 * size)])
    filled = resample_grid(torch.from_numpy(acquired), (size, 70, 70)).numpy()
    bands = detect_band(filled)
    assert bands[0].empty
    assert len(acquired) - 5 <= bands[0].samples <= len(acquired) + 1


def test_few_lines_are_not_judged() -> None:
    """Smooth noise in a thin block: the mean over some dozens of lines has steps of its own."""
    rng = np.random.default_rng(0)
    for cross in [(7, 9), (1, 128), (16, 16), (16, 32), (24, 24)]:
        for _ in range(60):
            noise = rng.normal(0, 10, (int(rng.integers(32, 150)), *cross))
            array = (100 + noise + 8 * ndimage.gaussian_filter(noise, (1.5, 1, 1))).astype(np.float32)
            band = detect_band(array)[0]
            assert not band.empty
            assert band.assessed == (cross[0] * cross[1] >= MIN_PLANE_VOXELS)


def test_inspection_writes_the_crop_of_an_interpolated_scan_only(shared_data: Path, tmp_path: Path) -> None:
    real = shared_data / "t1w/val/ds000011-05_T1w.nii.gz"
    facts = inspect_image(real, crop=tmp_path / "crop.nii.gz")
    assert facts.cropped == tmp_path / "crop.nii.gz"
    assert "EMPTY OUTER BAND" in facts.row("x")
    crop, original = read_volume(facts.cropped), read_volume(real)
    assert crop.shape[1:] == original.shape[1:]
    assert crop.spacing[0] == pytest.approx(original.spacing[0] * original.shape[0] / crop.shape[0], rel=1e-5)
    assert not inspect_image(facts.cropped).empty
    native = inspect_image(shared_data / "t1w/val/ds002748-16_T1w.nii.gz", crop=tmp_path / "no.nii.gz")
    assert native.cropped is None
    assert not (tmp_path / "no.nii.gz").exists()
    assert "not checked" in inspect_image(real, check_band=False).row("x")


@pytest.mark.parametrize("name", ["t1w/test/fnndsc-adi_T1w", "t1w/test/ds002748-66_T1w", "t1w/train/ds000011-02_T1w"])
@pytest.mark.parametrize("store", [lambda z: z, np.rint, np.abs], ids=["float", "int16", "magnitude"])
def test_the_last_measured_sample_is_found_exactly(shared_data: Path, name: str, store) -> None:
    array = read_volume(shared_data / f"{name}.nii.gz").array
    low = degrade(torch.from_numpy(array), DegradationSpec(reduction=(1, 2, 2))).numpy()
    bands = detect_band(store(low).astype(np.float32))
    for band, n in zip(bands[1:], array.shape[1:], strict=True):
        last = max(k for k in range(n) if k < n / 4)  # of |k| < n / (2 r)
        assert band.samples == 2 * last + 1
