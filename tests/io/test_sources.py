"""Files, folders, zips and DICOM series become named cases; bad ones carry their error, earlier results stay out."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mdcsrn.errors import DataError
from mdcsrn.io import Volume, write_volume
from mdcsrn.io.sources import files_sha256, find_cases, find_sources, load_case

AFFINE = np.diag([1.0, 1.2, 2.0, 1.0])
ARRAY = np.random.default_rng(0).normal(100, 20, (7, 6, 5)).astype(np.float32)


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        return write_volume(Volume(ARRAY, AFFINE), path)
    if path.suffix == ".mgz":
        nib.freesurfer.MGHImage(ARRAY, AFFINE).to_filename(path)
    elif path.suffix in (".img", ".hdr"):
        nib.Nifti1Pair(ARRAY, AFFINE).to_filename(path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(ARRAY), str(path))
    return path


def slices(folder: Path, count: int = 6, description: str = "") -> Path:
    """A plain MR series written by ITK, as an independent writer."""
    folder.mkdir(parents=True)
    volume = sitk.GetImageFromArray((ARRAY[:count] * 10).astype(np.int16))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    root = "1.2.826.0.1.3680043.2.1125." + str(int(hashlib.sha256(str(folder).encode()).hexdigest()[:12], 16))
    for index in range(volume.GetSize()[2]):
        image = volume[:, :, index]
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4", "0008|0018": f"{root}.9.{index}", "0008|0060": "MR",
            "0008|0008": "ORIGINAL\\PRIMARY\\M", "0008|103e": description, "0010|0010": "Doe^Jane",
            "0018|0050": "2", "0018|0023": "3D", "0020|000d": f"{root}.1", "0020|000e": f"{root}.2",
            "0020|0011": "3", "0020|0013": str(index + 1), "0020|0032": f"-10\\-20\\{2 * index}",
            "0020|0037": "1\\0\\0\\0\\1\\0", "0020|0052": f"{root}.3",
        }  # fmt: skip
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{index:03d}.dcm"))
        writer.Execute(image)
    return folder


def names(path: Path) -> list[str]:
    return [case.name for case in find_cases(path)]


def test_one_file(tmp_path: Path) -> None:
    (case,) = find_cases(save(tmp_path / "sub-01_T1w.nii.gz"))
    assert (case.name, case.kind, case.error, case.series) == ("sub-01_T1w", "nifti", None, None)
    scan = load_case(case)
    np.testing.assert_array_equal(scan.volume.array, ARRAY)
    assert scan.sha256 == hashlib.sha256(case.path.read_bytes()).hexdigest()
    assert scan.files == (case.path,)
    assert scan.source == case.path
    assert (scan.facts.contrast, scan.facts.origin) == ("T1w", "name")


def test_a_folder_keeps_sub_folders_in_the_names(tmp_path: Path) -> None:
    for name in ("b.nii", "a.mgz", "x/b.nii.gz", "x/y/c.nrrd", "d.mha", "e.img", ".hidden.nii", ".h/f.nii"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    cases = find_cases(tmp_path)
    kinds = {case.name: case.kind for case in cases}
    assert kinds == {
        "a": "mgz", "b": "nifti", "d": "metaimage", "e": "nifti-pair", "x/b": "nifti", "x/y/c": "nrrd",
    }  # fmt: skip
    for case in cases:
        scan = load_case(case)
        assert scan.kind == case.kind
        assert scan.volume.array.size == ARRAY.size


def test_a_pair_is_hashed_whole(tmp_path: Path) -> None:
    scan = load_case(find_cases(save(tmp_path / "e.img"))[0])
    assert [file.name for file in scan.files] == ["e.hdr", "e.img"]
    both = "".join(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("e.hdr", "e.img"))
    assert scan.sha256 == hashlib.sha256(both.encode()).hexdigest() == files_sha256(scan.files)
    data = bytearray((tmp_path / "e.img").read_bytes())
    data[0] ^= 1
    (tmp_path / "e.img").write_bytes(data)
    assert files_sha256(scan.files) != scan.sha256


def test_links_that_lead_back_up_end_the_search(tmp_path: Path) -> None:
    save(tmp_path / "a/b.nii")
    (tmp_path / "a/up").symlink_to(tmp_path)
    assert names(tmp_path) == ["a/b"]


def test_files_that_would_give_one_result_are_refused_and_the_rest_is_kept(tmp_path: Path) -> None:
    for name in ("a.nii", "a.nii.gz", "b.nii", "e.img", "e.nii"):
        save(tmp_path / name)
    cases = {case.name: case for case in find_cases(tmp_path)}
    assert sorted(cases) == ["a", "b", "e"]
    assert cases["b"].error is None
    for name in ("a", "e"):
        assert cases[name].kind == "duplicate"
        with pytest.raises(DataError, match=rf"several files would give one result.*{name}\.nii.*remedy"):
            load_case(cases[name])


def test_bad_files_are_cases_with_their_error(tmp_path: Path) -> None:
    save(tmp_path / "good.nii")
    (tmp_path / "text.nii.gz").write_text("no image")
    (tmp_path / "empty.nii").write_bytes(b"")
    (tmp_path / "link.nii").symlink_to(tmp_path / "nowhere.nii")
    (tmp_path / "broken.zip").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "nothing.zip", "w") as archive:
        archive.writestr("readme.txt", "no image")
    cases = {case.name: case for case in find_cases(tmp_path)}
    assert sorted(cases) == ["broken", "empty", "good", "link", "nothing", "text"]
    for name, case in cases.items():
        if name == "good":
            load_case(case)
            continue
        with pytest.raises(DataError, match=name):
            load_case(case)


def test_results_of_earlier_runs_are_left_out_and_named(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a_sr.nii.gz", "a_sr_spread.nii.gz", "b_sr.nii.gz", "c.nii.gz", "c_sr.nii.gz"):
        save(tmp_path / name)
    record = {"software": "mdcsrn 9.9", "record_sha256": "0" * 64}
    files = {"spread": {"path": "a_sr_spread.nii.gz", "sha256": "0"}}
    (tmp_path / "a_sr.json").write_text(json.dumps({**record, "files": files}))
    (tmp_path / "c_sr.json").write_text(json.dumps({"software": "another", "record_sha256": "0"}))
    found = find_sources(tmp_path)
    assert [case.name for case in found.cases] == ["a", "b_sr", "c", "c_sr"]  # b and c are not ours: no record of it
    assert [path.name for path in found.skipped] == ["a_sr.nii.gz", "a_sr_spread.nii.gz"]
    assert names(tmp_path / "a_sr.nii.gz") == ["a_sr"]  # asked for by name, it is taken


def test_a_folder_of_results_alone_says_so(tmp_path: Path) -> None:
    save(tmp_path / "a_sr.nii.gz")
    (tmp_path / "a_sr.json").write_text(json.dumps({"software": "mdcsrn 1", "record_sha256": "0"}))
    with pytest.raises(DataError, match="only results of earlier runs"):
        find_cases(tmp_path)


def test_nothing_to_find(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds no scan.*NIfTI.*DICOM"):
        find_cases(tmp_path)
    with pytest.raises(DataError, match=r"no such file.*absent"):
        find_cases(tmp_path / "absent")


def test_facts_come_from_the_sidecar(tmp_path: Path) -> None:
    path = save(tmp_path / "scan_3.nii.gz")
    metadata = {
        "BidsGuess": ["anat", "_acq-tse_T2w"], "MRAcquisitionType": "2D", "SliceThickness": 3.5, "SkullStripped": False,
        "SliceEncodingDirection": "j-",
    }  # fmt: skip
    (tmp_path / "scan_3.json").write_text(json.dumps(metadata))
    facts = load_case(find_cases(path)[0]).facts
    assert (facts.contrast, facts.origin, facts.acquisition) == ("T2w", "sidecar", "2D")
    assert (facts.slice_thickness, facts.skull_stripped, facts.slice_axis) == (3.5, False, 1)


def test_values_of_a_wrong_kind_count_as_unknown(tmp_path: Path) -> None:
    path = save(tmp_path / "scan_3.nii.gz")
    metadata = {
        "BidsGuess": [3], "MRAcquisitionType": ["2D"], "SliceThickness": True, "SkullStripped": "yes",
        "SliceEncodingDirection": None,
    }  # fmt: skip
    (tmp_path / "scan_3.json").write_text(json.dumps(metadata))
    facts = load_case(find_cases(path)[0]).facts
    assert facts == type(facts)()


@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_sidecar_is_reported_not_fatal(tmp_path: Path, content: bytes) -> None:
    path = save(tmp_path / "scan_T1w.nii.gz")
    (tmp_path / "scan_T1w.json").write_bytes(content)
    scan = load_case(find_cases(path)[0])
    assert any("scan_T1w.json cannot be read" in line for line in scan.volume.warnings)
    assert scan.facts.contrast == "T1w"


def test_the_slice_axis_of_the_header_is_taken(tmp_path: Path) -> None:
    image = nib.load(save(tmp_path / "a.nii"))
    image.header.set_dim_info(freq=2, phase=0, slice=1)
    nib.save(image, tmp_path / "b.nii")
    assert load_case(find_cases(tmp_path / "b.nii")[0]).facts.slice_axis == 1


def test_a_dicom_series_as_folder_file_and_zip(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    folder = slices(tmp_path / "study/t1")
    (case,) = find_cases(folder)
    assert (case.name, case.kind) == ("t1", "dicom")
    scan = load_case(case)
    np.testing.assert_allclose(scan.volume.array, (ARRAY[:6] * 10).astype(np.int16).transpose(2, 1, 0))
    assert scan.volume.spacing == (1, 1, 2)
    assert scan.dicom is not None
    assert len(scan.files) == 6
    assert names(tmp_path / "study") == ["t1"]
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "study")
    (zipped,) = find_cases(archive)
    assert zipped.name == "packed"
    again = load_case(zipped)
    np.testing.assert_array_equal(again.volume.array, scan.volume.array)
    assert again.files == (Path(archive),)
    assert "Doe" not in repr((scan.volume.warnings, scan.facts, scan.name))


def test_a_derived_series_is_told_as_such(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from mdcsrn.io.dicom import write_series

    scan = load_case(find_cases(slices(tmp_path / "t1"))[0])
    assert scan.dicom is not None
    write_series(scan.volume, scan.dicom, tmp_path / "derived", "a copy")
    again = load_case(find_cases(tmp_path / "derived")[0])
    assert "the series is itself a result of mdcsrn" in again.volume.warnings
    assert "the series is itself a result of mdcsrn" not in scan.volume.warnings


def test_a_folder_of_everything(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    save(tmp_path / "a.nii.gz")
    slices(tmp_path / "pat/one")
    slices(tmp_path / "pat/two")
    shutil.copytree(slices(tmp_path / "tmp/x"), tmp_path / "pat/two", dirs_exist_ok=True, copy_function=_renamed)
    shutil.rmtree(tmp_path / "tmp")
    shutil.make_archive(str(tmp_path / "z/packed"), "zip", slices(tmp_path / "zip"))
    shutil.rmtree(tmp_path / "zip")
    found = names(tmp_path)
    assert found[:2] == ["a", "pat/one"]
    assert len(found) == len(set(found)) == 5  # two series lie in one folder
    assert all(name.startswith("pat/two_series003") for name in found[2:4])
    assert found[4] == "z/packed"


def _renamed(source: str, target: str) -> str:
    return shutil.copy(source, target.replace(".dcm", "_b.dcm"))


def test_real_dicom_files_are_found_by_name(shared_data: Path) -> None:
    pytest.importorskip("pydicom")
    (case,) = find_cases(shared_data / "dicom/philips_classic_mprage3d.zip")
    assert case.name == "philips_classic_mprage3d"
    assert case.error is None


FIND = """
import os, sys
from mdcsrn.errors import MdcsrnError
from mdcsrn.io.sources import find_cases
if os.getuid() == 0: os.setgid(65534), os.setuid(65534)  # root may enter every folder
try: print([(case.name, case.kind, str(case.error)) for case in find_cases(sys.argv[1])])
except MdcsrnError as error: print(error)
"""


def test_a_folder_that_cannot_be_entered_is_a_case(tmp_path: Path) -> None:
    for place in (tmp_path, *tmp_path.parents):  # pytest's own are private
        if not place.stat().st_mode & 0o001:
            place.chmod(0o755)
    save(tmp_path / "in/a.nii")
    (tmp_path / "in/closed").mkdir(mode=0)

    def found(place: Path) -> str:
        command = [sys.executable, "-c", FIND, str(place)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    said = found(tmp_path / "in")
    assert "('a', 'nifti', 'None')" in said
    assert "('closed', 'folder', 'cannot open the folder" in said
    assert "Permission denied" in said
    (tmp_path / "in").chmod(0)
    assert "Permission denied" in found(tmp_path / "in")
    (tmp_path / "in").chmod(0o755)
