"""Where DICOM bytes come from: a file, a folder, or a zip archive that is read member by member and never unpacked."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.fetched import check_fetched
from mdcsrn.io.dicom.series import DicomFile

LARGEST_FILE = 2 << 30  # bytes; an enhanced series of 4,000 frames of 512 x 512 has 2 GiB
MOST_MEMBERS = 200_000
BOMB_BYTES = 1 << 28  # an archive below this size, unpacked, is never a bomb
BOMB_RATIO = 200  # MR images pack 1:2 to 1:20
PREAMBLE = 132  # 128 bytes of anything, then DICM


def list_files(path: Path) -> list[DicomFile]:
    """All regular files under a path, in the order of their names; hidden ones are left out.

    Args:
        path: file, folder (links to folders are not followed) or zip archive.

    Raises:
        DataError: no such path, it cannot be read, or the archive is unsafe or damaged.
    """
    try:
        if path.is_dir():
            names = [Path(base) / name for base, _, files in os.walk(path, onerror=_raise) for name in files]
            shown = [p for p in names if not any(part.startswith(".") for part in p.relative_to(path).parts)]
            return [DicomFile(p) for p in sorted(shown) if p.is_file()]
        if not path.exists():
            raise DataError(f"no such file or folder: {path}", remedy="check the path")
        if zipfile.is_zipfile(path):
            return [DicomFile(path, name) for name in _members(path)]
    except OSError as error:
        raise DataError(f"cannot read {path}", got=error.strerror or type(error).__name__) from error
    return [DicomFile(path)]


def read_bytes(files: Iterable[DicomFile]) -> Iterator[tuple[DicomFile, bytes | MdcsrnError]]:
    """Content of each file that looks like DICOM; an archive is opened once for all its members in a row.

    Args:
        files: from :func:`list_files`.

    Yields:
        The file and its bytes, or the error that reading it met. Files that cannot be DICOM are skipped.
    """
    archive: zipfile.ZipFile | None = None
    try:
        for file in files:
            try:
                if file.member is None:
                    check_fetched(file.path)
                    content = _read_plain(file)
                else:
                    if archive is None or archive.filename != str(file.path):
                        if archive is not None:
                            archive.close()
                        archive = zipfile.ZipFile(file.path)
                    content = _read_member(archive, file)
            except MdcsrnError as error:
                yield file, error
                continue
            except Exception as error:  # zipfile and zlib raise whatever the bytes provoke
                reason = error.strerror if isinstance(error, OSError) else None
                yield file, _unreadable(file, reason or type(error).__name__)
                continue
            if content is not None:
                yield file, content
    finally:
        if archive is not None:
            archive.close()


def looks_like_dicom(start: bytes) -> bool:
    """True for a DICM file, and for one that begins with an element of group 0002 or 0008 (old, without a preamble)."""
    return start[128:132] == b"DICM" or (start[:2] in (b"\x08\x00", b"\x02\x00") and len(start) > 8 and start[3] == 0)


def _raise(error: OSError) -> None:
    raise error


def _read_plain(file: DicomFile) -> bytes | None:
    with open(file.path, "rb") as stream:
        start = stream.read(PREAMBLE)
        if not looks_like_dicom(start):
            return None
        _check_size(file, os.fstat(stream.fileno()).st_size)
        return start + stream.read(LARGEST_FILE)


def _read_member(archive: zipfile.ZipFile, file: DicomFile) -> bytes | None:
    assert file.member is not None
    info = archive.getinfo(file.member)
    with archive.open(info) as stream:
        start = stream.read(PREAMBLE)
        if not looks_like_dicom(start):
            return None
        _check_size(file, info.file_size)
        return start + stream.read()  # zipfile never gives more than file_size, and compares the checksum


def _check_size(file: DicomFile, size: int) -> None:
    if size > LARGEST_FILE:
        raise DataError(f"{file} is too large for a DICOM image", got=f"{size} bytes", allowed=f"{LARGEST_FILE} bytes")


def _members(path: Path) -> list[str]:
    """Names of the regular members; an archive that could harm is refused whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except Exception as error:  # see read_bytes
        raise _unreadable(DicomFile(path), type(error).__name__) from error
    if len(infos) > MOST_MEMBERS:
        raise DataError(f"{path} has too many members", got=len(infos), allowed=MOST_MEMBERS)
    total = sum(info.file_size for info in infos)
    if total > max(BOMB_BYTES, BOMB_RATIO * path.stat().st_size):
        raise DataError(
            f"{path} would unpack to far more than an archive of images does",
            got=f"{total} bytes from {path.stat().st_size}",
            allowed=f"{BOMB_RATIO} to 1",
            remedy="unpack it yourself where you trust it, and give the folder",
        )
    names = []
    for info in infos:
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or (name.parts and name.parts[0].endswith(":")):
            raise DataError(f"{path} has a member that points outside the archive", got=str(name)[:80])
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"{path} has a member that is a symbolic link", got=str(name)[:80])
        if info.flag_bits & 1:
            raise DataError(f"{path} is encrypted", remedy="unpack it with its password, and give the folder")
        if not info.is_dir() and not any(part.startswith((".", "__MACOSX")) for part in name.parts):
            names.append(info.filename)
    return sorted(set(names))


def _unreadable(file: DicomFile, reason: str) -> DataError:
    return DataError(f"{file} cannot be read", got=reason, remedy="copy or export it again")
