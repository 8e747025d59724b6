"""Recognise content that a dataset names but does not hold: links and pointers of git-annex (DataLad) and Git LFS."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from mdcsrn.errors import DataError

POINTER_BYTES = 32 << 10  # git-annex: a pointer file is never larger
START = 300  # bytes of a pointer that tell what it is
# An unlocked file that was not fetched; or a link that was checked out as text, where a system knows no links.
ANNEX = re.compile(rb"/annex/objects/|(?:\.{1,2}/)*\.git/(?:modules/\S*/)?annex/objects/")
SUBMODULE = re.compile(r"^\s*path\s*=\s*(.*?)\s*$", re.MULTILINE)
LFS = re.compile(rb"version https://(?:git-lfs|hawser)\.github\.com/spec/")


def unfetched(path: str | os.PathLike[str]) -> DataError | None:
    """Say that a file's content was not fetched, and with which command it is.

    Args:
        path: any path.

    Returns:
        An error for a link whose target is not there, a pointer file of git-annex or of Git LFS, and the empty folder
        of a dataset within a dataset; None for everything else, also for what does not exist at all.
    """
    file = Path(path)
    if file.is_dir():
        return _dataset_within(file)
    if os.path.islink(file) and not os.path.exists(file):
        if "annex/objects/" in os.path.realpath(file).replace("\\", "/"):
            return _annex(file, "a git-annex link without content")
        target = os.readlink(file)
        return DataError(
            f"{file} is a link to a file that is not there", got=target, remedy="copy or fetch the file that it means"
        )
    try:
        if not file.is_file() or file.stat().st_size > POINTER_BYTES:
            return None
        with open(file, "rb") as stream:
            start = stream.read(START)
    except OSError:  # whoever reads the file reports it
        return None
    if ANNEX.match(start):
        return _annex(file, "a git-annex pointer without content")
    if LFS.match(start):
        within, name = _command_place(file)
        command = f"git {within}lfs pull --include {name}"
        return DataError(f"{file} was not fetched: it is a Git LFS pointer", remedy=f"fetch it: `{command}`")
    return None


def check_fetched(path: str | os.PathLike[str]) -> None:
    """Raise the error of :func:`unfetched`, if there is one.

    Raises:
        DataError: the file's content was not fetched.
    """
    error = unfetched(path)
    if error is not None:
        raise error


def _dataset_within(folder: Path) -> DataError | None:
    """The error of an empty folder that stands for another dataset (a submodule)."""
    try:
        if any(folder.iterdir()):
            return None
        root = _repository(folder)
        listed = SUBMODULE.findall((root / ".gitmodules").read_text(encoding="utf-8")) if root else []
    except (OSError, UnicodeDecodeError):  # closed to us, or without datasets within
        return None
    if root is None or Path(os.path.abspath(folder)).relative_to(root).as_posix() not in listed:
        return None
    command = f"datalad get {shlex.quote(str(folder))}"
    return DataError(f"{folder} was not fetched: it is a dataset within a dataset", remedy=f"fetch it: `{command}`")


def _repository(path: Path) -> Path | None:
    return next((folder for folder in Path(os.path.abspath(path)).parents if (folder / ".git").exists()), None)


def _annex(file: Path, what: str) -> DataError:
    within, name = _command_place(file)
    commands = f"`datalad get {shlex.quote(str(file))}` or `git {within}annex get {name}`"
    return DataError(f"{file} was not fetched: it is {what}", remedy=f"fetch it: {commands}")


def _command_place(file: Path) -> tuple[str, str]:
    """Option and path for a git command about a file: ``-C ROOT`` where the user stands outside the repository."""
    absolute, root = Path(os.path.abspath(file)), _repository(file)
    if root is None:
        return "", shlex.quote(str(file))
    if Path.cwd() == root:
        return "", shlex.quote(absolute.relative_to(root).as_posix())
    return f"-C {shlex.quote(str(root))} ", shlex.quote(absolute.relative_to(root).as_posix())
