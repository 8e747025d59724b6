"""The app as a process: a real series in, a derived one out, equal to what ``mdcsrn predict`` makes of it."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from deploy_studies import SECRETS, write

Run = Callable[..., subprocess.CompletedProcess[str]]
WORDS = ("--factor", 1.25, 1, 1.5, "--backend", "eager")


@pytest.fixture(scope="module")
def made(app: Run, slab: Path) -> tuple[Path, str]:
    """Output folder and log of one run on 24 slices of the real series."""
    output = slab.parent / "out"
    done = app("-i", slab, "-o", output, *WORDS, "-l", "DEBUG")
    assert done.returncode == 0, done.stderr
    return output, done.stdout + done.stderr


def read_simpleitk(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def to_nifti(folder: Path, target: Path) -> Path:
    """A series converted by SimpleITK, named as BIDS would."""
    sitk.WriteImage(sitk.Cast(read_simpleitk(folder), sitk.sitkFloat32), str(target))
    return target


def same_grid(image: sitk.Image, affine: np.ndarray) -> None:
    """Corners lie where the NIfTI has them, within 2e-3 mm."""
    for corner in np.ndindex(2, 2, 2):
        index = [int(c * (n - 1)) for c, n in zip(corner, image.GetSize(), strict=True)]
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(lps * (-1, -1, 1), (affine @ [*index, 1])[:3], atol=2e-3)


def compare(output: Path, name: str, nifti: Path) -> None:
    """The derived series holds the NIfTI's voxels, within the rounding of its stored integers."""
    expected = nib.load(nifti)
    image = read_simpleitk(output / f"{name}_sr")
    assert image.GetSize() == expected.shape
    same_grid(image, expected.affine)
    record = json.loads((output / f"{name}_sr.json").read_text())
    rounding = record["dicom"]["storage"]["largest_rounding_error"]
    values = sitk.GetArrayFromImage(image).T
    assert rounding <= np.ptp(values) / 65535 / 2 * 1.01
    assert np.abs(values - expected.get_fdata()).max() <= rounding * 1.01 + 1e-6 * np.abs(values).max()


def test_equal_to_the_command_on_the_converted_series(made: tuple[Path, str], predict: Run, slab: Path) -> None:
    nifti = to_nifti(slab, slab.parent / "sub-1_T1w.nii.gz")
    done = predict(nifti, "-o", slab.parent / "nifti_sr.nii.gz", *WORDS)
    assert done.returncode == 0, done.stderr
    compare(made[0], "series1301", slab.parent / "nifti_sr.nii.gz")


def test_equal_to_the_commands_own_series_bit_for_bit(made: tuple[Path, str], predict: Run, slab: Path) -> None:
    place = slab.parent / "command"
    done = predict(slab, "-o", place / "sr.nii.gz", "--dicom-out", place / "series", *WORDS)
    assert done.returncode == 0, done.stderr
    ours, theirs = (sorted(folder.iterdir()) for folder in (made[0] / "series1301_sr", place / "series"))
    assert [path.name for path in ours] == [path.name for path in theirs]
    fresh = {"SOPInstanceUID", "SeriesInstanceUID", "ContributingEquipmentSequence", "InstanceCreationTime"}
    fresh |= {"SeriesTime", "ContentTime", "SeriesDate", "ContentDate", "InstanceCreationDate"}
    for a, b in zip(ours, theirs, strict=True):
        one, other = pydicom.dcmread(a), pydicom.dcmread(b)
        assert one.PixelData == other.PixelData
        assert {e.keyword: e.value for e in one if e.keyword not in fresh} == {
            e.keyword: e.value for e in other if e.keyword not in fresh
        }


def test_the_record_holds_what_was_done(made: tuple[Path, str], slab: Path) -> None:
    record = json.loads((made[0] / "series1301_sr.json").read_text())
    assert record["settings"]["factor"] == [1.25, 1.0, 1.5]
    assert record["source_kind"] == "dicom"
    assert record["acquisition"]["contrast"] == "T1w"
    assert record["dicom"]["instances"] == 36 == len(list((made[0] / "series1301_sr").iterdir()))
    before, after = (record["certificate"][key]["relative_error"] for key in ("before_rounding", "after_rounding"))
    assert before < 1e-6 < after < 1e-4  # 65,536 levels cost that much
    assert {w["name"] for w in record["warnings"]} >= {"field-of-view-outside-trained-range"}


def test_nothing_of_the_patient_but_in_the_images(made: tuple[Path, str]) -> None:
    output, log = made
    record = (output / "series1301_sr.json").read_text()
    for word in SECRETS:
        assert word not in log
        assert word not in record
    assert "chosen, as 3D T1w" in log
    for path in (output / "series1301_sr").iterdir():
        assert b"QUUX" not in path.read_bytes()  # private tags stay behind
        dataset = pydicom.dcmread(path)
        assert str(dataset.PatientName) == f"{SECRETS[1]}^{SECRETS[0]}"  # the source's, as it is there
        assert dataset.PatientID == SECRETS[2]


def test_a_taken_place_is_refused_and_intact(made: tuple[Path, str], app: Run, slab: Path) -> None:
    before = {path: path.read_bytes() for path in made[0].rglob("*") if path.is_file()}
    done = app("-i", slab, "-o", made[0], *WORDS)
    assert done.returncode == 7
    assert "error: cannot write" in done.stderr
    assert "there is a result already" in done.stderr
    assert {path: path.read_bytes() for path in made[0].rglob("*") if path.is_file()} == before


def test_settings_of_a_packaged_app(app: Run, stack, tmp_path: Path) -> None:
    """Input, output and model from the environment; two series of which one is suitable; a file for the task."""
    study = write([*stack(slices=16), *stack(slices=4, number=6)], tmp_path / "input")
    config = tmp_path / "app.yaml"
    config.write_text("mdcsrn: {factor: [1, 1, 2], backend: eager}\n")
    (tmp_path / "models").mkdir()
    env = {
        "HOLOSCAN_INPUT_PATH": "input/", "HOLOSCAN_OUTPUT_PATH": "output/", "HOLOSCAN_CONFIG_PATH": str(config),
        "HOLOSCAN_MODEL_PATH": str(tmp_path / "models"), "MDCSRN_TO_SPACING": "1 1.25 1",
    }  # fmt: skip
    done = app(env=env, cwd=tmp_path)  # the environment's task goes before the file's
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == ["series005_sr", "series005_sr.json"]
    record = json.loads((tmp_path / "output" / "series005_sr.json").read_text())
    assert record["shape"] == [36, 40, 24]
    assert record["settings"]["backend"] == "eager"
    assert "series006, 4 images: not suitable: Slices for 3D T1w" in done.stderr
    assert study.is_dir()


def test_an_enhanced_multi_frame_image(app: Run, predict: Run, shared_data: Path, tmp_path: Path) -> None:
    """A real Siemens XA30 image, 96 slices in one file, and beside it a second series that comes after it."""
    with zipfile.ZipFile(shared_data / "dicom" / "siemens_xa30_enhanced_t1tfl.zip") as archive:
        archive.extractall(tmp_path / "study")
    done = app("-i", tmp_path / "study", "-o", tmp_path / "out", "--same-grid", "--backend", "eager")
    assert done.returncode == 0, done.stderr
    assert "chosen, as 3D T1w" in done.stderr
    assert "not taken, though 3D T1w" in done.stderr
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    source = next((tmp_path / "study" / "In" / "5_anat-T1w_acq-tfl").iterdir())
    expected = predict(source, "-o", tmp_path / "sr.nii.gz", "--same-grid", "--backend", "eager")
    assert expected.returncode == 0, expected.stderr
    compare(tmp_path / "out", folder.name.removesuffix("_sr"), tmp_path / "sr.nii.gz")
    image = pydicom.dcmread(folder / "00001.dcm")
    assert image.SOPClassUID == pydicom.uid.MRImageStorage
    assert image.SourceImageSequence[0].ReferencedFrameNumber >= 1


def test_the_whole_real_series(app: Run, predict: Run, philips: list[pydicom.Dataset], tmp_path: Path) -> None:
    """All 170 slices, with the backend that is fastest here; finer slices only, so that it takes a minute."""
    study = write(philips, tmp_path / "study")
    nifti = to_nifti(study, tmp_path / "sub-1_T1w.nii.gz")
    task = ("--factor", 1, 1, 1.25)
    done = app("-i", study, "-o", tmp_path / "out", *task)
    assert done.returncode == 0, done.stderr
    expected = predict(nifti, "-o", tmp_path / "sr.nii.gz", *task)
    assert expected.returncode == 0, expected.stderr
    compare(tmp_path / "out", "series1301", tmp_path / "sr.nii.gz")
