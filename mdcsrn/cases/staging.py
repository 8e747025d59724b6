"""Results of several files that appear together: made in a hidden folder beside their place, then moved there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mdcsrn.errors import OutputError

PREFIX = ".mdcsrn-"
NEW = ".new-mdcsrn-"
LOCK = "lock"


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

    def publish(self, names: list[str]) -> None:
        """Move files to their place, in this order; the last one is the record that vouches for the others.

        An old record goes first, so that a kill at any moment leaves no record beside files that it does not fit.
        """
        try:
            (self.target / names[-1]).unlink(missing_ok=True)
            for name in names:
                os.replace(self.folder / name, self.target / name)
            descriptor = os.open(self.target, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unwritable(self.target, error) from error


@contextlib.contextmanager
def staging(target: Path) -> Iterator[Staging]:
    """Make `target` and a hidden folder in it; whatever happens, the hidden folder goes, and so do unused new folders.

    Leftovers of killed runs are removed: a folder whose lock nobody holds has no owner.

    Raises:
        OutputError: the folder cannot be made or written to; so a run fails before it computes, not after.
    """
    new = [folder for folder in (target, *target.parents) if not folder.exists()]
    folder = lock = None
    try:
        try:
            target.mkdir(parents=True, exist_ok=True)
            sweep(target)
            folder = Path(tempfile.mkdtemp(prefix=NEW, dir=target))
            lock = os.open(folder / LOCK, os.O_WRONLY | os.O_CREAT)
            with contextlib.suppress(OSError):  # some network disks know no locks: leftovers then stay
                fcntl.flock(lock, fcntl.LOCK_EX)  # the system releases it when this process ends, however it ends
            # Under this name it may be swept, so it gets it with the lock in place.
            folder = folder.rename(folder.with_name(PREFIX + folder.name.removeprefix(NEW)))
        except OSError as error:
            raise unwritable(target, error) from error
        yield Staging(folder, target)
    finally:
        try:
            _tidy(folder, new)
        except BaseException:  # Ctrl-C in the midst of it
            _tidy(folder, new)
            raise
        finally:
            if lock is not None:
                os.close(lock)


def sweep(target: Path) -> None:
    """Remove hidden folders that killed runs left in `target`; one that is in use is locked and stays."""
    for folder in target.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), open(folder / LOCK, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def unwritable(target: Path, error: OSError) -> OutputError:
    """The error of a place that cannot be written."""
    reason = error.strerror or str(error)
    return OutputError(f"cannot write to {target}", got=reason, remedy="choose a writable folder with free space")


def _tidy(folder: Path | None, new: list[Path]) -> None:
    """Remove the hidden folder, and the new ones that are empty: the others hold results."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    for place in new:
        with contextlib.suppress(OSError):
            place.rmdir()
