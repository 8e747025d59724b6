"""Results of several files appear together or not at all, and what killed runs leave is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mdcsrn.errors import OutputError
from mdcsrn.jobs.staging import staging
from mdcsrn.scratch import PREFIX, sweep

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from mdcsrn.jobs.staging import staging
with staging(Path(sys.argv[1])) as stage:
    stage.path("half.nii.gz").write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(600)
"""


def hidden(folder: Path) -> list[Path]:
    return list(folder.glob(f"{PREFIX}*"))


def test_files_appear_together_with_the_record_last(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep"
    with staging(target) as stage:
        for name in ("a.nii.gz", "a_mask.nii.gz", "a.json"):
            stage.path(name).write_text(name)
        assert [path for path in target.iterdir() if path not in hidden(target)] == []
        stage.publish(["a.nii.gz", "a_mask.nii.gz", "a.json"])
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        name: name for name in ("a.nii.gz", "a_mask.nii.gz", "a.json")
    }


def test_a_failure_leaves_neither_files_nor_new_folders(tmp_path: Path) -> None:
    def fail() -> None:
        with staging(tmp_path / "new" / "deep") as stage:
            stage.path("a.nii.gz").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_no_record_stands_beside_files_that_it_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    (tmp_path / "a.nii.gz").write_text("old")
    (tmp_path / "b.nii.gz").mkdir()  # cannot be replaced by a file
    names = ["a.nii.gz", "b.nii.gz", "a.json"]
    with staging(tmp_path) as stage:
        for name in names:
            stage.path(name).write_text("new")
        with pytest.raises(OutputError, match="cannot write"):
            stage.publish(names)
    assert (tmp_path / "a.nii.gz").read_text() == "new"
    assert not (tmp_path / "a.json").exists()


def test_leftovers_go_and_a_folder_in_use_stays(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    (in_use,) = hidden(tmp_path)
    sweep(tmp_path)
    assert (in_use / "half.nii.gz").read_bytes() == b"half"
    holder.kill()
    holder.communicate()
    assert hidden(tmp_path) == [in_use]  # nobody cleaned up
    with staging(tmp_path) as stage:
        assert hidden(tmp_path) == [stage.folder]
    assert hidden(tmp_path) == []


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write to .*deep"), staging(tmp_path / "file" / "deep"):
        pass


MANY = 20_000
TIDIER = f"""
import sys
from pathlib import Path
from mdcsrn.jobs.staging import staging
with staging(Path(sys.argv[1])) as stage:
    for number in range({MANY}):
        stage.path(str(number)).touch()
    print("ready", flush=True)
print("done", flush=True)
"""


def test_an_interruption_while_the_folder_is_removed_leaves_none(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", TIDIER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    while hidden(tmp_path) and len(os.listdir(hidden(tmp_path)[0])) > MANY - 10:
        pass
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate()
    assert printed == "", "the interruption came in the midst of it"
    assert process.returncode == -signal.SIGINT
    assert list(tmp_path.iterdir()) == []
