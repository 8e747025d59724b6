"""Train SRResCycGAN: two generators, LR to HR and back, and a critic on each side (Umer and Micheloni, Deep Cyclic
Generative Adversarial Residual Convolutional Networks for Real Image Super-Resolution, 2020).

Ours differ: batches may be unpaired, the moving average of the first generator is what is saved, and a phase without
critics may come first.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mdcsrn.engines.cycle_terms import CycleWeights, Patches, is_paired
from mdcsrn.engines.generator import GeneratorTrainer
from mdcsrn.engines.parts import Part
from mdcsrn.engines.resume import TrainingCheckpoints
from mdcsrn.engines.schedule import CycleSchedule, CycleStep
from mdcsrn.engines.trainer import TrainingOptions
from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.losses import Adversary, CrossEntropyAdversary, TotalVariationLoss

GENERATOR_HR, GENERATOR_LR = "generator_hr", "generator_lr"
CRITIC_HR, CRITIC_LR = "critic_hr", "critic_lr"


class CycleTrainer(GeneratorTrainer):
    """Trains generators LR -> HR and HR -> LR against a critic on each side.

    A step updates both generators with

        w_p perceptual + w_a adversarial + w_tv total variation + w_v voxel + w_c cycle

    and then each critic, which scores real patches and the detached patches that the generators made before their
    update. The generators' update leaves the critics as they are, buffers included, and the critics' the generators.
    Where a batch says that it is unpaired, no LR patch has its HR patch: the perceptual, gradient and voxel losses then
    compare HR with G_HR(G_LR(HR)).

    Args:
        device: where to train.
        train_data_loader: endless batches with ``image`` (LR) and ``label`` (HR), (N, C, D, H, W) each, and, where they
            are of different subjects, ``paired``, all False (:class:`mdcsrn.data.unpaired.UnpairedPatches`).
        generator_hr: ``image`` -> the shape of ``label``; its moving average is validated and saved.
        generator_lr: ``label`` -> the shape of ``image``.
        critic_hr: HR patches -> logits, one a patch or one a region; None where the schedule has no cycle step.
        critic_lr: LR patches -> logits, likewise.
        schedule: what each step does.
        epoch_length: steps between two validations.
        max_epochs: epochs to train; None: as many as hold the schedule.
        perceptual_loss: loss of (SR, HR), :func:`mdcsrn.losses.feature_loss`; None only with `perceptual_weight` 0.
        perceptual_weight: weights, each >= 0, of the losses that :class:`CycleWeights` names; 0 leaves one out.
        adversarial_weight: as above.
        total_variation_weight: as above.
        voxel_weight: as above.
        cycle_weight: as above.
        adversary: losses of critics and generators, without a penalty; None: binary cross-entropy on logits.
        voxel_loss: loss of (SR, HR); None: L1.
        average: moving average of `generator_hr` (:func:`mdcsrn.engines.moving_average`); None makes one with decay
            0.999.
        precision: ``auto``, ``float32`` or ``bfloat16``, of the generators; critics and losses stay in float32.
        channels_last: memory layout of networks and batches; faster on most processors.
        seed: of the run; stored, and a checkpoint of another seed is refused.
        checkpoints: saves and restores the run; None: a run that starts anew each time.
        train_handlers: MONAI or Ignite handlers, called in their order.

    Raises:
        ConfigError: a value is out of range; a critic or the perceptual loss is missing; the adversary has a penalty.
    """

    schedule: CycleSchedule

    def __init__(  # noqa: PLR0913 - a target of configurations
        self,
        device: str | torch.device,
        train_data_loader: Iterable[Mapping[str, Any]],
        generator_hr: Part,
        generator_lr: Part,
        critic_hr: Part | None,
        critic_lr: Part | None,
        schedule: CycleSchedule,
        epoch_length: int,
        max_epochs: int | None = None,
        perceptual_loss: nn.Module | None = None,
        perceptual_weight: float = 1.0,
        adversarial_weight: float = 1.0,
        total_variation_weight: float = 1.0,
        voxel_weight: float = 5.0,
        cycle_weight: float = 10.0,
        adversary: Adversary | None = None,
        voxel_loss: nn.Module | None = None,
        average: AveragedModel | None = None,
        precision: str = "float32",
        channels_last: bool = True,
        seed: int = 0,
        checkpoints: TrainingCheckpoints | None = None,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        self.weights = CycleWeights(
            perceptual_weight, adversarial_weight, total_variation_weight, voxel_weight, cycle_weight
        )
        self.adversary = CrossEntropyAdversary() if adversary is None else adversary
        critics = {CRITIC_HR: critic_hr, CRITIC_LR: critic_lr}
        _check_complete(schedule, critics, self.adversary, perceptual_loss, self.weights)
        self.perceptual_loss = None if perceptual_loss is None else perceptual_loss.to(device)
        self.gradient_loss, self.cycle_loss = TotalVariationLoss(), nn.L1Loss()
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
        parts = {GENERATOR_HR: generator_hr, GENERATOR_LR: generator_lr}
        parts |= {name: critic for name, critic in critics.items() if critic is not None}
        super().__init__(parts, average, voxel_loss, options)

    def starts_fresh(self, name: str, iteration: int) -> bool:
        """Let the critics begin where the voxel phase was trained without them."""
        return name in (CRITIC_HR, CRITIC_LR) and iteration <= self.schedule.voxel_steps

    def train_step(self, kind: enum.Enum, batch: Mapping[str, Any]) -> dict[str, Any]:
        """One update of both generators and, in phase 2, of both critics.

        Returns:
            ``generator_loss``; the losses of :class:`CycleWeights` by name, not weighted (``voxel_loss``, ...);
            ``adversarial_hr_loss`` and ``adversarial_lr_loss``; ``<critic>_loss``; ``<critic>_distance``, which is mean
            D(real) - mean D(fake); ``<part>_gradient_norm``.

        Raises:
            GeometryError: a generator's output is not of the other side's shape.
            TrainingError: a loss or gradient is not finite.
        """
        low, high = (self.to_device(batch[key]) for key in ("image", "label"))
        patches = self.generate(low, high, paired=is_paired(batch))
        figures = self.generator_step(patches, adversarial=kind is CycleStep.CYCLE)
        return figures if kind is CycleStep.VOXEL else {**figures, **self.critic_step(patches)}

    def generate(self, low: Tensor, high: Tensor, paired: bool = True) -> Patches:
        """What both generators make of a batch, in float32, with the graph of the generators.

        Args:
            low: LR patches, (N, C, d, h, w).
            high: HR patches, (N, C, D, H, W).
            paired: `high` is the reference of `low`.
        """
        for name in (GENERATOR_HR, GENERATOR_LR):
            self.parts[name].network.train()
        fake_high = self._generate(GENERATOR_HR, low, high.shape)
        back = self._generate(GENERATOR_LR, fake_high, low.shape)
        if paired:
            return Patches(low, high, fake_high, back, back, fake_high)
        fake_low = self._generate(GENERATOR_LR, high, low.shape)
        return Patches(low, high, fake_high, fake_low, back, self._generate(GENERATOR_HR, fake_low, high.shape))

    def generator_step(self, patches: Patches, adversarial: bool = True) -> dict[str, Any]:
        """One update of both generators and the moving average; the critics are not changed.

        Args:
            patches: of :meth:`generate`; their graph is used up.
            adversarial: with all losses; False: voxel and cycle losses alone.
        """
        terms = self._voxel_terms(patches)
        answers: dict[str, float] = {}
        if adversarial:
            terms |= self._reference_terms(patches)
            if self.weights.adversarial:
                against = self._against_critics(patches)
                answers = {name: value.item() for name, value in against.items()}
                terms["adversarial"] = torch.stack(list(against.values())).sum()
        loss = torch.stack([getattr(self.weights, name) * value for name, value in terms.items()]).sum()
        norms = self.update(loss, GENERATOR_HR, GENERATOR_LR)
        figures = {f"{name}_loss": value.item() for name, value in terms.items()}
        return {"loss": loss.item(), "generator_loss": loss.item(), **figures, **answers, **norms}

    def critic_step(self, patches: Patches) -> dict[str, Any]:
        """One update of each critic; the generators are not changed.

        Args:
            patches: of :meth:`generate`; they are detached here.
        """
        figures: dict[str, Any] = {}
        for name, fake, real in (
            (CRITIC_HR, patches.fake_high, patches.high), (CRITIC_LR, patches.fake_low, patches.low),
        ):  # fmt: skip
            critic = self.parts[name].network.train().requires_grad_(True)
            fake_scores, real_scores = critic(fake.detach()), critic(real)
            loss = self.adversary.critic_loss(fake_scores, real_scores)
            norm = self.update(loss, name)
            distance = (real_scores.detach().mean() - fake_scores.detach().mean()).item()
            figures |= {f"{name}_loss": loss.item(), f"{name}_distance": distance, **norm}
        return figures

    def _generate(self, name: str, given: Tensor, shape: torch.Size) -> Tensor:
        made = self.forward(name, given).float()
        if made.shape != shape:
            raise GeometryError(
                f"the {name} does not lead to the patches of the other side",
                got=f"{tuple(given.shape)} -> {tuple(made.shape)}",
                allowed=tuple(shape),
                remedy="let patch_size and scale of the data be those of the networks",
            )
        return made

    def _voxel_terms(self, patches: Patches) -> dict[str, Tensor]:
        terms = {}
        if self.weights.voxel:
            terms["voxel"] = self.voxel_loss(patches.restored, patches.high)
        if self.weights.cycle:
            terms["cycle"] = self.cycle_loss(patches.back, patches.low)
        return terms

    def _reference_terms(self, patches: Patches) -> dict[str, Tensor]:
        terms = {}
        if self.weights.perceptual and self.perceptual_loss is not None:
            terms["perceptual"] = self.perceptual_loss(patches.restored, patches.high)
        if self.weights.total_variation:
            terms["total_variation"] = self.gradient_loss(patches.restored, patches.high)
        return terms

    def _against_critics(self, patches: Patches) -> dict[str, Tensor]:
        """How little each critic takes the generated patches for real; in evaluation mode, with frozen weights."""
        for name in (CRITIC_HR, CRITIC_LR):
            self.parts[name].network.eval().requires_grad_(False)
        high, low = (self.parts[name].network for name in (CRITIC_HR, CRITIC_LR))
        return {
            "adversarial_hr_loss": self.adversary.generator_loss(high(patches.fake_high)),
            "adversarial_lr_loss": self.adversary.generator_loss(low(patches.fake_low)),
        }


def _check_complete(
    schedule: CycleSchedule,
    critics: Mapping[str, Part | None],
    adversary: Adversary,
    perceptual_loss: nn.Module | None,
    weights: CycleWeights,
) -> None:
    """Refuse a run that could not do the steps of its schedule."""
    if not schedule.cycle_steps:
        return
    missing = [name for name, critic in critics.items() if critic is None]
    if missing:
        raise ConfigError(
            "a schedule with cycle steps and no critic",
            got=f"no {' and no '.join(missing)}",
            remedy="give both critics, or set cycle_steps to 0",
        )
    if adversary.penalty_weight:
        raise ConfigError(
            "the cycle trainer computes no gradient penalty",
            got=f"{type(adversary).__name__}, penalty_weight {adversary.penalty_weight}",
            allowed="an adversary without a penalty, such as mdcsrn.losses.CrossEntropyAdversary",
        )
    if weights.perceptual and perceptual_loss is None:
        raise ConfigError(
            "a perceptual weight and no perceptual loss",
            got=f"perceptual_weight {weights.perceptual}",
            remedy="give perceptual_loss (mdcsrn.losses.feature_loss with a VGG19 file), or set perceptual_weight to 0",
        )
