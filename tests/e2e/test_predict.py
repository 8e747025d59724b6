"""``mdcsrn predict`` as processes: killed, interrupted, out of disk, without permission, piped, on a terminal."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
CAPBSET_DROP, DAC_OVERRIDE, DAC_READ_SEARCH = 24, 1, 2


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mdcsrn", *map(str, arguments)]


def environment() -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def run(*arguments: object, before: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(), check=False, preexec_fn=before
    )


def as_others_do() -> None:
    """Before exec: a root without the capability to pass over permissions, which is what other users are."""
    if os.geteuid() == 0:
        for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(CAPBSET_DROP, capability, 0, 0, 0)


def small_disk() -> None:
    """Before exec: no file may become larger than 20 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def study(
    tmp_path_factory: pytest.TempPathFactory, make_head: Callable, numpy_low_pass: Callable, save: Callable
) -> Path:
    folder = tmp_path_factory.mktemp("study")
    for number in range(8):
        scan = numpy_low_pass(make_head((24, 96, 88), seed=number), (1, 2, 2))
        save(scan, folder / f"scan{number}_T1w.nii.gz", np.diag([1.2, 1, 1.1, 1]))
    return folder


@pytest.fixture
def plain(weights: Path) -> list[str]:
    """Small weights, plain torch."""
    return ["--model", str(weights), "--backend", "eager", "--precision", "float32"]


def whole(output: Path) -> bool:
    """True where a volume's record is there and its hash is right."""
    record = output.with_name(output.name.removesuffix(".nii.gz") + ".json")
    if not record.is_file():
        return False
    assert json.loads(record.read_text())["output_sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    return True


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_killed_run_leaves_nothing_half_and_is_resumed(study: Path, plain: list[str], tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    process = subprocess.Popen(
        command("predict", study, "-o", out, *plain), env=environment(), text=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    # In the third case, while its files lie in the hidden folder.
    wait_for(lambda: len(list(out.glob("*.json"))) == 2 and any(out.glob(".mdcsrn-*/*.nii.gz")), process)
    process.kill()
    process.wait()
    done = sorted(out.glob("*_sr.nii.gz"))
    assert 2 <= len(done) < 8
    assert sum(whole(output) for output in done) >= 2
    assert any(out.glob(".*")) or len(done) == 3  # the hidden folder of the killed case
    for path in out.glob("*.nii.gz"):
        nib.load(path).get_fdata()

    again = run("predict", study, "-o", out, "--resume", "--json", *plain)
    assert again.returncode == 0, again.stderr
    status = [case["status"] for case in json.loads(again.stdout)]
    assert status.count("skipped") >= 2
    assert status.count("skipped") + status.count("done") == 8
    assert run("predict", study, "-o", other, *plain).returncode == 0
    assert names(out) == names(other)  # the hidden folder is gone too
    for path in other.glob("*.nii.gz"):
        ours, theirs = nib.load(out / path.name).get_fdata(), nib.load(path).get_fdata()
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()  # slabs depend on the memory that is free


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_ends_with_one_line(
    study: Path, plain: list[str], tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        command("predict", study, "-o", out, *plain), env=environment(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(lambda: len(list(out.glob("*.json"))) == 2, process)
    process.send_signal(number)
    printed, said = process.communicate(timeout=120)
    assert process.returncode == code
    finished, [last] = said.splitlines()[:-1], said.splitlines()[-1:]
    assert all(re.match(r"\[\d/8\] done ", line) for line in finished), said  # a line for each case without a terminal
    assert last.startswith("interrupted: ")
    assert "--resume" in last
    assert printed.splitlines()[-1].endswith(" done")
    assert not list(out.glob(".*"))
    assert all(whole(output) for output in out.glob("*_sr.nii.gz"))


def test_a_full_disk(study: Path, plain: list[str], tmp_path: Path) -> None:
    source, output = study / "scan0_T1w.nii.gz", tmp_path / "out" / "result.nii.gz"
    done = run("predict", source, "-o", output, *plain, before=small_disk)
    assert done.returncode == 7, done.stderr
    assert done.stderr.startswith("error: cannot write")
    assert done.stderr.count("\n") == 1
    assert names(tmp_path) == []
    assert run("predict", source, "-o", output, *plain).returncode == 0
    before = {path: path.read_bytes() for path in output.parent.iterdir()}
    done = run("predict", source, "-o", output, "--region", "all", *plain, before=small_disk)
    assert done.returncode == 7
    assert {path: path.read_bytes() for path in output.parent.iterdir()} == before  # the old result is intact


def test_permissions(study: Path, plain: list[str], tmp_path: Path) -> None:
    source, locked = tmp_path / "scan.nii.gz", tmp_path / "locked"
    source.write_bytes((study / "scan0_T1w.nii.gz").read_bytes())
    locked.mkdir(mode=0o555)
    done = run("predict", source, "-o", locked / "deep" / "result.nii.gz", *plain, before=as_others_do)
    assert (done.returncode, done.stderr.count("\n")) == (7, 1), done.stderr
    assert str(locked) in done.stderr
    assert "Permission denied" in done.stderr
    source.chmod(0)
    done = run("predict", source, *plain, before=as_others_do)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    assert "scan.nii.gz" in done.stderr
    assert "Permission denied" in done.stderr
    assert names(tmp_path) == ["locked", "scan.nii.gz"]


def test_progress_on_a_terminal(study: Path, plain: list[str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        command("predict", study, "-o", tmp_path / "out", *plain), env=environment(), stdout=subprocess.DEVNULL,
        stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    assert "predicting" in text
    assert "<00:" in text  # the time left
    assert "\r" in text
