"""Atomic files: whole or not there, whatever happens between the first byte and the last."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mdcsrn.errors import ConfigError, OutputError
from mdcsrn.files import atomic_path, atomic_write_bytes, atomic_write_text, read_mapping, read_text, sha256

ROOT = Path(__file__).resolve().parents[1]


def run(code, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, capture_output=True, text=True
    )


def test_writes_replace_and_make_folders(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    atomic_write_text(path, "één")
    assert path.read_text(encoding="utf-8") == "één"
    atomic_write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


def test_the_old_content_stays_until_the_end(tmp_path):
    path = tmp_path / "volume.nii.gz"
    path.write_text("old")
    with atomic_path(path) as temporary:
        assert temporary.parent.parent == path.parent  # the same disk
        assert temporary.parent.name.startswith(".mdcsrn-")
        assert temporary.name == path.name  # writers choose the format by it
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyError("in the middle")

    with pytest.raises(KeyError, match="in the middle"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_kill_between_write_and_replace(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_text("old")
    code = """
import os, signal, sys
from mdcsrn.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("new, but never finished")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run(code, path).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    left = [p for p in tmp_path.iterdir() if p != path]
    assert [p.name[:8] for p in left] == [".mdcsrn-"]  # no listing takes the remains for a result
    atomic_write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]  # the remains are gone


def test_full_disk(tmp_path):
    """A limit on the file size stands for a full disk: the write fails half-way with an OSError."""
    path = tmp_path / "a.bin"
    path.write_text("old")
    code = """
import resource, signal, sys
from mdcsrn.errors import OutputError
from mdcsrn.files import atomic_write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    atomic_write_bytes(sys.argv[1], b"x" * 5000)
except OutputError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    result = run(code, path)
    assert result.returncode == 7
    assert "a.bin" in result.stdout
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_places(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot write"):
        atomic_write_text(tmp_path / "file" / "a.txt", "x")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="taken"):
        atomic_write_text(tmp_path / "taken", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "taken"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot write"):
        atomic_write_text(tmp_path / "a.txt", "x")


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    atomic_write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_sha256(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc" * 100_000)
    assert sha256(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_read_mapping(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: [1, 2]\nb: {c: x}\n")
    assert read_mapping(path) == {"a": [1, 2], "b": {"c": "x"}}
    path.write_text('{"a": 1}')
    assert read_mapping(path) == {"a": 1}
    for bad in (b"- 1", b"a: [", b"\xff\xfe\x00", b""):
        path.write_bytes(bad)
        with pytest.raises(ConfigError, match=r"a\.yaml"):
            read_mapping(path)
    with pytest.raises(ConfigError, match="absent"):
        read_mapping(tmp_path / "absent.yaml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_of_other_software_reads_the_same(tmp_path, encoding, end):
    path = tmp_path / "a.tsv"
    path.write_bytes(f"name\tage{end}Zoë\t30{end}".encode(encoding))
    assert read_text(path) == "name\tage\nZoë\t30\n"
