"""Volumes in and out: geometry and values against SimpleITK, and a documented outcome for each kind of odd file."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.eulerangles import euler2mat

from mdcsrn.errors import DataError, GeometryError, OutputError
from mdcsrn.io import Volume, read_header, read_volume, write_volume

RNG = np.random.default_rng(0)
ARRAY = RNG.normal(100, 20, (7, 6, 5)).astype(np.float32)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = euler2mat(0.3, -0.2, 0.5) @ np.diag([1.0, -1.2, 2.5])
OBLIQUE[:3, 3] = (-90.5, 126.25, -72.0)


def save(
    path: Path, array: np.ndarray, affine: np.ndarray | None = None, unit: str = "mm", codes: tuple[int, int] = (1, 1)
) -> Path:
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    image.set_sform(image.affine, codes[0])
    image.set_qform(image.affine, codes[1])
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    path = write_volume(Volume(ARRAY, OBLIQUE), tmp_path / f"new/a{suffix}")
    again = read_volume(path)
    np.testing.assert_array_equal(again.array, ARRAY)
    np.testing.assert_allclose(again.affine, OBLIQUE, atol=1e-5)
    assert again.dtype == np.float32
    assert again.path == path
    assert again.warnings == ()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_sitk_sees_the_same_voxels_at_the_same_places(tmp_path: Path) -> None:
    path = write_volume(Volume(ARRAY, OBLIQUE), tmp_path / "a.nii.gz")
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), ARRAY)
    for index in [(0, 0, 0), (6, 5, 4), (3, 0, 2)]:
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(OBLIQUE[:3] @ (*index, 1), (-x, -y, z), atol=1e-3)  # ITK is LPS
    np.testing.assert_allclose(image.GetSpacing(), Volume(ARRAY, OBLIQUE).spacing, rtol=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    shear=st.floats(-0.3, 0.3),
    offset=st.tuples(*[st.floats(-300, 300)] * 3),
)
def test_any_affine_survives_the_file(tmp_path_factory, angles, spacing, flips, shear, offset) -> None:
    affine = np.eye(4)
    skew = np.eye(3)
    skew[0, 1] = shear
    affine[:3, :3] = euler2mat(*angles) @ skew @ np.diag(np.multiply(spacing, flips))
    affine[:3, 3] = offset
    path = write_volume(Volume(ARRAY, affine), tmp_path_factory.getbasetemp() / "affine.nii")
    again = read_volume(path).affine
    corners = np.vstack([np.array(np.meshgrid(*[(0, n / 2, n) for n in ARRAY.shape])).reshape(3, -1), np.ones(27)])
    there = np.linalg.solve(affine, again @ corners)  # where each landmark lands, in voxels
    assert np.abs(there - corners).max() < 1e-3
    assert np.sign(np.linalg.det(again[:3, :3])) == np.sign(np.linalg.det(affine[:3, :3]))


def test_equal_volumes_give_equal_bytes(tmp_path: Path) -> None:
    one = write_volume(Volume(ARRAY, OBLIQUE), tmp_path / "one.nii.gz")
    two = write_volume(Volume(ARRAY, OBLIQUE), tmp_path / "two.nii.gz")
    assert one.read_bytes() == two.read_bytes()


def test_integer_output_is_rounded_and_never_wraps(tmp_path: Path) -> None:
    path = write_volume(Volume(ARRAY, OBLIQUE), tmp_path / "a.nii", dtype=np.int16)
    assert nib.load(path).get_data_dtype() == np.int16
    np.testing.assert_array_equal(read_volume(path).array, np.rint(ARRAY))
    with pytest.raises(OutputError, match="do not fit uint8"):
        write_volume(Volume(ARRAY * 10, OBLIQUE), tmp_path / "b.nii", dtype=np.uint8)
    assert not (tmp_path / "b.nii").exists()


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<u2", "<i4", "<f4", ">f4", "<f8"])
def test_stored_types_and_byte_orders(tmp_path: Path, dtype: str) -> None:
    values = RNG.integers(0, 200, (4, 5, 6))
    image = nib.Nifti1Image(values.astype(np.dtype(dtype).newbyteorder("=")), np.eye(4))
    header = image.header.as_byteswapped(">" if dtype[0] == ">" else "<")
    nib.Nifti1Image(values.astype(dtype), np.eye(4), header).to_filename(tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.array, values)
    assert volume.array.dtype == np.float32
    assert volume.dtype.kind == np.dtype(dtype).kind


def test_scale_factors_are_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    image.to_filename(tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())  # nibabel rescales while saving: put the integers back
    raw[112:120] = np.array([0.5, -3], "<f4").tobytes()
    raw[352:] = np.arange(60, dtype="<i2").tobytes()
    (tmp_path / "b.nii").write_bytes(raw)
    expected = np.arange(60).reshape(5, 4, 3).T * 0.5 - 3  # NIfTI's first axis runs fastest
    np.testing.assert_allclose(read_volume(tmp_path / "b.nii").array, expected)


def test_trailing_axes_of_one_are_dropped(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", ARRAY[..., None, None])
    assert read_volume(path).shape == ARRAY.shape
    assert read_header(path).shape == ARRAY.shape


def test_header_agrees_with_volume(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", ARRAY, OBLIQUE)
    header, volume = read_header(path), read_volume(path)
    assert (header.shape, header.dtype, header.spacing) == (volume.shape, volume.dtype, volume.spacing)
    np.testing.assert_array_equal(header.affine, volume.affine)


@pytest.mark.parametrize(("unit", "in_mm"), [("mm", 1.0), ("meter", 1000.0), ("micron", 0.001)])
def test_units_become_millimetres(tmp_path: Path, unit: str, in_mm: float) -> None:
    affine = np.diag([0.5 / in_mm, 0.6 / in_mm, 0.7 / in_mm, 1.0])
    volume = read_volume(save(tmp_path / "a.nii", ARRAY, affine, unit))
    np.testing.assert_allclose(volume.spacing, (0.5, 0.6, 0.7), rtol=1e-6)
    assert any("converted" in line for line in volume.warnings) == (unit != "mm")


def test_oddities_are_reported(tmp_path: Path) -> None:
    unset = read_volume(save(tmp_path / "a.nii", ARRAY, OBLIQUE, codes=(0, 0), unit="unknown"))
    assert any("neither sform nor qform" in line for line in unset.warnings)
    assert any("not stated" in line for line in unset.warnings)
    image = nib.Nifti1Image(ARRAY, OBLIQUE)
    image.set_sform(OBLIQUE, 1)
    shifted = OBLIQUE.copy()
    shifted[0, 3] += 5
    image.set_qform(shifted, 1)
    image.to_filename(tmp_path / "b.nii")
    volume = read_volume(tmp_path / "b.nii")
    assert any("disagree by up to 5 mm" in line for line in volume.warnings)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)


def _with_value(value: float) -> np.ndarray:
    array = ARRAY.copy()
    array[1, 2, 3] = value
    array[0, 0, 0] = value
    return array


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (_with_value(np.nan), "2 of 210 voxels"),
        (_with_value(-np.inf), "2 of 210 voxels"),
        (np.where(ARRAY > 100, 1e300, 0.0), "NaN or infinite"),
        (np.zeros((3, 4, 5), np.float32), "nothing but zeros"),
        (np.full((3, 4, 5), 7, np.int16), "one value in every voxel"),
        (np.stack([ARRAY, ARRAY], -1), r"not one 3D volume.*\(7, 6, 5, 2\)"),
        (ARRAY[0], r"not one 3D volume.*stack its slices"),
        (ARRAY.astype(np.complex64), "no plain numbers"),
    ],
)
def test_unusable_content_is_refused_by_name(tmp_path: Path, array: np.ndarray, words: str) -> None:
    path = save(tmp_path / "bad.nii.gz", array)
    with pytest.raises(DataError, match=rf"bad\.nii\.gz.*{words}"):
        read_volume(path)


def test_a_mask_may_be_constant(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.nii.gz", np.ones((3, 4, 5), np.uint8))
    assert read_volume(path, allow_constant=True).array.min() == 1


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (np.diag([1.0, 0.0, 1.0, 1.0]), "impossible voxel size"),
        (np.diag([1.0, 1e-5, 1.0, 1.0]), "impossible voxel size"),
        (np.diag([1.0, np.nan, 1.0, 1.0]), "no finite"),
        (np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singular"),
        (np.array([[1.0, 0, 0, 1e9], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "impossible position"),
    ],
)
def test_unusable_geometry_is_refused(tmp_path: Path, affine: np.ndarray, words: str) -> None:
    good = save(tmp_path / "a.nii", ARRAY, codes=(1, 0))
    raw = bytearray(good.read_bytes())
    raw[280:328] = affine[:3].astype("<f4").tobytes()  # srow_x, srow_y, srow_z
    good.write_bytes(raw)
    for read in (read_volume, read_header):
        with pytest.raises(GeometryError, match=f"a.nii.*{words}"):
            read(good)
    with pytest.raises(GeometryError, match=words):
        Volume(ARRAY, affine)


def test_what_is_no_nifti_file_is_refused(tmp_path: Path) -> None:
    for name, content, words in [
        ("empty.nii", b"", "truncated or not"),
        ("text.nii", b"not an image " * 100, "is not a NIfTI file"),
        ("text.nii.gz", gzip.compress(b"not an image " * 100), "is not a NIfTI file"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}.*{words}"):
            read_volume(tmp_path / name)
    nib.Nifti1Pair(ARRAY, np.eye(4)).to_filename(tmp_path / "pair.img")
    with pytest.raises(DataError, match="pair.hdr.*hdr/.img pair"):
        read_volume(tmp_path / "pair.hdr")
    with pytest.raises(DataError, match="no such file"):
        read_volume(tmp_path / "absent.nii")
    with pytest.raises(DataError, match="cannot open"):
        read_volume(tmp_path)


def test_unwritable_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_volume(Volume(ARRAY, OBLIQUE), tmp_path / "file" / "a.nii")
    with pytest.raises(OutputError, match="not a NIfTI name"):
        write_volume(Volume(ARRAY, OBLIQUE), tmp_path / "a.mgz")


def test_real_scans_agree_with_sitk(shared_data: Path) -> None:
    for name in ("t1w/val/ds002748-16_T1w.nii.gz", "thick/oms-long-01-study1_T1w.nii.gz", "t2w/M2307_T2w.nii.gz"):
        volume = read_volume(shared_data / name)
        image = sitk.ReadImage(str(shared_data / name))
        np.testing.assert_allclose(sitk.GetArrayFromImage(image).transpose(2, 1, 0), volume.array, rtol=1e-6)
        far = tuple(n - 1 for n in volume.shape)
        x, y, z = image.TransformIndexToPhysicalPoint(far)
        np.testing.assert_allclose(volume.affine[:3] @ (*far, 1), (-x, -y, z), atol=2e-2)
