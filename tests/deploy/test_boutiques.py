"""The Boutiques descriptors: made from the command line, valid for Boutiques' own tool, and what it runs is mdcsrn."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from mdcsrn.cli import bids, predict
from mdcsrn.cli.main import main
from mdcsrn.jobs.options import Options

pytest.importorskip("boutiques", reason="Boutiques' own tool: pip install boutiques")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "boutiques"
Run = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS: dict[str, click.Command] = {"predict": predict.command, "bids": bids.command}

# What each takes beside its required words, and what click must read of it.
OPTIONS: dict[str, Any] = {
    "exact_field": True, "slice_profile": "box", "no_consistency": True, "region": "all", "dtype": "keep",
    "fill_nonfinite": True, "uncertainty": True, "dicom_out": "a 'quoted' folder", "report": "page.html",
    "bundle": "b $HOME", "model": "m; true", "device": "cpu", "backend": "eager", "precision": "float32",
    "max_memory": 2.5, "strict": True, "dry_run": True, "resume": True, "quiet": True, "json": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_boutiques", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_files_are_what_the_generator_gives(generate: ModuleType) -> None:
    made = {name: generate.text(content) for name, content in generate.descriptors().items()}
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")} == made


@pytest.mark.parametrize("name", COMMANDS)
def test_boutiques_finds_them_valid(name: str, run: Run) -> None:
    done = run(["bosh", "validate", FOLDER / f"mdcsrn-{name}.json"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("OK")


def required(name: str, folder: Path) -> dict[str, Any]:
    (folder / "a scan").mkdir(exist_ok=True)
    if name == "predict":
        return {"source": "a scan", "output": "out put.nii.gz"}
    return {"bids_dir": "a scan", "out_dir": "out put", "level": "participant"}


def invocations(name: str) -> list[dict[str, Any]]:
    every = OPTIONS | {"mask": "a scan"}
    if name == "bids":
        every |= {"participants": ["01", "sub-02"], "sessions": ["a"], "suffixes": ["T1w", "T2w"]}
    tasks = ({"factor": [1, 2, 2.5]}, {"to_spacing": [0.7, 0.7, 0.7]}, {"same_grid": True})
    return [{}, *(every | task for task in tasks)]


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("name", COMMANDS)
def test_its_command_lines_are_understood_as_they_are_meant(name: str, index: int, run: Run, tmp_path: Path) -> None:
    wanted = required(name, tmp_path) | invocations(name)[index]
    (tmp_path / "call.json").write_text(json.dumps(wanted))
    done = run(["bosh", "exec", "simulate", "-i", "call.json", FOLDER / f"mdcsrn-{name}.json"], cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    line = done.stdout.strip().splitlines()[-1].removeprefix("mkdir -p 'out put'; ")
    program, command, *words = shlex.split(line)
    assert (program, command) == ("mdcsrn", name)
    read = COMMANDS[name].make_context(name, words).params
    assert read == {parameter.name: expected(parameter, wanted) for parameter in COMMANDS[name].params}


def expected(parameter: click.Parameter, wanted: dict[str, Any]) -> Any:
    """What click reads where the invocation says `wanted`."""
    value = wanted.get(str(parameter.name))
    if isinstance(value, list):
        return tuple(value)
    if value is None:
        return () if parameter.multiple else getattr(Options(), str(parameter.name), None)
    return Path(value) if isinstance(parameter.type, click.Path) else value


def test_two_tasks_are_refused_by_both(run: Run, scan: Path, tmp_path: Path) -> None:
    wanted = {"source": str(scan), "output": "o.nii.gz", "same_grid": True, "factor": [1, 2, 2]}
    (tmp_path / "call.json").write_text(json.dumps(wanted))
    done = run(["bosh", "exec", "simulate", "-i", "call.json", FOLDER / "mdcsrn-predict.json"], cwd=tmp_path)
    assert done.returncode != 0
    words = ["predict", str(scan), "-o", str(tmp_path / "o.nii.gz"), "--same-grid", "--factor", "1", "2", "2"]
    assert CliRunner().invoke(main, words).exit_code == 4


def launch(name: str, wanted: dict[str, Any], run: Run, folder: Path) -> Any:
    (folder / "call.json").write_text(json.dumps(wanted))
    words = ["bosh", "exec", "launch", "--no-container", "--skip-data-collection"]
    return run([*words, FOLDER / f"mdcsrn-{name}.json", "call.json"], cwd=folder)


def test_it_runs_predict(run: Run, scan: Path, small_model: Path, tmp_path: Path) -> None:
    settings = {"factor": [1, 2, 2], "model": str(small_model), "backend": "eager", "precision": "float32"}
    done = launch("predict", {"source": str(scan), "output": "by bosh.nii.gz", **settings}, run, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "by bosh.nii.gz (result, Required)" in done.stdout
    assert "by bosh.json (record" in done.stdout
    words = ["predict", str(scan), "-o", str(tmp_path / "by hand.nii.gz"), "--factor", "1", "2", "2"]
    words += ["--model", str(small_model), "--backend", "eager", "--precision", "float32"]
    assert CliRunner().invoke(main, words).exit_code == 0
    got, same = (nib.load(tmp_path / f"by {who}.nii.gz") for who in ("bosh", "hand"))
    np.testing.assert_allclose(got.get_fdata(), same.get_fdata(), rtol=0, atol=1e-3)
    np.testing.assert_array_equal(got.affine, same.affine)
    assert got.shape == (20, 56, 52)


def test_it_runs_a_dataset_and_goes_on_with_it(run: Run, dataset: Path, small_model: Path, tmp_path: Path) -> None:
    settings = {"level": "participant", "model": str(small_model), "backend": "eager", "precision": "float32"}
    settings |= {"bids_dir": str(dataset), "factor": [1, 2, 2]}
    done = launch("bids", {**settings, "out_dir": "derived", "participants": ["01"]}, run, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    made = sorted(path.name for path in (tmp_path / "derived").rglob("*.nii.gz"))
    assert made == ["sub-01_desc-sr_T1w.nii.gz"]
    done = launch("bids", {**settings, "out_dir": "derived", "resume": True}, run, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 done, 1 skipped" in done.stdout


def test_an_exit_code_is_told_in_words(run: Run, tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_text("no image")
    done = launch("predict", {"source": "scan.nii.gz", "output": "o.nii.gz"}, run, tmp_path)
    assert done.returncode == 3
    assert "A file, a volume or a list of files cannot be used." in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
