"""DICOM is found by its content: any name, any ending, any preamble, behind links; and what is none is not taken."""

from __future__ import annotations

import gzip
import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from mdcsrn.errors import DataError
from mdcsrn.io.dicom import find_series
from mdcsrn.io.dicom.sniff import dataset_start, looks_like_dicom
from mdcsrn.io.formats import image_kind
from mdcsrn.io.sources import find_cases, load_case

Make = Callable[..., list[pydicom.Dataset]]
ENCODINGS = {"implicit": (True, True), "explicit": (False, True), "big-endian": (False, False)}
NAMES = ("IM{}", "MR.1.3.12.2.{}", "{}.ima", "{}.MR", "{}.jpg", "{}.nii", "{}.nii.gz", "{}.img", "{}.txt", "{}.json")


def _raw(ds: pydicom.Dataset, encoding: str) -> bytes:
    """The dataset alone: no preamble, no file meta group."""
    implicit, little = ENCODINGS[encoding]
    ds = pydicom.Dataset(ds)  # without its file meta
    if not little:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds["PixelData"].VR = "OW"
    content = io.BytesIO()
    pydicom.dcmwrite(content, ds, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    return content.getvalue()


def _part10(ds: pydicom.Dataset) -> bytes:
    content = io.BytesIO()
    pydicom.dcmwrite(content, ds, enforce_file_format=True)
    return content.getvalue()


def _write(contents: list[bytes], folder: Path, name: str = "IM{}") -> Path:
    folder.mkdir(parents=True)
    for k, content in enumerate(contents):
        (folder / name.format(k)).write_bytes(content)
    return folder


def _voxels(path: Path) -> np.ndarray:
    (case,) = find_cases(path)
    return load_case(case).volume.array


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_bare_dataset_is_read(tmp_path: Path, make_slices: Make, stored: np.ndarray, encoding: str) -> None:
    folder = _write([_raw(ds, encoding) for ds in make_slices()], tmp_path / "scan")
    np.testing.assert_array_equal(_voxels(folder), stored.T)
    shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    np.testing.assert_array_equal(_voxels(tmp_path / "packed.zip"), stored.T)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bare", [False, True])
def test_no_name_hides_it(tmp_path: Path, make_slices: Make, stored: np.ndarray, name: str, bare: bool) -> None:
    contents = [_raw(ds, "implicit") if bare else _part10(ds) for ds in make_slices()]
    folder = _write(contents, tmp_path / "scan", name)
    np.testing.assert_array_equal(_voxels(folder), stored.T)
    assert all(image_kind(file) == "dicom" for file in folder.iterdir())


PREAMBLES = {
    "of a TIFF": b"II*\0" + bytes(124),
    "of a gzip stream": b"\x1f\x8b\x08" + bytes(125),
    "of a zip": b"PK\x03\x04" + bytes(124),
    "of text": b"x" * 128,
}


@pytest.mark.parametrize("preamble", PREAMBLES)
def test_the_preamble_may_hold_anything(tmp_path: Path, make_slices: Make, stored: np.ndarray, preamble: str) -> None:
    contents = [PREAMBLES[preamble] + _part10(ds)[128:] for ds in make_slices()]
    np.testing.assert_array_equal(_voxels(_write(contents, tmp_path / "scan")), stored.T)


@pytest.mark.parametrize("left_out", ["preamble", "mark", "both"])
def test_preamble_or_mark_may_be_missing(tmp_path: Path, make_slices: Make, stored: np.ndarray, left_out: str) -> None:
    cut = {"preamble": lambda c: c[128:], "mark": lambda c: c[:128] + c[132:], "both": lambda c: c[132:]}[left_out]
    folder = _write([cut(_part10(ds)) for ds in make_slices()], tmp_path / "scan")
    np.testing.assert_array_equal(_voxels(folder), stored.T)


def test_links_lead_to_files_and_folders_once(tmp_path: Path, make_slices: Make, stored: np.ndarray) -> None:
    real = _write([_part10(ds) for ds in make_slices()], tmp_path / "store" / "deep")
    (tmp_path / "link").symlink_to(real)
    np.testing.assert_array_equal(_voxels(tmp_path / "link"), stored.T)
    study = tmp_path / "study"
    study.mkdir()
    (study / "series").symlink_to(real)
    (real / "up").symlink_to(study)  # leads back up
    np.testing.assert_array_equal(_voxels(study), stored.T)
    single = tmp_path / "single"
    single.mkdir()
    for file in real.iterdir():
        if file.is_file():
            (single / f"{file.name}.lnk").symlink_to(file)
    np.testing.assert_array_equal(_voxels(single), stored.T)


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, make_slices: Make) -> None:
    folder = _write([_part10(ds) for ds in make_slices()], tmp_path / "scan")
    (folder / "IM9").symlink_to(tmp_path / "not fetched")
    (found,) = find_series(folder)
    assert any("IM9 is a link to a file that is not there" in warning for warning in found.warnings)


def test_dicom_among_other_files(tmp_path: Path, make_slices: Make, stored: np.ndarray) -> None:
    folder = _write([_raw(ds, "implicit") for ds in make_slices()], tmp_path / "study" / "scan")
    nib.save(nib.Nifti1Image(stored.astype(np.float32), np.eye(4)), tmp_path / "study" / "other.nii.gz")
    (folder / "notes.txt").write_text("nothing")
    (folder / "page.html").write_bytes(b"<html></html>")
    directory = pydicom.Dataset()
    directory.FileSetID, directory.DirectoryRecordSequence = "SET", []
    directory.file_meta = pydicom.dataset.FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    directory.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    pydicom.dcmwrite(folder / "DICOMDIR", directory, enforce_file_format=True)
    assert {case.name: case.kind for case in find_cases(tmp_path / "study")} == {"other": "nifti", "scan": "dicom"}
    with pytest.raises(DataError, match="give the folder that this DICOMDIR lies in"):
        find_cases(folder / "DICOMDIR")


def test_the_name_of_a_file_with_dots_is_kept(tmp_path: Path, make_enhanced) -> None:
    _write([_part10(make_enhanced())], tmp_path / "scan", "MR.1.3.12.{}")
    (case,) = find_cases(tmp_path / "scan" / "MR.1.3.12.0")
    assert case.name == "MR.1.3.12.0"
    assert load_case(case).volume.shape == (7, 6, 5)


def test_what_is_no_dicom_is_not_taken_for_it() -> None:
    random = np.random.default_rng(0)
    for _ in range(3000):
        data = random.bytes(1024)
        assert not looks_like_dicom(data)
        assert not looks_like_dicom(b"\x08\0" + data)
        assert not looks_like_dicom(b"\x02\0" + data)
    samples = [
        b"", b"\x08\0", bytes(1024), b"DICM", b"\xff\xd8\xff\xe0" + bytes(600), b"\x89PNG\r\n\x1a\n" + bytes(600),
        b"some text " * 100, nib.Nifti1Header().binaryblock + bytes(600), gzip.compress(random.bytes(2000)),
        b"\x08\0\x05\0" + bytes(1020), np.arange(512, dtype="<u2").tobytes(), b"\0\0\0\1" + bytes(1020),
    ]  # fmt: skip
    assert [looks_like_dicom(sample) for sample in samples] == [False] * len(samples)


def test_real_files_are_known_without_their_preamble(shared_data: Path) -> None:
    """Of six vendors: what comes after the mark, and the dataset alone, are DICOM by themselves."""
    with zipfile.ZipFile(shared_data / "dicom" / "dicom2nifti_fixtures_multivendor.zip") as archive:
        contents = [archive.read(name)[:4096] for name in archive.namelist()]
    contents = [content for content in contents if content[128:132] == b"DICM"]
    assert len(contents) > 20
    for content in contents:
        assert dataset_start(content) == 132
        assert dataset_start(content[132:]) == 0
        meta = 132 + 12 + int.from_bytes(content[140:144], "little")
        assert dataset_start(content[meta : meta + 1024]) == 0
