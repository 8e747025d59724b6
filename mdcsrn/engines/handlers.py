"""Handlers of a training run: weights files at each validation, and filters of events."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from mdcsrn.engines import distributed
from mdcsrn.engines.schedule import Step
from mdcsrn.engines.wgan_gp import WGANGPTrainer
from mdcsrn.networks.weights import FORMS, save_weights
from mdcsrn.scratch import sweep


class WeightsSaver:
    """Writes the moving average's weights after each validation; attach it after the validation handler.

    `model.pt` is the latest, `model_best.pt` the one with the highest `metric`, `model_l1.pt` the latest of the
    voxel-loss phase; each also as ``.safetensors``, whose header any software reads.

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

    def attach(self, trainer: WGANGPTrainer) -> None:
        """Write at the end of each epoch."""
        if distributed.rank() == 0:
            trainer.add_event_handler(Events.STARTED, lambda: sweep(self.folder))
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, trainer: WGANGPTrainer) -> None:
        """Write the files that this validation calls for; only the first process writes."""
        value = float(self.evaluator.state.metrics[self.metric])
        better = self.best is None or value > self.best
        self.best = value if better else self.best
        if distributed.rank() != 0:
            return
        network = trainer.average.module
        phase = trainer.schedule.step(trainer.state.iteration - 1)
        facts = {**self.facts, "step": trainer.state.iteration, "phase": phase.value, self.metric: value}
        names = ["model.pt"]
        names += ["model_best.pt"] if better else []
        names += ["model_l1.pt"] if phase is Step.VOXEL else []
        for name in names:
            for form in FORMS:
                save_weights((self.folder / name).with_suffix(form), network, facts)

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
