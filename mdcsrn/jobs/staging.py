"""Publish results of several files together: made in a hidden folder beside their place, then moved there."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mdcsrn import stopping
from mdcsrn.errors import OutputError
from mdcsrn.scratch import scratch, sweep


class Staging:
    """A hidden folder on the disk of the final place.

    Attributes:
        folder: where files are made, under their final names.
        target: where they go.
    """

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder, self.target = folder, target

    def path(self, name: str) -> Path:
        """Where the file of that final name is made."""
        return self.folder / name

    def publish(self, names: Sequence[str]) -> None:
        """Move files to their place, in this order; the last one is the record that vouches for the others.

        An old record goes first, so that a kill at any moment leaves no record beside files that it does not fit.

        Raises:
            OutputError: one cannot be moved.
        """
        self.withdraw(names[-1])
        self.move(names)

    def withdraw(self, record: str) -> None:
        """Remove an old record, before the first of the files that it vouches for is replaced."""
        try:
            (self.target / record).unlink(missing_ok=True)
            _flush(self.target)
        except OSError as error:
            raise unwritable(self.target, error) from error

    def move(self, names: Sequence[str]) -> None:
        """Move files to their place, in this order."""
        try:
            for name in names:
                os.replace(self.folder / name, self.target / name)
            _flush(self.target)
        except OSError as error:
            raise unwritable(self.target, error) from error


@contextlib.contextmanager
def staging(target: Path, clean: bool = True) -> Iterator[Staging]:
    """Make `target` and a hidden folder in it; whatever happens, the hidden folder goes, and so do unused new folders.

    Args:
        target: where the files go.
        clean: first remove what killed runs left there.

    Raises:
        OutputError: the folder cannot be made or written to; so a run fails before it computes, not after.
    """
    with contextlib.ExitStack() as stack:
        try:
            if clean:
                sweep(target)
            folder = stack.enter_context(scratch(target))
        except OSError as error:
            raise unwritable(target, error) from error
        yield Staging(folder, target)


@contextlib.contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Let one process at a time publish into a folder, and put off signals until it has.

    Where the disk has no locks for folders, as NFS, the last process to publish wins file by file.
    """
    folder = os.open(target, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        with stopping.held():
            yield
    finally:
        os.close(folder)


def unwritable(target: Path, error: OSError) -> OutputError:
    """The error of a place that cannot be written."""
    reason = error.strerror or str(error)
    return OutputError(f"cannot write to {target}", got=reason, remedy="choose a writable folder with free space")


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
