"""``mdcsrn data`` as a user runs it, on real scans, damaged ones, HCP's layout and the embedded sample."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from mdcsrn.cli.main import main
from mdcsrn.data.datalist import load_datalist
from mdcsrn.io import read_volume


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mdcsrn", "data", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(6):
        path = tmp_path / "scans" / f"sub-{number:02d}_T1w.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(rng.normal(100, 10, (36, 34, 33 + number)).astype(np.float32), np.eye(4)), path)
    return tmp_path / "scans"


def test_folder(folder: Path) -> None:
    done = run("folder", folder, "-o", folder / "datalist.json", "--split", 4, 1, 1, "--seed", 3)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["sub-00_T1w.nii.gz", "36x34x33", "1.000x1.000x1.000"]
    assert lines[-2] == (
        "6 subjects, named by BIDS sub- labels: sub-00_T1w.nii.gz is 00; sub-01_T1w.nii.gz is 01; "
        "sub-02_T1w.nii.gz is 02"
    )
    assert lines[-1].endswith("4 training, 1 validation, 1 test")
    sections = [load_datalist(folder / "datalist.json", key) for key in ("training", "validation", "test")]
    assert [len(entries) for entries in sections] == [4, 1, 1]


@pytest.mark.parametrize("quick", [False, True])
def test_masks_label_maps_and_derivatives_are_left_out_and_said(folder: Path, quick: bool) -> None:
    image = nib.load(folder / "sub-00_T1w.nii.gz")
    ball = (np.indices(image.shape) - 17).__pow__(2).sum(0) < 150
    for name in (
        "sub-00_desc-brain_mask",
        "sub-01_dseg",
        "derivatives/x/sub-02_desc-preproc_T1w",
        "sub-03_acq-odd_T1w",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(ball.astype(np.int16), image.affine), folder / f"{name}.nii.gz")
    options = ["--no-check-band"] if quick else []
    for name in ("sub-04_part-phase_T1w", "sub-05_acq-x_T1w"):  # by its name, and by its sidecar
        shutil.copy(folder / "sub-00_T1w.nii.gz", folder / f"{name}.nii.gz")
    (folder / "sub-05_acq-x_T1w.json").write_text('{"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}')
    done = run("folder", folder, "-o", folder / "list.json", "--split", 4, 1, 1, *options)
    assert done.returncode == 0, done.stderr
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("left out as masks, label maps"))
    assert "mask in its name" in said
    assert said.endswith("and 3 more")
    content = json.loads((folder / "list.json").read_text())
    listed = [entry["image"] for key in ("training", "validation", "test") for entry in content[key]]
    assert sorted(listed) == [f"sub-{number:02d}_T1w.nii.gz" for number in range(6)]
    # A table that names a file knows better.
    (folder / "t.csv").write_text("file,subject\nsub-01_dseg.nii.gz,01\n")
    done = run("folder", folder, "-o", folder / "list.json", "--subjects-table", folder / "t.csv", "--no-check-band")
    assert done.returncode == 0, done.stderr
    assert "sub-01_dseg.nii.gz" in (folder / "list.json").read_text()


def test_results_of_predict_are_no_scans(folder: Path) -> None:
    (folder / "sub-05_T1w.json").write_text(
        json.dumps({"software": "mdcsrn 0.1", "record_sha256": "0", "files": {"spread": {"path": "sub-04_T1w.nii.gz"}}})
    )
    done = run("folder", folder, "-o", folder / "list.json", "--no-check-band")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("a result of mdcsrn") == 2
    assert "sub-05" not in (folder / "list.json").read_text()


def test_names_that_leave_a_doubt_are_refused_before_any_voxel_is_read(tmp_path: Path) -> None:
    for name in ("x1/P01_T1.nii", "y2/P01_T1.nii", "y2/P02_T1.nii", "x1/P03_T1.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("not read")
    done = run("folder", tmp_path, "-o", tmp_path / "list.json")
    assert done.returncode == 3
    assert "do not say who is who" in done.stderr
    assert "--subject-pattern" in done.stderr
    assert not (tmp_path / "list.json").exists()
    for name in ("x1/P01_T1.nii", "y2/P01_T1.nii", "y2/P02_T1.nii", "x1/P03_T1.nii"):
        array = np.random.default_rng(0).normal(100, 10, (9, 9, 9)).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / name)
    for option in ("--subject-pattern", "--subject-regex"):  # the second is the older name
        done = run("folder", tmp_path, "-o", tmp_path / "list.json", "--no-check-band", option, r"(P\d+)")
        assert done.returncode == 0, done.stderr
        assert "3 subjects, named by the expression (P\\d+): x1/P01_T1.nii is P01" in done.stdout


def test_damaged_files_are_listed_and_the_rest_is_done(folder: Path) -> None:
    (folder / "sub-07_T1w.nii.gz").write_bytes((folder / "sub-01_T1w.nii.gz").read_bytes()[:200])
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.float32), np.eye(4)), folder / "sub-08_T1w.nii.gz")
    done = run("folder", folder, "-o", folder / "datalist.json")
    assert done.returncode == 3
    assert done.stderr.count("left out:") == 2
    assert "sub-07_T1w" in done.stderr
    assert "sub-08_T1w.nii.gz holds nothing but zeros" in done.stderr
    assert "error: 2 of 8 files cannot be used" in done.stderr
    text = (folder / "datalist.json").read_text()
    assert "sub-07" not in text
    assert len(load_datalist(folder / "datalist.json", "training")) == 4


def test_folder_refusals(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.nii").write_text("x")
    out = tmp_path / "list.json"
    cases = [
        (("folder", tmp_path / "none", "-o", out), 3, "holds no NIfTI"),
        (("folder", tmp_path / "absent", "-o", out), 3, "no such folder"),
        (("folder", tmp_path / "bad", "-o", out), 3, "can be used"),
        (("folder", folder, "-o", folder / "sub-00_T1w.nii.gz" / "x.json"), 7, "cannot write"),
        (("folder", folder, "-o", out, "--split", 0, 1, 1), 4, "fractions"),
        (("folder", folder, "-o", out, "--subject-regex", "("), 4, "invalid"),
        (("folder", folder, "-o", out, "--subjects-table", tmp_path / "absent.tsv"), 3, "absent.tsv"),
        (("folder", folder, "-o", out, "--no-check-band", "--crop-kspace", tmp_path / "c"), 4, "needs --check-band"),
        (("hcp", folder, "-o", out), 3, "holds no subject of HCP"),
        (("hcp", folder, "-o", out, "--fetch"), 4, "goes with --subjects"),
        (("hcp", folder, "-o", out, "--fetch", "--subjects", "../x"), 4, "not a subject"),
        (("sample", "-o", folder / "sub-00_T1w.nii.gz" / "x", "--subjects", 1), 7, "cannot write"),
    ]
    for arguments, code, words in cases:
        shown = CliRunner().invoke(main, ["data", *map(str, arguments)])
        assert (shown.exit_code, words in shown.stderr) == (code, True), shown.output
        assert shown.stderr.count("\n") == 1
        assert not out.exists()


def test_real_folder_with_its_index(shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "list.json"
    arguments = ["data", "folder", str(shared_data), "-o", str(out), "--subjects-table", str(shared_data / "INDEX.tsv")]
    shown = CliRunner().invoke(main, arguments)
    assert shown.exit_code == 0, shown.output
    assert f"{out}: 29 training, 4 validation, 5 test" in shown.output
    assert "6 of 47 scans have an empty outer band" in shown.output
    empty = [line.split()[0] for line in shown.output.splitlines() if "EMPTY" in line]
    assert [Path(name).name for name in sorted(empty, key=lambda name: Path(name).name)] == [
        f"ds000011-{number:02d}_T1w.nii.gz" for number in range(1, 7)
    ]
    assert len(load_datalist(out, "training")) == 29


def test_real_interpolated_scans_are_cropped_and_listed(shared_data: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("ds000011-05", "ds002748-16", "ds002748-17"):
        shutil.copy(shared_data / f"t1w/val/{name}_T1w.nii.gz", scans)
    for _ in range(2):  # again: the crops of the first call, inside the searched folder, are no scans of their own
        done = run("folder", scans, "-o", scans / "list.json", "--crop-kspace", scans / "cropped")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("EMPTY OUTER BAND") == 1
    content = json.loads((scans / "list.json").read_text())
    listed = {entry["subject"]: entry["image"] for key in ("training", "validation", "test") for entry in content[key]}
    assert listed == {
        "ds000011-05": "cropped/ds000011-05_T1w.nii.gz",
        "ds002748-16": "ds002748-16_T1w.nii.gz",
        "ds002748-17": "ds002748-17_T1w.nii.gz",
    }
    assert read_volume(scans / "cropped/ds000011-05_T1w.nii.gz").shape[0] < 160


def test_hcp_folder_and_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    moto = pytest.importorskip("moto")
    boto3 = pytest.importorskip("boto3")
    from mdcsrn.data import hcp

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    (tmp_path / "ids.txt").write_text("100003\n100004\n999999\n")
    arguments = ["data", "hcp", str(tmp_path / "hcp"), "-o", str(tmp_path / "list.json")]
    fetch = [*arguments, "--fetch", "--subjects", "100001,100002", "--subjects-file", str(tmp_path / "ids.txt")]
    with moto.mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=hcp.BUCKET)
        for number in range(100001, 100005):
            client.put_object(Bucket=hcp.BUCKET, Key=f"{hcp.PREFIX}/{hcp.subject_path(str(number))}", Body=b"volume")
        shown = CliRunner().invoke(main, fetch)
        assert shown.exit_code == 3  # one of the five does not exist: said, and the rest is done
        assert "subject 999999 has no T1w" in shown.output
        assert shown.output.count("fetched  ") == 4
        assert CliRunner().invoke(main, fetch).output.count("present  ") == 4
    listed = CliRunner().invoke(main, arguments)
    assert listed.exit_code == 0
    assert "1 training, 1 validation, 1 evaluation, 1 test" in listed.output
    assert len(load_datalist(tmp_path / "list.json", "evaluation")) == 1


def test_sample(tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    done = run("sample", "-o", tmp_path / "s", "--subjects", 1, "--seed", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "s" / "datalist.json")
    (entry,) = load_datalist(done.stdout.strip(), "training")
    assert read_volume(entry["image"]).array.max() > 1000
