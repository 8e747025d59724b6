"""Write the whole state of a training run in one step, and find the newest good one again."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdcsrn import __version__
from mdcsrn.engines.formats import TRAINING_FORMAT, upgraded
from mdcsrn.errors import CheckpointError
from mdcsrn.networks.tensor_files import read
from mdcsrn.networks.weights import save_content

_NAME = re.compile(r"checkpoint_(\d+)\.pt")

logger = logging.getLogger(__name__)


def save_training(folder: str | os.PathLike[str], iteration: int, state: Mapping[str, Any], keep: int = 3) -> Path:
    """Write the state of a run as ``checkpoint_<iteration>.pt`` and remove all but the last `keep`.

    Args:
        folder: the run's checkpoint folder.
        iteration: completed training steps.
        state: what :meth:`ResumableTrainer.training_state` gave; tensors and plain values.
        keep: checkpoints to keep, >= 1.

    Returns:
        The file written.
    """
    path = Path(folder) / f"checkpoint_{iteration:09d}.pt"
    save_content(path, {"format": TRAINING_FORMAT, "iteration": iteration, "version": __version__, **state})
    # Later ones, if any, are damaged (this run began before them): they must not push out good ones.
    for old in [p for p in training_checkpoints(folder) if _number(p) <= iteration][:-keep]:
        old.unlink(missing_ok=True)
    return path


def training_checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """Checkpoints of a run, oldest first; temporary files of a killed save do not count."""
    found = [p for p in Path(folder).glob("checkpoint_*.pt") if _NAME.fullmatch(p.name)]
    return sorted(found, key=_number)


def latest_training(folder: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint of a run that can be read, or None where there is none at all.

    A damaged file is passed over in favour of the one before it; if every one is damaged, that is an error.

    Returns:
        Its path and its content in the present format (:func:`mdcsrn.engines.formats.upgraded`).

    Raises:
        CheckpointError: every one is damaged, or the newest good one has an unknown format.
    """
    damage: CheckpointError | None = None
    for path in reversed(training_checkpoints(folder)):
        try:
            content = read(path)
        except CheckpointError as error:
            logger.warning(f"Passed over: {error}")
            damage = error
            continue
        return path, upgraded(content, path)
    if damage is not None:
        raise damage
    return None


def _number(path: Path) -> int:
    return int(_NAME.fullmatch(path.name).group(1))  # type: ignore[union-attr]
