"""Which network a training step updates, and with which learning rate: pure functions of the step number."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from mdcsrn.errors import ConfigError


class Plan(Protocol):
    """What each step of a training run does, as a pure function of its number. :class:`Schedule` is one."""

    def step(self, number: int) -> enum.Enum:
        """Kind of step `number` (from 0), past the end too; its value names it in logs."""

    def count(self, first: int, end: int) -> Mapping[Any, int]:
        """How many of the steps `first` to `end` - 1 are of each kind."""

    def epochs(self, epoch_length: int) -> int:
        """Epochs of `epoch_length` steps that hold the whole plan."""


class Step(enum.Enum):
    """What one training step does."""

    VOXEL = "voxel"  # generator, voxel loss alone
    CRITIC = "critic"  # critic, generator untouched
    ADVERSARIAL = "adversarial"  # generator, voxel and adversarial loss


@dataclass(frozen=True)
class Schedule:
    """Phase 1 trains the generator with the voxel loss; phase 2 is WGAN-GP. The defaults are the published ones.

    Attributes:
        voxel_steps: generator updates with the voxel loss alone (published: 250k to 500k).
        critic_warmup: critic updates before the first adversarial generator update.
        adversarial_steps: generator updates with the adversarial loss; 0 leaves phase 2 out.
        critic_per_generator: critic updates before each adversarial generator update.
        extra_critic_steps: further critic updates after every `extra_every` adversarial generator updates.
        extra_every: see `extra_critic_steps`.
    """

    voxel_steps: int = 250_000
    critic_warmup: int = 10_000
    adversarial_steps: int = 50_000
    critic_per_generator: int = 7
    extra_critic_steps: int = 200
    extra_every: int = 500

    def __post_init__(self) -> None:
        _check_whole_numbers(self, {"extra_every": 1})
        if self.total_steps == 0:
            raise ConfigError("the schedule has no step", remedy="set voxel_steps or adversarial_steps")

    @property
    def total_steps(self) -> int:
        """Steps of the whole schedule, of every kind."""
        if self.adversarial_steps == 0:
            return self.voxel_steps
        extras = (self.adversarial_steps - 1) // self.extra_every * self.extra_critic_steps
        return self.voxel_steps + self.critic_warmup + self.adversarial_steps * (self.critic_per_generator + 1) + extras

    def step(self, number: int) -> Step:
        """What step `number` (from 0) does; past the end the last phase goes on."""
        if number < self.voxel_steps or self.adversarial_steps == 0:
            return Step.VOXEL
        number -= self.voxel_steps + self.critic_warmup
        if number < 0:
            return Step.CRITIC
        cycle = self.critic_per_generator + 1
        number %= self.extra_every * cycle + self.extra_critic_steps
        within_cycles = number < self.extra_every * cycle
        return Step.ADVERSARIAL if within_cycles and number % cycle == cycle - 1 else Step.CRITIC

    def count(self, first: int, end: int) -> dict[Step, int]:
        """How many of the steps `first` to `end` - 1 are of each kind."""
        before, until = self._counts(first), self._counts(end)
        return {kind: until[kind] - before[kind] for kind in Step}

    def _counts(self, number: int) -> dict[Step, int]:
        """Kinds of the first `number` steps, without walking through them: a schedule may have a million."""
        voxel = min(number, self.voxel_steps) if self.adversarial_steps else number
        cycle = self.critic_per_generator + 1
        blocks, within = divmod(
            max(0, number - voxel - self.critic_warmup), self.extra_every * cycle + self.extra_critic_steps
        )
        adversarial = blocks * self.extra_every + min(within // cycle, self.extra_every)
        return {Step.VOXEL: voxel, Step.CRITIC: number - voxel - adversarial, Step.ADVERSARIAL: adversarial}

    def epochs(self, epoch_length: int) -> int:
        """Epochs of `epoch_length` steps that hold the whole schedule; the last one is filled up."""
        return math.ceil(self.total_steps / epoch_length)


class CycleStep(enum.Enum):
    """What one step of a cycle GAN does."""

    VOXEL = "voxel"  # both generators, voxel and cycle losses alone
    CYCLE = "cycle"  # both generators with all their losses, then both critics


@dataclass(frozen=True)
class CycleSchedule:
    """Steps of a cycle GAN: each step of phase 2 updates all four networks once, on one batch.

    Attributes:
        cycle_steps: steps with all losses and both critics; 0 leaves phase 2 out.
        voxel_steps: steps before them, of the generators alone, with voxel and cycle losses.

    Examples:
        >>> schedule = CycleSchedule(cycle_steps=3, voxel_steps=1)
        >>> [schedule.step(number).value for number in range(4)]
        ['voxel', 'cycle', 'cycle', 'cycle']
    """

    cycle_steps: int = 100_000
    voxel_steps: int = 0

    def __post_init__(self) -> None:
        _check_whole_numbers(self, {})
        if self.total_steps == 0:
            raise ConfigError("the schedule has no step", remedy="set voxel_steps or cycle_steps")

    @property
    def total_steps(self) -> int:
        """Steps of the whole schedule."""
        return self.voxel_steps + self.cycle_steps

    def step(self, number: int) -> CycleStep:
        """What step `number` (from 0) does; past the end the last phase goes on."""
        return CycleStep.VOXEL if number < self.voxel_steps or self.cycle_steps == 0 else CycleStep.CYCLE

    def count(self, first: int, end: int) -> dict[CycleStep, int]:
        """How many of the steps `first` to `end` - 1 are of each kind."""
        last = end if self.cycle_steps == 0 else self.voxel_steps
        voxel = min(end, last) - min(first, last)
        return {CycleStep.VOXEL: voxel, CycleStep.CYCLE: end - first - voxel}

    def epochs(self, epoch_length: int) -> int:
        """Epochs of `epoch_length` steps that hold the whole schedule; the last one is filled up."""
        return math.ceil(self.total_steps / epoch_length)


def _check_whole_numbers(schedule: Schedule | CycleSchedule, lowest: Mapping[str, int]) -> None:
    for field in fields(schedule):
        value, low = getattr(schedule, field.name), lowest.get(field.name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ConfigError(f"schedule: {field.name} is a whole number", got=value, allowed=f">= {low}")


class GeneratorRate:
    """Learning-rate factor of the generator for torch's LambdaLR, relative to the voxel phase's rate.

    The voxel phase warms up linearly over `warmup` steps and falls as a cosine to `final` of its rate at the phase's
    end; the adversarial phase has one constant rate. All attributes are plain numbers, so a checkpoint can hold them.

    Args:
        schedule: the schedule.
        voxel_rate: learning rate of phase 1.
        adversarial_rate: learning rate of phase 2.
        warmup: steps of the linear start.
        final: share of `voxel_rate` at the end of phase 1, (0, 1]; 1 is a constant rate, as published.
    """

    def __init__(
        self,
        schedule: Schedule,
        voxel_rate: float = 1e-4,
        adversarial_rate: float = 5e-6,
        warmup: int = 0,
        final: float = 1.0,
    ) -> None:
        if voxel_rate <= 0 or adversarial_rate <= 0 or warmup < 0 or not 0 < final <= 1:
            got = (voxel_rate, adversarial_rate, warmup, final)
            raise ConfigError("learning rates > 0, warmup >= 0, final in (0, 1]", got=got)
        self.voxel_steps, self.has_adversarial = schedule.voxel_steps, schedule.adversarial_steps > 0
        self.ratio, self.warmup, self.final = adversarial_rate / voxel_rate, warmup, final

    def __call__(self, number: int) -> float:
        """Factor at step `number`, from 0."""
        if self.has_adversarial and number >= self.voxel_steps:
            return self.ratio
        start = min(1.0, (number + 1) / (self.warmup + 1))
        progress = min(1.0, number / max(1, self.voxel_steps))
        return start * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress)))
