"""Handlers of a training run: weights files at each validation, and filters of events."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from mdcsrn.engines import distributed
from mdcsrn.engines.schedule import Step
from mdcsrn.engines.trainer import ResumableTrainer
from mdcsrn.networks.weights import FORMS, save_weights
from mdcsrn.scratch import sweep


class WeightsSaver:
    """Writes the moving averages' weights after each validation; attach it after the validation handler.

    `model.pt` is the latest, `model_best.pt` the one with the highest `metric`, `model_l1.pt` the latest of the
    voxel-loss phase; each also as ``.safetensors``, whose header any software reads. A trainer with further averages
    has theirs as `model_<name>.pt`, `model_<name>_best.pt` and so on.

    Args:
        folder: output folder.
        evaluator: the validation engine.
        metric: name of its metric to compare, higher is better.
        facts: plain values to store beside the weights (data, degradation, seed ...).
    """

    def __init__(
        self, folder: str | os.PathLike[str], evaluator: Engine, metric: str, facts: dict[str, Any] | None = None
    ) -> None:
        self.folder, self.evaluator, self.metric, self.facts = Path(folder), evaluator, metric, facts or {}
        self.best: float | None = None

    def attach(self, trainer: ResumableTrainer) -> None:
        """Write at the end of each epoch."""
        if distributed.rank() == 0:
            trainer.add_event_handler(Events.STARTED, lambda: sweep(self.folder))
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, trainer: ResumableTrainer) -> None:
        """Write the files that this validation calls for; only the first process writes."""
        value = float(self.evaluator.state.metrics[self.metric])
        better = self.best is None or value > self.best
        self.best = value if better else self.best
        if distributed.rank() != 0:
            return
        phase = trainer.schedule.step(trainer.state.iteration - 1)
        facts = {**self.facts, "step": trainer.state.iteration, "phase": phase.value, self.metric: value}
        kinds = ["", *(["_best"] if better else []), *(["_l1"] if phase.value == Step.VOXEL.value else [])]
        for number, (name, average) in enumerate(trainer.averages.items()):
            stem = f"model_{name}" if number else "model"
            for kind, form in itertools.product(kinds, FORMS):
                save_weights(self.folder / f"{stem}{kind}{form}", average.module, facts)

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back the best figure."""
        self.best = state["best"]


def every(steps: int) -> Callable[[Engine, int], bool]:
    """Event filter that lets every `steps`-th iteration of the whole run pass, for handlers that take a function."""

    def passes(engine: Engine, _: int) -> bool:
        return engine.state.iteration % steps == 0

    return passes
