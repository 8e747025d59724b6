"""Train one network with a voxel loss."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mdcsrn.engines.generator import GeneratorTrainer
from mdcsrn.engines.parts import GENERATOR, Part
from mdcsrn.engines.resume import TrainingCheckpoints
from mdcsrn.engines.schedule import Schedule
from mdcsrn.engines.trainer import TrainingOptions
from mdcsrn.errors import ConfigError


class SupervisedTrainer(GeneratorTrainer):
    """Trains a network with any voxel loss; there is no critic.

    The network's name is ``generator``, in TensorBoard and in checkpoints, so that an adversarial run can resume from
    the end of this one.

    Args:
        device: where to train.
        train_data_loader: endless batches with ``image`` and ``label``, (N, C, D, H, W) each.
        generator: ``image`` -> the shape of ``label``.
        schedule: of voxel steps alone (``adversarial_steps`` 0).
        epoch_length: steps between two validations.
        max_epochs: epochs to train; None: as many as hold the schedule.
        voxel_loss: loss of (output, reference); None: L1.
        average: moving average of the network (:func:`mdcsrn.engines.moving_average`), to be validated and saved; None
            makes one with decay 0.999.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        channels_last: memory layout of network and batches; faster on most processors.
        seed: of the run; stored, and a checkpoint of another seed is refused.
        checkpoints: saves and restores the run; None: a run that starts anew each time.
        train_handlers: MONAI or Ignite handlers, called in their order.

    Raises:
        ConfigError: a value is out of range, or the schedule has adversarial steps.
    """

    def __init__(  # noqa: PLR0913 - a target of configurations
        self,
        device: str | torch.device,
        train_data_loader: Iterable[Mapping[str, Any]],
        generator: Part,
        schedule: Schedule,
        epoch_length: int,
        max_epochs: int | None = None,
        voxel_loss: nn.Module | None = None,
        average: AveragedModel | None = None,
        precision: str = "float32",
        channels_last: bool = True,
        seed: int = 0,
        checkpoints: TrainingCheckpoints | None = None,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        if schedule.adversarial_steps:
            raise ConfigError(
                "supervised training has voxel steps alone",
                got=f"adversarial_steps {schedule.adversarial_steps}",
                allowed=0,
                remedy="set adversarial_steps to 0, or use mdcsrn.engines.AdversarialTrainer",
            )
        options = TrainingOptions(
            device=device,
            train_data_loader=train_data_loader,
            schedule=schedule,
            epoch_length=epoch_length,
            max_epochs=max_epochs,
            precision=precision,
            channels_last=channels_last,
            seed=seed,
            checkpoints=checkpoints,
            train_handlers=train_handlers,
        )
        super().__init__({GENERATOR: generator}, average, voxel_loss, options)

    def train_step(self, kind: enum.Enum, batch: Mapping[str, Any]) -> dict[str, Any]:
        """One update of the network and its moving average."""
        return self.voxel_step(*(self.to_device(batch[key]) for key in ("image", "label")))
