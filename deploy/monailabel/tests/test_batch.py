"""A batch over the study folder: results are those of `mdcsrn predict`, and a bad scan costs the others nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import BUNDLE, EAGER, FILLED, PEOPLE, Server, Start

SAME, FINER = f"{BUNDLE}_same_grid", f"{BUNDLE}_finer_grid"
AS_EAGER = ("--backend", "eager", "--precision", "float32")


@pytest.fixture(scope="module")
def clinic(start: Start, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server of a study folder that holds a broken file among four scans."""
    home = tmp_path_factory.mktemp("clinic")
    studies = Path(shutil.copytree(scans, home / "studies"))
    (studies / "sub-broken_T1w.nii.gz").write_bytes(b"not a scan")
    with start(home, studies) as running:
        yield running.ready(), studies


def test_the_good_are_done_and_the_bad_is_named(clinic: tuple[Server, Path], predict: Callable[..., Path]) -> None:
    server, studies = clinic
    state = server.task("/batch/infer", f"/batch/infer/{FINER}", {**EAGER, "factor": "1 1 1.5", "device": "cuda"})
    assert state["status"] == "ERROR", "one of five cannot be done"
    said = "\n".join(state["details"])
    assert "4 done, 1 failed" in said
    assert "failed: sub-broken_T1w: " in said
    assert "not a NIfTI file" in said
    labels = studies / "labels" / FINER
    assert sorted(file.name for file in labels.iterdir()) == sorted(f"{name}.nii.gz" for name in (*PEOPLE, FILLED))
    for name in ("sub-a_T1w", FILLED):
        expected = predict(studies / f"{name}.nii.gz", "--factor", "1", "1", "1.5", *AS_EAGER)
        assert (labels / f"{name}.nii.gz").read_bytes() == expected.read_bytes()


def test_without_bad_ones_it_is_done_and_another_model_overwrites_nothing(clinic: tuple[Server, Path]) -> None:
    server, studies = clinic
    before = (studies / "labels" / FINER / "sub-a_T1w.nii.gz").read_bytes()
    names = ["sub-a_T1w", FILLED]
    state = server.task("/batch/infer", f"/batch/infer/{SAME}", {**EAGER, "images": names, "device": "cpu"})
    assert state["status"] == "DONE", state["details"]
    assert sorted(file.name for file in (studies / "labels" / SAME).iterdir()) == [f"{name}.nii.gz" for name in names]
    assert (studies / "labels" / FINER / "sub-a_T1w.nii.gz").read_bytes() == before
    status, info = server.ask("/datastore/")
    assert (status, info["total"]) == (200, 5)
    assert info["label_tags"] == {FINER: 4, SAME: 2}


def test_in_the_server_itself_each_scan_has_its_answer(clinic: tuple[Server, Path]) -> None:
    server, _ = clinic
    body = {**EAGER, "images": ["sub-a_T1w", "sub-broken_T1w"], "factor": "1 1 1.2", "label_tag": "sync"}
    status, answer = server.ask(f"/batch/infer/{FINER}?run_sync=true", "POST", body)
    assert status == 200, answer
    assert answer["sub-a_T1w"]["status"] == "done"
    assert answer["sub-a_T1w"]["decision"].startswith("refine 36x37x38 to 36x37x46")
    assert answer["sub-broken_T1w"]["status"] == "failed"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"images": ["nobody"]}, "no such image"),
        ({"max_batch_size": -1}, "max_batch_size"),
        ({"label_tag": "../up"}, "label_tag"),
    ],
)
def test_a_wrong_batch(clinic: tuple[Server, Path], wrong: dict, words: str) -> None:
    status, answer = clinic[0].ask(f"/batch/infer/{FINER}?run_sync=true", "POST", {**EAGER, **wrong})
    assert (status, words in answer["detail"]) == (400, True)
