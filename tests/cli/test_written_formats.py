"""Results as FreeSurfer, NRRD and MetaImage files, and evaluate, degrade, report and data folder on every format."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mdcsrn.data.datalist import load_datalist
from mdcsrn.inference import pipeline
from mdcsrn.io.formats import image_stem, read_image

OTHERS = [".nrrd", ".mgz", ".mha"]
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Every single file that `predict` reads, and how a test makes it.
READ = [".nii", ".nii.gz", ".nii.bz2", ".hdr", ".img", ".mgz", ".mgh", ".nrrd", ".nhdr", ".mha", ".mhd"]


def independent(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine (RAS, millimetres) by nibabel or SimpleITK."""
    if path.name.endswith((".nrrd", ".mha")):
        image = sitk.ReadImage(str(path))
        affine = np.eye(4)
        affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        return sitk.GetArrayFromImage(image).transpose(2, 1, 0), LPS @ affine
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine


def save(path: Path, source: Path) -> Path:
    """The volume of a NIfTI file in another format, by nibabel or SimpleITK alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.load(source)
    array = np.asarray(image.dataobj)
    if path.name.endswith((".nii", ".nii.gz", ".nii.bz2")):
        nib.save(image, path)
    elif path.suffix in (".hdr", ".img"):
        nib.Nifti1Pair(array, image.affine).to_filename(path)
    elif path.suffix in (".mgz", ".mgh"):
        nib.freesurfer.MGHImage(array, image.affine).to_filename(path)
    else:
        lps = LPS @ image.affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        other = sitk.GetImageFromArray(array.transpose(2, 1, 0))
        other.SetSpacing(spacing.tolist())
        other.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        other.SetOrigin(lps[:3, 3].tolist())
        sitk.WriteImage(other, str(path))
    return path


@pytest.mark.parametrize("ending", [*OTHERS, ".nii"])
def test_a_result_in_any_format_is_the_one_of_nifti(
    mdcsrn: Callable, scan: Path, tmp_path: Path, files: Callable, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = nib.Nifti1Image((np.asarray(nib.load(scan).dataobj) > 400).astype(np.int16), nib.load(scan).affine)
    nib.save(labels, tmp_path / "labels.nii.gz")
    words = ("--factor", 1.5, 1, 1, "--uncertainty", "--mask", tmp_path / "labels.nii.gz")
    done = mdcsrn("predict", scan, "-o", tmp_path / "nifti" / "x.nii.gz", *words)
    assert done.exit_code == 0, done.output
    output = tmp_path / "out" / f"x{ending}"
    done = mdcsrn("predict", scan, "-o", output, *words, "--report", tmp_path / "out" / "x.html")
    assert done.exit_code == 0, done.output
    roles = ("mean", "spread", "invention", "mask")
    names = {f"x{ending}", "x.json", "x.html", *(f"x_{role}{ending}" for role in roles)}
    assert set(files(output.parent)) == names
    for name in (f"x{ending}", *(f"x_{role}{ending}" for role in roles)):
        array, affine = independent(output.parent / name)
        expected = nib.load(tmp_path / "nifti" / f"{image_stem(name)}.nii.gz")
        np.testing.assert_array_equal(array, np.asarray(expected.dataobj))
        assert array.dtype.kind == expected.get_data_dtype().kind
        corner = np.array([*(n - 1 for n in array.shape), 1])
        np.testing.assert_allclose(affine @ corner, expected.affine @ corner, atol=5e-4)
    verified = mdcsrn("verify", output, "--json")
    assert verified.exit_code == 0, verified.output
    assert all(check["passed"] is True for check in json.loads(verified.stdout)["checks"]), verified.stdout
    page = mdcsrn("report", output, "-o", tmp_path / "page.html")
    assert page.exit_code == 0, page.output
    assert (tmp_path / "page.html").stat().st_size > 1000

    monkeypatch.setattr(pipeline, "predict", None)  # a second prediction would fail
    again = mdcsrn("predict", scan, "-o", output, *words, "--report", tmp_path / "out" / "x.html", "--resume")
    assert again.exit_code == 0, again.output
    assert again.output.strip() == "done before"
    output.write_bytes(output.read_bytes()[:-1])
    assert mdcsrn("verify", output).exit_code != 0


@pytest.mark.parametrize("ending", OTHERS)
def test_rounding_is_counted_in_the_type_of_the_format(
    mdcsrn: Callable, interpolated: np.ndarray, save_image: Callable, tmp_path: Path, ending: str
) -> None:
    scan = save_image((interpolated + 500).astype(np.uint16), tmp_path / "scan.nii.gz")
    output = tmp_path / "out" / f"x{ending}"
    done = mdcsrn("predict", scan, "-o", output, "--dtype", "keep")
    assert done.exit_code == 0, done.output
    record = json.loads(output.with_suffix(".json").read_text())
    array, _ = independent(output)
    assert record["dtype"] == ("int32" if ending == ".mgz" else "uint16") == str(array.dtype.newbyteorder("="))
    assert record["certificate"]["after_rounding"]["relative_error"] > 1e-5
    verified = mdcsrn("verify", output, "--json")
    assert verified.exit_code == 0, verified.output
    assert all(check["passed"] is True for check in json.loads(verified.stdout)["checks"]), verified.stdout


def test_what_a_format_cannot_hold_is_refused_before_work(
    mdcsrn: Callable, interpolated: np.ndarray, save_image: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "predict", None)
    wide = interpolated.astype(np.int64)
    wide[10, 40, 40] = 1 << 40
    affine = nib.load(save_image(interpolated, tmp_path / "scan.nii.gz")).affine
    nib.save(nib.Nifti1Image(wide, affine, dtype=np.int64), tmp_path / "wide.nii.gz")
    nowhere = nib.Nifti1Image(interpolated, None)
    nowhere.header.set_zooms((1, 1, 1))
    nowhere.set_sform(None, 0)
    nowhere.set_qform(None, 0)
    nib.save(nowhere, tmp_path / "nowhere.nii.gz")
    cases = [
        ("wide", "x.mgz", ("--dtype", "keep"), "FreeSurfer's format has no int64"),
        ("scan", "x.mgz", ("--mask", tmp_path / "wide.nii.gz"), "FreeSurfer's format has no int64"),
        ("nowhere", "x.nrrd", (), "does not say what is left"),
        ("scan", "x.hdr", (), "not a NIfTI name"),
        ("scan", "x.mgh", (), "not a NIfTI name"),
        ("scan", "x.nhdr", (), ".nii, .nii.gz, .mgz, .nrrd, .mha, .png, or a folder"),
    ]
    for name, output, words, text in cases:
        done = mdcsrn("predict", tmp_path / f"{name}.nii.gz", "-o", tmp_path / "out" / output, *words)
        assert done.exit_code == 7, done.output
        assert text in re.sub(r"\s+", " ", done.stderr)
        assert not (tmp_path / "out").exists()
    done = mdcsrn("predict", tmp_path / "nowhere.nii.gz", "-o", tmp_path / "out" / "x.nrrd", "--dry-run")
    assert done.exit_code == 7, done.output
    done = mdcsrn("degrade", tmp_path / "nowhere.nii.gz", "-o", tmp_path / "out" / "x.mha", "--spec", "hcp_2x2")
    assert (done.exit_code, (tmp_path / "out").exists()) == (7, False), done.output


def test_a_record_of_another_volume_is_kept(mdcsrn: Callable, scan: Path, tmp_path: Path, files: Callable) -> None:
    """`x.nrrd` and `x.mgz` would share `x.json`, and the first could not be verified any more."""
    assert mdcsrn("predict", scan, "-o", tmp_path / "out" / "x.nrrd").exit_code == 0
    done = mdcsrn("predict", scan, "-o", tmp_path / "out" / "x.mgz")
    assert done.exit_code == 7, done.output
    assert "x.json is the record of x.nrrd" in done.stderr.replace(f"{tmp_path}/out/", "")
    done = mdcsrn("degrade", scan, "-o", tmp_path / "out" / "x.mgz", "--spec", "hcp_2x2")
    assert (done.exit_code, "is the record of x.nrrd" in done.stderr) == (7, True), done.output
    assert mdcsrn("verify", tmp_path / "out" / "x.nrrd").exit_code == 0
    (tmp_path / "out" / "x.nrrd").unlink()
    assert mdcsrn("predict", scan, "-o", tmp_path / "out" / "x.mgz").exit_code == 0
    assert files(tmp_path / "out") == ["x.json", "x.mgz"]


@pytest.mark.parametrize("ending", READ)
def test_evaluate_and_degrade_read_what_predict_reads(
    mdcsrn: Callable, scan: Path, tmp_path: Path, ending: str
) -> None:
    source = save(tmp_path / "other" / f"truth{ending}", scan)
    low = {}
    for given, output in ((scan, tmp_path / "a.nii.gz"), (source, tmp_path / "b.nrrd"), (source, tmp_path / "c.mgz")):
        done = mdcsrn("degrade", given, "-o", output, "--spec", "hcp_2x2")
        assert done.exit_code == 0, done.output
        low[output.name] = independent(output)
        record = json.loads(output.with_suffix("").with_suffix(".json").read_text())
        assert record["degradation"]["reduction"] == [1, 2, 2]
    for array, affine in low.values():
        np.testing.assert_allclose(array, low["a.nii.gz"][0], atol=1e-3)
        np.testing.assert_allclose(affine, low["a.nii.gz"][1], atol=1e-4)
    figures = {}
    for name, truth, mask in (("plain", scan, scan), ("other", source, source)):
        json_path = tmp_path / f"{name}.json"
        given = ("--prediction", tmp_path / "b.nrrd", "--reference", truth, "--mask", mask, "--json", json_path)
        done = mdcsrn("evaluate", *given)
        assert done.exit_code == 0, done.output
        figures[name] = [row["psnr"] for row in json.loads(json_path.read_text())["rows"]]
    assert figures["other"] == pytest.approx(figures["plain"], abs=1e-3)


def test_folders_of_mixed_formats_are_matched_by_stem(mdcsrn: Callable, scan: Path, tmp_path: Path) -> None:
    for name, ending, partner in (("one", ".nrrd", ".nii.gz"), ("two", ".hdr", ".mgz"), ("three", ".mhd", ".mha")):
        save(tmp_path / "p" / f"{name}{ending}", scan)
        save(tmp_path / "r" / f"{name}{partner}", scan)
    table = tmp_path / "table.json"
    done = mdcsrn("evaluate", "--prediction", tmp_path / "p", "--reference", tmp_path / "r", "--json", table)
    assert done.exit_code == 0, done.output
    assert {row["subject"] for row in json.loads(table.read_text())["rows"]} == {"one", "two", "three"}
    save(tmp_path / "p" / "one.mgz", scan)
    done = mdcsrn("evaluate", "--prediction", tmp_path / "p", "--reference", tmp_path / "r")
    assert done.exit_code == 3
    assert "have one name" in done.output


def test_report_of_an_evaluation_reads_other_formats(mdcsrn: Callable, scan: Path, tmp_path: Path) -> None:
    truth, found = save(tmp_path / "r.mgz", scan), save(tmp_path / "p.nrrd", scan)
    done = mdcsrn("report", "--reference", truth, "--prediction", found, "--mask", truth, "-o", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    done = mdcsrn("report", "--reference", truth, "--prediction", found)
    assert (tmp_path / "p_evaluation.html").is_file(), done.output


def test_data_folder_lists_other_formats_and_training_reads_them(
    mdcsrn: Callable, interpolated: np.ndarray, save_image: Callable, make_phantom: Callable, tmp_path: Path
) -> None:
    from monai.transforms import LoadImaged

    for number, ending in enumerate((".nii.gz", ".mgz", ".nrrd", ".mha", ".hdr", ".nii.bz2")):
        plain = save_image(make_phantom(seed=number), tmp_path / "plain" / f"{number}.nii.gz")
        save(tmp_path / "study" / f"sub-{number:02d}" / f"sub-{number:02d}_T1w{ending}", plain)
    done = mdcsrn("data", "folder", tmp_path / "study", "-o", tmp_path / "list.json")
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "list.json").read_text())
    entries = [
        e for section in ("training", "validation", "test") for e in load_datalist(tmp_path / "list.json", section)
    ]
    assert sorted(entry["subject"] for entry in entries) == [f"{n:02d}" for n in range(6)], content
    load = LoadImaged("image", image_only=True, reader="mdcsrn.io.reader.NiftiReader")
    for entry in entries:
        image, volume = load(entry)["image"], read_image(entry["image"])
        np.testing.assert_array_equal(image.numpy(), volume.array)
        np.testing.assert_allclose(image.affine.numpy(), volume.affine)
    low = save_image(interpolated, tmp_path / "plain" / "low.nii.gz")
    for ending in (".nrrd", ".nhdr"):
        save(tmp_path / "study" / "sub-01" / f"sub-01_T2w{ending}", low)
        done = mdcsrn(
            "data", "folder", tmp_path / "study", "-o", tmp_path / "list.json", "--crop-kspace", tmp_path / "crop"
        )
        assert done.exit_code == 0, done.output
        name = f"sub-01_T2w{ending}" + ("" if ending == ".nrrd" else ".nii.gz")
        assert read_image(tmp_path / "crop" / "sub-01" / name).shape[1] < interpolated.shape[1]
        for path in (tmp_path / "study" / "sub-01").glob("*T2w*"):
            path.unlink()
