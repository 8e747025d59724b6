"""The bundles of this installation and the models in them, as plain values."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mdcsrn.errors import ConfigError
from mdcsrn.files import sha256
from mdcsrn.hashes import read_hashes, weight_files
from mdcsrn.resources import folder

METADATA = Path("configs") / "metadata.json"


def bundle_folder(bundle: str | os.PathLike[str]) -> Path:
    """Folder of a bundle that is given as a path or as the name of a shipped one; an existing folder wins.

    Raises:
        ConfigError: neither.
    """
    given = Path(bundle)
    if (given / METADATA).is_file():
        return given
    shipped = {home.name: home for home in shipped_bundles()}
    if str(bundle) in shipped:
        return shipped[str(bundle)]
    raise ConfigError(f"no bundle {bundle}", allowed=f"a bundle's folder, or {', '.join(shipped)}")


def shipped_bundles() -> list[Path]:
    """Folders of the bundles that came with the package, sorted by name."""
    return sorted(home for home in folder("bundles").iterdir() if (home / METADATA).is_file())


def read_metadata(home: Path) -> dict[str, Any]:
    """What a bundle says of itself.

    Raises:
        ConfigError: it cannot be read, or is no JSON object.
    """
    try:
        content = json.loads((home / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read the metadata of the bundle {home}", got=str(error)) from error
    if not isinstance(content, dict):
        raise ConfigError(f"the metadata of the bundle {home} is no object", got=type(content).__name__)
    return content


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
