"""The hash list is the one that ``sha256sum`` writes and checks, and a file that it does not fit is refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mdcsrn.errors import CheckpointError
from mdcsrn.hashes import HASHES, check_hash, read_hashes, weight_files, write_hashes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.safetensors", "a.pt", "with space.pt", "checkpoint_000000010.pt", ".a-half.pt", "README.md"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "folder.pt").mkdir()
    return tmp_path


def test_only_weights_are_listed(folder: Path) -> None:
    assert [path.name for path in weight_files(folder)] == ["a.pt", "b.safetensors", "with space.pt"]
    assert weight_files(folder / "nothing") == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_sha256sum_agrees(folder: Path) -> None:
    write_hashes(folder)
    names = [path.name for path in weight_files(folder)]
    theirs = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert (folder / HASHES).read_text() == theirs
    assert subprocess.run(["sha256sum", "-c", HASHES], cwd=folder, capture_output=True, check=False).returncode == 0
    (folder / "a.pt").write_bytes(b"other")
    assert subprocess.run(["sha256sum", "-c", HASHES], cwd=folder, capture_output=True, check=False).returncode == 1
    with pytest.raises(CheckpointError, match=r"a\.pt is not the file"):
        check_hash(folder / "a.pt")
    check_hash(folder / "b.safetensors")


def test_a_file_that_is_not_listed_passes(folder: Path) -> None:
    check_hash(folder / "a.pt")  # no list at all
    write_hashes(folder)
    (folder / "new.pt").write_bytes(b"new")
    check_hash(folder / "new.pt")


def test_forms_that_sha256sum_writes_are_read(folder: Path) -> None:
    digest = "AB" * 32
    (folder / HASHES).write_text(f"{digest} *a.pt\n\n{digest}  with space.pt\n")
    assert read_hashes(folder) == {"a.pt": digest.lower(), "with space.pt": digest.lower()}


@pytest.mark.parametrize("content", [b"abc\n", b"\xff\xfe\n"])
def test_a_damaged_list_is_named(folder: Path, content: bytes) -> None:
    (folder / HASHES).write_bytes(content)
    with pytest.raises(CheckpointError, match=HASHES):
        check_hash(folder / "a.pt")
