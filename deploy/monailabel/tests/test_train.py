"""Fine-tuning on the study folder: asked for, watched, stopped, resumed, and then used."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mdcsrn.engines.checkpoint import training_checkpoints

from .conftest import BUNDLE, EAGER, PEOPLE, WAIT, Server, Start

TINY = {
    "voxel_steps": 4, "epoch_length": 2, "checkpoint_every": 2, "patch_size": 16, "batch_size": 2, "rate_warmup": 1,
    "patches_per_volume": 4, "num_workers": 0, "val_split": 0.34, "precision": "float32",
}  # fmt: skip


@pytest.fixture(scope="module")
def places(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Home and study folder of servers that train."""
    home = tmp_path_factory.mktemp("school")
    studies = home / "studies"
    studies.mkdir()
    for name in PEOPLE:
        shutil.copy(scans / f"{name}.nii.gz", studies)
    return home, studies


@pytest.fixture(scope="module")
def school(start: Start, places: tuple[Path, Path]):
    with start(*places) as running:
        yield running.ready()


def train(server: Server, **knobs: object) -> dict:
    return server.task("/train/", f"/train/{BUNDLE}", {**TINY, **knobs})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": 3}, "unknown parameter of the training"),
        ({"name": "../up"}, "parameter name"),
        ({"device": "cpu') or exit('"}, "parameter device"),
        ({"precision": "$exit()"}, "parameter precision"),
        ({"seed": "$exit()"}, "parameter seed"),
        ({"val_split": 2}, "val_split"),
        ({"patch_size": -4}, "patch_size"),
        ({"start": "nothing"}, "parameter start"),
        ({"name": BUNDLE}, "not free"),
    ],
)
def test_a_wrong_training_is_refused_in_words(school: Server, wrong: dict, words: str) -> None:
    status, answer = school.ask(f"/train/{BUNDLE}?run_sync=true", "POST", {**TINY, **wrong})
    assert status == 400, answer
    assert words in answer["detail"]


def test_a_model_is_trained_and_then_offered(
    school: Server, places: tuple[Path, Path], predict: Callable[..., Path], tmp_path: Path
) -> None:
    state = train(school, name="mine")
    assert state["status"] == "DONE", state["details"]
    _, info = school.ask("/info/")
    stats = info["train_stats"][BUNDLE]
    assert (stats["name"], stats["epoch"], stats["total_epochs"], stats["step"]) == ("mine", 2, 2, 4)
    assert 10 < stats["best_metric"] < 80, "dB"
    assert "total_time" in stats
    assert {"mine_same_grid", "mine_finer_grid"} <= set(info["models"])
    home, studies = places
    weights = home / "app" / "model" / "mine.pt"
    file, facts = school.client(tmp_path).infer("mine_finer_grid", "sub-a_T1w", {**EAGER, "factor": "1 1 1.5"})
    scan = studies / "sub-a_T1w.nii.gz"
    options = ("--factor", "1", "1", "1.5", "--backend", "eager", "--precision", "float32")
    assert Path(file).read_bytes() == predict(scan, *options, "--model", str(weights)).read_bytes()
    assert Path(file).read_bytes() != predict(scan, *options).read_bytes(), "training has changed the weights"
    assert any(text.startswith("trained-range-unknown") for text in facts["warnings"])


def test_people_are_on_one_side_and_results_are_no_scans(places: tuple[Path, Path]) -> None:
    home, _ = places
    listed = json.loads((home / "app" / "model" / "runs" / "mine" / "datalist.json").read_text())
    training = {entry["subject"] for entry in listed["training"]}
    validation = {entry["subject"] for entry in listed["validation"]}
    assert training | validation == {"a", "b", "c"}
    assert not training & validation


def test_a_name_is_taken_once(school: Server) -> None:
    state = train(school, name="mine", seed=5)
    assert state["status"] == "ERROR"
    assert "there is a model mine already" in "\n".join(state["details"])


def test_a_stopped_training_goes_on_after_a_restart(start: Start, places: tuple[Path, Path], school: Server) -> None:
    long = {**TINY, "voxel_steps": 100_000, "name": "stopped"}
    first = stopped(school, long)
    school.stop()
    with start(*places) as again:
        again.ready()
        _, info = again.ask("/info/")
        assert "mine_finer_grid" in info["models"], "what was trained is there after a restart"
        assert "stopped_finer_grid" not in info["models"]
        status, _ = again.ask(f"/train/{BUNDLE}?run_sync=true", "POST", {**long, "seed": 3})
        assert status == 400, "another request of the same name"
        assert stopped(again, long, beyond=first) > first
        assert f"resuming from iteration {first}" in again.text()
    assert not list(again.temporary.iterdir()), "the temporary folder goes with the server"


def stopped(server: Server, request: dict, beyond: int = 0) -> int:
    """Start a training, stop it after its next checkpoint, and give the step of that."""
    status, answer = server.ask(f"/train/{BUNDLE}", "POST", request)
    assert status == 200, answer
    folder = server.home / "app" / "model" / "runs" / str(request["name"]) / "checkpoints"
    end = time.monotonic() + WAIT
    while latest(folder) <= beyond:
        assert time.monotonic() < end, server.text()[-3000:]
        time.sleep(0.2)
    children = psutil.Process(server.process.pid).children(recursive=True)
    working = [child for child in children if "training" in " ".join(child.cmdline())]
    assert working, "the training runs below the server"
    status, state = server.ask("/train/", "DELETE")
    assert (status, state["status"]) == (200, "STOPPED")
    _, alive = psutil.wait_procs(working, timeout=30)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    return latest(folder)


def latest(folder: Path) -> int:
    """Step of the newest checkpoint; 0: none."""
    return max((int(path.stem.split("_")[1]) for path in training_checkpoints(folder)), default=0)
