"""Locate configs and bundles: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mdcsrn.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
METADATA = Path("configs") / "metadata.json"  # what makes a folder a bundle


def folder(kind: str) -> Path:
    """Folder of shipped files.

    Args:
        kind: ``configs`` or ``bundles``.

    Returns:
        An existing folder.

    Raises:
        ConfigError: the installation has no such folder.
    """
    checkout = _PACKAGE.parent
    places = [checkout / kind] if (checkout / "pyproject.toml").is_file() else []
    places.append(_PACKAGE / "_data" / kind)
    for place in places:
        if place.is_dir():
            return place
    raise ConfigError(f"this installation has no {kind}", got=places[-1], remedy="install mdcsrn again")


def config(name: str | os.PathLike[str], kind: str) -> Path:
    """Path of a config file that is given as a path or as the bare name of a shipped one.

    Args:
        name: a file, or a name such as ``hcp_2x2``; an existing file wins.
        kind: sub-folder of ``configs``, such as ``degradation``.

    Raises:
        ConfigError: neither a file nor a shipped name.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted((folder("configs") / kind).glob("*.yaml"))}
    if str(name) in shipped:
        return shipped[str(name)]
    raise ConfigError(f"no {kind} file or preset named {name}", allowed=f"a file, or {', '.join(shipped)}")


def shipped_bundles() -> list[Path]:
    """Folders of the bundles that came with the package, sorted by name."""
    return sorted(home for home in folder("bundles").iterdir() if (home / METADATA).is_file())


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


def read_metadata(home: Path) -> dict[str, Any]:
    """What a bundle says of itself.

    Args:
        home: its folder.

    Raises:
        ConfigError: it cannot be read, or is no JSON object.
    """
    try:
        content = json.loads((home / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read the metadata of the bundle {home}", got=str(error)) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"cannot read the metadata of the bundle {home}", got=type(content).__name__, allowed="an object"
        )
    return content
