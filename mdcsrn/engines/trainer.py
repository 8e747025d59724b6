"""Train named networks, resumably: the core on which every trainer stands.

A :class:`ResumableTrainer` holds the networks with their optimisers, the moving averages, the precision, the check for
finite values, the update, the checkpoints and the stop after a signal. A trainer of one kind adds its losses alone.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Trainer
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from mdcsrn.engines import distributed
from mdcsrn.engines.parts import Part, place
from mdcsrn.engines.resume import TrainingCheckpoints
from mdcsrn.engines.schedule import Plan
from mdcsrn.engines.step_random import random_of_step
from mdcsrn.engines.stop import StopAfterStep
from mdcsrn.errors import CheckpointError, ConfigError, MdcsrnError, TrainingError, root_error
from mdcsrn.networks.precision import AUTO, PRECISIONS, autocast, check_precision, resolve_precision


@dataclass(frozen=True)
class TrainingOptions:
    """What every training run needs beside its networks and losses.

    Attributes:
        device: where to train.
        train_data_loader: endless batches.
        schedule: what each step does.
        epoch_length: steps between two validations, >= 1.
        max_epochs: epochs to train; None: as many as hold the schedule.
        precision: ``auto``, ``float32`` or ``bfloat16``, of :meth:`ResumableTrainer.forward`; ``auto`` is decided at
            the first step (:func:`mdcsrn.networks.precision.resolve_precision`) and kept by a resumed run.
        channels_last: memory layout of networks and batches; faster on most processors.
        seed: of the run; stored, and a checkpoint of another seed is refused.
        checkpoints: saves and restores the run; None: a run that starts anew each time.
        train_handlers: MONAI or Ignite handlers, called in their order.
    """

    device: str | torch.device
    train_data_loader: Iterable[Mapping[str, Any]]
    schedule: Plan
    epoch_length: int
    max_epochs: int | None = None
    precision: str = "float32"
    channels_last: bool = True
    seed: int = 0
    checkpoints: TrainingCheckpoints | None = None
    train_handlers: Sequence[Any] | None = None


class ResumableTrainer(Trainer):
    """Trains networks by name; a subclass says in :meth:`train_step` what one step does.

    Args:
        parts: networks by name, each with its optimiser. The names are those of TensorBoard and of the checkpoints.
        averages: moving averages (:func:`mdcsrn.engines.moving_average`) by the name of their part, updated with it.
            :class:`mdcsrn.engines.WeightsSaver` writes the first as ``model``.
        options: everything else.

    Raises:
        ConfigError: a value is out of range, or an average belongs to no part.
    """

    def __init__(
        self, parts: Mapping[str, Part], averages: Mapping[str, AveragedModel], options: TrainingOptions
    ) -> None:
        if options.epoch_length < 1:
            raise ConfigError("epoch_length", got=options.epoch_length, allowed=">= 1")
        if not averages.keys() <= parts.keys():
            raise ConfigError("moving averages of networks", got=", ".join(averages), allowed=", ".join(parts))
        self.memory_format = torch.channels_last_3d if options.channels_last else torch.contiguous_format
        self.parts, self.averages = dict(parts), dict(averages)
        for network in (*(part.network for part in self.parts.values()), *self.averages.values()):
            place(network, options.device, self.memory_format)
        self.schedule, self.seed = options.schedule, options.seed
        self.precision = check_precision(options.precision)
        self._computed_in: str | None = None  # what `precision` came to, from the first step on
        super().__init__(
            device=options.device,
            max_epochs=options.max_epochs or options.schedule.epochs(options.epoch_length),
            data_loader=options.train_data_loader,
            epoch_length=options.epoch_length,
            handlers=options.train_handlers,
            decollate=False,
        )
        self.checkpoints = options.checkpoints
        if self.checkpoints is not None:
            self.checkpoints.attach(self)  # after the handlers above: an epoch's checkpoint holds what they did
        self.validation_due = False
        self.stop = StopAfterStep()
        self.stop.attach(self)

    def train_step(self, kind: enum.Enum, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Do one step of the schedule; every trainer of one kind defines it.

        Args:
            kind: what the schedule says of this step.
            batch: as the data loader gives it; :meth:`to_device` moves its patches.

        Returns:
            ``loss`` and further figures by name, for handlers: floats go to TensorBoard.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what a step does")

    def starts_fresh(self, name: str, iteration: int) -> bool:
        """Tell whether a part that a checkpoint lacks may begin as it is; not, unless a trainer says so.

        Args:
            name: of the part.
            iteration: completed steps of the checkpoint.
        """
        return False

    def forward(self, name: str, image: Tensor) -> Tensor:
        """Output of a part's network in the precision of the run; the first call decides what ``auto`` is.

        Args:
            name: of the part.
            image: its input, on the device, shape (N, C, D, H, W).

        Returns:
            The output, which may be in bfloat16.
        """
        network = self.parts[name].network
        if self._computed_in is None:
            self._computed_in = resolve_precision(self.precision, network, image, training=True)
            if self.precision == AUTO:
                names = list(PRECISIONS)
                self._computed_in = names[distributed.same_choice(names.index(self._computed_in))]
                self.logger.info(f"precision auto: this run computes in {self._computed_in}")
        with autocast(self.state.device.type, self._computed_in):
            return network(image)

    def update(self, loss: Tensor, *names: str) -> dict[str, float]:
        """Backward, average over the processes, check, clip, step, move the averages.

        Args:
            loss: scalar of the parts' parameters.
            names: parts to update; the other networks are left as they are.

        Returns:
            ``<name>_gradient_norm`` of each part, before clipping.

        Raises:
            TrainingError: loss or gradients are not finite; nothing has been updated.
        """
        parts = {name: self.parts[name] for name in names}
        self._require_finite(float(distributed.average_value(loss)), f"loss of the {' and '.join(names)}")
        for part in parts.values():
            part.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norms = {name: part.gradient_norm() for name, part in parts.items()}
        for name, norm in norms.items():
            self._require_finite(norm, f"gradient norm of the {name}")
        for name, part in parts.items():
            part.update()
            if name in self.averages:
                self.averages[name].update_parameters(part.network)
        return {f"{name}_gradient_norm": norm for name, norm in norms.items()}

    def to_device(self, patch: Tensor) -> Tensor:
        """Patches in float32 on the device, in the memory format of the networks."""
        return patch.to(self.state.device, torch.float32, non_blocking=True).contiguous(
            memory_format=self.memory_format
        )

    def run(self) -> None:  # type: ignore[override]  # as MONAI's: data and epochs are the constructor's
        """Train to the end of the schedule; a run that a checkpoint says is complete returns at once.

        Raises:
            MdcsrnError: of the project's own kind, even where a data loader or MONAI wrapped it.
            Stopped: after SIGTERM or Ctrl-C, with a checkpoint saved after the step; a second signal raises at once.
        """
        try:
            self.stop.run(self, self._train)
            return
        except Exception as error:
            ours = root_error(error)
            if ours is None:
                raise
        raise _without_worker(ours)  # outside, so that no wrapper stands behind it

    def _train(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.resume(self)
        if self.state.iteration < self.state.max_epochs * self.state.epoch_length:
            super().run()
        elif self.validation_due:
            self.fire_event(Events.STARTED)
            self.fire_event(Events.COMPLETED)
        else:
            self.logger.info(f"Nothing to do: {self.state.iteration} steps are done and the schedule has no more.")

    def _iteration(self, engine: Engine, batch: dict[str, Any]) -> dict[str, Any]:
        kind = self.schedule.step(engine.state.iteration - 1)
        with random_of_step(self.seed, engine.state.iteration, self.state.device):
            output = self.train_step(kind, batch)
        for part in self.parts.values():
            if part.scheduler is not None:
                part.scheduler.step()
        return {"step": kind.value, **output}

    def _require_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"training stopped at step {self.state.iteration}: the {what} is not finite",
                got=value,
                remedy="the last checkpoint is good: lower the learning rate, or train in float32, and run again",
            )

    def training_state(self) -> dict[str, Any]:
        """Everything that a run needs to resume as if it had not stopped; tensors and plain values."""
        return {
            "seed": self.seed,
            "precision": self._computed_in or self.precision,
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
        }

    def load_training_state(self, state: Mapping[str, Any], source: str) -> None:
        """Take back what :meth:`training_state` gave.

        Args:
            state: a training checkpoint's content, with its ``iteration``.
            source: its path, for error messages.

        Raises:
            CheckpointError: it belongs to another network or seed, or a part is missing.
        """
        try:
            if state["seed"] != self.seed:
                raise CheckpointError(f"{source} is of a run with another seed", got=state["seed"], allowed=self.seed)
            iteration = int(state["iteration"])
            self._load_parts(state["parts"], iteration, source)
            for name, average in self.averages.items():
                average.load_state_dict(state["averages"][name])
            if self.precision == AUTO:  # else as this run is asked to; a checkpoint of an older version does not say
                known = state.get("precision")
                self._computed_in = known if known in PRECISIONS else None
            self.state.iteration = iteration
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{source} does not fit this run", got=f"{type(error).__name__}: {error}") from error
        # Ignite counts a started epoch; the engine adds one when it enters the unfinished epoch.
        self.state.epoch = self.state.iteration // self.state.epoch_length

    def _load_parts(self, stored: Mapping[str, Any], iteration: int, source: str) -> None:
        for name in stored.keys() - self.parts.keys():
            self.logger.info(f"{source} holds a {name}, which this run does not train: left out")
        for name, part in self.parts.items():
            if name not in stored and self.starts_fresh(name, iteration):
                self.logger.info(f"{source} holds no {name}: it starts as it was built")
            else:
                part.load_state_dict(stored[name], source)


def _without_worker(error: MdcsrnError) -> MdcsrnError:
    """Undo what a loader worker does to an error: it comes back as text, a whole traceback before its own words."""
    _, worker, words = error.what.rpartition(f"{type(error).__module__}.{type(error).__qualname__}: ")
    return type(error)(words.strip()) if worker else error
