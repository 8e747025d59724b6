"""Check where files are to be written before any work: names that the disk takes, no input and no foreign file lost."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mdcsrn.errors import OutputError

NAME_BYTES, PATH_BYTES = 255, 4096  # where the system does not say
HIDDEN = 40  # bytes by which a path is longer while its file is made in a hidden folder
MAX_RECORD_BYTES = 64 << 20  # bytes; ours have some thousand, a larger JSON file is none of them


def place_of(path: str | os.PathLike[str]) -> str:
    """A path for comparison: absolute, links of its folders followed, its own name kept."""
    absolute = os.path.abspath(path)
    return os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))


class Inputs:
    """Files that are read, to be compared with those that are to be written.

    Args:
        files: of all that a run reads; one that is missing counts by its name.
    """

    def __init__(self, files: Iterable[str | os.PathLike[str]]) -> None:
        self._places: set[str] = set()
        self._nodes: set[tuple[int, int]] = set()
        for file in files:
            self._places |= {place_of(file), os.path.realpath(file)}
            node = _node(file)
            if node is not None:
                self._nodes.add(node)

    def holds(self, path: str | os.PathLike[str]) -> bool:
        """True for a path of one of the files, whichever link or name leads there."""
        return bool({place_of(path), os.path.realpath(path)} & self._places) or _node(path) in self._nodes

    def below(self, folder: str | os.PathLike[str]) -> bool:
        """True where one of the files lies below a folder."""
        return any(place.startswith(os.path.realpath(folder) + os.sep) for place in self._places)


def _node(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def check_target(
    target: str | os.PathLike[str], inputs: Sequence[str | os.PathLike[str] | None], what: str = "output"
) -> None:
    """Refuse a file to write that is an input, a folder, or has a name that the disk does not take.

    Args:
        target: to be written, as the user named it.
        inputs: files that are read; None among them is left out.
        what: the word for the target.

    Raises:
        OutputError: see above.
    """
    if Inputs(path for path in inputs if path is not None).holds(target):
        raise OutputError(f"the {what} {target} is an input", remedy="choose another name")
    if os.path.isdir(target):
        raise OutputError(f"the {what} {target} is a folder", remedy="give a file name")
    check_length(target, "choose a shorter name")


def check_length(path: str | os.PathLike[str], remedy: str) -> None:
    """Refuse a path that is too long for the disk that it will lie on.

    Raises:
        OutputError: a part of it, or the whole of it (with the hidden folder that a file is made in), is too long.
    """
    over = excess(path)
    if over is None:
        return
    what, got, allowed, _ = over
    raise OutputError(f"too long for the disk: {what}", got=f"{got} bytes", allowed=f"{allowed} bytes", remedy=remedy)


def excess(path: str | os.PathLike[str]) -> tuple[str, int, int, int] | None:
    """What of a path is too long, as (the part, its bytes, the bytes allowed, how many too many), or None.

    Letters outside of ASCII take 2 to 4 bytes each.
    """
    absolute = os.path.abspath(path)
    names, whole = _limits(absolute)
    for part in absolute.split(os.sep):
        size = len(os.fsencode(part))
        if size > names:
            return f"the name {part}", size, names, size - names
    size = len(os.fsencode(absolute))
    allowed = whole - 1 - HIDDEN  # a path ends in a zero byte
    return (f"the path {absolute}", size, allowed, size - allowed) if size > allowed else None


def _limits(absolute: str) -> tuple[int, int]:
    """Most bytes of a name and of a path, on the disk of the nearest folder that is there (eCryptfs takes 143)."""
    folder = os.path.dirname(absolute)
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    found = []
    for name, usual in (("PC_NAME_MAX", NAME_BYTES), ("PC_PATH_MAX", PATH_BYTES)):
        try:
            limit = os.pathconf(folder, name)
        except (OSError, ValueError):
            limit = usual
        found.append(limit if limit > 0 else usual)
    return found[0], found[1]


def name_too_long(error: OSError) -> bool:
    """True for the system's own word that a name is too long."""
    return error.errno == errno.ENAMETOOLONG


def read_own_record(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """A JSON file that this software wrote, or None: what is none of ours is never replaced unasked."""
    try:
        if os.path.getsize(path) > MAX_RECORD_BYTES:
            return None
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    made_here = str(content.get("software", "")).startswith("mdcsrn")
    exported = {"weights_sha256", "trained_range", "load"} <= set(content)  # of `mdcsrn bundle export`
    return content if made_here or exported else None


def check_record_place(path: str | os.PathLike[str], volume: str | None = None) -> None:
    """Refuse a record's place that holds a file of someone else, or the record of another volume that is there.

    Args:
        path: of the record.
        volume: name of the file that the record is to vouch for; None: no volume.

    Raises:
        OutputError: it would be replaced.
    """
    content = read_own_record(path)
    if os.path.lexists(path) and content is None:
        raise foreign(path)
    taken = None if volume is None else record_of_another(path, content, volume)
    if taken is not None:
        raise taken


def record_of_another(path: str | os.PathLike[str], content: dict[str, Any] | None, volume: str) -> OutputError | None:
    """The error of a record that vouches for a volume in another format, which is still there; or None.

    Args:
        path: of the record.
        content: of the record, None where there is none.
        volume: name of the file that is to be written beside it.
    """
    other = str((content or {}).get("output", volume))
    if other == volume or not (Path(path).parent / other).is_file():
        return None
    return OutputError(
        f"{path} is the record of {other}, which would lose it",
        remedy="choose another name or folder with -o, or remove that volume",
    )


def foreign(
    path: str | os.PathLike[str], remedy: str = "choose another name with -o, or move that file"
) -> OutputError:
    """The error of a by-product whose place holds a file that is none of ours."""
    return OutputError(f"{path} is there already and was not made by mdcsrn: it would be replaced", remedy=remedy)
