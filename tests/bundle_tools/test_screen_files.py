"""Attacks in the files of a bundle: names, links, archives, programs, pickles, logging set-ups, lists of hashes."""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mdcsrn.bundle.check import check
from mdcsrn.errors import DataError
from mdcsrn.hashes import write_hashes


class Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("true",)


def rules(source: Path) -> set[str]:
    return {finding.rule for finding in check(source)}


def zipped(home: Path, extra: Callable[[zipfile.ZipFile], None] = lambda archive: None, top: str = "foreign/") -> Path:
    target = home.parent / "foreign.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(home.rglob("*")):
            if path.is_file():
                archive.write(path, top + path.relative_to(home).as_posix())
        extra(archive)
    return target


@pytest.mark.parametrize("top", ["", "foreign/"])
def test_a_zip_of_the_bundle_passes(foreign: Path, top: str) -> None:
    assert check(zipped(foreign, top=top)) == []


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("../evil.txt", "zip-slip"),
        ("configs/../../evil.txt", "zip-slip"),
        ("/etc/evil.txt", "absolute-name"),
        ("C:/evil.txt", "absolute-name"),
        ("~/evil.txt", "absolute-name"),
        ("configs\\evil.txt", "name"),
        ("configs/ev\nil.txt", "name"),
        ("configs//inference.txt", "name"),
        ("docs/readme.md", "duplicate"),
        ("LICENSE", "duplicate"),
        ("scripts/evil.py", "program"),
        ("evil.so", "program"),
        ("evil.pyc", "program"),
        ("run.sh", "program"),
        ("models/model.ts", "program"),
        ("cache.pkl", "program"),
        ("inner.zip", "program"),
        ("configs/thing.xyz", "file-kind"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_in_a_zip(foreign: Path, name: str, rule: str) -> None:
    def extra(archive: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo("x")
        entry.filename = name  # as it stands: the constructor would mend it
        archive.writestr(entry, "x")

    assert rule in rules(zipped(foreign, extra, top=""))


def test_another_name_in_the_local_header(foreign: Path) -> None:
    target = zipped(foreign, lambda archive: archive.writestr("foreign/docs/abc.txt", "x"))
    content = target.read_bytes()
    target.write_bytes(content.replace(b"docs/abc.txt", b"scripts/a.py", 1))
    (finding,) = check(target)
    assert (finding.rule, finding.where, finding.verdict) == ("archive", "foreign.zip", "refused")
    assert "docs/abc.txt" in finding.text


def test_a_file_that_the_directory_does_not_name(foreign: Path) -> None:
    target = zipped(foreign)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("scripts/a.py", "x")
    target.write_bytes(buffer.getvalue() + zipped(foreign).read_bytes())
    assert rules(target) == {"archive"}


def test_weights_that_torch_would_read_from_elsewhere(foreign: Path) -> None:
    """What stands before a zip moves the directory that torch reads, but not the one that Python reads."""
    path = foreign / "models" / "model.pt"
    path.write_bytes(path.read_bytes()[:-200] + path.read_bytes())
    write_hashes(path.parent)
    (finding,) = check(foreign)
    assert (finding.rule, finding.where) == ("weights", "models/model.pt")


def linked(mode: int) -> Callable[[zipfile.ZipFile], None]:
    def extra(archive: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo("foreign/docs/more.txt")
        entry.external_attr = (mode | 0o644) << 16
        archive.writestr(entry, "/etc/passwd")

    return extra


@pytest.mark.parametrize(
    ("mode", "rule"), [(stat.S_IFLNK, "symlink"), (stat.S_IFCHR, "special-file"), (stat.S_IFIFO, "special-file")]
)
def test_links_and_devices_in_a_zip(foreign: Path, mode: int, rule: str) -> None:
    assert rules(zipped(foreign, linked(mode))) == {rule}


def test_a_bomb(foreign: Path) -> None:
    assert rules(zipped(foreign, lambda archive: archive.writestr("foreign/docs/more.txt", bytes(2**24)))) == {"bomb"}


def test_thousands_of_files(foreign: Path) -> None:
    def extra(archive: zipfile.ZipFile) -> None:
        for index in range(2100):
            archive.writestr(f"foreign/docs/{index}.txt", "")

    assert "bomb" in rules(zipped(foreign, extra))


def test_a_size_that_is_not_the_stated_one(foreign: Path) -> None:
    target = zipfile.ZipFile(zipped(foreign)).filename
    content = Path(str(target)).read_bytes()
    size = (foreign / "configs" / "inference.yaml").stat().st_size
    Path(str(target)).write_bytes(content.replace(struct.pack("<I", size), struct.pack("<I", size - 40)))
    assert "parse" in rules(Path(str(target)))


def test_links_and_pipes_in_a_folder(foreign: Path) -> None:
    (foreign / "docs" / "more.txt").symlink_to("/etc/passwd")
    (foreign / "etc").symlink_to("/etc")
    os.mkfifo(foreign / "docs" / "pipe.txt")
    found = {(finding.rule, finding.where) for finding in check(foreign)}
    assert found == {("symlink", "docs/more.txt"), ("symlink", "etc"), ("special-file", "docs/pipe.txt")}


def test_python_code_in_a_folder(foreign: Path) -> None:
    (foreign / "scripts").mkdir()
    (foreign / "scripts" / "__init__.py").write_text("")
    assert rules(foreign) == {"program"}


def test_neither_folder_nor_zip(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"nothing")
    for name in ("a.zip", "nowhere"):
        with pytest.raises(DataError, match="no bundle"):
            check(tmp_path / name)


def old_form(path: Path) -> None:
    torch.save({"model": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)


def program(path: Path) -> None:
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))


def protocol_4(path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload(), protocol=4))
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: torch.save({"model": Payload()}, path), "posix.system"),
        (lambda path: torch.save(torch.nn.Linear(1, 1), path), "torch.nn"),
        (protocol_4, "STACK_GLOBAL"),
        (old_form, "old form"),
        (program, "TorchScript"),
        (lambda path: path.write_bytes(pickle.dumps(Payload())), "old form"),
        (lambda path: path.write_bytes(path.read_bytes()[:-300]), "damaged"),
    ],
    ids=["a command", "a module", "protocol 4", "old form", "TorchScript", "a bare pickle", "cut"],
)
def test_hostile_weights(foreign: Path, write: Callable[[Path], None], words: str) -> None:
    path = foreign / "models" / "model.pt"
    write(path)
    write_hashes(path.parent)
    (finding,) = check(foreign)
    assert finding.rule == "weights"
    assert words in finding.text


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, struct.pack("<Q", 2) + b"{}" + b"more"])
def test_hostile_safetensors(foreign: Path, content: bytes) -> None:
    (foreign / "models" / "model.safetensors").write_bytes(content)
    write_hashes(foreign / "models")
    assert rules(foreign) == {"weights"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("args=(sys.stdout,)", "args=(__import__('os').system('true'),)"),
        ("args=(sys.stdout,)", "args=%(evil)s\nevil=(1,)"),
        ("args=(sys.stdout,)", "args=(sys.stdout,)\nkwargs={'x': print()}"),
        ("args=(sys.stdout,)", "args=(sys.stdout,)\n# a comment\rargs=(__import__('os').system('true'),)"),
        ("class=StreamHandler", "class=FileHandler"),
        ("class=StreamHandler", "class=scripts.evil.Handler"),
        ("format=", "class=scripts.Formatter\nformat="),
        ("[loggers]", "no section at all = [\n[loggers"),
    ],
)
def test_hostile_logging(foreign: Path, old: str, new: str) -> None:
    path = foreign / "configs" / "logging.conf"
    path.write_bytes(path.read_text().replace(old, new).encode())
    assert rules(foreign) == {"logging"}


def large(**changes: str) -> str:
    entry = {"path": "models/big.pt", "url": "https://example.org/big.pt", "hash_type": "sha256", "hash_val": "0" * 64}
    return json.dumps({"large_files": [{**entry, **changes}]})


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../x.pt"},
        {"path": "/x.pt"},
        {"path": "scripts/a.py"},
        {"path": "configs/train.yaml"},
        {"path": "configs/other.conf"},
        {"path": "models/model.pt"},
        {"path": ""},
        {"url": "http://example.org"},
        {"hash_type": "md5"},
        {"hash_val": ""},
    ],
)
def test_large_files(foreign: Path, changes: dict[str, str]) -> None:
    (foreign / "large_files.yml").write_text(large())
    assert rules(foreign) == set()
    (foreign / "large_files.yml").write_text(large(**changes))
    assert rules(foreign) == {"large-files"}


def test_large_files_in_two_lists(foreign: Path) -> None:
    """MONAI merges all files that begin so, and the keys in them."""
    (foreign / "large_files.yml").write_text(large())
    (foreign / "large_files_more.json").write_text(large(url="http://example.org"))
    assert rules(foreign) == {"large-files"}
    (foreign / "large_files_more.json").unlink()
    changed = json.loads(large()) | {"large_files#0#url": "http://example.org"}
    (foreign / "large_files.yml").write_text(json.dumps(changed))
    assert rules(foreign) == {"large-files"}
