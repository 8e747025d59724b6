"""List the bundles of this installation and the models in them, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mdcsrn.errors import MdcsrnError
from mdcsrn.files import sha256
from mdcsrn.hashes import read_hashes, weight_files
from mdcsrn.resources import read_metadata


def describe(home: Path) -> dict[str, Any]:
    """A bundle and its models.

    Returns:
        ``name``, ``title``, ``version``, ``task``, ``folder`` and ``models``; a model has ``name``, ``files`` with each
        one's ``file``, ``bytes``, ``sha256`` and ``listed`` (True: the hash list beside it says the same; False: it
        says something else; None: it does not name the file), and ``use``, see :func:`use_of`.

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
    uses = {name: use_of(home / "models" / files[0]["file"]) for name, files in models.items()}
    return {
        "name": home.name,
        "title": str(metadata.get("name", "")),
        "version": str(metadata.get("version", "")),
        "task": str(metadata.get("task", "")),
        "folder": str(home),
        "models": [{"name": name, "use": uses[name], "files": files} for name, files in models.items()],
    }


def use_of(weights: Path) -> str:
    """By which factor the network of a file of weights refines what, from its traits; empty where it cannot be read.

    >>> import tempfile
    >>> from mdcsrn.networks import EDSR, save_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/small.pt", EDSR(width=4, blocks=1))
    ...     use_of(Path(folder, "small.pt"))
    'planes and pictures, factor 1 2 2 along any two axes'
    """
    from mdcsrn.networks import load_network, traits_of

    try:
        traits = traits_of(load_network(weights))
    except MdcsrnError:  # a file that differs from its hash list is listed as such
        return ""
    what = "planes and pictures" if traits.margin[0] == 0 else "volumes"
    channels = "" if traits.channels == 1 else f", {traits.channels} channels"
    if traits.input_grid == "result":
        return f"{what}, any factor{channels}"
    factor = " ".join(map(str, traits.scale))
    return f"{what}, factor {factor}{' along any two axes' if traits.planewise else ''}{channels}"
