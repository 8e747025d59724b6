"""Bad input to training: one line `error: ...` that names the file, a non-zero exit, nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from mdcsrn.engines.checkpoint import training_checkpoints

KNOBS = {
    "network_def#blocks": 1, "network_def#units": 2, "network_def#growth": 4, "patch_size": 16, "batch_size": 2,
    "num_workers": 0, "voxel_steps": 3, "adversarial_steps": 0, "epoch_length": 3, "checkpoint_every": 1,
    "patches_per_volume": 2, "volumes_per_group": 1,
}  # fmt: skip
SHAPE = (24, 26, 28)


class Study:
    """A folder with three good volumes, a datalist, and a place for the output."""

    def __init__(self, folder: Path, make_head: Callable) -> None:
        self.folder, self.output = folder, folder / "out"
        self.content: dict[str, list[dict[str, str]]] = {"training": [], "validation": []}
        for number in range(3):
            name = f"sub-{number}.nii.gz"
            nib.save(nib.Nifti1Image(make_head(SHAPE, seed=number), np.eye(4)), folder / name)
            self.add("training" if number < 2 else "validation", name)

    def add(self, section: str, name: str, subject: str | None = None) -> None:
        self.content[section].append({"image": name, "subject": subject or name.split(".")[0]})

    def put(self, name: str, array: np.ndarray, section: str = "training") -> None:
        nib.save(nib.Nifti1Image(array, np.eye(4)), self.folder / name)
        self.add(section, name)

    def command(self, files: Sequence[str] = ("configs/train.yaml",), **knobs: Any) -> list[str]:
        datalist = self.folder / "datalist.json"
        if self.content:
            datalist.write_text(json.dumps(self.content))
        given = KNOBS | {"datalist": datalist, "output_dir": self.output} | knobs
        options = [word for key, value in given.items() for word in (f"--{key}", str(value))]
        return ["run", "training", "--config_file", str(list(files)), *options]


@pytest.fixture
def study(tmp_path: Path, make_head: Callable) -> Study:
    return Study(tmp_path, make_head)


def assert_refused(done: Any, *words: str) -> None:
    assert done.code not in (0, -14), done.out[-2000:]
    assert done.last_line.startswith("error: "), done.err[-3000:]
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.last_line


def assert_nothing_written(output: Path) -> None:
    """No weights, no checkpoint; a log of a run that began may be there."""
    found = [p for p in output.rglob("*") if p.is_file()]
    assert [p for p in found if "tfevents" not in p.name] == []


def spoil_nan(study: Study, head: np.ndarray) -> None:
    head[3:5, 4, 5] = np.nan
    study.put("bad.nii.gz", head)


def spoil_validation(study: Study, head: np.ndarray) -> None:
    head[3, 4, 5] = np.inf
    study.put("bad.nii.gz", head, "validation")


def spoil_4d(study: Study, head: np.ndarray) -> None:
    study.put("bad.nii.gz", np.stack([head, head], axis=-1))


def spoil_zero(study: Study, head: np.ndarray) -> None:
    study.put("bad.nii.gz", head * 0)


def spoil_small(study: Study, head: np.ndarray) -> None:
    study.content["training"] = []
    study.put("bad.nii.gz", head[:, :15])


def spoil_missing(study: Study, head: np.ndarray) -> None:
    study.add("training", "bad.nii.gz")


def spoil_truncated(study: Study, head: np.ndarray) -> None:
    study.put("bad.nii.gz", head)
    whole = (study.folder / "bad.nii.gz").read_bytes()
    (study.folder / "bad.nii.gz").write_bytes(whole[: len(whole) // 2])


def spoil_text(study: Study, head: np.ndarray) -> None:
    (study.folder / "bad.nii.gz").write_text("no image")
    study.add("training", "bad.nii.gz")


SPOILS = [spoil_nan, spoil_validation, spoil_4d, spoil_zero, spoil_small, spoil_missing, spoil_truncated, spoil_text]


@pytest.mark.parametrize(
    ("spoil", "workers"),
    [*((spoil, 0) for spoil in SPOILS), (spoil_small, 1)],  # this one is met in a loader worker
    ids=lambda value: value.__name__.removeprefix("spoil_") if callable(value) else str(value),
)
def test_bad_volumes(study: Study, run_bundle: Callable, make_head: Callable, spoil: Callable, workers: int) -> None:
    spoil(study, make_head(SHAPE, seed=9))
    assert_refused(run_bundle(*study.command(num_workers=workers)), "bad.nii.gz")
    assert_nothing_written(study.output)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "no such datalist"),
        ({"training": [], "validation": []}, "'training'"),
        ({"training": [{"image": "sub-0.nii.gz"}], "validation": []}, "'validation'"),
        ({"training": [{"image": "sub-0.nii.gz"}]}, "'validation'"),
        ({"training": [{"image": "sub-0.nii.gz"}], "validation": [{"image": "sub-0.nii.gz"}]}, "same subject"),
    ],
)
def test_bad_datalists(study: Study, run_bundle: Callable, content: Any, word: str) -> None:
    study.content = content
    assert_refused(run_bundle(*study.command()), "datalist.json", word)
    assert_nothing_written(study.output)


def test_a_subject_in_two_sections(study: Study, run_bundle: Callable) -> None:
    shutil.copy(study.folder / "sub-0.nii.gz", study.folder / "again.nii.gz")
    study.add("validation", "again.nii.gz", subject="sub-0")
    assert_refused(run_bundle(*study.command()), "datalist.json", "sub-0")


def test_a_datalist_that_is_no_json(study: Study, run_bundle: Callable) -> None:
    study.content = {}
    (study.folder / "datalist.json").write_text("{'training': ")
    assert_refused(run_bundle(*study.command()), "datalist.json")


def test_output_that_cannot_be_written(study: Study, run_bundle: Callable) -> None:
    study.output.write_text("a file where the folder should be")
    assert_refused(run_bundle(*study.command()), str(study.output))
    assert study.output.read_text() == "a file where the folder should be"


@pytest.mark.parametrize(
    ("knobs", "word"),
    [
        ({"batch_sise": 4}, "batch_size"),
        ({"precision": "float8"}, "precision"),
        ({"voxel_steps": -1}, "voxel_steps"),
        ({"voxel_steps": 0}, "no step"),
        ({"patch_size": 0}, "patch_size"),
        ({"critic_preset": "heavy", "adversarial_steps": 1}, "heavy"),
        ({"ema_decay": 1.5}, "1.5"),
        ({"degradation#window": "triangle"}, "triangle"),
        ({"train_reduction": "[0.5,2]"}, "reduction"),
        ({"checkpoint_every": 0}, "every"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_settings(study: Study, run_bundle: Callable, knobs: dict[str, Any], word: str) -> None:
    assert_refused(run_bundle(*study.command(**knobs)), word)
    assert_nothing_written(study.output)


def test_an_unknown_key_of_an_overlay(study: Study, run_bundle: Callable) -> None:
    overlay = study.folder / "mine.yaml"
    overlay.write_text("voxel_step: 3\n")
    assert_refused(run_bundle(*study.command(["configs/train.yaml", str(overlay)])), "mine.yaml", "voxel_steps")


def test_checkpoints_that_are_damaged_or_of_another_run(study: Study, run_bundle: Callable) -> None:
    done = run_bundle(*study.command())
    assert done.code == 0, done.err[-3000:]
    folder = study.output / "checkpoints"
    files = {p: p.read_bytes() for p in study.output.rglob("*.pt")}
    newest = training_checkpoints(folder)[-1]
    for knobs, word in (
        ({"network_def#units": 3}, "another network"),
        ({"network_def#residual": "False"}, "residual"),
        ({"seed": 4}, "seed"),
    ):
        assert_refused(run_bundle(*study.command(**knobs)), newest.name, word)
        assert files == {p: p.read_bytes() for p in study.output.rglob("*.pt")}, "nothing touched"
    newest.write_bytes(files[newest][:5000])
    done = run_bundle(*study.command())  # the one before is good
    assert done.code == 0, done.err[-3000:]
    assert newest.name in done.out
    assert "Passed over" in done.out
    assert torch.load(newest, weights_only=True)["iteration"] == 3
    for path in training_checkpoints(folder):
        path.write_bytes(b"damaged")
    assert_refused(run_bundle(*study.command()), "checkpoint_00000000", "cannot read")
    assert {path.read_bytes() for path in training_checkpoints(folder)} == {b"damaged"}
