"""Zips that show two readers different files are refused, and ordinary ones of many writers are not."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdcsrn.ziplayout import layout_problem

FILES = {"a/one.txt": b"one " * 40, "a/two.txt": b"two " * 40}
END = b"PK\x05\x06"
CENTRAL = b"PK\x01\x02"


def zipped(files: dict[str, bytes] = FILES, method: int = zipfile.ZIP_DEFLATED, unseekable: bool = False) -> bytes:
    buffer = io.BytesIO()

    class Pipe(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            return buffer.write(data)  # type: ignore[call-overload, no-any-return]

    with zipfile.ZipFile(Pipe() if unseekable else buffer, "w", method) as archive:  # type: ignore[type-var]
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def by_headers(content: bytes) -> dict[str, bytes]:
    """What a reader takes that goes through the file from its beginning, header by header."""
    found, place = {}, content.find(b"PK\x03\x04")
    while place >= 0:
        flags, method = struct.unpack_from("<2H", content, place + 6)
        packed, _, names, extras = struct.unpack_from("<2L2H", content, place + 18)
        begin = place + 30 + names + extras
        name = content[place + 30 : place + 30 + names].decode("latin-1")
        inflate = zlib.decompressobj(-15)
        try:
            data = inflate.decompress(content[begin:]) if method == 8 else content[begin : begin + packed]
        except zlib.error:
            data = b"damaged"
        found[name] = data
        place = content.find(b"PK\x03\x04", begin + (1 if method == 8 else packed))
    return found


def by_directory(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def directory(content: bytes) -> int:
    return int(struct.unpack_from("<L", content, content.rindex(END) + 16)[0])


def inserted(content: bytes, place: int, more: bytes) -> bytes:
    """Put bytes in before the directory and move what lies behind; offsets of later files are set right."""
    start = directory(content)
    head, tail = bytearray(content[:place] + more + content[place:start]), bytearray(content[start:])
    at = 0
    while tail[at : at + 4] == CENTRAL:
        names, extras, comment = struct.unpack_from("<3H", tail, at + 28)
        (offset,) = struct.unpack_from("<L", tail, at + 42)
        if offset >= place:
            struct.pack_into("<L", tail, at + 42, offset + len(more))
        at += 46 + names + extras + comment
    struct.pack_into("<L", tail, tail.rindex(END) + 16, start + len(more))
    return bytes(head + tail)


def second(content: bytes) -> int:
    return content.index(b"PK\x03\x04", 1)


def local(name: str = "a/evil.txt", data: bytes = b"evil") -> bytes:
    """Header and content of a file that no directory names."""
    one = zipped({name: data}, zipfile.ZIP_STORED)
    return one[: directory(one)]


def edited(content: bytes, place: int, form: str, value: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(form, changed, place, value)
    return bytes(changed)


def slack(content: bytes) -> bytes:
    """A file behind the end of the packed bytes of another, which the directory counts to them."""
    more = local()
    place = second(content)
    longer = inserted(content, place, more)
    (packed,) = struct.unpack_from("<L", content, 18)
    return edited(edited(longer, 18, "<L", packed + len(more)), directory(longer) + 20, "<L", packed + len(more))


def end64(content: bytes) -> bytes:
    """Records of a large zip that name the directory of another zip, which lies in a file of this one."""
    inner = zipped({"a/one.txt": b"evil" * 40})
    outer = zipped({"a/one.txt": inner}, zipfile.ZIP_STORED)
    end = outer.rindex(END)
    start = outer.index(inner) + directory(inner)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, end - directory(outer), start)
    return outer[:end] + record + struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1) + outer[end:]


def described(content: bytes) -> bytes:
    """Another checksum behind the content than in the directory."""
    streamed = zipped(unseekable=True)
    return edited(streamed, streamed.index(b"PK\x07\x08") + 4, "<L", 0)


def with_extra(content: bytes) -> bytes:
    """The other name that some readers take instead."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("a/one.txt")
        entry.extra = struct.pack("<2HBL", 0x7075, 5 + 8, 1, zlib.crc32(b"a/one.txt")) + b"evil.txt"
        archive.writestr(entry, "x")
    return buffer.getvalue()


def in_the_comment(content: bytes) -> bytes:
    """A second end, with the directory of another zip before it, in the comment of the first."""
    other = zipped({"a/evil.txt": b"evil"})
    return edited(content, len(content) - 2, "<H", len(other)) + other


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "another name in the header": lambda c: c.replace(b"a/one.txt", b"a/bad.txt", 1),
    "a name of another case in the header": lambda c: c.replace(b"a/one.txt", b"A/one.txt", 1),
    "another method in the header": lambda c: edited(c, 8, "<H", 0),
    "another size in the header": lambda c: edited(c, 18, "<L", 3),
    "another checksum in the header": lambda c: edited(c, 14, "<L", 3),
    "other flags in the header": lambda c: edited(c, 6, "<H", 0x800),
    "another time in the header": lambda c: edited(c, 10, "<H", 77),
    "a file before the first": lambda c: inserted(c, 0, local()),
    "a file before the first, offsets as they were": lambda c: local() + c,
    "a file between two": lambda c: inserted(c, second(c), local()),
    "a file behind the last": lambda c: inserted(c, directory(c), local()),
    "bytes before the first": lambda c: b"#!/bin/sh\n" + c,
    "bytes behind the end": lambda c: c + b"\0",
    "a zip behind the end": lambda c: c + zipped({"a/evil.txt": b"evil"}),
    "a zip in the comment": in_the_comment,
    "a zip before it": lambda c: zipped({"a/evil.txt": b"evil"}) + c,
    "bytes behind the directory": lambda c: c[: c.rindex(END)] + local() + c[c.rindex(END) :],
    "a file in the slack of another": slack,
    "a directory that is read in part": lambda c: edited(edited(c, len(c) - 12, "<H", 1), len(c) - 14, "<H", 1),
    "two counts": lambda c: edited(c, len(c) - 12, "<H", 1),
    "a second disk": lambda c: edited(c, len(c) - 18, "<H", 1),
    "records of a large zip": end64,
    "a checksum behind the content": described,
    "an extra field with a name": with_extra,
    "the same name twice": lambda c: c.replace(b"a/two.txt", b"a/one.txt"),
    "the same name but for case": lambda c: c.replace(b"a/two.txt", b"A/ONE.txt"),
    "two names for one content": lambda c: edited(c, c.rindex(CENTRAL) + 42, "<L", 0),
    "a NUL in the name": lambda c: c.replace(b"a/two.txt", b"a/tw\0.txt"),
    "a name in no alphabet": lambda c: c.replace(b"a/two.txt", b"a/tw\xff.txt"),
    "encrypted": lambda c: edited(edited(c, 6, "<H", 1), directory(c) + 8, "<H", 1),
    "an unusual method": lambda c: zipped(method=zipfile.ZIP_LZMA),
    "stored with two sizes": lambda c: edited(zipped(method=0), directory(zipped(method=0)) + 24, "<L", 9),
    "content that was changed": lambda c: edited(zipped(method=0), 45, "<B", 66),
    "cut": lambda c: c[:-1],
    "no directory": lambda c: c[: directory(c)],
}


def problem(content: bytes, of_torch: bool = False) -> str | None:
    return layout_problem(io.BytesIO(content), of_torch=of_torch)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str) -> None:
    content = HOSTILE[name](zipped())
    assert content != zipped()
    assert problem(content) is not None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in HOSTILE if name.startswith(("a file", "a zip"))])
def test_two_readers_do_differ(name: str) -> None:
    content = HOSTILE[name](zipped())
    assert by_directory(content) != by_headers(content)


@pytest.mark.parametrize("unseekable", [False, True])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_ordinary_zips(method: int, unseekable: bool) -> None:
    files = {**FILES, "a/empty.txt": b"", "a/zeros.bin": bytes(5 * 2**20), "a/\u00fc.txt": b"x", "a/b/": b""}
    assert problem(zipped(files, method, unseekable)) is None
    packed = problem(zipped(files, method, unseekable), of_torch=True)
    assert (packed is None) == (method == zipfile.ZIP_STORED)


def test_a_comment_is_text() -> None:
    buffer = io.BytesIO(zipped())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"3f2a61c0 of the main branch"
    assert problem(buffer.getvalue()) is None


@pytest.mark.skipif(shutil.which("zip") is None, reason="no zip here")
def test_the_zip_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.txt").write_text("one " * 100)
    subprocess.run(["zip", "-qr", "x.zip", "a"], cwd=tmp_path, check=True)
    with open(tmp_path / "x.zip", "rb") as stream:
        assert layout_problem(stream) is None


@pytest.mark.parametrize("header", [b"PK\x01\x02", b"PK\x03\x04"])
def test_a_version_that_readers_refuse(header: bytes) -> None:
    content = zipped()
    needed = content.index(header) + (6 if header == b"PK\x01\x02" else 4)
    assert problem(content) is None
    assert problem(content[:needed] + b"\x40" + content[needed + 1 :]) is not None


mutations = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=3)), min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(changes=mutations, unseekable=st.booleans())
def test_damage_is_seen_or_changes_nothing(changes: list[tuple[float, bytes]], unseekable: bool) -> None:
    """A zip whose bytes were changed passes only where both kinds of readers still find the files as they were."""
    content = zipped(unseekable=unseekable)
    for place, new in changes:
        index = int(place * len(content))
        content = content[:index] + new + content[index + 1 :]
    if problem(content) is None:
        renamed = dict(zip(by_directory(content), FILES.values(), strict=True))
        assert by_directory(content) == by_headers(content) == renamed


def weights(path: Path, value: float) -> bytes:
    torch.save({"weight": torch.full((4,), value)}, path)
    return path.read_bytes()


def test_torch_and_python_see_different_weights(tmp_path: Path) -> None:
    """Python adds what lies before a zip to its offsets, torch does not: each finds another directory."""
    hidden, shown = weights(tmp_path / "a.pt", 666.0), weights(tmp_path / "a.pt", 1.0)
    assert problem(shown, of_torch=True) is None
    at = hidden.rindex(b"PK\x06\x06")
    end = shown[: shown.rindex(b"PK\x06\x06")], shown[shown.rindex(END) :]  # without the records of a large zip
    content = hidden[:at] + end[0] + end[1]
    (tmp_path / "a.pt").write_bytes(content)
    loaded = torch.load(tmp_path / "a.pt", weights_only=True)["weight"]
    assert loaded.tolist() == [666.0] * 4
    assert struct.pack("<f", 1.0) * 4 in b"".join(by_directory(content).values())
    assert problem(content, of_torch=True) is not None


def test_torch_does_not_tell_upper_from_lower_case(tmp_path: Path) -> None:
    content = weights(tmp_path / "a.pt", 666.0).replace(b"data.pkl", b"DATA.PKL")
    (tmp_path / "a.pt").write_bytes(content)
    assert torch.load(tmp_path / "a.pt", weights_only=True)["weight"][0] == 666.0
    both = zipped({"a/DATA.PKL": b"1", "a/data.pkl": b"2"}, zipfile.ZIP_STORED)
    assert problem(both, of_torch=True) is not None


def test_weights_lie_in_of_torch() -> None:
    assert problem(zipped({"a/data.pkl": b"1", "b/data.pkl": b"2"}, 0), of_torch=True) is not None
    assert problem(zipped({"a/data.pkl": b"1", "data.pkl": b"2"}, 0), of_torch=True) is not None
    assert problem(zipped({"a/data.pkl": b"1", "a/byteorder": b"2"}, 0), of_torch=True) is None
