"""Pack a self-contained bundle, folder or zip: everything that its configs can merge, and every file's hash."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from mdcsrn.bundle.archive import LEFTOVERS, open_contents
from mdcsrn.bundle.check import check
from mdcsrn.errors import ConfigError, DataError, OutputError
from mdcsrn.files import atomic_path
from mdcsrn.hashes import HASHES
from mdcsrn.resources import bundle_folder, folder, read_metadata
from mdcsrn.scratch import scratch, sweep

LARGE = 25 * 10**6  # bytes: what the model zoo takes in a repository
LARGE_FILES = "large_files.yml"
FRAGMENTS = ("data", "degradation", "hardware")
OUTSIDE = "../../configs/"  # where a checkout's documents say that the fragments are
_WHEN = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say: equal content gives equal bytes


def pack(bundle: str | os.PathLike[str], output: str | os.PathLike[str], url: str | None = None) -> Path:
    """Put a bundle together, write it in one step, and check what was written.

    Args:
        bundle: a folder, or the name of a shipped bundle.
        output: folder that is not there yet or empty, or a file that ends in ``.zip``, which is replaced. Equal bundles
            give equal bytes.
        url: where files over 25 MB lie, ``https://...``; they are left out and named in ``large_files.yml``.

    Returns:
        `output`.

    Raises:
        ConfigError: no such bundle; a file is over 25 MB and there is no `url`.
        DataError: the bundle breaks a rule of :func:`mdcsrn.bundle.check.check`.
        OutputError: it cannot be written.
    """
    home = bundle_folder(bundle)
    _refuse(home, "does not pass, and is not packed")
    files = collect(home, url)
    target = Path(output)
    name = home.resolve().name
    if target.suffix == ".zip":
        with atomic_path(target) as temporary:
            write_zip(temporary, files, name)
            _refuse(temporary, "does not pass once it is packed")
    else:
        _write_folder(target, files)
    return target


def collect(home: Path, url: str | None = None) -> dict[str, bytes]:
    """Name -> content of everything that goes into the packed bundle, sorted.

    Args:
        home: folder of the bundle.
        url: see :func:`pack`.

    Raises:
        ConfigError: a file is over 25 MB and there is no `url`.
    """
    contents = open_contents(home, frozenset(LEFTOVERS))
    files = {name: contents.read(name) for name in contents.files if _belongs(name)}
    if "mdcsrn" in read_metadata(home).get("required_packages_version", {}):
        files = {**_fragments(), **files}
        for name in files:
            if name.endswith(".md"):
                files[name] = files[name].replace(OUTSIDE.encode(), b"configs/")
    large = {name: content for name, content in files.items() if len(content) > LARGE}
    if large:
        if url is None or not url.startswith("https://"):
            raise ConfigError(
                "files over 25 MB are not packed, but named with the address that they lie at",
                got=", ".join(sorted(large)),
                remedy="give --url https://..., the folder that holds them",
            )
        files = {name: content for name, content in files.items() if name not in large}
        files[LARGE_FILES] = _large_files(large, url)
    files.pop(HASHES, None)
    files[HASHES] = "".join(f"{_sha256(files[name])}  {name}\n" for name in sorted(files)).encode()
    return dict(sorted(files.items()))


def _belongs(name: str) -> bool:
    """Hidden files and training checkpoints stay behind."""
    parts = name.split("/")
    return not any(part.startswith(".") for part in parts) and not parts[-1].startswith("checkpoint")


def _fragments() -> dict[str, bytes]:
    """The configurations that lie outside of a bundle in a checkout, at their places inside a packed one."""
    source = folder("configs")
    return {
        f"configs/{kind}/{path.name}": path.read_bytes()
        for kind in FRAGMENTS
        for path in sorted((source / kind).glob("*.yaml"))
    }


def _large_files(large: Mapping[str, bytes], url: str) -> bytes:
    entries = [
        {"path": name, "url": f"{url.rstrip('/')}/{name}", "hash_type": "sha256", "hash_val": _sha256(content)}
        for name, content in sorted(large.items())
    ]
    return (json.dumps({"large_files": entries}, indent=2) + "\n").encode()  # JSON is YAML


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_zip(path: Path, files: Mapping[str, bytes], top: str) -> None:
    """Write files below one folder; neither time nor owner nor order of the disk reaches the bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        with zipfile.ZipFile(path, "w") as archive:
            for name in sorted(files):
                entry = zipfile.ZipInfo(f"{top}/{name}", _WHEN)
                entry.create_system = 3  # Unix, wherever it is made
                entry.external_attr = 0o100644 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, files[name], compresslevel=9)
    except OSError as error:
        raise OutputError(f"cannot write {path}", got=error.strerror, remedy="choose another place") from error


def _write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """A folder beside `target`, filled and checked, then renamed: it is there whole or not at all."""
    sweep(target.parent)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(f"{target} is there already", remedy="choose a folder that is not there, or remove it")
    try:
        with scratch(target.parent) as hidden:
            place = hidden / target.name
            for name, content in files.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(content)
            _refuse(place, "does not pass once it is packed")
            os.replace(place, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}", got=error.strerror, remedy="choose another place") from error


def _refuse(source: Path, what: str) -> None:
    findings = check(source)
    if findings:
        first = findings[0]
        raise DataError(
            f"the bundle {source.name} {what}",
            got=f"{len(findings)} found; first {first.rule}: {first.where}: {first.text}",
            remedy="see mdcsrn bundle check",
        )
