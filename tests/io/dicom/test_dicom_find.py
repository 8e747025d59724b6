"""Which series a path holds: splitting, other objects, damaged files, archives that could harm."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mdcsrn.errors import DataError, GeometryError
from mdcsrn.io.dicom import find_series, read_series

Make = Callable[..., list[pydicom.Dataset]]
Save = Callable[..., Path]


def _marked(slices: list[pydicom.Dataset], first: int, **values: object) -> list[pydicom.Dataset]:
    for k, ds in enumerate(slices):
        ds.InstanceNumber = first + k
        for keyword, value in values.items():
            setattr(ds, keyword, value)
    return slices


MIXTURES = {
    "echoes": ({"EchoNumbers": 1, "EchoTime": 3}, {"EchoNumbers": 2, "EchoTime": 80}),
    "time points": ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}),
    "magnitude and phase": (
        {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
    ),
    "acquisitions": ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}),
    "inversion times": ({"InversionTime": 700}, {"InversionTime": 2500}),
}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_stacks_of_one_series_are_parted(tmp_path: Path, make_slices: Make, save: Save, mixture: str) -> None:
    first, second = MIXTURES[mixture]
    slices = _marked(make_slices(), 1, **first) + _marked(make_slices(seed=2), 6, **second)
    found = find_series(save(slices, tmp_path))
    assert [s.name for s in found] == ["series003_part1", "series003_part2"]
    for part, seed_slices in zip(found, (make_slices(), make_slices(seed=2)), strict=True):
        expected = np.stack([np.frombuffer(ds.PixelData, "<u2").reshape(6, 7) for ds in seed_slices])
        np.testing.assert_array_equal(read_series(part).volume.array, expected.T)


def test_orientations_and_sizes_are_parted(tmp_path: Path, make_slices: Make, save: Save) -> None:
    sagittal = _marked(make_slices(seed=2, row=(0, 1, 0), column=(0, 0, -1)), 6)
    small = _marked(make_slices(seed=3, origin=(0, 0, 200)), 11, Rows=3, Columns=14)
    found = find_series(save(make_slices() + sagittal + small, tmp_path))
    shapes = sorted(read_series(s).volume.shape for s in found)
    assert shapes == [(7, 6, 5), (7, 6, 5), (14, 3, 5)]


@pytest.mark.parametrize("above", [0, 1, 10])  # mm: the same places, between them, behind them
def test_people_whose_series_share_a_uid_are_never_one_stack(
    tmp_path: Path, make_slices: Make, save: Save, stored: np.ndarray, above: int
) -> None:
    other = make_slices(seed=2, origin=(-10, -20, 30 + above))
    for ds in other:
        ds.PatientID, ds.StudyInstanceUID = "another", "1.2.77"
    save(make_slices(), tmp_path / "one")
    save(other, tmp_path / "two")
    first, second = (read_series(found).volume.array for found in find_series(tmp_path))
    np.testing.assert_array_equal(first, stored.T)
    assert second.shape == first.shape
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("turned", ["-1\\0\\0\\0\\1\\0", "0\\1\\0\\-1\\0\\0"])  # mirrored; by a quarter
def test_slices_turned_in_their_plane_do_not_fall_into_stacks_with_gaps(
    tmp_path: Path, make_slices: Make, save: Save, turned: str
) -> None:
    slices = make_slices() + make_slices(seed=2, origin=(-10, -20, 40))
    for k, ds in enumerate(slices):
        ds.InstanceNumber, ds.SOPInstanceUID = k + 1, f"1.2.3.9.{k}"
        if k % 2:
            ds.ImageOrientationPatient = turned
    (found,) = find_series(save(slices, tmp_path))
    with pytest.raises(GeometryError, match="orientation varies"):
        read_series(found)


def test_a_mark_that_differs_in_every_slice_parts_nothing(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    for k, ds in enumerate(slices):
        ds.AcquisitionNumber, ds.AcquisitionTime = k + 1, f"1200{k:02d}"
    assert len(find_series(save(slices, tmp_path))) == 1
    two_echoes = _marked(make_slices(), 1, EchoNumbers=1) + _marked(make_slices(seed=2), 6, EchoNumbers=2)
    for k, ds in enumerate(two_echoes):
        ds.AcquisitionTime = f"1200{k:02d}"
    assert len(find_series(save(two_echoes, tmp_path / "b"))) == 2


def test_a_good_echo_survives_a_bad_one(tmp_path: Path, make_slices: Make, save: Save) -> None:
    broken = _marked(make_slices(seed=2), 6, EchoNumbers=2)
    del broken[2]
    good, bad = find_series(save(_marked(make_slices(), 1, EchoNumbers=1) + broken, tmp_path))
    assert read_series(good).volume.shape == (7, 6, 5)
    with pytest.raises(GeometryError, match="slices are missing"):
        read_series(bad)


def test_series_numbers_name_them_once(tmp_path: Path, make_slices: Make, save: Save) -> None:
    save(make_slices(uid="1.2.3"), tmp_path / "a")
    save(_marked(make_slices(uid="1.2.4", seed=2), 1, SeriesNumber=12), tmp_path / "a" / "deep")
    save(make_slices(uid="1.2.5", seed=3), tmp_path / "a" / "deep")
    save(make_slices(uid="1.2.6", seed=4), tmp_path / "a" / "deep" / "er")
    for k, path in enumerate(sorted((tmp_path / "a" / "deep").glob("im*"))):
        path.rename(path.with_name(f"x{k}"))
    save(make_slices(uid="1.2.7", seed=5), tmp_path / "a" / "deep")
    found = find_series(tmp_path)
    assert [(s.folder, s.name) for s in found][0] == ("a", "series003")
    assert len({(s.folder, s.name) for s in found}) == len(found)
    assert ("a/deep/er", "series003") in {(s.folder, s.name) for s in found}


def test_other_objects_and_files_are_left_out(tmp_path: Path, make_slices: Make, save: Save) -> None:
    folder = save(make_slices(), tmp_path)
    capture = make_slices()[0]
    capture.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    pydicom.dcmwrite(folder / "capture", capture, enforce_file_format=True)
    (folder / "notes.txt").write_text("nothing")
    (folder / "empty").write_bytes(b"")
    (folder / ".hidden").write_bytes((folder / "im00_0").read_bytes())
    (found,) = find_series(folder)
    assert len(found.frames) == 5
    assert read_series(found).warnings == ()


@pytest.mark.parametrize("kind", ["SecondaryCaptureImageStorage", "RTStructureSetStorage", "CTImageStorage"])
def test_what_was_found_instead_is_named(tmp_path: Path, make_slices: Make, kind: str) -> None:
    ds = make_slices()[0]
    ds.SOPClassUID = getattr(pydicom.uid, kind)
    pydicom.dcmwrite(tmp_path / "one", ds, enforce_file_format=True)
    with pytest.raises(DataError, match=f"holds no MR images.*1 {ds.SOPClassUID.name}"):
        find_series(tmp_path)


def test_nothing_to_find(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no DICOM file"):
        find_series(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        find_series(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match="no DICOM file"):
        find_series(tmp_path / "a.txt")


@pytest.mark.parametrize("kept", [140, 330, 420])
def test_a_damaged_file_is_named_and_the_rest_is_read(tmp_path: Path, make_slices: Make, save: Save, kept: int) -> None:
    folder = save(make_slices(), tmp_path)
    content = (folder / "im00_0").read_bytes()
    assert content.find(b"1.2.3.2") > kept  # cut before the series' identifier
    (folder / "broken").write_bytes(content[:kept])
    (found,) = find_series(folder)
    assert any("broken" in w for w in found.warnings)
    assert read_series(found).volume.shape == (7, 6, 5)


@pytest.mark.parametrize("content", [b"", bytes(2000)])
@pytest.mark.parametrize("name", ["im_last5", "last.dcm", "MR.1.2.3"])
def test_a_slice_that_was_not_copied_is_named(
    tmp_path: Path, make_slices: Make, save: Save, name: str, content: bytes
) -> None:
    save(make_slices()[:-1], tmp_path)
    (tmp_path / name).write_bytes(content)
    (tmp_path / "notes.txt").write_bytes(content)  # whose name speaks of something else
    for source in (tmp_path, _zip(tmp_path, tmp_path.with_suffix(".zip"))):
        (found,) = find_series(source)
        (warning,) = read_series(found).warnings
        assert "left out" in warning
        assert name in warning


def test_a_file_cut_later_spoils_its_series_by_name(tmp_path: Path, make_slices: Make, save: Save) -> None:
    folder = save(make_slices(), tmp_path)
    content = (folder / "im00_0").read_bytes()
    for kept in (content.find(b"1.2.3.2") + 30, -40):  # before the geometry, within the pixels
        (folder / "im00_0").write_bytes(content[:kept])
        with pytest.raises(DataError, match="im00_0"):
            read_series(find_series(folder)[0])


def test_an_unreadable_image_spoils_its_series_alone(tmp_path: Path, make_slices: Make, save: Save) -> None:
    bad = make_slices()
    del bad[2].ImagePositionPatient
    save(bad, tmp_path / "bad")
    save(make_slices(uid="1.2.8", seed=2), tmp_path / "good")
    first, second = find_series(tmp_path)
    assert isinstance(first.error, DataError)
    with pytest.raises(DataError, match="no ImagePositionPatient"):
        read_series(first)
    assert read_series(second).volume.shape == (7, 6, 5)


def _zip(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"outer/{path.relative_to(folder)}")
    return target


def test_an_archive_gives_what_its_folder_gives(tmp_path: Path, make_slices: Make, save: Save) -> None:
    save(make_slices(), tmp_path / "s" / "a")
    save(make_slices(uid="1.2.8", seed=2), tmp_path / "s" / "b")
    archive = _zip(tmp_path / "s", tmp_path / "scan.zip")
    before = sorted(tmp_path.rglob("*"))
    for packed, plain in zip(find_series(archive), find_series(tmp_path / "s"), strict=True):
        ours, theirs = read_series(packed), read_series(plain)
        np.testing.assert_array_equal(ours.volume.array, theirs.volume.array)
        np.testing.assert_array_equal(ours.volume.affine, theirs.volume.affine)
        assert (packed.name, packed.folder) == (plain.name, f"outer/{plain.folder}")
        assert ours.sha256 == theirs.sha256
        assert ours.paths == (archive,)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../evil.dcm", "/etc/evil.dcm", "a/../../evil.dcm", "C:\\evil.dcm", "..\\evil.dcm"])
def test_archives_that_point_outside_are_refused(tmp_path: Path, make_slices: Make, save: Save, name: str) -> None:
    folder = save(make_slices(), tmp_path / "s")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(folder / "im00_0", "good.dcm")
        archive.writestr(zipfile.ZipInfo(name), (folder / "im00_0").read_bytes())
    with pytest.raises(DataError, match="points outside"):
        find_series(tmp_path / "z.zip")


def test_archives_with_links_and_bombs_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="symbolic link"):
        find_series(tmp_path / "link.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(20):
            archive.writestr(f"{k}.dcm", bytes(1 << 24))
    with pytest.raises(DataError, match="unpack to far more"):
        find_series(tmp_path / "bomb.zip")


def test_a_damaged_member_is_named(tmp_path: Path, make_slices: Make, save: Save) -> None:
    save(make_slices(), tmp_path / "s")
    content = bytearray(_zip(tmp_path / "s", tmp_path / "z.zip").read_bytes())
    content[200] ^= 0x55
    (tmp_path / "z.zip").write_bytes(bytes(content))
    (found,) = find_series(tmp_path / "z.zip")
    assert any("im00_0" in w for w in found.warnings)


def test_an_archive_without_its_end_is_refused(tmp_path: Path, make_slices: Make, save: Save) -> None:
    save(make_slices(), tmp_path / "s")
    whole = _zip(tmp_path / "s", tmp_path / "z.zip").read_bytes()
    (tmp_path / "z.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"z\.zip"):
        find_series(tmp_path / "z.zip")


def test_an_encrypted_archive_is_refused(tmp_path: Path, make_slices: Make, save: Save) -> None:
    save(make_slices(), tmp_path / "s")
    content = bytearray(_zip(tmp_path / "s", tmp_path / "z.zip").read_bytes())
    place = content.find(b"PK\x01\x02")
    while place >= 0:  # the flag of each entry in the directory
        content[place + 8] |= 1
        place = content.find(b"PK\x01\x02", place + 4)
    (tmp_path / "z.zip").write_bytes(bytes(content))
    with pytest.raises(DataError, match="encrypted"):
        find_series(tmp_path / "z.zip")
