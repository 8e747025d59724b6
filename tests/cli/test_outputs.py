"""No two files of a run share a place, no input and no file of someone else is replaced, and it is said before work."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mdcsrn.inference import pipeline
from mdcsrn.io.sources import Case, find_cases
from mdcsrn.jobs.options import Options
from mdcsrn.jobs.output_paths import jobs_of
from mdcsrn.jobs.outputs import checked, outputs_of

SIDECAR = {"EchoTime": 0.003, "ConversionSoftware": "dcm2niix"}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any prediction is a failure of the test: what is refused is refused before."""

    def predict(*arguments: object, **more: object) -> None:
        raise AssertionError("work had begun")

    monkeypatch.setattr(pipeline, "predict", predict)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.json", ()),
        ("out_spread.nii.gz", ("--uncertainty",)),
        ("out_mean.nii.gz", ("--uncertainty",)),
        ("out_mask.nii.gz", ("--mask", "labels.nii.gz")),
        ("pages/scan_sr.html", ("--report", "pages")),
    ],
)
def test_a_byproduct_replaces_no_file_of_someone_else(
    mdcsrn: Callable, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: tuple
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(scan, "labels.nii.gz")
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(json.dumps(SIDECAR))
    before = contents(tmp_path)
    for extra in ((), ("--dry-run",), ("--resume",)):
        done = mdcsrn("predict", scan, "-o", "out.nii.gz", *words, *extra)
        assert done.exit_code == 7, done.output
        assert f"{name} is there already and was not made by mdcsrn" in done.stderr.replace(f"{tmp_path}/", "")
        assert contents(tmp_path) == before


def test_our_own_files_are_replaced_run_after_run(mdcsrn: Callable, scan: Path, tmp_path: Path) -> None:
    """Maps of an earlier run stay ours after a run without them; the same place takes every kind of run."""
    output = tmp_path / "out" / "r.nii.gz"
    shutil.copy(scan, tmp_path / "labels.nii.gz")
    for words in (("--uncertainty",), (), ("--mask", tmp_path / "labels.nii.gz"), (), ("--uncertainty",), ()):
        done = mdcsrn("predict", scan, "-o", output, *words)
        assert done.exit_code == 0, done.output
        assert mdcsrn("verify", output).exit_code == 0
    record = json.loads(output.with_name("r.json").read_text())
    assert set(record["earlier_files"]) == {"mean", "spread", "invention", "mask"}
    assert mdcsrn("degrade", scan, "-o", output, "--spec", "hcp_2x2").exit_code == 0  # its record is one of ours, too
    assert mdcsrn("predict", scan, "-o", output).exit_code == 0


def test_a_volume_that_the_user_names_may_be_replaced_and_one_that_we_name_may_not(
    mdcsrn: Callable, scan: Path, tmp_path: Path
) -> None:
    place = tmp_path / "out" / "scan_sr.nii.gz"
    place.parent.mkdir()
    place.write_text("of another tool")
    done = mdcsrn("predict", scan, "-o", place.parent)
    assert (done.exit_code, place.read_text()) == (7, "of another tool")
    assert "scan_sr.nii.gz is there already" in done.stderr
    assert mdcsrn("predict", scan, "-o", place).exit_code == 0
    assert mdcsrn("predict", scan, "-o", place.parent).exit_code == 0  # now it is ours


def test_a_result_whose_run_was_killed_before_its_record_blocks_no_later_run(
    mdcsrn: Callable, scan: Path, tmp_path: Path
) -> None:
    """Killed while its files were moved: the volume is in its place, the record still in the hidden folder."""
    from mdcsrn.scratch import PREFIX

    output = tmp_path / "out" / "scan_sr.nii.gz"
    assert mdcsrn("predict", scan, "-o", output.parent).exit_code == 0
    hidden = output.parent / f"{PREFIX}killed"
    hidden.mkdir()
    output.with_name("scan_sr.json").rename(hidden / "scan_sr.json")
    assert mdcsrn("predict", scan, "-o", output.parent).exit_code == 0


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    "words",
    [
        ("-o", "in/scan.nii.gz"),
        ("-o", "link/scan.nii.gz"),
        ("-o", "hard.nii.gz"),
        ("-o", "out.nii.gz", "--mask", "out_mask.nii.gz"),
        ("-o", "labels.nii.gz", "--mask", "labels.nii.gz"),
        ("-o", "out.nii.gz", "--report", "weights.html", "--model", "weights.html"),
    ],
)
def test_no_input_is_replaced(
    mdcsrn: Callable, scan: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(scan, "labels.nii.gz")
    shutil.copy(scan, "out_mask.nii.gz")
    shutil.copy(small_model, "weights.html")
    Path("link").symlink_to(scan.parent)
    os.link(scan, "hard.nii.gz")
    before = contents(tmp_path)
    done = mdcsrn("predict", "in/scan.nii.gz", *words)
    assert done.exit_code == 7, done.output
    assert "is an input" in done.stderr
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("no_work")
def test_two_files_of_one_case_share_no_place(mdcsrn: Callable, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "dicom" / "philips_classic_mprage3d.zip"
    for output, series in (("d", "d"), ("d/x.nii.gz", "d"), ("x.nii.gz", "x.nii.gz")):
        if output == "d":
            output = "d/philips_classic_mprage3d_sr.nii.gz"
        done = mdcsrn("predict", source, "-o", tmp_path / output, "--dicom-out", tmp_path / series)
        assert done.exit_code == 7, done.output
        assert "one place" in done.stderr
        assert list(tmp_path.iterdir()) == []


def test_a_bad_case_is_told_before_the_others_start_and_they_are_done(
    mdcsrn: Callable, scan: Path, tmp_path: Path, files: Callable
) -> None:
    for name in ("a", "b", "z"):
        shutil.copy(scan, scan.with_name(f"{name}.nii.gz"))
    scan.unlink()
    out = tmp_path / "out"
    out.mkdir()
    (out / "z_sr.json").write_text(json.dumps(SIDECAR))
    done = mdcsrn("predict", scan.parent, "-o", out)
    assert done.exit_code == 3
    lines = [line for line in done.stderr.splitlines() if line.startswith("[")]
    assert [line.split(" (")[0] for line in lines] == ["[1/3] failed z", "[2/3] done a", "[3/3] done b"]
    assert str(out / "a_sr.nii.gz") in lines[1]
    assert [line.split()[0] for line in done.stdout.splitlines()[1:-1]] == ["a", "b", "z"]  # the table keeps its order
    assert json.loads((out / "z_sr.json").read_text()) == SIDECAR
    assert files(out) == ["a_sr.json", "a_sr.nii.gz", "b_sr.json", "b_sr.nii.gz", "z_sr.json"]


def test_an_output_that_is_the_input_of_another_case(mdcsrn: Callable, scan: Path, files: Callable) -> None:
    """A folder's results beside their inputs: one of them is named as the result of another."""
    other = scan.with_name("scan_sr.nii.gz")
    shutil.copy(scan, other)
    before = other.read_bytes()
    done = mdcsrn("predict", scan.parent, "-o", scan.parent)
    assert done.exit_code == 3
    assert "is an input" in done.output
    assert other.read_bytes() == before
    assert files(scan.parent) == ["scan.nii.gz", "scan_sr.nii.gz", "scan_sr_sr.json", "scan_sr_sr.nii.gz"]


@pytest.mark.parametrize("names", [("a.nii", "a.nii.gz"), ("x.mgz", "x.nrrd"), ("s/a.nii.gz", "s/a.nii")])
def test_two_formats_of_one_name_never_give_one_file(
    mdcsrn: Callable, interpolated: np.ndarray, tmp_path: Path, names: tuple[str, str], files: Callable
) -> None:
    import SimpleITK as sitk

    for seed, name in enumerate(names):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".nrrd"):
            sitk.WriteImage(sitk.GetImageFromArray(interpolated + seed), str(path))
        else:
            image = nib.MGHImage if name.endswith(".mgz") else nib.Nifti1Image
            nib.save(image(interpolated + seed, np.eye(4)), path)
    done = mdcsrn("predict", tmp_path / "in", "-o", tmp_path / "out", "--json")
    finished = [case["output"] for case in json.loads(done.stdout) if case["status"] == "done"]
    assert len(set(finished)) == len(finished)
    assert done.exit_code == 3 or len(finished) == 2
    assert len([n for n in (files(tmp_path / "out") if (tmp_path / "out").exists() else []) if "nii" in n]) == len(
        finished
    )


def test_clashes_of_jobs_are_found_whoever_names_them(scan: Path, tmp_path: Path) -> None:
    cases = [Case(name, "nifti", scan) for name in ("a", "b", "c")]
    jobs, _ = jobs_of(scan.parent, cases, tmp_path / "out", Options(dicom_out=tmp_path / "d"))
    assert [job.error for job in jobs] == [None, None, None]
    import dataclasses

    twins = [jobs[0], dataclasses.replace(jobs[1], output=jobs[0].output), jobs[2]]
    errors = [job.error for job in checked(twins, Options())]
    assert [error is None for error in errors] == [False, False, True]
    assert "would write to one place" in str(errors[0])
    inside = [jobs[0], dataclasses.replace(jobs[1], dicom_out=tmp_path / "d" / "a" / "b")]
    assert all("inside" in str(job.error) for job in checked(inside, Options()))


def test_series_of_nested_folders_do_not_hold_each_other(scan: Path, tmp_path: Path) -> None:
    cases = [Case(name, "nifti", scan) for name in ("a", "a/b", "c")]
    jobs, _ = jobs_of(scan.parent, cases, tmp_path / "out", Options(dicom_out=tmp_path / "d"))
    assert [job.error for job in jobs] == [None] * 3
    assert [job.dicom_out for job in jobs] == [tmp_path / "d" / name for name in ("a_series", "a/b", "c")]


def test_every_file_of_a_case_is_listed(scan: Path, tmp_path: Path) -> None:
    options = Options(uncertainty=True, mask=scan, report=tmp_path / "p.html", dicom_out=tmp_path / "d")
    (job,), _ = jobs_of(scan, find_cases(scan), tmp_path / "o.nii.gz", options)
    names = {output.role: output.path.name for output in outputs_of(job, options)}
    assert names == {
        "volume": "o.nii.gz", "record": "o.json", "mean": "o_mean.nii.gz", "spread": "o_spread.nii.gz",
        "invention": "o_invention.nii.gz", "mask": "o_mask.nii.gz", "report": "p.html", "series": "d",
    }  # fmt: skip


def test_degrade_and_evaluate_and_report_replace_nothing_of_others(
    mdcsrn: Callable, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("low.json").write_text(json.dumps(SIDECAR))
    Path("spec.yaml").write_text("degradation: {reduction: [1, 2, 2]}\n")
    scan.with_name("scan.html").write_text("a page of somebody")
    scan.with_name("scan_evaluation.html").write_text("a page of somebody")
    before = contents(tmp_path)
    for words, text in (
        (("degrade", scan, "-o", "low.nii.gz", "--spec", "hcp_2x2"), "low.json is there already"),
        (("degrade", scan, "-o", scan, "--spec", "hcp_2x2"), "is the input"),
        (("degrade", scan, "-o", "in", "--spec", "hcp_2x2"), "is a folder"),
        (("evaluate", "--prediction", scan, "--reference", scan, "--json", scan), "is an input"),
        (("evaluate", "--prediction", scan.parent, "--reference", scan.parent, "--json", scan), "is an input"),
        (
            ("evaluate", "--prediction", scan, "--reference", scan, "--spec", "spec.yaml", "--json", "spec.yaml"),
            "input",
        ),
        (("evaluate", "--prediction", scan, "--reference", scan, "--json", "in"), "is a folder"),
        (("report", scan), "scan.html is there already"),
        (("report", "--reference", scan, "--prediction", scan), "scan_evaluation.html is there already"),
        (("data", "folder", "in", "-o", scan, "--subject-pattern", "(scan)"), "is an input"),
        (("data", "folder", "in", "-o", "spec.yaml", "--subjects-table", "spec.yaml"), ""),
    ):
        done = mdcsrn(*words)
        assert done.exit_code in (3, 4, 7), (words, done.output)
        assert text in done.stderr, (words, done.stderr)
        assert contents(tmp_path) == before, words


def test_crops_replace_nothing_of_others_and_a_second_run_replaces_ours(
    mdcsrn: Callable, interpolated: np.ndarray, save_image: Callable, tmp_path: Path
) -> None:
    for name in ("sub-1", "sub-2"):
        save_image(interpolated, tmp_path / "in" / f"{name}_T1w.nii.gz")
    words = ("data", "folder", tmp_path / "in", "-o", tmp_path / "list.json", "--crop-kspace", tmp_path / "crops")
    foreign = tmp_path / "crops" / "sub-2_T1w.nii.gz"
    foreign.parent.mkdir()
    foreign.write_text("another dataset")
    before = contents(tmp_path)
    done = mdcsrn(*words)
    assert done.exit_code == 7, done.output
    assert "sub-2_T1w.nii.gz is there already" in done.stderr
    assert contents(tmp_path) == before
    foreign.unlink()
    for _ in range(2):
        assert mdcsrn(*words).exit_code == 0
    assert nib.load(foreign).shape != interpolated.shape


def test_a_bundle_export_replaces_neither_weights_nor_files_of_others(mdcsrn: Callable, tmp_path: Path) -> None:
    from mdcsrn.resources import bundle_folder

    home = tmp_path / "bundle"
    shutil.copytree(bundle_folder("mdcsrn_wgan_gp"), home)
    before = contents(tmp_path)
    weights = home / "models" / "model.safetensors"
    done = mdcsrn("bundle", "export", home, "--format", "safetensors", "-o", weights)
    assert done.exit_code == 7, done.output
    assert "is an input" in done.stderr
    (tmp_path / "m.safetensors.json").write_text("{}")
    done = mdcsrn("bundle", "export", home, "--format", "safetensors", "-o", tmp_path / "m.safetensors")
    assert done.exit_code == 7, done.output
    assert "m.safetensors.json is there already" in done.stderr
    (tmp_path / "m.safetensors.json").unlink()
    assert contents(tmp_path) == before
