"""Header fields without bearing on voxels or places: whatever they hold, the volume is the same."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.eulerangles import euler2mat

from mdcsrn.errors import DataError, GeometryError
from mdcsrn.io import read_header, read_volume, write_volume

ARRAY = np.random.default_rng(0).normal(100, 20, (7, 6, 5)).astype(np.float32)
AFFINE = np.eye(4)
AFFINE[:3, :3] = euler2mat(0.3, -0.2, 0.5) @ np.diag([1.0, -1.2, 2.5])
AFFINE[:3, 3] = (-90.5, 126.25, -72.0)
NAN, INF = math.nan, math.inf
SFORM, QFORM, CODES, QUATERNION, PIXDIM = 280, 256, 252, 256, 76
HARMLESS = {
    "sizeof_hdr": [(0, "i", (0,)), (0, "i", (-5,)), (0, "i", (540,))],
    "unused": [(4, "10s", (b"\xff" * 10,)), (14, "18s", (b"\xe9" * 18,)), (32, "i", (9,)), (36, "h", (-1,))],
    "regular, dim_info": [(38, "b", (99,)), (39, "B", (255,))],
    "dim beyond ndim": [(40, "8h", (3, 7, 6, 5, -9, 999, 0, 7)), (40, "8h", (7, 7, 6, 5, 1, 1, 1, 1))],
    "dim of ones and zeros": [(40, "5h", (4, 7, 6, 5, 0)), (40, "6h", (5, 7, 6, 5, 1, 0))],
    "dim below 1 beyond the third": [(40, "5h", (4, 7, 6, 5, -1)), (40, "8h", (7, 7, 6, 5, 1, 1, -1, 0))],
    "intent": [(56, "3f", (NAN, INF, 1e38)), (68, "h", (9999,)), (68, "h", (-1,)), (328, "16s", (b"\xff" * 16,))],
    "bitpix": [(72, "h", (7,)), (72, "h", (0,)), (72, "h", (-32,))],
    "slices": [(74, "h", (-77,)), (120, "h", (32767,)), (122, "b", (99,)), (132, "f", (NAN,))],
    "pixdim beyond the third": [(92, "4f", (NAN, INF, -1, 0))],
    "scale factor": [(112, "2f", (NAN, NAN)), (112, "2f", (0, 7)), (112, "2f", (INF, 0)), (112, "2f", (1, NAN))],
    "units of time": [(123, "B", (2 | 56,)), (123, "B", (2 | 192,)), (123, "B", (255 & ~5,))],
    "display range": [(124, "2f", (NAN, -INF)), (124, "2f", (1e38, -1e38))],
    "toffset": [(136, "f", (NAN,)), (136, "f", (-INF,))],
    "glmax": [(140, "2i", (-1, 2**31 - 1))],
    "texts": [(148, "80s", (b"\xff\xe9" * 40,)), (228, "24s", (b"\xe9" * 24,))],
    "magic's end": [(347, "B", (32,))],
}
CASES = [(name, edit) for name, edits in HARMLESS.items() for edit in edits]


def content() -> bytearray:
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    image.header.set_xyzt_units("mm")
    return bytearray(image.to_bytes())


def edited(path: Path, *edits: tuple[int, str, tuple]) -> Path:
    data = content()
    for offset, form, values in edits:
        struct.pack_into("<" + form, data, offset, *values)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("name", "edit"), CASES, ids=[f"{name} {edit}" for name, edit in CASES])
def test_row_fields_without_bearing(tmp_path: Path, name: str, edit: tuple) -> None:
    volume = read_volume(edited(tmp_path / "a.nii", edit))
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    again = read_volume(write_volume(volume, tmp_path / "out.nii"))  # and the result is written
    np.testing.assert_array_equal(again.array, ARRAY)
    np.testing.assert_allclose(again.affine, AFFINE, atol=1e-5)
    assert read_header(tmp_path / "a.nii").shape == ARRAY.shape


def test_all_of_them_at_once(tmp_path: Path) -> None:
    volume = read_volume(edited(tmp_path / "a.nii", *[edits[0] for edits in HARMLESS.values()]))
    np.testing.assert_array_equal(volume.array, ARRAY)


BROKEN_SFORMS = {
    "not a number": (SFORM, "12f", (NAN,) * 12),
    "zero": (SFORM, "12f", (0,) * 12),
    "infinite": (SFORM, "f", (INF,)),
    "singular": (SFORM, "12f", (1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0)),
    "far": (SFORM + 12, "f", (1e9,)),
    "huge voxels": (SFORM, "12f", (1e5, 0, 0, 0, 0, 1e5, 0, 0, 0, 0, 1e5, 0)),
}
BROKEN_QFORMS = {
    "quaternion too long": (QUATERNION, "3f", (0.8, 0.61, 0.1)),
    "quaternion not a number": (QUATERNION, "3f", (NAN, NAN, NAN)),
    "quaternion infinite": (QUATERNION, "f", (INF,)),
    "offset not a number": (268, "3f", (NAN, 0, 0)),
    "far": (268, "3f", (1e9, 0, 0)),
    "voxel size not a number": (PIXDIM + 4, "3f", (NAN,) * 3),
    "voxel size zero": (PIXDIM + 4, "3f", (0, 0, 0)),
    "voxel size infinite": (PIXDIM + 4, "3f", (INF, 1, 1)),
}


@pytest.mark.parametrize("broken", BROKEN_QFORMS)
def test_row_a_sound_sform_beside_a_broken_qform(tmp_path: Path, broken: str) -> None:
    volume = read_volume(edited(tmp_path / "a.nii", BROKEN_QFORMS[broken]))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert any("the qform" in line and "the sform is used" in line for line in volume.warnings)
    header = nib.load(write_volume(volume, tmp_path / "out.nii")).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)


@pytest.mark.parametrize("broken", BROKEN_SFORMS)
def test_row_a_sound_qform_beside_a_broken_sform(tmp_path: Path, broken: str) -> None:
    volume = read_volume(edited(tmp_path / "a.nii", BROKEN_SFORMS[broken]))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)
    assert any("the sform" in line and "the qform is used" in line for line in volume.warnings)
    header = nib.load(write_volume(volume, tmp_path / "out.nii")).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 1)
    np.testing.assert_allclose(header.get_best_affine(), AFFINE, atol=1e-4)


@pytest.mark.parametrize("broken", [*BROKEN_SFORMS.values(), *BROKEN_QFORMS.values()])
def test_a_broken_form_alone_is_refused(tmp_path: Path, broken: tuple) -> None:
    codes = (0, 1) if broken in BROKEN_SFORMS.values() else (1, 0)  # qform_code, sform_code
    path = edited(tmp_path / "a.nii", broken, (CODES, "2h", codes))
    for read in (read_volume, read_header):
        with pytest.raises(GeometryError, match=r"a\.nii"):
            read(path)


def test_both_broken_are_refused(tmp_path: Path) -> None:
    path = edited(tmp_path / "a.nii", BROKEN_SFORMS["zero"], BROKEN_QFORMS["quaternion too long"])
    with pytest.raises(GeometryError, match=r"the sform of .*a\.nii"):
        read_volume(path)


@pytest.mark.parametrize("voxels", [(0, 1, 1), (NAN, 1, 1), (1, INF, 1)])
def test_a_voxel_size_that_is_none_is_refused_where_it_counts(tmp_path: Path, voxels: tuple) -> None:
    for codes in ((0, 0), (1, 0)):
        with pytest.raises(GeometryError, match=r"a\.nii"):
            read_volume(edited(tmp_path / "a.nii", (PIXDIM + 4, "3f", voxels), (CODES, "2h", codes)))


def test_an_axis_of_one_slice_has_no_distance_to_state(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ARRAY[:, :, :1], np.diag([1, 1.2, 2, 1]))
    data = bytearray(image.to_bytes())
    struct.pack_into("<2h", data, CODES, 0, 0)
    struct.pack_into("<f", data, PIXDIM + 12, 0.0)
    (tmp_path / "a.nii").write_bytes(data)
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.spacing, (1, 1.2, 1), rtol=1e-6)
    assert any("one slice" in line for line in volume.warnings)


@pytest.mark.parametrize("codes", [(0, 0), (1, 0)])
def test_a_negative_voxel_size_counts_by_its_amount(tmp_path: Path, codes: tuple) -> None:
    volume = read_volume(edited(tmp_path / "a.nii", (PIXDIM + 4, "3f", (-1, 1.2, -2.5)), (CODES, "2h", codes)))
    np.testing.assert_allclose(volume.spacing, (1, 1.2, 2.5), rtol=1e-6)
    assert any("negative" in line for line in volume.warnings)


@pytest.mark.parametrize("excess", [2e-7, 4e-7, 1e-6, 1e-5, 5e-4])
def test_row_a_quaternion_that_rounding_made_too_long(tmp_path: Path, excess: float) -> None:
    """Half a turn about a slanted axis; nibabel refuses it from 3.6e-7 on."""
    axis = np.array([0.1, 0.3, 0.95]) / np.linalg.norm([0.1, 0.3, 0.95])
    rotation = 2 * np.outer(axis, axis) - np.eye(3)
    vector = axis * math.sqrt(1 + excess)
    path = edited(tmp_path / "a.nii", (CODES, "2h", (1, 0)), (QUATERNION, "3f", tuple(vector)), (PIXDIM, "f", (1,)))
    volume = read_volume(path)
    np.testing.assert_allclose(volume.affine[:3, :3], rotation @ np.diag([1, 1.2, 2.5]), atol=3e-3)
    assert any("quaternion" in line for line in volume.warnings) == (excess > 2e-6)


@pytest.mark.parametrize("handed", [0, NAN, 5, 1])
def test_a_qfac_that_is_none_means_right_handed(tmp_path: Path, handed: float) -> None:
    path = edited(tmp_path / "a.nii", (PIXDIM, "f", (handed,)), (CODES, "2h", (1, 0)))
    affine = read_volume(path).affine
    assert np.linalg.det(affine[:3, :3]) > 0  # by the standard; the same as for 1


@pytest.mark.parametrize("code", [6, 99, -3, -32768])
def test_form_codes_beyond_the_standard(tmp_path: Path, code: int) -> None:
    volume = read_volume(edited(tmp_path / "a.nii", (CODES, "2h", (code, 1))))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert any(f"qform_code {code} is no code" in line for line in volume.warnings)


def test_a_transfer_in_text_mode_is_named(tmp_path: Path) -> None:
    data = bytearray(nib.Nifti2Image(ARRAY, AFFINE).to_bytes())
    for mark, words in ((b"\n\x1a\n\0", "text mode"), (b"\r\r\n\x1a", "text mode"), (bytes(4), None), (b"abcd", None)):
        data[8:12] = mark
        (tmp_path / "a.nii").write_bytes(data)
        if words:
            with pytest.raises(DataError, match=words):
                read_volume(tmp_path / "a.nii")
        else:
            assert any("magic" in line for line in read_volume(tmp_path / "a.nii").warnings)


@pytest.mark.parametrize("code", [0, 1, 3, 999, -2])
def test_an_unknown_voxel_type_is_refused_by_its_code(tmp_path: Path, code: int) -> None:
    with pytest.raises(DataError, match=rf"a\.nii holds no plain numbers.*voxel type {code}"):
        read_volume(edited(tmp_path / "a.nii", (70, "h", (code,))))


def test_axes_without_voxels_are_refused(tmp_path: Path) -> None:
    for sizes in ((3, 7, 0, 5), (3, -7, 6, 5), (0, 7, 6, 5)):
        with pytest.raises(DataError, match=r"a\.nii"):
            read_volume(edited(tmp_path / "a.nii", (40, "4h", sizes)))
