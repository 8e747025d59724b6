"""Run the model zoo's own checks of a bundle, without a network: files, metadata, version, identifiers, hashes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mdcsrn.bundle.archive import CONFIGS, Contents, name_problem
from mdcsrn.bundle.finding import Finding
from mdcsrn.bundle.safe_yaml import MAX_BYTES, load_plain
from mdcsrn.errors import MdcsrnError
from mdcsrn.hashes import HASHES, SUFFIXES

NECESSARY = ("LICENSE", "configs/metadata.json", "docs/README.md", "docs/data_license.txt")
CONFIG_FORMS = (".yaml", ".yml", ".json")
IDS = {
    "inference": ("bundle_root", "device", "dataset_dir", "dataset", "network_def", "inferer", "evaluator"),
    "train": ("bundle_root", "device", "dataset_dir", "network_def", "train#trainer", "train#dataset", "train#inferer"),
    "evaluate": ("bundle_root", "device", "dataset_dir", "dataset", "network_def", "inferer", "evaluator"),
}
SCHEMA = "configs/metadata_schema.json"  # where a bundle may hold a copy of it
SCHEMA_FILE = Path(__file__).with_name("metadata_schema.json")


def structure(contents: Contents) -> list[Finding]:
    """What a bundle of the model zoo must have and this one lacks.

    Args:
        contents: see :func:`mdcsrn.bundle.archive.open_contents`.
    """
    return [*_files(contents), *_metadata(contents), *_ids(contents), *_hashes(contents), *_large_files(contents)]


def schema_bytes() -> bytes:
    """The schema of metadata that this installation carries (``meta_schema_20240725``)."""
    return SCHEMA_FILE.read_bytes()


def _files(contents: Contents) -> Iterator[Finding]:
    for name in NECESSARY:
        if name not in contents.files:
            yield Finding("missing", name, "a bundle has this file")
    if _config(contents, "inference") is None:
        yield Finding("missing", "configs/inference.yaml", "a bundle has a configuration for inference")
    if not _weights(contents) and not _large(contents):
        yield Finding("missing", "models", "neither weights nor large_files.yml")


def _config(contents: Contents, stem: str) -> str | None:
    return next((name for form in CONFIG_FORMS if (name := f"configs/{stem}{form}") in contents.files), None)


def _weights(contents: Contents) -> list[str]:
    return [n for n in contents.files if n.startswith("models/") and PurePosixPath(n).suffix in SUFFIXES]


def _large(contents: Contents) -> list[str]:
    """The lists of large files: MONAI lays all files that begin so over one another."""
    return [n for n in contents.files if re.fullmatch(r"large_files[^/]*\.(ya?ml|json)", n, re.IGNORECASE)]


def _read(contents: Contents, name: str | None) -> Any:
    """Plain content, or None; why it cannot be parsed is reported by the screen."""
    if name is None or name not in contents.files:
        return None
    try:
        return load_plain(name, contents.read(name, MAX_BYTES))
    except MdcsrnError:
        return None


def _metadata(contents: Contents) -> Iterator[Finding]:
    import jsonschema  # type: ignore[import-untyped]

    where = "configs/metadata.json"
    metadata = _read(contents, where)
    if metadata is None:
        return
    schema = load_plain("schema.json", schema_bytes())
    for error in sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(metadata), key=lambda e: list(map(str, e.path))
    ):
        yield Finding("schema", f"{where}: {'#'.join(map(str, error.path))}", error.message[:200])
    if not isinstance(metadata, dict):
        return
    version, changelog = metadata.get("version"), metadata.get("changelog")
    if not isinstance(version, str) or not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield Finding("version", where, f"the version is three numbers, not {str(version)[:40]!r}")
    elif not isinstance(changelog, dict) or version not in changelog:
        yield Finding("version", where, f"version {version} has no entry in the changelog")
    elif any(_order(other) > _order(version) for other in changelog):
        yield Finding("version", where, f"the changelog knows a later version than {version}")


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _ids(contents: Contents) -> Iterator[Finding]:
    for stem, wanted in IDS.items():
        name = _config(contents, stem)
        content = _read(contents, name)
        if name is None or content is None:
            continue
        for path in wanted:
            level: Any = content
            for part in path.split("#"):
                level = level.get(part) if isinstance(level, dict) else None
            if level is None:
                yield Finding("id", f"{name}: {path}", "MONAI and its tools look for this identifier")


def _hashes(contents: Contents) -> Iterator[Finding]:
    """The list of weights, which is necessary, and the one of all files that a packed bundle has."""
    weights = _weights(contents)
    if weights and f"models/{HASHES}" not in contents.files:
        yield Finding("hash", f"models/{HASHES}", "weights without a list of their hashes")
    for folder, listed_files in (("models/", weights), ("", sorted(contents.files))):
        name = f"{folder}{HASHES}"
        if name not in contents.files:
            continue
        listed = hash_list(contents.read(name, MAX_BYTES).decode("utf-8", "replace"))
        for path in listed_files:
            known = listed.get(path.removeprefix(folder))
            if path == name:
                continue
            if known is None:
                yield Finding("hash", path, f"not on the list {name}")
            elif hashlib.sha256(contents.read(path)).hexdigest() != known:
                yield Finding("hash", path, f"its SHA-256 is not the one in {name}")
        for missing in sorted(listed):
            if f"{folder}{missing}" not in contents.files and not _large(contents):
                yield Finding("hash", f"{folder}{missing}", f"on the list {name}, but not there")


def hash_list(text: str) -> dict[str, str]:
    """File name -> SHA-256 of a list in the form of ``sha256sum``; lines of another form are left out."""
    pairs = (re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line) for line in text.splitlines())
    return {pair[2]: pair[1].lower() for pair in pairs if pair is not None}


def _large_files(contents: Contents) -> Iterator[Finding]:
    lists = _large(contents)
    where = lists[0] if lists else None
    content = _read(contents, where)
    yield from (Finding("large-files", name, f"a second list beside {where}") for name in lists[1:])
    if where is None or content is None:
        return
    entries = content.get("large_files") if isinstance(content, dict) else None
    if not isinstance(entries, list) or len(content) > 1:  # MONAI would put other keys into the list
        yield Finding("large-files", where, "a list under the key large_files, and nothing else")
        return
    for entry in entries:
        values = entry if isinstance(entry, dict) else {}
        path, url = str(values.get("path", "")), str(values.get("url", ""))
        problem = name_problem(path)
        if not path or problem is not None:
            yield Finding("large-files", where, f"{path[:80]!r}: {problem[1] if problem else 'no path'}")
        elif PurePosixPath(path).suffix.lower() in (*CONFIGS, ".conf"):
            yield Finding("large-files", where, f"{path[:80]!r} would be a configuration that nobody has judged")
        elif path in contents.files:
            yield Finding("large-files", where, f"{path[:80]!r} would be put in the place of a file that is there")
        if url and not url.startswith("https://"):
            yield Finding("large-files", where, f"an address that is not https: {url[:80]!r}")
        if values.get("hash_type") != "sha256" or not re.fullmatch(r"[0-9a-f]{64}", str(values.get("hash_val", ""))):
            yield Finding("large-files", where, f"{path[:80]} has no SHA-256")
