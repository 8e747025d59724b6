"""Sources of DICOM bytes: a file, a folder, or a zip archive that is read member by member and never unpacked."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.fetched import check_fetched
from mdcsrn.io.dicom.series import DicomFile
from mdcsrn.io.dicom.sniff import START, looks_like_dicom
from mdcsrn.io.names import may_be_dicom_name
from mdcsrn.io.tree import files_below

MAX_FILE_BYTES = 2 << 30  # bytes; an enhanced series of 4,000 frames of 512 x 512 has 2 GiB
MAX_MEMBERS = 200_000
BOMB_BYTES = 16 << 20  # what unpacks to less is never a bomb
BOMB_RATIO = 100  # MR images pack 1:2 to 1:20
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)  # LZMA lets the file ask for 4 GiB


def list_files(path: Path) -> list[DicomFile]:
    """All files under a path, in the order of their names; hidden ones are left out.

    Args:
        path: file, folder (links are followed, a link that leads back up ends there) or zip archive.

    Raises:
        DataError: no such path, it cannot be read, or the archive is unsafe or damaged.
    """
    try:
        if path.is_dir():
            return [DicomFile(file) for file in sorted(files_below(path, _raise)) if _is_listed(file)]
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


def _raise(error: OSError) -> None:
    raise error


def _is_listed(file: Path) -> bool:
    """True for a regular file, and for a link that leads nowhere: reading it says so. No sockets, no pipes."""
    return file.is_file() or (file.is_symlink() and not file.exists())


def _read_plain(file: DicomFile) -> bytes | None:
    with open(file.path, "rb") as stream:
        start = stream.read(START)
        if not looks_like_dicom(start):
            _check_arrived(file, start)
            return None
        size = os.fstat(stream.fileno()).st_size
        _check_size(file, size)
        return start + stream.read(max(size - len(start), 0))  # what is asked for is allocated at once


def _check_arrived(file: DicomFile, start: bytes) -> None:
    """Pass over a file of another kind, but not over an image whose copying broke off: the disk keeps zeros for it.

    Raises:
        DataError: a name that a DICOM file may have, and nothing in it, or zeros.
    """
    if not start.strip(b"\0") and may_be_dicom_name(file.member or file.path):
        raise _unreadable(file, "it begins with zeros alone" if start else "it is empty")


def _read_member(archive: zipfile.ZipFile, file: DicomFile) -> bytes | None:
    assert file.member is not None
    info = archive.getinfo(file.member)
    with archive.open(info) as stream:
        start = stream.read(START)
        if not looks_like_dicom(start):
            _check_arrived(file, start)
            return None
        _check_size(file, info.file_size)
        return start + stream.read()  # zipfile never gives more than file_size, and compares the checksum


def _check_size(file: DicomFile, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise DataError(
            f"{file} is too large for a DICOM image", got=f"{size} bytes", allowed=f"{MAX_FILE_BYTES} bytes"
        )


def _members(path: Path) -> list[str]:
    """Names of the regular members; an archive that could harm is refused whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except Exception as error:  # see read_bytes
        raise _unreadable(DicomFile(path), type(error).__name__) from error
    if len(infos) > MAX_MEMBERS:
        raise DataError(f"{path} has too many members", got=len(infos), allowed=MAX_MEMBERS)
    total = sum(info.file_size for info in infos)
    _check_bomb(str(path), total, path.stat().st_size)
    names = []
    for info in infos:
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or (name.parts and name.parts[0].endswith(":")):
            raise DataError(f"{path} has a member that points outside the archive", got=str(name)[:80])
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"{path} has a member that is a symbolic link", got=str(name)[:80])
        if info.flag_bits & 1:
            raise DataError(f"{path} is encrypted", remedy="unpack it with its password, and give the folder")
        if info.compress_type not in PACKED:
            raise DataError(
                f"{path} is packed in a way that is not read here",
                got=f"method {info.compress_type}",
                allowed="stored, deflated, bzip2",
                remedy="unpack it, and give the folder",
            )
        _check_bomb(f"{path}:{str(name)[:80]}", info.file_size, info.compress_size)
        if not info.is_dir() and not any(part.startswith((".", "__MACOSX")) for part in name.parts):
            names.append(info.filename)
    return sorted(set(names))


def _check_bomb(name: str, size: int, packed: int) -> None:
    if size > max(BOMB_BYTES, BOMB_RATIO * packed):
        raise DataError(
            f"{name} would unpack to far more than an archive of images does",
            got=f"{size} bytes from {packed}",
            allowed=f"{BOMB_RATIO} to 1",
            remedy="unpack it yourself where you trust it, and give the folder",
        )


def _unreadable(file: DicomFile, reason: str) -> DataError:
    return DataError(f"{file} cannot be read", got=reason, remedy="copy or export it again")
