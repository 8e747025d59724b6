"""Which images are one volume: directions that jitter are joined, and what is no volume is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation

from mdcsrn.errors import GeometryError
from mdcsrn.io.dicom import find_series, read_series
from mdcsrn.io.sources import find_cases, load_case

Make = Callable[..., list[pydicom.Dataset]]
Save = Callable[..., Path]


def _load(folder: Path):
    (case,) = find_cases(folder)
    return load_case(case)


def _jitter(slices: list[pydicom.Dataset], size: float) -> None:
    """Turn each slice by a little about a random axis; every cosine moves by `size` at most."""
    random = np.random.default_rng(0)
    for ds in slices:
        turn = Rotation.from_rotvec(random.uniform(-size, size, 3) / 2).as_matrix()
        cosines = (turn @ np.eye(3)[:, :2]).T.ravel()
        ds.ImageOrientationPatient = [f"{v:.8f}" for v in cosines]


@pytest.mark.parametrize("size", [5e-5, 2e-4, 9e-4])
def test_directions_that_jitter_are_joined(
    tmp_path: Path, make_slices: Make, save: Save, stored: np.ndarray, size: float
) -> None:
    slices = make_slices()
    _jitter(slices, size)
    volume = _load(save(slices, tmp_path / "a")).volume
    np.testing.assert_array_equal(volume.array, stored.T)
    said = any("direction cosines vary" in warning for warning in volume.warnings)
    assert said == (size > 1e-4)
    # The affine is that of the mean directions: no voxel is further off than the jitter at the rim.
    index = np.array([6, 5, 4, 1])
    exact = np.array([10 - 6 * 1.25, 20 - 5 * 1.5, 30 + 4 * 2])
    assert np.abs((volume.affine @ index)[:3] - exact).max() <= 2 * size * 8
    row, column = volume.affine[:3, 0] / 1.25, volume.affine[:3, 1] / 1.5
    assert (np.linalg.norm(row), np.linalg.norm(column), row @ column) == pytest.approx((1, 1, 0), abs=1e-9)


@pytest.mark.parametrize("size", [5e-3, 2e-2])
def test_more_than_that_is_refused_whole(tmp_path: Path, make_slices: Make, save: Save, size: float) -> None:
    slices = make_slices() + make_slices(seed=2, origin=(-10, -20, 40))  # ten slices
    for k, ds in enumerate(slices, 1):
        ds.InstanceNumber = k
    _jitter(slices, size)
    (found,) = find_series(save(slices, tmp_path))  # never parted by it
    with pytest.raises(GeometryError, match=r"orientation varies.*0\.001"):
        read_series(found)


@pytest.mark.parametrize("count", [1, 2])
def test_a_few_slices_are_no_volume(tmp_path: Path, make_slices: Make, save: Save, count: int) -> None:
    folder = save(make_slices()[:count], tmp_path / "a")
    with pytest.raises(GeometryError, match=f"no volume.*{count} slice.*at least 3 slices.*give the folder"):
        _load(folder)
    with pytest.raises(GeometryError, match="no volume.*1 slice"):
        _load(next(folder.iterdir()))


def test_slices_far_apart_and_localizers_are_no_volume(tmp_path: Path, make_slices: Make, save: Save) -> None:
    for ds in (apart := make_slices()):
        ds.SliceThickness = "0.9"
    with pytest.raises(GeometryError, match="no volume.*slices of 0.9 mm, 2 mm from one to the next"):
        _load(save(apart, tmp_path / "apart"))
    for ds in (scout := make_slices()):
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    with pytest.raises(GeometryError, match="no volume.*localizer"):
        _load(save(scout, tmp_path / "scout"))
    for ds in (gap := make_slices()):
        ds.SliceThickness = "1"  # a gap as wide as the slice: sparse, but measured
    assert _load(save(gap, tmp_path / "gap")).volume.spacing[2] == pytest.approx(2)


def test_two_stray_images_are_no_part_of_their_own(tmp_path: Path, make_slices: Make, save: Save) -> None:
    strays = make_slices(seed=2, row=(0, 1, 0), column=(0, 0, -1))[:2]
    for k, ds in enumerate(strays):
        ds.InstanceNumber = 90 + k
    (case,) = find_cases(save(make_slices() + strays, tmp_path / "a"))
    with pytest.raises(GeometryError, match="orientation varies"):
        load_case(case)


def test_every_other_slice_is_no_part_of_its_own(tmp_path: Path, make_slices: Make, save: Save) -> None:
    """Interleaved acquisitions with one slice missing: the odd slices are regular, and are not the scan."""
    slices = make_slices() + make_slices(seed=2, origin=(-10, -20, 40))
    for k, ds in enumerate(slices):
        ds.InstanceNumber, ds.AcquisitionNumber = k + 1, k % 2 + 1
    del slices[3]
    (found,) = find_series(save(slices, tmp_path))
    with pytest.raises(GeometryError, match="slices are missing"):
        read_series(found)
