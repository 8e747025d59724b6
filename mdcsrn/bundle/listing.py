"""List the bundles of this installation and the models in them, as plain values."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdcsrn.errors import MdcsrnError
from mdcsrn.files import sha256
from mdcsrn.hashes import SUFFIXES, read_hashes, weight_files
from mdcsrn.resources import read_metadata

HEADER = "mdcsrn"  # as mdcsrn.networks.tensor_files, which loads torch
MAX_HEADER_BYTES = 2**20
# Networks whose stored arguments say their factor: `scale` (none: any), `dims` (none: planes) and `channels`. Any other
# is loaded and asked.
TOLD = {"MDCSRN", "EDSR", "WDSR", "SRGANGenerator", "CycleGeneratorHR", "SRResDNet"}
USUAL = {"scale": 1, "channels": 1, "dims": 2}  # where an argument is not stored


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
    uses = {}
    for name, files in models.items():
        first = home / "models" / files[0]["file"]
        sound = all(entry["listed"] for entry in files)
        uses[name] = (stored_use(first.with_suffix(SUFFIXES[1])) if sound else None) or use_of(first)
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
    return _in_words(traits.margin[0] == 0, traits.scale, traits.input_grid == "result", traits.channels)


def stored_use(weights: Path) -> str | None:
    """What :func:`use_of` says, from the header of a ``.safetensors``: neither torch nor a tensor is loaded.

    Returns:
        The text; None where the header does not tell, or there is no such file.

    >>> import tempfile
    >>> from mdcsrn.networks import EDSR, save_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/small.safetensors", EDSR(width=4, blocks=1, channels=3))
    ...     stored_use(Path(folder, "small.safetensors"))
    'planes and pictures, factor 1 2 2 along any two axes, 3 channels'
    """
    try:
        network = json.loads(_header(weights)["__metadata__"][HEADER])["network"]
        name, arguments = network["name"], network["arguments"]
        scale, channels, dims = (arguments.get(key, usual) for key, usual in USUAL.items())
        told = name in TOLD and all(type(value) is int for value in (scale, channels, dims))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):  # the loader will say what it is
        return None
    if not told:
        return None
    planes = "scale" in arguments and dims == 2
    return _in_words(planes, (1, scale, scale), scale == 1, channels)


def _header(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\0"))
        header: Mapping[str, Any] = json.loads(stream.read(min(length, MAX_HEADER_BYTES)))
    return header


def _in_words(planes: bool, scale: tuple[int, int, int], any_factor: bool, channels: int) -> str:
    what = "planes and pictures" if planes else "volumes"
    many = "" if channels == 1 else f", {channels} channels"
    if any_factor:
        return f"{what}, any factor{many}"
    factor = " ".join(map(str, scale))
    return f"{what}, factor {factor}{' along any two axes' if planes else ''}{many}"
