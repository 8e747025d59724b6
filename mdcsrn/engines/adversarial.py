"""Train a generator with a voxel loss, then against a critic, under one schedule.

MONAI's GanTrainer (latents in, no voxel loss) and AdversarialTrainer (no critic schedule, no penalty) do not fit. Each
engine iteration is one update of one network.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mdcsrn.engines.generator import GeneratorTrainer
from mdcsrn.engines.parts import CRITIC, GENERATOR, Part
from mdcsrn.engines.resume import TrainingCheckpoints
from mdcsrn.engines.schedule import Schedule, Step
from mdcsrn.engines.trainer import TrainingOptions
from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.losses import Adversary, WassersteinAdversary


class AdversarialTrainer(GeneratorTrainer):
    """Trains a generator with a voxel loss, then against a critic.

    A critic step scores the reference as real and a detached output of the generator (evaluation mode, no graph) as
    fake, on the same patches; it leaves the generator's weights and BatchNorm buffers as they are. An adversarial step
    updates the generator with voxel loss + `adversarial_weight` x adversarial loss.

    Args:
        device: where to train.
        train_data_loader: endless batches with ``image``, ``label``, (N, C, D, H, W) each, and, for a gradient penalty,
            ``coefficient`` (N,).
        generator: ``image`` -> the shape of ``label``.
        critic: (N, 1 or 2, D, H, W) -> scores, (N,) for a gradient penalty; 2 channels where `conditional`. None where
            the schedule has no adversarial step.
        schedule: what each step does.
        epoch_length: steps between two validations.
        max_epochs: epochs to train; None: as many as hold the schedule.
        adversary: losses of critic and generator, and penalty; None: WGAN-GP with its defaults.
        voxel_loss: loss of (output, reference); None: L1.
        adversarial_weight: weight of the adversarial loss, >= 0.
        average: moving average of the generator (:func:`mdcsrn.engines.moving_average`), to be validated and saved;
            None makes one with decay 0.999.
        conditional: give the critic the low-resolution patch as second channel.
        precision: ``auto``, ``float32`` or ``bfloat16``, of the generator; the critic stays in float32, as a bfloat16
            score has too few digits for the distance, and so does the penalty's double backward.
        channels_last: memory layout of networks and batches; faster on most processors.
        seed: of the run; stored, and a checkpoint of another seed is refused.
        checkpoints: saves and restores the run; None: a run that starts anew each time.
        train_handlers: MONAI or Ignite handlers, called in their order.

    Raises:
        ConfigError: a value is out of range, or the schedule has adversarial steps and there is no critic.
    """

    schedule: Schedule

    def __init__(  # noqa: PLR0913 - a target of configurations
        self,
        device: str | torch.device,
        train_data_loader: Iterable[Mapping[str, Any]],
        generator: Part,
        critic: Part | None,
        schedule: Schedule,
        epoch_length: int,
        max_epochs: int | None = None,
        adversary: Adversary | None = None,
        voxel_loss: nn.Module | None = None,
        adversarial_weight: float = 1e-3,
        average: AveragedModel | None = None,
        conditional: bool = False,
        precision: str = "float32",
        channels_last: bool = True,
        seed: int = 0,
        checkpoints: TrainingCheckpoints | None = None,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        if adversarial_weight < 0:
            raise ConfigError("adversarial_weight", got=adversarial_weight, allowed=">= 0")
        if critic is None and schedule.adversarial_steps:
            raise ConfigError(
                "a schedule with adversarial steps and no critic",
                got=f"adversarial_steps {schedule.adversarial_steps}",
                remedy="give a critic, or set adversarial_steps to 0",
            )
        self.adversary = adversary if adversary is not None else WassersteinAdversary()
        self.adversarial_weight, self.conditional = adversarial_weight, conditional
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
        parts = {GENERATOR: generator} | ({} if critic is None else {CRITIC: critic})
        super().__init__(parts, average, voxel_loss, options)

    @property
    def critic(self) -> nn.Module:
        """The critic; a run without adversarial steps may have none."""
        return self.parts[CRITIC].network

    def starts_fresh(self, name: str, iteration: int) -> bool:
        """Let the critic begin where the voxel phase was trained without one."""
        return name == CRITIC and iteration <= self.schedule.voxel_steps

    def train_step(self, kind: enum.Enum, batch: Mapping[str, Any]) -> dict[str, Any]:
        """One update of the critic or of the generator."""
        image, label = (self.to_device(batch[key]) for key in ("image", "label"))
        if kind is Step.CRITIC:
            return self.critic_step(image, label, batch.get("coefficient"))
        return self.generator_step(image, label, adversarial=kind is Step.ADVERSARIAL)

    def critic_step(self, image: Tensor, label: Tensor, coefficient: Tensor | None = None) -> dict[str, Any]:
        """One update of the critic.

        Args:
            image: low-resolution patches, (N, 1, p, p, p).
            label: reference patches, same shape.
            coefficient: interpolation coefficients of the penalty, (N,); None where the adversary needs none.

        Returns:
            ``critic_loss``, ``penalty`` (where there is one), ``distance`` (mean D(HR) - mean D(SR)),
            ``critic_gradient_norm``.
        """
        fake = self._generate_detached(image)
        self.critic.train().requires_grad_(True)
        fake_scores, real_scores = self._score(fake, image), self._score(label, image)
        loss = self.adversary.critic_loss(fake_scores, real_scores)
        condition = image if self.conditional else None
        penalty = self.adversary.penalty(self.critic, label, fake, coefficient, condition)
        if penalty is not None:
            loss = self.adversary.penalty_weight * penalty + loss
        norm = self.update(loss, CRITIC)
        return {
            "loss": loss.item(),
            "critic_loss": loss.item(),
            **({} if penalty is None else {"penalty": penalty.item()}),
            "distance": (real_scores.detach().mean() - fake_scores.detach().mean()).item(),
            **norm,
        }

    def generator_step(self, image: Tensor, label: Tensor, adversarial: bool) -> dict[str, Any]:
        """One update of the generator and its moving average; the critic is not changed.

        Args:
            image: low-resolution patches, (N, 1, p, p, p).
            label: reference patches, same shape.
            adversarial: add the adversarial loss.

        Returns:
            ``generator_loss``, ``voxel_loss``, ``adversarial_loss`` (where it applies), ``generator_gradient_norm``.
        """
        if not adversarial:
            return self.voxel_step(image, label)
        self.generator.train()
        output = self.forward(GENERATOR, image)
        voxel = self.voxel_loss(output.float(), label)
        self.critic.eval().requires_grad_(False)
        against = self.adversary.generator_loss(self._score(output.float(), image))
        loss = voxel + self.adversarial_weight * against
        norm = self.update(loss, GENERATOR)
        return {
            "loss": loss.item(),
            "generator_loss": loss.item(),
            "voxel_loss": voxel.item(),
            "adversarial_loss": against.item(),
            **norm,
        }

    def _generate_detached(self, image: Tensor) -> Tensor:
        """Fakes for the critic: evaluation mode, so that BatchNorm statistics stay, and no graph."""
        self.generator.eval()
        with torch.no_grad():
            return self.forward(GENERATOR, image).float()

    def _score(self, patch: Tensor, image: Tensor) -> Tensor:
        if self.conditional and patch.shape[2:] != image.shape[2:]:
            raise GeometryError(
                "a conditional critic needs both patches on one grid",
                got=f"{tuple(image.shape[2:])} and {tuple(patch.shape[2:])}",
                remedy="set conditional to false for a network that reads the acquired grid",
            )
        return self.critic(torch.cat((patch, image), dim=1) if self.conditional else patch)
