"""Where configs and bundles lie: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

import os
from pathlib import Path

from mdcsrn.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent


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
