"""Headers and bytes that lie or end too soon: rows of the tables "Geometry" and "Damage" of docs/inputs.md."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mdcsrn.errors import DataError
from mdcsrn.io.formats import read_image


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz", ".nii", ".mgh", ".nrrd", ".mha"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_row_truncated(tmp_path: Path, ending: str, share: float, write_as: Callable) -> None:
    path = write_as(tmp_path, ending)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=r"scan"):
        read_image(path)


@pytest.mark.parametrize("ending", [".nii.gz", ".mgz"])
def test_row_gzip_that_lacks_its_end(tmp_path: Path, ending: str, write_as: Callable) -> None:
    path = write_as(tmp_path, ending)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"scan.*truncated or damaged.*remedy"):
        read_image(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mgz", ".img", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_row_wrong_magic(tmp_path: Path, ending: str) -> None:
    content = b"this is no image " * 100
    path = tmp_path / f"text{ending}"
    path.write_bytes(gzip.compress(content) if ending in (".nii.gz", ".mgz") else content)
    with pytest.raises(DataError, match=r"text.*wrong magic.*first bytes.*remedy"):
        read_image(path)


@pytest.mark.parametrize("packed", [False, True])
def test_row_absurd_dimensions(
    tmp_path: Path, packed: bool, save_nifti: Callable, itk_image: Callable, write_as: Callable
) -> None:
    nii = bytearray(save_nifti(tmp_path / "a.nii").read_bytes())
    struct.pack_into("<3h", nii, 42, 32767, 32767, 32767)
    mgh = bytearray(write_as(tmp_path, ".mgh").read_bytes())
    struct.pack_into(">3i", mgh, 4, 2**31 - 1, 2**31 - 1, 2**31 - 1)
    sitk.WriteImage(itk_image(), str(tmp_path / "b.nrrd"))
    nrrd = (tmp_path / "b.nrrd").read_bytes().replace(b"sizes: 7 6 5", b"sizes: 99999 99999 99999")
    sitk.WriteImage(itk_image(), str(tmp_path / "b.mha"))
    mha = (tmp_path / "b.mha").read_bytes().replace(b"DimSize = 7 6 5", b"DimSize = 99999 99999 99999")
    if packed:
        nrrd = nrrd.replace(b"encoding: raw", b"encoding: gzip")
        mha = mha.replace(b"CompressedData = False", b"CompressedData = True")
    for name, data in (("x.nii", nii), ("x.mgh", mgh), ("x.nrrd", nrrd), ("x.mha", mha)):
        path = tmp_path / (name + ".gz" if packed and name == "x.nii" else name)
        path.write_bytes(gzip.compress(bytes(data)) if packed and name in ("x.nii", "x.mgh") else bytes(data))
        with pytest.raises(DataError, match=r"x\..*(claimed|cannot be read)"):
            read_image(path)


def test_row_units_that_are_not_millimetres(tmp_path: Path, save_nifti: Callable) -> None:
    image = nib.load(save_nifti(tmp_path / "a.nii", affine=np.diag([0.001, 0.002, 0.003, 1.0])))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "m.nii")
    volume = read_image(tmp_path / "m.nii")
    np.testing.assert_allclose(volume.spacing, (1, 2, 3), rtol=1e-6)
    assert any("in meter: converted" in line for line in volume.warnings)
    data = bytearray((tmp_path / "m.nii").read_bytes())
    data[123] = 8  # seconds alone: no unit of length
    (tmp_path / "none.nii").write_bytes(data)
    assert any("not stated" in line for line in read_image(tmp_path / "none.nii").warnings)
    for code in (4, 5, 6, 7):  # no codes of the standard, and for most software, which never looks, millimetres
        data[123] = code
        (tmp_path / "odd.nii").write_bytes(data)
        assert any(f"code {code}, which is none" in line for line in read_image(tmp_path / "odd.nii").warnings)
    for code in (0b111 << 3, 0b11000000):  # the unit of time has no say
        data[123] = code | 2
        (tmp_path / "odd.nii").write_bytes(data)
        volume = read_image(tmp_path / "odd.nii")
        np.testing.assert_allclose(volume.spacing, (0.001, 0.002, 0.003), rtol=1e-6)
        assert volume.warnings == ()


def test_row_missing_form_codes(tmp_path: Path, save_nifti: Callable) -> None:
    image = nib.load(save_nifti(tmp_path / "a.nii"))
    image.header["sform_code"] = image.header["qform_code"] = 0
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[252:256] = b"\0\0\0\0"
    (tmp_path / "b.nii").write_bytes(data)
    volume = read_image(tmp_path / "b.nii")
    assert any("neither sform nor qform" in line for line in volume.warnings)
    np.testing.assert_allclose(volume.spacing, (1.0, 1.2, 2.5), rtol=1e-6)


def test_row_sform_and_qform_disagree(tmp_path: Path, array: np.ndarray, oblique: np.ndarray) -> None:
    image = nib.Nifti1Image(array, oblique)
    image.set_sform(oblique, 1)
    flipped = oblique @ np.diag([-1.0, 1, 1, 1])
    image.set_qform(flipped, 1)
    nib.save(image, tmp_path / "b.nii")
    volume = read_image(tmp_path / "b.nii")
    assert any("disagree by up to" in line and "the sform is used" in line for line in volume.warnings)
    np.testing.assert_allclose(volume.affine, oblique, atol=1e-5)
