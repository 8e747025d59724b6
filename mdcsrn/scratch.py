"""Hidden working folders beside a final place: locked while their process lives, swept once it is dead.

Whatever is written in one step is made in such a folder first. A killed process leaves it behind; the next process that
writes to the same place removes it. The lock tells the dead from the living: the system releases it when its process
ends, however it ends. Disks without locks keep the leftovers. On a disk that other machines may share, whose locks may
hold on one machine only, folders of another machine stay.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mdcsrn import stopping

PREFIX = ".mdcsrn-"
NEW = ".new-mdcsrn-"  # until the lock is in place
LOCK = ".mdcsrn.lock"
KEPT = ".mdcsrn.kept"  # a folder with such a file holds evidence that its writer's next run needs
ATTEMPTS = 100
# Kinds of disks that other machines may write to; any other kind belongs to the machine that it is mounted on.
SHARED = re.compile(r"nfs|cifs|smb|9p|afs|ceph|lustre|gpfs|beegfs|orangefs|pvfs|fuse|virtiofs|vboxsf|glusterfs")


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """Make a hidden folder in `parent`, which is made too; at the end it goes, and so do new folders left empty.

    Signals are put off while it is made and removed (:func:`mdcsrn.stopping.held`). A folder that holds the file
    ``.mdcsrn.kept`` stays for the next run.

    Raises:
        OSError: it cannot be made.
    """
    new = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    folder: Path | None = None
    lock: int | None = None
    try:
        with stopping.held():
            folder, lock = _make(parent)
        yield folder
    finally:
        try:
            with stopping.held():
                _tidy(folder, new)
        except BaseException:  # an interruption in the midst of it, where no handler puts it off
            _tidy(folder, new)
            raise
        finally:
            if lock is not None:
                os.close(lock)


def sweep(parent: Path) -> None:
    """Remove hidden folders that killed processes left in `parent`; one that is in use is locked and stays."""
    for prefix in (PREFIX, NEW):
        for folder in parent.glob(f"{prefix}*"):
            discard(folder, with_evidence=False)


def discard(folder: Path, with_evidence: bool = True) -> None:
    """Remove one hidden folder of a dead process.

    Args:
        folder: named as :func:`scratch` names them.
        with_evidence: also where it holds ``.mdcsrn.kept``.
    """
    # An OSError: in use, gone meanwhile, someone else's, or a disk without locks.
    with contextlib.suppress(OSError), _locked(folder) as dead:
        if not dead or (not with_evidence and (folder / KEPT).exists()):
            return
        if folder.name.startswith(NEW):  # nothing is in it yet, and a living maker makes another one
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()
        else:
            shutil.rmtree(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a hidden folder's lock; yields True where its maker is dead for certain.

    Raises:
        OSError: the lock is held, or there are none on this disk.
    """
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:  # killed before the lock was made, or while the folder was removed
        yield folder.is_dir()
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        maker = os.read(lock, 256).decode(errors="replace")
        yield maker in ("", machine()) or not is_shared(folder)
    finally:
        os.close(lock)


def _make(parent: Path) -> tuple[Path, int]:
    """A new hidden folder and its lock. Another process may sweep it until the lock is in place: then a further one."""
    for _ in range(ATTEMPTS):
        lock: int | None = None
        try:
            parent.mkdir(parents=True, exist_ok=True)  # another process may remove it as its own, while it is empty
            folder = Path(tempfile.mkdtemp(prefix=NEW, dir=parent))
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            except OSError:
                pass  # a disk without locks
            os.write(lock, machine().encode())
            return folder.rename(folder.with_name(PREFIX + folder.name.removeprefix(NEW))), lock
        except BaseException as error:
            if lock is not None:
                os.close(lock)
            if not isinstance(error, FileNotFoundError):
                raise
    raise FileNotFoundError(2, "folders in it vanish as soon as they are made", str(parent))


def _tidy(folder: Path | None, new: list[Path]) -> None:
    """Remove the hidden folder, and the new ones that are empty: the others hold results."""
    if folder is not None and not (folder / KEPT).exists():
        shutil.rmtree(folder, ignore_errors=True)
    for place in new:
        with contextlib.suppress(OSError):
            place.rmdir()


@cache
def machine() -> str:
    """Identity of the running system, whose processes see each other's locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def is_shared(path: Path) -> bool:
    """True where other machines may write to the disk of `path`, as far as the mount table says."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return True
    place, longest, kind = path.resolve(), -1, ""
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        mount = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), left.split()[4]))
        if place.is_relative_to(mount) and len(mount.parts) >= longest:  # a later mount covers an earlier one
            longest, kind = len(mount.parts), right.split()[0]
    return bool(SHARED.match(kind))
