"""Keep converted networks in the user's cache folder, so that the next process need not record and convert them.

A file's name is the hash of what it was made of (weights, code of the networks, versions), so it is never stale; a
damaged one is left and made anew. It holds weights alone and nothing of any scan.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mdcsrn.errors import OutputError
from mdcsrn.files import atomic_path
from mdcsrn.user_cache import silent_cache

if TYPE_CHECKING:
    import openvino

FORMAT = "openvino-1"
MOST_FILES = 32  # of 1 to 4 MB
PARTS = ("model.xml", "model.bin")
UNREADABLE = (OSError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


def cached(name: str, convert: Callable[[], openvino.Model]) -> openvino.Model:
    """A converted network: from the cache folder, else converted and put there.

    Args:
        name: what the network computes (:func:`mdcsrn.inference.backends.kept.identity`).
        convert: makes it.

    Returns:
        The model, of the shapes that it was converted with.
    """
    folder = silent_cache()
    if folder is None:
        return convert()
    file = folder / "networks" / f"{_key(name)}.zip"
    with contextlib.suppress(*UNREADABLE):
        model = _read(file)
        os.utime(file)  # the least used goes first
        return model
    model = convert()
    with contextlib.suppress(OutputError, *UNREADABLE):  # a full disk or a folder of another user costs time alone
        _write(model, file)
        _sweep(file.parent)
    return model


def _read(file: Path) -> openvino.Model:
    """Read it; the archive's checksums are compared."""
    import openvino

    with zipfile.ZipFile(file) as archive:
        code, weights = (archive.read(part) for part in PARTS)
    return openvino.Core().read_model(code, weights)


def _write(model: openvino.Model, file: Path) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder, atomic_path(file) as target:
        paths = [Path(folder) / part for part in PARTS]
        openvino.serialize(model, str(paths[0]), str(paths[1]))
        with zipfile.ZipFile(target, "w") as archive:
            for path in paths:
                archive.write(path, path.name)


def _sweep(folder: Path) -> None:
    """Remove those that were not used for longest."""
    files = sorted(folder.glob("*.zip"), key=lambda file: file.stat().st_mtime)
    for file in files[:-MOST_FILES]:
        file.unlink(missing_ok=True)


def _key(name: str) -> str:
    return hashlib.sha256(f"{name} {_versions()}".encode()).hexdigest()


@functools.cache
def _versions() -> str:
    """What else decides how a network is converted: the libraries, the code of the networks and of this package."""
    import openvino

    import mdcsrn.networks

    folders = [Path(mdcsrn.networks.__file__).parent, Path(__file__).parent]
    code = hashlib.sha256()
    for file in sorted(file for folder in folders for file in folder.glob("*.py")):
        code.update(file.read_bytes())
    return f"{FORMAT} {openvino.__version__} {torch.__version__} {code.hexdigest()}"
