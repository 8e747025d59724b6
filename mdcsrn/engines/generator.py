"""Train a generator with a voxel loss, alone or among other networks: what trainers of one kind share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mdcsrn.engines.ema import moving_average
from mdcsrn.engines.parts import Part
from mdcsrn.engines.trainer import ResumableTrainer, TrainingOptions


class GeneratorTrainer(ResumableTrainer):
    """A resumable trainer whose first part is the generator that is averaged, validated and saved.

    Args:
        parts: networks by name, the generator first.
        average: moving average of the generator (:func:`mdcsrn.engines.moving_average`); None makes one with decay
            0.999.
        voxel_loss: loss of (output, reference), moved to the device; None: L1.
        options: everything else.

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(
        self,
        parts: Mapping[str, Part],
        average: AveragedModel | None,
        voxel_loss: nn.Module | None,
        options: TrainingOptions,
    ) -> None:
        self.main = next(iter(parts))
        self.voxel_loss = (nn.L1Loss() if voxel_loss is None else voxel_loss).to(options.device)
        average = moving_average(parts[self.main].network) if average is None else average
        super().__init__(parts, {self.main: average}, options)

    @property
    def generator(self) -> nn.Module:
        """The generator."""
        return self.parts[self.main].network

    @property
    def average(self) -> AveragedModel:
        """The generator's moving average."""
        return self.averages[self.main]

    def voxel_step(self, image: Tensor, label: Tensor) -> dict[str, Any]:
        """One update of the generator and its moving average with the voxel loss alone.

        Args:
            image: its input, (N, C, D, H, W).
            label: reference patches, of the shape of its output.

        Returns:
            ``generator_loss``, ``voxel_loss`` (the same), ``<name>_gradient_norm``.
        """
        self.generator.train()
        loss = self.voxel_loss(self.forward(self.main, image).float(), label)
        norm = self.update(loss, self.main)
        return {"loss": loss.item(), "generator_loss": loss.item(), "voxel_loss": loss.item(), **norm}
