"""Save and restore a training run, so that one killed at any moment resumes with the same command."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Protocol

from ignite.engine import Events

from mdcsrn.data.patches import SampleStream
from mdcsrn.engines import distributed
from mdcsrn.engines.checkpoint import latest_training, save_training
from mdcsrn.engines.protocol import Resumable
from mdcsrn.errors import CheckpointError, ConfigError
from mdcsrn.scratch import sweep

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """Something with a state to be kept in checkpoints."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""


class TrainingCheckpoints:
    """Saves the state of a run and restores it.

    A checkpoint is written every `every` steps and after each validation, in one step; the last `keep` stay. Every
    random draw is a function of seed and sample number, so weights, moments, averages and the step number are the
    whole state, and the sampler is set to the saved step.

    Args:
        folder: the run's checkpoint folder.
        sampler: the training loader's batch sampler, set to the saved step.
        every: steps between two checkpoints, >= 1.
        keep: checkpoints to keep, >= 1.
        stateful: further parts by name (the best validation figure, for instance).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        sampler: SampleStream,
        every: int = 500,
        keep: int = 3,
        stateful: dict[str, Stateful] | None = None,
    ) -> None:
        if every < 1 or keep < 1:
            raise ConfigError("checkpoints: every and keep are at least 1", got=(every, keep))
        self.folder, self.sampler, self.every, self.keep = Path(folder), sampler, every, keep
        self.stateful = stateful or {}

    def resume(self, trainer: Resumable) -> None:
        """Load the newest good checkpoint, where there is one.

        Raises:
            CheckpointError: none can be read, or it belongs to another run.
        """
        if distributed.rank() == 0:
            sweep(self.folder)
        found = latest_training(self.folder)
        if found is None:
            return
        path, state = found
        trainer.load_training_state(state, str(path))
        for name, part in self.stateful.items():
            if name not in state["stateful"]:
                raise CheckpointError(f"{path} does not fit this run", got=f"no state of {name}")
            part.load_state_dict(state["stateful"][name])
        self.sampler.start = trainer.state.iteration
        trainer.validation_due = bool(state.get("validation_due", False))
        logger.info(f"Resuming from {path} at step {trainer.state.iteration}.")

    def attach(self, trainer: Resumable) -> None:
        """Save at iterations and epochs; attach it last, so that an epoch's validation is part of its checkpoint."""
        trainer.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self._between_epochs)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def _between_epochs(self, trainer: Resumable) -> None:
        if trainer.state.iteration % trainer.state.epoch_length:
            self.save(trainer)

    def save(self, trainer: Resumable, validated: bool = True) -> None:
        """Write one checkpoint now; only the first process writes.

        Args:
            trainer: the run.
            validated: False at the end of an epoch whose validation is still due.
        """
        if distributed.rank() == 0:
            stateful = {name: part.state_dict() for name, part in self.stateful.items()}
            due = {} if validated else {"validation_due": True}
            state = {**trainer.training_state(), "stateful": stateful, **due}
            save_training(self.folder, trainer.state.iteration, state, self.keep)
