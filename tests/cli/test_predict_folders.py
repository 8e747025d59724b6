"""``mdcsrn predict`` on folders: bad files among good ones, and runs that go on from earlier ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mdcsrn.networks import MDCSRN
from mdcsrn.networks.weights import save_weights


@pytest.fixture
def study(tmp_path: Path, interpolated: np.ndarray, save_image: Callable) -> Path:
    """Twelve files, three of them bad."""
    folder = tmp_path / "study"
    for number in range(9):
        name = f"sub-{number:02d}_T1w.nii.gz"
        save_image(interpolated * (1 + number), folder / ("deep" if number > 6 else ".") / name)
    (folder / "text.nii.gz").write_text("no image")
    save_image(np.full((8, 8, 8), np.nan, np.float32), folder / "nan.nii")
    whole = (folder / "sub-00_T1w.nii.gz").read_bytes()
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    return folder


def test_a_folder_with_bad_files(mdcsrn: Callable, study: Path, tmp_path: Path, files: Callable) -> None:
    out = tmp_path / "out"
    done = mdcsrn("predict", study, "-o", out)
    assert done.exit_code == 3
    assert "3 of 12 cases failed" in done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    for name, words in (("text", "text.nii.gz"), ("nan", "NaN"), ("truncated", "truncated")):
        assert " failed " in rows[name]
        assert words in rows[name]
    assert " done " in rows["deep/sub-07_T1w"]
    assert done.stdout.splitlines()[-1] == "9 done, 3 failed"
    volumes = [name for name in files(out) if name.endswith("_sr.nii.gz")]
    assert volumes == sorted(
        [f"sub-{n:02d}_T1w_sr.nii.gz" for n in range(7)] + ["deep/sub-07_T1w_sr.nii.gz", "deep/sub-08_T1w_sr.nii.gz"]
    )
    assert not list(out.rglob(".*"))

    before = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    again = mdcsrn("predict", study, "-o", out, "--resume")
    assert again.exit_code == 3
    assert again.stdout.splitlines()[-1] == "3 failed, 9 skipped"
    assert {name: (out / name).stat().st_mtime_ns for name in files(out)} == before

    quiet = mdcsrn("predict", study, "-o", out, "--resume", "--quiet")
    assert quiet.stdout == ""
    assert [line.split(": ")[0] for line in quiet.stderr.splitlines()] == ["failed"] * 3 + ["error"]


def test_resume_does_again_what_changed(
    mdcsrn: Callable, scan: Path, tmp_path: Path, save_image: Callable, interpolated: np.ndarray
) -> None:
    output = tmp_path / "out" / "scan_sr.nii.gz"

    def status(*words: object) -> str:
        done = mdcsrn("predict", scan, "-o", output.parent, "--resume", "--json", *words)
        assert done.exit_code == 0, done.output
        return str(json.loads(done.stdout)[0]["status"])

    assert status() == "done"
    whole, values = output.read_bytes(), nib.load(output).get_fdata()
    assert status() == "skipped"
    assert status("--max-memory", 3) == "skipped"  # no say in the voxels
    output.write_bytes(whole[:-20] + bytes(20))  # damaged on the disk
    assert status() == "done"
    np.testing.assert_allclose(nib.load(output).get_fdata(), values, atol=0.1)  # of about 1000
    output.with_name("scan_sr.json").unlink()  # a run that was killed before its record
    assert status() == "done"
    assert status("--region", "all") == "done"
    assert status() == "done"  # other settings than those of the result that is there
    other = tmp_path / "other.pt"
    save_weights(other, MDCSRN(blocks=1, units=1, growth=4))
    assert status("--model", other) == "done"
    assert status() == "done"
    save_image(interpolated + 1, scan)
    assert status() == "done"


def test_a_folder_needs_a_folder(mdcsrn: Callable, study: Path, tmp_path: Path) -> None:
    for words in ((), ("-o", tmp_path / "one.nii.gz")):
        done = mdcsrn("predict", study, *words)
        assert (done.exit_code, "-o FOLDER" in done.stderr) == (4, True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    done = mdcsrn("predict", tmp_path / "empty", "-o", tmp_path / "out")
    assert (done.exit_code, "no scan" in done.stderr) == (3, True)
    assert not (tmp_path / "out").exists()


def test_results_among_the_sources_are_left_out(mdcsrn: Callable, scan: Path) -> None:
    assert mdcsrn("predict", scan).exit_code == 0
    done = mdcsrn("predict", scan.parent, "-o", scan.parent / "again")
    assert done.exit_code == 0, done.output
    assert "results of earlier runs: 1" in done.stderr
    assert done.stdout.splitlines()[-1] == "1 done"


def test_names_with_control_characters_are_shown_escaped(
    mdcsrn: Callable, tmp_path: Path, interpolated: np.ndarray, save_image: Callable
) -> None:
    save_image(interpolated, tmp_path / "in" / "a\x1b[31m\nb.nii.gz")
    done = mdcsrn("predict", tmp_path / "in", "-o", tmp_path / "out")
    assert done.exit_code == 0
    assert "\x1b" not in done.output
    assert "a\\x1b[31m\\nb" in done.stdout
