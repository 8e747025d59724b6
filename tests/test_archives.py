"""Zips: whole ones of every writer pass; two directories, hidden entries, damage and bombs are refused."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mdcsrn.archives import check_zip
from mdcsrn.errors import DataError

LIMIT = 2**26
CONTENT = {"a/data.pkl": b"one" * 50, "a/data/0": bytes(range(256)) * 8, "a/leer": b"", "a/ü.txt": b"x"}


def written(**options: object) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:  # type: ignore[call-overload]
        for name, content in CONTENT.items():
            archive.writestr(name, content)
    return stream.getvalue()


def unseekable() -> bytes:
    """Sizes behind the data, as pipes and torch have them."""
    stream = io.BytesIO()
    kept = io.BytesIO()
    stream.write = kept.write  # type: ignore[method-assign]
    stream.seekable = lambda: False  # type: ignore[method-assign]
    stream.tell = lambda: (_ for _ in ()).throw(io.UnsupportedOperation())  # type: ignore[method-assign]
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content)
    return kept.getvalue()


def long_form() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, archive.open("big", "w", force_zip64=True) as entry:
        entry.write(b"1" * 1000)
    return stream.getvalue()


def of_torch() -> bytes:
    stream = io.BytesIO()
    torch.save({"a": torch.rand(3, 5), "b": {"c": [1, None, "d"]}}, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        written(), written(compression=zipfile.ZIP_DEFLATED), unseekable(), long_form(), of_torch(),
        b"PK\x05\x06" + bytes(18),
    ],
    ids=["stored", "deflated", "piped", "zip64", "torch", "empty"],
)  # fmt: skip
def test_sound_ones_pass(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    check_zip(tmp_path / "a.zip", LIMIT)


@pytest.mark.skipif(shutil.which("zip") is None, reason="no zip command here")
def test_the_zip_command(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ü b.txt").write_bytes(b"abc" * 1000)
    subprocess.run(["zip", "-rq", "a.zip", "in"], cwd=tmp_path, check=True)
    check_zip(tmp_path / "a.zip", LIMIT)


def hidden_between(whole: bytes) -> bytes:
    """An entry that the directory does not list, between the last one and the directory."""
    place = struct.unpack("<L", whole[-6:-2])[0]
    extra = b"PK\x03\x04" + bytes(22) + struct.pack("<2H", 4, 0) + b"evil"
    return whole[:place] + extra + whole[place:-6] + struct.pack("<L", place + len(extra)) + whole[-2:]


def second_directory(whole: bytes) -> bytes:
    """Two whole zips, one after the other: some readers take the first, others the last."""
    return whole + written(compression=zipfile.ZIP_DEFLATED)


def other_local_name(whole: bytes) -> bytes:
    return whole.replace(b"a/data.pkl", b"a/evil.pkl", 1)


def with_comment(whole: bytes) -> bytes:
    other = written()
    return whole[:-2] + struct.pack("<H", len(other)) + other


def twice(_: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    return stream.getvalue()


def unicode_path(_: bytes) -> bytes:
    """Info-ZIP's field that gives an entry another name, which unzip follows and Python does not."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = zipfile.ZipInfo("a")
        info.extra = struct.pack("<2HB", 0x7075, 9, 1) + bytes(4) + b"evil"
        archive.writestr(info, b"1")
    return stream.getvalue()


def flagged(whole: bytes) -> bytes:
    """Encrypted, says the directory alone."""
    place = whole.index(b"PK\x01\x02") + 8
    return whole[:place] + bytes([whole[place] | 1]) + whole[place + 1 :]


def longer_than_stated(whole: bytes) -> bytes:
    """The local header says a smaller size than the directory."""
    return whole[:22] + struct.pack("<L", 3) + whole[26:]


def two_ends(whole: bytes) -> bytes:
    """A zip64 end record that names another directory than the ordinary one."""
    place = struct.unpack("<L", whole[-6:-2])[0]
    record = b"PK\x06\x06" + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, 1, 1, len(whole) - 22 - place, place)
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, len(whole) - 22, 1)
    return whole[:-22] + record + locator + whole[-22:]


@pytest.mark.parametrize(
    "change",
    [
        hidden_between, second_directory, other_local_name, with_comment, twice, unicode_path, flagged,
        longer_than_stated, two_ends, lambda whole: b"#!/bin/sh\n" + whole, lambda whole: whole + b"\n",
        lambda whole: whole[:-1], lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"PK",
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_what_readers_could_take_in_two_ways(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(change(written()))
    with pytest.raises(DataError, match=r"a\.zip is no sound zip file") as caught:
        check_zip(path, LIMIT)
    assert caught.value.got


@pytest.mark.parametrize("make", [written, unseekable, of_torch])
def test_a_flipped_bit_is_found_or_does_not_matter(make: Callable[[], bytes], tmp_path: Path) -> None:
    whole = make()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        expected = {name: archive.read(name) for name in archive.namelist()}
    path = tmp_path / "a.zip"
    found = 0
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            check_zip(path, LIMIT)
        except DataError:
            found += 1
        else:
            with zipfile.ZipFile(path) as archive:
                assert {name: archive.read(name) for name in archive.namelist()} == expected, place
    assert found > len(whole) / 7 * 0.6


def test_bombs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(LIMIT + 1))
    with pytest.raises(DataError, match="unpacks to more than"):
        check_zip(tmp_path / "a.zip", LIMIT)
    check_zip(tmp_path / "a.zip", LIMIT + 1)
    with pytest.raises(DataError, match="compressed"):
        check_zip(tmp_path / "a.zip", LIMIT + 1, stored=True)


def test_a_stated_size_is_not_believed(tmp_path: Path) -> None:
    """Zeros behind a small stated size: the checksum does not fit, and no more than the stated size is unpacked."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(20_123_456))
    small = stream.getvalue().replace(struct.pack("<L", 20_123_456), struct.pack("<L", 100))
    (tmp_path / "a.zip").write_bytes(small)
    with pytest.raises(DataError, match=r"Bad CRC|CRC"):
        check_zip(tmp_path / "a.zip", LIMIT)


def test_a_directory_of_too_many_names(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for index in range(20_001):
            archive.writestr(str(index), b"")
    with pytest.raises(DataError, match="more than 20000 entries"):
        check_zip(tmp_path / "a.zip", LIMIT)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        check_zip(tmp_path / "a.zip", LIMIT)
