"""Bring training checkpoints of earlier versions to the present format.

Format 1 (versions up to 0.1) held two networks under fixed keys; format 2 holds any number of parts by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mdcsrn.errors import CheckpointError

TRAINING_FORMAT = 2
_PARTS_1 = ("generator", "critic")
_AVERAGED_1 = "generator"


def upgraded(content: Mapping[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a training checkpoint in the present format.

    Args:
        content: of a file of any format; it is not changed.
        path: the file, for error messages.

    Returns:
        ``format``, ``iteration``, ``version``, ``seed``, ``precision`` (the first files have none), ``parts`` (network,
        optimiser and scheduler by name), ``averages``, ``stateful`` and, where it is due, ``validation_due``.

    Raises:
        CheckpointError: the format is unknown, or a key of format 1 is missing.
    """
    found = content.get("format")
    if found == TRAINING_FORMAT:
        return dict(content)
    if found != 1:
        raise CheckpointError(
            f"{path} is a training checkpoint of an unknown format",
            got=found,
            allowed=f"1 to {TRAINING_FORMAT}",
            remedy="resume with the version of mdcsrn that wrote it, or use another folder for this run",
        )
    try:
        return _from_1(content)
    except KeyError as error:
        raise CheckpointError(f"{path} is no whole training checkpoint", got=f"no {error.args[0]}") from error


def _from_1(content: Mapping[str, Any]) -> dict[str, Any]:
    moved = {f"{name}{suffix}" for name in _PARTS_1 for suffix in ("", "_optimizer", "_scheduler")}
    kept = {key: value for key, value in content.items() if key not in moved | {"average", "parts"}}
    parts = {
        name: {
            "network": content[name],
            "optimizer": content[f"{name}_optimizer"],
            "scheduler": content[f"{name}_scheduler"],
        }
        for name in _PARTS_1
    }
    return {
        **kept,
        "format": TRAINING_FORMAT,
        "parts": parts,
        "averages": {_AVERAGED_1: content["average"]},
        "stateful": content["parts"],
    }
