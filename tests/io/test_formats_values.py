"""What is stored in the voxels, and along how many axes: rows of the tables "Values" and "Axes" of docs/inputs.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.io.formats import read_image, read_image_header


@pytest.fixture
def holes(array: np.ndarray) -> np.ndarray:
    """One NaN inside, one infinity in a face, and a corner region of 3 x 3 x 3."""
    result = array.copy()
    result[5, 3, 3] = np.nan
    result[3, 0, 2] = -np.inf
    result[:3, 3:, :3] = np.nan
    return result


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".img", ".nrrd", ".mha"])
def test_row_nan_and_inf_are_counted_and_refused(
    tmp_path: Path, ending: str, holes: np.ndarray, write_as: Callable
) -> None:
    path = write_as(tmp_path, ending, holes)
    with pytest.raises(DataError, match=r"scan.*NaN or infinite.*29 of 210 voxels.*remedy"):
        read_image(path)


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".img", ".nrrd", ".mha"])
def test_row_nan_and_inf_are_filled_on_request(
    tmp_path: Path, ending: str, array: np.ndarray, holes: np.ndarray, write_as: Callable
) -> None:
    volume = read_image(write_as(tmp_path, ending, holes), nonfinite="fill")
    good = np.isfinite(holes)
    np.testing.assert_array_equal(volume.array[good], array[good])  # they never spread
    assert any(line.startswith("29 of 210 voxels were NaN or infinite") for line in volume.warnings)
    around = holes[4:7, 2:5, 2:5].astype(np.float64)
    np.testing.assert_allclose(volume.array[5, 3, 3], np.nanmean(around), rtol=1e-6)
    around = holes[2:5, 0:2, 1:4].astype(np.float64)
    np.testing.assert_allclose(volume.array[3, 0, 2], around[np.isfinite(around)].mean(), rtol=1e-6)
    assert volume.array[1, 4, 1] == 0  # inside the region
    assert volume.array[0, 5, 0] == 0


def test_row_nothing_finite(tmp_path: Path, save_nifti: Callable) -> None:
    path = save_nifti(tmp_path / "nan.nii", np.full((3, 4, 5), np.nan, np.float32))
    with pytest.raises(DataError, match=r"nan\.nii holds no finite value"):
        read_image(path, nonfinite="fill")


def test_a_word_that_is_no_treatment_is_refused(tmp_path: Path, save_nifti: Callable) -> None:
    path = save_nifti(tmp_path / "a.nii")
    with pytest.raises(MdcsrnError, match="refuse or fill"):
        read_image(path, nonfinite="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".img", ".nrrd", ".mha"])
def test_row_constant(tmp_path: Path, ending: str, write_as: Callable) -> None:
    path = write_as(tmp_path, ending, np.full((3, 4, 5), 7, np.int16))
    with pytest.raises(DataError, match="scan.*one value in every voxel"):
        read_image(path)
    assert read_image(path, allow_constant=True).array.max() == 7


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".img", ".nrrd", ".mha"])
def test_row_negative_values_are_kept(tmp_path: Path, ending: str, array: np.ndarray, write_as: Callable) -> None:
    np.testing.assert_array_equal(read_image(write_as(tmp_path, ending, array - 500)).array, array - 500)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("letters", ["u1", "i2"])
@pytest.mark.parametrize("ending", [".nii", ".hdr"])
def test_row_integers_with_scale_factors_and_either_byte_order(
    tmp_path: Path, letters: str, order: str, ending: str
) -> None:
    stored = np.arange(60).astype(order + letters)
    kind = nib.Nifti1Header if ending == ".nii" else nib.nifti1.Nifti1PairHeader
    header = kind(endianness=order)
    header.set_data_dtype(stored.dtype)
    header.set_data_shape((3, 4, 5))
    header.set_sform(np.eye(4), 1)
    header.set_xyzt_units("mm")
    header["scl_slope"], header["scl_inter"] = 0.5, -3
    header["vox_offset"] = 352 if ending == ".nii" else 0
    block = header.binaryblock
    if ending == ".nii":
        (tmp_path / "a.nii").write_bytes(block + b"\0\0\0\0" + stored.tobytes())
    else:
        (tmp_path / "a.hdr").write_bytes(block)
        (tmp_path / "a.img").write_bytes(stored.tobytes())
    volume = read_image(tmp_path / f"a{ending}")
    expected = np.arange(60).reshape(5, 4, 3).T * 0.5 - 3  # the first axis runs fastest in the file
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.array.dtype.isnative
    np.testing.assert_array_equal(nib.load(tmp_path / f"a{ending}").get_fdata(), expected)


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".img"])
def test_row_4d_is_refused_with_a_remedy(tmp_path: Path, ending: str, array: np.ndarray, write_as: Callable) -> None:
    path = write_as(tmp_path, ending, np.stack([array, array], -1))
    with pytest.raises(DataError, match=r"scan.*not one 3D volume.*\(7, 6, 5, 2\).*one volume per file"):
        read_image(path)
    assert read_image_header(path).shape == (7, 6, 5, 2)


def test_row_4d_nrrd_and_metaimage(tmp_path: Path, array: np.ndarray, itk_image: Callable) -> None:
    two = sitk.JoinSeries([itk_image(), itk_image()])
    for name in ("a.nrrd", "a.mha"):
        sitk.WriteImage(two, str(tmp_path / name))
        with pytest.raises(DataError, match=r"not one 3D volume.*\(7, 6, 5, 2\)"):
            read_image(tmp_path / name)
    sitk.WriteImage(sitk.JoinSeries([itk_image()]), str(tmp_path / "one.nrrd"))
    np.testing.assert_array_equal(read_image(tmp_path / "one.nrrd").array, array)


def test_row_2d_is_refused_with_a_remedy(tmp_path: Path, array: np.ndarray, save_nifti: Callable) -> None:
    for path in (save_nifti(tmp_path / "flat.nii", array[0]), tmp_path / "flat.nrrd", tmp_path / "flat.mha"):
        if not path.exists():
            sitk.WriteImage(sitk.GetImageFromArray(array[0]), str(path))
        with pytest.raises(DataError, match=r"flat.*not one 3D volume.*stack its slices"):
            read_image(path)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".nrrd", ".mha"])
def test_row_one_slice_works(tmp_path: Path, ending: str, axis: int, array: np.ndarray, write_as: Callable) -> None:
    slab = np.take(array, [2], axis)
    volume = read_image(write_as(tmp_path, ending, slab))
    np.testing.assert_array_equal(volume.array, slab)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_row_colour_and_complex_voxels_are_refused(tmp_path: Path, ending: str, itk_image: Callable) -> None:
    path = tmp_path / f"rgb{ending}"
    sitk.WriteImage(sitk.Compose([sitk.Cast(itk_image(), sitk.sitkUInt8)] * 3), str(path))
    with pytest.raises(DataError, match="rgb.*no plain numbers"):
        read_image(path)
