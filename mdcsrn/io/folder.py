"""Sort the content of a folder: images by name, other files, unreadable places, and results of earlier runs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mdcsrn.errors import DataError
from mdcsrn.files import read_text
from mdcsrn.io.formats import image_stem, is_image_name
from mdcsrn.io.tree import files_below


@dataclass(frozen=True, eq=False)
class Found:
    """Files below a folder, sorted within each sub-folder; hidden ones are left out.

    Attributes:
        images: image files by their names.
        others: all other files.
        refused: folders that cannot be entered, and why.
    """

    images: tuple[Path, ...]
    others: tuple[Path, ...]
    refused: tuple[tuple[Path, DataError], ...]


def walk(root: Path) -> Found:
    """List a folder to its leaves; links are followed, a link that leads back up ends there.

    Raises:
        DataError: the folder itself cannot be entered.
    """
    images: list[Path] = []
    others: list[Path] = []
    refused: list[tuple[Path, DataError]] = []

    def remember(error: OSError) -> None:
        place = Path(error.filename)
        problem = DataError(
            f"cannot open the folder {place}", got=error.strerror, remedy="ask for the right to read it"
        )
        if place == root:
            raise problem from error
        refused.append((place, problem))

    for file in files_below(root, remember):
        (images if is_image_name(file) else others).append(file)
    return Found(tuple(images), tuple(others), tuple(refused))


def earlier_results(images: Sequence[Path]) -> set[Path]:
    """Those of the images that this software wrote: volumes with its record beside them, and what the records name."""
    places: set[str] = set()
    for file in images:
        record = file.with_name(f"{image_stem(file)}.json")
        content = _record(record)
        if content is not None:
            files = content.get("files")
            entries = [entry for entry in files.values() if isinstance(entry, dict)] if isinstance(files, dict) else []
            named = [record.parent / entry["path"] for entry in entries if isinstance(entry.get("path"), str)]
            places |= {os.path.abspath(path) for path in (file, *named)}
    return {file for file in images if os.path.abspath(file) in places}


def _record(path: Path) -> dict[str, object] | None:
    """A record of this software, or None; a sidecar that cannot be read is reported where its scan is loaded."""
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError, DataError):
        return None
    ours = isinstance(content, dict) and str(content.get("software", "")).startswith("mdcsrn")
    return content if ours and "record_sha256" in content else None  # `mdcsrn degrade` makes scans, not results
