"""Hidden folders: of the dead they are swept, of the living and of other machines never."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mdcsrn import scratch as module
from mdcsrn.files import atomic_write_text
from mdcsrn.scratch import KEPT, LOCK, discard, is_shared, scratch, sweep

ROOT = Path(__file__).resolve().parents[1]
HOLDER = """
import sys, time
from pathlib import Path
from mdcsrn.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "half").write_bytes(b"half")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def hold(tmp_path: Path) -> Callable[[], tuple[subprocess.Popen[str], Path]]:
    """Start a process that works in a hidden folder of ``tmp_path``."""
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], Path]:
        command = [sys.executable, "-c", HOLDER, str(tmp_path)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        started.append(process)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in started:
        with process:
            process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_the_dead_go_and_the_living_stay(tmp_path: Path, hold: Callable) -> None:
    (dead, left), (_, living) = hold(), hold()
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([left, living])
    kill(dead)
    atomic_write_text(tmp_path / "any.txt", "a file written there sweeps")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([living.name, "any.txt"])
    assert (living / "half").read_bytes() == b"half"


def test_killed_at_every_step_of_making_one(tmp_path: Path) -> None:
    for name, files in (
        (".new-mdcsrn-a", []),
        (".new-mdcsrn-b", [LOCK]),
        (".mdcsrn-c", []),
        (".mdcsrn-d", [LOCK, "x"]),
    ):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_maker_whose_folder_is_swept_makes_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between mkdir and lock a folder looks dead; taking it away then does no harm."""
    made, make = [], module.tempfile.mkdtemp

    def swept_at_once(**options: object) -> str:
        made.append(make(**options))
        if len(made) < 4:
            sweep(Path(made[-1]).parent)
            assert not os.path.exists(made[-1])
        return made[-1]

    monkeypatch.setattr(module.tempfile, "mkdtemp", swept_at_once)
    with scratch(tmp_path / "deep") as folder:
        assert (folder / LOCK).is_file()
    with scratch(tmp_path) as folder:
        assert (folder / LOCK).is_file()
        sweep(tmp_path)
        assert folder.is_dir()
    assert len(made) == 5
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_locks_keeps_what_is_there(
    tmp_path: Path, hold: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, left = hold()
    kill(dead)

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    atomic_write_text(tmp_path / "a.txt", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == [left.name, "a.txt"]


def test_other_machines_on_a_shared_disk_are_left_alone(
    tmp_path: Path, hold: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their locks may be unknown here, so that a living process looks dead."""
    dead, left = hold()
    kill(dead)
    monkeypatch.setattr(module, "is_shared", lambda _: True)
    monkeypatch.setattr(module, "machine", lambda: "another boot")
    sweep(tmp_path)
    assert left.is_dir()
    monkeypatch.undo()
    monkeypatch.setattr(module, "is_shared", lambda _: True)
    sweep(tmp_path)
    assert not left.exists()


def test_evidence_stays_until_it_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / ".mdcsrn-a"
    folder.mkdir()
    (folder / LOCK).touch()
    (folder / KEPT).touch()
    sweep(tmp_path)
    assert folder.is_dir()
    discard(folder)
    assert not folder.exists()


def test_what_is_not_ours_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / ".mdcsrn-file").write_text("x")
    (tmp_path / ".x-abc.zip").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").touch()
    (tmp_path / ".mdcsrn-link").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    sweep(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_shared_disks_by_the_mount_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = (
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:5 / /data\\040set rw - nfs4 host:/x rw\n"
        "3 2 0:6 / /data\\040set/fast rw shared:1 - xfs /dev/sdb rw\n4 1 0:7 / /mnt rw - fuse.sshfs host rw\n"
    )
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda p, **o: table if "mountinfo" in str(p) else read(p, **o))
    shared = {"/home/a": False, "/data set/b": True, "/data set/fast/c": False, "/data": False, "/mnt/x/y": True}
    assert {path: is_shared(Path(path)) for path in shared} == shared
