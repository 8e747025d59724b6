"""Write files atomically, whole or not at all, and hash their content."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdcsrn.errors import ConfigError, OutputError
from mdcsrn.fetched import check_fetched
from mdcsrn.scratch import scratch, sweep


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path of the same name in a hidden folder beside `path`; on success it replaces `path` in one step.

    Many writers choose the format by the name. The file is flushed to the disk before the replacement, so that a crash
    leaves either the old content or the new, never a half file. What killed processes left in that folder is removed
    (:mod:`mdcsrn.scratch`).

    Args:
        path: the final path; its parent folders are made.

    Raises:
        OutputError: the folder or file cannot be written, or the disk is full; an old file is intact.
    """
    target = Path(path)
    try:
        sweep(target.parent)
        with scratch(target.parent) as folder:
            temporary = folder / target.name
            yield temporary
            _flush(temporary)
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)  # some writers make private files; a result is an ordinary one
            os.replace(temporary, target)
            _flush(target.parent)
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(target: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"cannot write {target}", got=reason, remedy="choose a writable folder with free space")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` in one step; see :func:`atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` (UTF-8) to `path` in one step; see :func:`atomic_path`.

    A file's name may hold bytes that are no UTF-8; they are written with a backslash, as the terminal shows them.
    """
    atomic_write_bytes(path, text.encode("utf-8", "backslashreplace"))


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file that a user's other software wrote, whatever its encoding and line ends.

    UTF-8 with or without a byte-order mark, UTF-16 with one, else Latin-1, in which every byte is a character. Any
    line end becomes a line feed.

    Raises:
        OSError: the file cannot be read.
        DataError: its content was not fetched (DataLad, git-annex, Git LFS).
    """
    check_fetched(path)
    data = Path(path).read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", errors="replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML or JSON file that holds one mapping.

    Raises:
        ConfigError: the file is missing, cannot be parsed, or holds something else than a mapping.
    """
    import yaml  # JSON is a subset of YAML: one reader for both; imported late to keep `import mdcsrn` cheap

    try:
        content = yaml.safe_load(read_text(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}", got=str(error)) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no mapping of keys to values", got=type(content).__name__)
    return content
