"""List the bundles of this installation and the models in them, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mdcsrn.files import sha256
from mdcsrn.hashes import read_hashes, weight_files
from mdcsrn.resources import read_metadata


def describe(home: Path) -> dict[str, Any]:
    """A bundle and its models.

    Returns:
        ``name``, ``title``, ``version``, ``task``, ``folder`` and ``models``; a model has ``name``, ``files`` with each
        one's ``file``, ``bytes``, ``sha256`` and ``listed`` (True: the hash list beside it says the same; False: it
        says something else; None: it does not name the file).

    Raises:
        ConfigError: the metadata cannot be read.
        CheckpointError: the hash list cannot be read.
    """
    metadata = read_metadata(home)
    models: dict[str, list[dict[str, Any]]] = {}
    listed = read_hashes(home / "models")
    for path in weight_files(home / "models"):
        digest = sha256(path)
        known = listed.get(path.name)
        entry = {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}
        models.setdefault(path.stem, []).append(entry | {"listed": None if known is None else known == digest})
    return {
        "name": home.name,
        "title": str(metadata.get("name", "")),
        "version": str(metadata.get("version", "")),
        "task": str(metadata.get("task", "")),
        "folder": str(home),
        "models": [{"name": name, "files": files} for name, files in models.items()],
    }
