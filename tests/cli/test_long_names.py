"""Names near the limit of the disk: written up to the last byte, and told before any work beyond it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mdcsrn.inference import pipeline


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any prediction is a failure of the test: what is refused is refused before."""

    def predict(*arguments: object, **more: object) -> None:
        raise AssertionError("work had begun")

    monkeypatch.setattr(pipeline, "predict", predict)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("letter", ["n", "é", "脳"])
def test_a_name_that_is_too_long_is_told_with_its_remedy(
    mdcsrn: Callable, scan: Path, tmp_path: Path, letter: str, files: Callable
) -> None:
    size = len(letter.encode())
    source = scan.rename(scan.with_name(letter * ((255 - len(".nii.gz")) // size) + ".nii.gz"))
    done = mdcsrn("predict", source)
    assert done.exit_code == 7, done.output
    assert "too long for the disk" in done.stderr
    assert "255 bytes" in done.stderr
    assert "-o result.nii.gz" in done.stderr
    longest = tmp_path / (letter * ((255 - len(".nii.gz")) // size) + ".nii.gz")
    done = mdcsrn("predict", source, "-o", longest, "--uncertainty")
    assert done.exit_code == 7, done.output  # the map's name is longer than the volume's
    assert "invention" in done.stderr or "spread" in done.stderr or "mean" in done.stderr
    done = mdcsrn("predict", source.parent, "-o", tmp_path / "out")
    assert done.exit_code == 3, done.output
    assert "rename" in done.output
    assert files(tmp_path) == [f"in/{source.name}"]


@pytest.mark.parametrize("letter", ["n", "脳"])
def test_the_longest_names_are_written(mdcsrn: Callable, scan: Path, tmp_path: Path, letter: str) -> None:
    stem = letter * ((255 - len(".nii.gz")) // len(letter.encode()))
    done = mdcsrn("predict", scan, "-o", tmp_path / f"{stem}.nii.gz")
    assert done.exit_code == 0, done.output
    assert mdcsrn("verify", tmp_path / f"{stem}.nii.gz").exit_code == 0
    assert mdcsrn("degrade", scan, "-o", tmp_path / "d" / f"{stem}.nii.gz", "--spec", "hcp_2x2").exit_code == 0


@pytest.mark.parametrize("command", ["predict", "info", "verify", "degrade", "evaluate", "report", "bids"])
def test_an_input_whose_name_no_system_takes_is_one_line(mdcsrn: Callable, tmp_path: Path, command: str) -> None:
    name = str(tmp_path / ("n" * 300 + ".nii.gz"))
    words = {
        "degrade": (name, "-o", tmp_path / "x.nii.gz", "--spec", "hcp_2x2"),
        "evaluate": ("--prediction", name, "--reference", name),
        "bids": (name, tmp_path / "out", "participant"),
    }.get(command, (name,))
    done = mdcsrn(command, *words)
    assert done.exit_code in (3, 7), (done.output, done.exception)
    assert done.stderr.count("\n") == 1
