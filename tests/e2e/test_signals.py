"""Ctrl-C, SIGTERM and SIGHUP in every command, from the first import on: the shell's code and one line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
WORDS = {signal.SIGINT: "interrupted: ", signal.SIGTERM: "terminated: ", signal.SIGHUP: "hung up: "}
COMMANDS = {
    "predict": ["predict", "in/a.nii.gz", "--factor", "1", "1", "1.5", "-o", "out/a.nii.gz"],
    "bids": ["bids", "in", "out", "participant"],
    "info": ["info", "in/a.nii.gz"],
    "degrade": [
        "degrade",
        "in/a.nii.gz",
        "-o",
        "out/a.nii.gz",
        "--spec",
        str(ROOT / "configs/degradation/hcp_2x2.yaml"),
    ],
    "evaluate": ["evaluate", "--prediction", "in/a.nii.gz", "--reference", "in/b.nii.gz", "--json", "out.json"],
    "verify": ["verify", "in/a.nii.gz"],
    "report": ["report", "in/a.nii.gz", "-o", "out.html"],
    "benchmark": ["benchmark", "--size", "16", "16", "16", "--backends", "eager"],
    "data sample": ["data", "sample", "-o", "out"],
    "data folder": ["data", "folder", "in", "-o", "out.json"],
    "data hcp": ["data", "hcp", "in", "-o", "out.json"],
    "bundle check": ["bundle", "check", "mdcsrn_wgan_gp"],
    "bundle pack": ["bundle", "pack", "mdcsrn_wgan_gp", "-o", "out.zip"],
    "bundle export": ["bundle", "export", "mdcsrn_wgan_gp", "--format", "torchscript", "-o", "out.ts"],
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory, make_head: Callable[..., np.ndarray]) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate("ab"):
        nib.save(nib.Nifti1Image(make_head((32, 40, 36), seed=seed), np.eye(4)), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def place(tmp_path: Path, scans: Path) -> Path:
    """Two scans in the folder ``in``, and nothing else."""
    shutil.copytree(scans, tmp_path / "in")
    return tmp_path


def start(place: Path, words: list[str]) -> subprocess.Popen[str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "mdcsrn", *words], cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}, start_new_session=True,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in WORDS],
    )  # fmt: skip


def wait(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.001)


def ready(process: subprocess.Popen[str]) -> bool:
    """Our handlers are there: that of SIGTERM is ours, while the interpreter itself has one for Ctrl-C."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def assert_ended(process: subprocess.Popen[str], number: int) -> None:
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number, said
    assert said.startswith(WORDS[number]), said
    assert said.count("\n") == 1, said


def left(place: Path) -> list[str]:
    return sorted(path.name for path in place.rglob("*") if path.is_file() and path.parent.name != "in")


@pytest.mark.parametrize(("name", "number"), [
    (name, number) for k, name in enumerate(COMMANDS)
    for number in ([signal.SIGINT, signal.SIGTERM][k % 2 :][:1])
])  # fmt: skip
def test_while_it_starts(place: Path, name: str, number: int) -> None:
    """Amid the imports, where most of a short command's time goes."""
    process = start(place, COMMANDS[name])
    wait(process, lambda: ready(process))
    time.sleep(0.05 * (list(COMMANDS).index(name) % 4))
    process.send_signal(number)
    assert_ended(process, number)
    assert left(place) == []


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_at_any_moment(place: Path, name: str) -> None:
    """Later and later, until the command is done first."""
    delay, ends = 0.0, []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) * 3:
        process = start(place, COMMANDS[name])
        wait(process, lambda process=process: ready(process))
        time.sleep(delay)
        delay += 0.6
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
        ends.append(process.returncode)
        if process.returncode < 128:
            break
        assert process.returncode == 128 + number, said
        assert "Traceback" not in said
        assert said.splitlines()[-1].startswith((WORDS[number], "interrupted: ")), said
        hidden = [path for path in place.rglob(".*") if path.name.startswith(".")]
        assert [path for path in hidden if path.name != ".sample-begun"] == [], said  # that one says whose folder it is
    assert ends[0] == 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_benchmark_takes_its_processes_along(place: Path, number: int) -> None:
    process = start(place, COMMANDS["benchmark"])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait(process, lambda: bool(children.read_text()))
    child = int(children.read_text().split()[0])
    process.send_signal(number)  # to it alone: a terminal would signal the child too
    assert_ended(process, number)
    assert not Path(f"/proc/{child}").exists()


def test_amid_the_work(place: Path) -> None:
    """A cohort of which one scan is there: nothing half stays."""
    process = start(place, ["data", "sample", "-o", "cohort"])
    wait(process, lambda: any((place / "cohort").glob("sub-*.nii.gz")))
    process.send_signal(signal.SIGTERM)
    assert_ended(process, signal.SIGTERM)
    assert [path.name for path in (place / "cohort").glob(".*")] == [".sample-begun"]  # it says whose folder this is
    for path in (place / "cohort").glob("[!.]*"):
        nib.load(path).get_fdata()


def test_amid_the_check_of_a_package(place: Path) -> None:
    process = start(place, COMMANDS["bundle pack"])
    wait(process, lambda: any(place.glob(".mdcsrn-*/*.zip")))
    process.send_signal(signal.SIGINT)
    assert_ended(process, signal.SIGINT)
    assert sorted(path.name for path in place.iterdir()) == ["in"]


@pytest.mark.parametrize("words", [["bundle", "pack", "mdcsrn_wgan_gp", "-o", "out.zip"],
                                   ["bundle", "pack", "mdcsrn_wgan_gp", "-o", "packed"]])  # fmt: skip
def test_a_killed_package_is_swept_by_the_next(place: Path, words: list[str]) -> None:
    process = start(place, words)
    wait(process, lambda: any(place.glob(".mdcsrn-*/*")) and any(place.glob(".mdcsrn-*/[op]*")))
    process.kill()
    process.communicate()
    assert len(list(place.glob(".*"))) == 1
    process = start(place, words)
    printed = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert sorted(path.name for path in place.iterdir()) == sorted(["in", words[-1]])


def test_two_processes_on_one_output(place: Path, weights: Path) -> None:
    """Both complete; the files are those of one of them, as its record says."""
    words = [*COMMANDS["predict"][:-1], "twice/a.nii.gz", "--model", str(weights), "--backend", "eager"]
    both = [start(place, [*words, *more]) for more in ([], ["--region", "all"], ["--no-consistency"])]
    for process in both:
        printed = process.communicate(timeout=120)
        assert process.returncode == 0, printed
    assert sorted(path.name for path in (place / "twice").iterdir()) == ["a.json", "a.nii.gz"]
    process = start(place, ["verify", "twice/a.nii.gz"])
    assert process.communicate(timeout=120)[1] == ""
    assert process.returncode == 0
