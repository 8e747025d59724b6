"""List files below a folder, links followed, hidden ones left out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def files_below(root: Path, onerror: Callable[[OSError], None]) -> list[Path]:
    """List a folder to its leaves.

    Args:
        root: folder.
        onerror: gets the error of a folder that cannot be entered; its ``filename`` is that folder.

    Returns:
        Files and links to files, dangling ones too, sorted within each folder. Links to folders are followed; a folder
        that was seen already, as where a link leads back up, is not listed again.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(root, followlinks=True, onerror=onerror):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place) / name for name in sorted(names) if not name.startswith(".")]
    return found
