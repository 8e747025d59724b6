"""``mdcsrn report``: the page of a result from its files, and of an evaluation, as commands on real files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mdcsrn.report.prediction import page_of_output

Command = Callable[..., object]


@pytest.fixture
def result(mdcsrn, scan: Path, tmp_path: Path) -> Path:
    output = tmp_path / "out" / "scan_sr.nii.gz"
    done = mdcsrn("predict", scan, "-o", output, "--report", tmp_path / "out" / "direct.html", "--quiet")
    assert done.exit_code == 0, done.output
    return output


def words(path: Path) -> str:
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", path.read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_page_from_files_says_what_the_direct_one_says(mdcsrn, result: Path, scan: Path) -> None:
    done = mdcsrn("report", result)
    assert done.exit_code == 0, done.output
    page = result.with_name("scan_sr.html")
    assert str(page) in done.output
    again, direct = words(page), words(result.with_name("direct.html"))
    record = json.loads(result.with_name("scan_sr.json").read_text())
    for phrase in (
        "What was measured is kept",
        record["weights_sha256"],
        "Invention map",
        "Acquired matrix",
        "20 × 96 × 84 voxels",
    ):
        assert phrase in again, phrase
        assert phrase in direct, phrase
    assert record["output_sha256"] in again
    for text in (again, direct):
        assert "As stored in the file" in text
    for text in (again, direct):
        assert str(scan.parent) not in text, "no path of this machine"
        assert str(result.parent) not in text


def test_page_holds_the_volumes_of_the_files(result: Path, interpolated: np.ndarray) -> None:
    page = page_of_output(result)
    assert np.array_equal(page.after, nib.load(result).get_fdata(dtype=np.float32))
    assert np.abs(page.before - interpolated).max() < 1e-3 * np.abs(interpolated).max(), "its own band, zero-filled"
    assert page.shares is not None
    assert page.shares[0] == 1
    assert max(page.shares[1:]) < 0.6
    assert list(page.maps) == ["invention"], "made from the result where no file holds it"
    assert 0 < page.maps["invention"].max() < np.abs(page.after).max()
    assert page.certificate is not None
    assert page.certificate["relative_error_stored"] < 1e-5


def test_both_pages_say_what_rounding_costs(mdcsrn, interpolated: np.ndarray, tmp_path: Path) -> None:
    """Of whole numbers in a NIfTI file, by name, as `verify` finds it in the file; with the warning of it."""
    source, output = tmp_path / "i.nii.gz", tmp_path / "i_sr.nii.gz"
    coarse = np.rint(interpolated * 12 / interpolated.max()).astype(np.int16)
    nib.save(nib.Nifti1Image(coarse, np.eye(4)), source)
    done = mdcsrn("predict", source, "--factor", 1, 1.5, 1.5, "--dtype", "keep", "--report", tmp_path / "direct.html")
    assert done.exit_code == 0, done.output
    assert mdcsrn("report", output).exit_code == 0
    certificate = json.loads((tmp_path / "i_sr.json").read_text())["certificate"]
    error = certificate["after_rounding"]["relative_error"]
    assert error > 100 * certificate["before_rounding"]["relative_error"]
    assert f"{error:.3g} in what was measured" in mdcsrn("verify", output).output
    for page in ("direct", "i_sr"):
        text = words(tmp_path / f"{page}.html")
        assert f"differ by a relative {certificate['before_rounding']['relative_error']:.1e}" in text
        assert f"As stored in the file, after rounding to its number type: {error:.1e}" in text
        assert "Warning: rounding-too-coarse" in text


def test_a_changed_result_is_said_to_be_changed(mdcsrn, result: Path) -> None:
    image = nib.load(result)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32) * 1.01, image.affine), result)
    done = mdcsrn("report", result, "-o", result.with_name("b.html"))
    assert done.exit_code == 0, done.output
    text = words(result.with_name("b.html"))
    assert "Warning: files-changed" in text
    assert "As stored in the file, after rounding to its number type: 1.0e-02" in text


def test_the_source_is_looked_for(mdcsrn, result: Path, scan: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "moved.nii.gz"
    moved.parent.mkdir()
    shutil.move(scan, moved)
    lost = mdcsrn("report", result)
    assert lost.exit_code == 3
    assert "--input" in lost.output
    found = mdcsrn("report", result, "--input", moved)
    assert found.exit_code == 0, found.output
    nib.save(nib.Nifti1Image(nib.load(moved).get_fdata(dtype=np.float32) + 1, nib.load(moved).affine), moved)
    wrong = mdcsrn("report", result, "--input", moved, "-o", tmp_path / "wrong.html")
    assert wrong.exit_code == 3
    assert "is not the source" in wrong.output
    assert not (tmp_path / "wrong.html").exists()


def test_evaluation_with_baselines_mask_and_angles(
    mdcsrn, make_phantom, save_image, small_model: Path, tmp_path: Path
) -> None:
    volume = make_phantom()
    truth = save_image(volume, tmp_path / "truth.nii.gz")
    brain = save_image((volume > 500).astype(np.uint8), tmp_path / "brain.nii.gz")
    done = mdcsrn(
        "report", "--reference", truth, "--degrade", "hcp_2x2", "--angles", "0, 20", "--mask", brain,
        "--model", small_model, "-o", tmp_path / "e.html",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    text = words(tmp_path / "e.html")
    for phrase in (
        "Evaluation against a reference", "made from the degraded reference", "PSNR, dB (mask)", "nearest", "trilinear",
        "cubic B-spline", "zero-filled", "turned in the plane of its second and third axis by 0°, 20°",
        "1x2x2 box", "What was measured is kept",
    ):  # fmt: skip
        assert phrase in text, phrase


def test_evaluation_of_files_alone(mdcsrn, make_phantom, save_image, interpolated: np.ndarray, tmp_path: Path) -> None:
    truth = save_image(make_phantom(), tmp_path / "truth.nii.gz")
    low = save_image(interpolated, tmp_path / "low.nii.gz")
    done = mdcsrn("report", "--reference", truth, "--prediction", low, "--low", low)
    assert done.exit_code == 0, done.output
    text = words(tmp_path / "low_evaluation.html")
    row = re.search(r"zero-filled ([\d. ]+)SR ([\d. ]+?)Fidelity", text)
    assert row is not None
    numbers = [[float(n) for n in part.split()] for part in row.groups()]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.02), "the prediction is the zero-filled one"


@pytest.mark.parametrize(
    ("arguments", "code", "phrase"),
    [
        ((), 2, "give either OUT"),
        (("a.nii.gz", "--reference", "b.nii.gz"), 2, "give either OUT"),
        (("a.nii.gz", "--low", "b.nii.gz"), 2, "--low belongs to an evaluation"),
        (("--reference", "b.nii.gz"), 2, "needs --prediction"),
        (("--reference", "b.nii.gz", "--prediction", "c.nii.gz", "--angles", "0 90"), 2, "--angles needs --degrade"),
        (("missing.nii.gz",), 3, "missing.json"),
        (("--reference", "missing.nii.gz", "--prediction", "c.nii.gz"), 3, "missing.nii.gz"),
        (("--reference", "missing.nii.gz", "--degrade", "hcp_2x2", "--angles", "ten"), 4, "angles are numbers"),
    ],
)
def test_wrong_use_is_one_line(mdcsrn, arguments: tuple[str, ...], code: int, phrase: str) -> None:
    done = mdcsrn("report", *arguments)
    assert done.exit_code == code, done.output
    assert phrase in done.output
    assert "Traceback" not in done.output


def test_an_input_is_never_replaced(mdcsrn, result: Path, scan: Path) -> None:
    content = result.read_bytes()
    done = mdcsrn("report", result, "-o", result)
    assert done.exit_code == 7
    assert result.read_bytes() == content
