"""Check a folder of weights against its ``sha256.txt``, in the form that ``sha256sum -c`` reads."""

from __future__ import annotations

import os
from pathlib import Path

from mdcsrn.errors import CheckpointError
from mdcsrn.files import atomic_write_text, read_text, sha256

HASHES = "sha256.txt"
SUFFIXES = (".pt", ".safetensors")


def weight_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Files of weights in a folder, sorted; training checkpoints and hidden (half-written) files do not count."""
    found = [path for path in Path(folder).glob("[!.]*") if path.suffix in SUFFIXES and path.is_file()]
    return sorted(path for path in found if not path.name.startswith("checkpoint"))


def write_hashes(folder: str | os.PathLike[str]) -> Path:
    """List every file of weights in a folder with its hash, in one step.

    Raises:
        OutputError: the list cannot be written.
    """
    target = Path(folder) / HASHES
    atomic_write_text(target, "".join(f"{sha256(path)}  {path.name}\n" for path in weight_files(folder)))
    return target


def read_hashes(folder: str | os.PathLike[str]) -> dict[str, str]:
    """File name -> SHA-256, as listed beside the files; empty where there is no list.

    Raises:
        CheckpointError: the list cannot be read.
    """
    source = Path(folder) / HASHES
    if not source.is_file():
        return {}
    try:
        lines = [line.split(maxsplit=1) for line in read_text(source).splitlines() if line.strip()]
        return {name.removeprefix("*"): digest.lower() for digest, name in lines}
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise CheckpointError(
            f"cannot read the hash list {source}", got=str(error), allowed="SHA-256 and file name in each line"
        ) from error


def check_hash(path: str | os.PathLike[str]) -> None:
    """Refuse a file whose content is not what the list beside it says; a file that is not listed passes.

    Raises:
        CheckpointError: the hash is another one.
    """
    listed = read_hashes(Path(path).parent).get(Path(path).name)
    if listed is None:
        return
    found = sha256(path)
    if found != listed:
        raise CheckpointError(
            f"{path} is not the file that {HASHES} beside it lists",
            got=found,
            allowed=listed,
            remedy="restore the file; if the change is meant, write the list anew or remove the line",
        )
