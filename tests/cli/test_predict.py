"""``mdcsrn predict``: what is written, what is said, what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


def record_of(output: Path) -> dict:
    return json.loads(output.with_name(output.name.removesuffix(".nii.gz") + ".json").read_text())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def centre(volume: np.ndarray, kept: tuple[int, int, int]) -> np.ndarray:
    """k-space over voxels, |k| below half of `kept` per axis: what was surely measured, by NumPy alone."""
    spectrum = np.fft.fftshift(np.fft.fftn(volume.astype(np.float64))) / volume.size
    places = [slice(n // 2 - (s - 1) // 2, n // 2 + (s - 1) // 2 + 1) for n, s in zip(volume.shape, kept, strict=True)]
    return spectrum[tuple(places)]


def test_help_fits_a_screen(mdcsrn: Callable) -> None:
    for name in ("predict", "verify"):
        shown = mdcsrn(name, "--help")
        assert shown.exit_code == 0
        assert len(shown.output.splitlines()) <= 40
        assert all(len(line) <= 100 for line in shown.output.splitlines())


def test_a_file_gets_its_result_and_record_beside_it(
    mdcsrn: Callable, scan: Path, small_model: Path, files: Callable
) -> None:
    done = mdcsrn("predict", scan)
    assert done.exit_code == 0, done.output
    assert files(scan.parent)[:3] == ["scan.nii.gz", "scan_sr.json", "scan_sr.nii.gz"]
    source, result = nib.load(scan), nib.load(scan.parent / "scan_sr.nii.gz")
    np.testing.assert_allclose(result.affine, source.affine, atol=1e-6)
    assert result.get_data_dtype() == np.float32
    x, y = source.get_fdata(), result.get_fdata()
    assert np.abs(y - x).max() > 1  # the network did something
    acquired = record_of(scan.parent / "scan_sr.nii.gz")["plan"]["acquired_shape"]
    assert acquired[0] == 20
    assert all(a < n for a, n in zip(acquired[1:], x.shape[1:], strict=True))
    apart = np.linalg.norm(centre(x, acquired) - centre(y, acquired)) / np.linalg.norm(centre(x, acquired))
    assert apart < 1e-5


def test_the_record(mdcsrn: Callable, scan: Path, tmp_path: Path, small_model: Path) -> None:
    output = tmp_path / "out" / "deep" / "result.nii.gz"
    assert mdcsrn("predict", scan, "-o", output).exit_code == 0
    record = record_of(output)
    assert record["source"] == "../../in/scan.nii.gz"
    assert record["Sources"] == ["../../in/scan.nii.gz"]
    assert record["SpatialReference"] == "orig"
    assert record["source_sha256"] == sha256(scan)
    assert record["output_sha256"] == sha256(output)
    assert record["weights_sha256"] == sha256(small_model)
    assert record["software"].startswith("mdcsrn ")
    assert record["certificate"]["after_rounding"]["relative_error"] <= 1e-5
    assert record["certificate"]["before_rounding"]["relative_error"] <= 1e-5
    assert record["plan"]["kind"] == "same-grid"
    assert all(isinstance(seconds, float) for seconds in record["timings_s"].values())
    for file in record["files"].values():
        assert sha256(output.parent / file["path"]) == file["sha256"]
    assert str(tmp_path) not in output.with_name("result.json").read_text()  # no absolute path


@pytest.mark.parametrize(
    ("words", "shape", "spacing"),
    [
        (("--factor", 2, 1, 1), (40, 96, 84), (0.45, 1.1, 1.0)),
        (("--factor", 1, 1, 1.25), (20, 96, 105), (0.9, 1.1, 0.8)),
        (("--to-spacing", 0.85, 0.85, 0.85), (21, 124, 99), (0.9 * 20 / 21, 1.1 * 96 / 124, 84 / 99)),
    ],
)
def test_finer_grids(mdcsrn: Callable, scan: Path, tmp_path: Path, words: tuple, shape: tuple, spacing: tuple) -> None:
    output = tmp_path / "fine.nii.gz"
    done = mdcsrn("predict", scan, "-o", output, *words)
    assert done.exit_code == 0, done.output
    source, result = nib.load(scan), nib.load(output)
    assert result.shape == shape
    np.testing.assert_allclose(result.header.get_zooms(), spacing, rtol=1e-5)
    # Sample m // 2 of the new grid is sample n // 2 of the old one.
    old = source.affine @ [*(n // 2 for n in source.shape), 1]
    np.testing.assert_allclose(result.affine @ [*(m // 2 for m in shape), 1], old, atol=1e-4)
    assert result.get_fdata().mean() == pytest.approx(source.get_fdata().mean(), rel=1e-4)
    assert record_of(output)["certificate"]["after_rounding"]["relative_error"] <= 1e-5
    assert record_of(output)["Description"].startswith("super-resolved")


@pytest.fixture
def full(tmp_path: Path, make_phantom: Callable, save_image: Callable) -> Path:
    return save_image(make_phantom(), tmp_path / "in" / "full.nii.gz")


def test_a_full_band_is_copied_with_a_warning(mdcsrn: Callable, full: Path) -> None:
    done = mdcsrn("predict", full)
    assert done.exit_code == 0, done.output
    assert "warning: no-empty-band" in done.stderr
    output = full.parent / "full_sr.nii.gz"
    np.testing.assert_array_equal(nib.load(output).get_fdata(), nib.load(full).get_fdata())
    record = record_of(output)
    assert "no-empty-band" in [warning["name"] for warning in record["warnings"]]
    assert record["Description"].startswith("unchanged")


def test_strict_refuses_and_leaves_nothing(mdcsrn: Callable, full: Path, files: Callable) -> None:
    for extra in ((), ("--dry-run",)):
        done = mdcsrn("predict", full, "--strict", *extra)
        assert done.exit_code == 9
        assert "no-empty-band" in done.stderr
        assert files(full.parent) == ["full.nii.gz"]


def test_integers_are_kept_and_their_rounding_is_counted(
    mdcsrn: Callable, interpolated: np.ndarray, tmp_path: Path, save_image: Callable
) -> None:
    source = save_image(np.rint(interpolated).astype(np.int16), tmp_path / "i.nii.gz")
    output = tmp_path / "i_sr.nii.gz"
    assert mdcsrn("predict", source, "--dtype", "keep").exit_code == 0
    assert nib.load(output).get_data_dtype() == np.int16
    certificate = record_of(output)["certificate"]
    assert certificate["before_rounding"]["relative_error"] <= 1e-5
    x, y = nib.load(source).get_fdata(), nib.load(output).get_fdata()
    acquired = record_of(output)["plan"]["acquired_shape"]
    apart = np.linalg.norm(centre(x, acquired) - centre(y, acquired)) / np.linalg.norm(centre(x, acquired))
    assert certificate["after_rounding"]["relative_error"] == pytest.approx(apart, rel=0.2)  # which leaves out Nyquist
    assert apart > 1e-5
    assert mdcsrn("verify", output).exit_code == 0
    assert mdcsrn("predict", source, "-o", tmp_path / "float.nii.gz").exit_code == 0
    assert np.abs(nib.load(tmp_path / "float.nii.gz").get_fdata() - y).max() <= 0.501


def test_whole_numbers_that_are_too_coarse_are_warned_of(
    mdcsrn: Callable, interpolated: np.ndarray, tmp_path: Path, files: Callable
) -> None:
    image = nib.Nifti1Image(interpolated / 1000, np.eye(4))
    image.set_data_dtype(np.int16)  # nibabel stores a scale factor
    nib.save(image, tmp_path / "scaled.nii.gz")
    done = mdcsrn("predict", tmp_path / "scaled.nii.gz", "--dtype", "keep")
    assert done.exit_code == 0
    assert "warning: rounding-too-coarse" in done.stderr
    (tmp_path / "out").mkdir()
    done = mdcsrn("predict", tmp_path / "scaled.nii.gz", "-o", tmp_path / "out", "--dtype", "keep", "--strict")
    assert (done.exit_code, files(tmp_path / "out")) == (9, [])


def test_values_that_do_not_fit_are_refused(
    mdcsrn: Callable, interpolated: np.ndarray, tmp_path: Path, save_image: Callable, files: Callable
) -> None:
    bytes_ = np.clip(interpolated * (255 / interpolated.max()), 0, 255)
    source = save_image(np.rint(bytes_).astype(np.uint8), tmp_path / "b.nii.gz")
    done = mdcsrn("predict", source, "--dtype", "keep", "--factor", 1, 1, 2)
    assert done.exit_code == 7
    assert "does not fit the source's type uint8" in done.stderr
    assert files(tmp_path) == ["b.nii.gz"]


def test_labels_go_with_the_volume(
    mdcsrn: Callable, scan: Path, interpolated: np.ndarray, tmp_path: Path, save_image: Callable
) -> None:
    labels = (interpolated > 400).astype(np.uint8) * 17
    mask = save_image(labels, tmp_path / "labels.nii.gz")
    output = tmp_path / "out.nii.gz"
    done = mdcsrn("predict", scan, "-o", output, "--factor", 2, 1, 1, "--mask", mask)
    assert done.exit_code == 0, done.output
    carried = nib.load(tmp_path / "out_mask.nii.gz")
    np.testing.assert_allclose(carried.affine, nib.load(output).affine, atol=1e-6)
    assert carried.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(carried.dataobj)[::2], labels)  # new sample 2 i lies on old sample i
    assert set(np.unique(carried.dataobj)) == {0, 17}


def test_uncertainty_writes_maps(mdcsrn: Callable, scan: Path) -> None:
    done = mdcsrn("predict", scan, "--uncertainty")
    assert done.exit_code == 0, done.output
    source = nib.load(scan)
    for role in ("spread", "invention"):
        image = nib.load(scan.parent / f"scan_sr_{role}.nii.gz")
        np.testing.assert_allclose(image.affine, source.affine, atol=1e-6)
        assert image.get_fdata().min() >= 0
        assert image.get_fdata().max() > 0


def test_json_is_the_only_thing_on_stdout(mdcsrn: Callable, scan: Path, full: Path, tmp_path: Path) -> None:
    done = mdcsrn("predict", scan.parent, "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    cases = json.loads(done.stdout)
    assert [(case["name"], case["status"]) for case in cases] == [("full", "done"), ("scan", "done")]
    assert cases[1]["record"]["output_sha256"] == sha256(Path(cases[1]["output"]))
    assert mdcsrn("predict", scan, "--json").exit_code == 0
    bad = mdcsrn("predict", scan, "--json", "--strict", "-o", tmp_path / "strict.nii.gz")
    (case,) = json.loads(bad.stdout)
    assert (bad.exit_code, case["status"], case["error"]["exit_code"]) == (9, "failed", 9)
    assert bad.stderr.count("\n") == 1


def test_quiet_is_silent_but_for_errors(mdcsrn: Callable, scan: Path, tmp_path: Path) -> None:
    done = mdcsrn("predict", scan, "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    done = mdcsrn("predict", tmp_path / "absent.nii.gz", "--quiet")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(mdcsrn: Callable, scan: Path, files: Callable) -> None:
    done = mdcsrn("predict", scan, "--dry-run")
    assert done.exit_code == 0, done.output
    assert files(scan.parent) == ["scan.nii.gz"]
    for words in ("fill the empty outer band of axes 1, 2", "acquired", "of 96 samples", "margin", "GiB"):
        assert words in done.output, words
    (case,) = json.loads(mdcsrn("predict", scan, "--dry-run", "--json").stdout)
    assert case["status"] == "planned"
    assert case["record"]["plan"]["kind"] == "same-grid"
    several = mdcsrn("predict", scan.parent, "-o", scan.parent / "out", "--dry-run")
    assert "of 96 samples" in several.output
    assert several.stdout.splitlines()[-1] == "1 planned"
    assert files(scan.parent) == ["scan.nii.gz"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--same-grid", "--factor", 2, 2, 1), 4, "one task at a time"),
        (("--factor", 0.5, 1, 1), 4, ">= 1"),
        (("--to-spacing", 0, 1, 1), 4, "spacing"),
        (("--exact-field",), 4, "to-spacing"),
        (("--factor", 2, 2), 2, "--factor"),
        (("-o", "out.png"), 7, "a PNG holds one plane"),
        (("-o", "out.jpg"), 7, "JPEG loses values"),
        (("-o", "in/scan.nii.gz"), 7, "is an input"),
        (("--dicom-out", "series"), 4, "no DICOM series"),
        (("--mask", "absent.nii.gz"), 3, "absent.nii.gz"),
        (("--model", "absent.pt"), 5, "absent.pt"),
        (("--backend", "abacus"), 4, "abacus"),
        (("--device", "abacus"), 4, "abacus"),
        (("--precision", "abacus"), 4, "abacus"),
        (("--max-memory", -1), 4, "memory"),
        (("-o", "/dev/full/x.nii.gz"), 7, "cannot write"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    mdcsrn: Callable, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple, code: int, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.png").write_text("something")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = mdcsrn("predict", "in/scan.nii.gz", *words)
    assert (done.exit_code, text in done.stderr) == (code, True), done.stderr
    assert code == 2 or done.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
