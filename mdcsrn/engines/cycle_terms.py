"""What a step of a cycle GAN is made of: its weights and its patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError


@dataclass(frozen=True)
class CycleWeights:
    """Weights of the five losses of the generators, each >= 0; a loss of weight 0 is neither computed nor logged.

    Attributes:
        perceptual: features of SR and HR.
        adversarial: both critics' answers to the generated patches, summed.
        total_variation: gradients of SR and HR.
        voxel: intensities of SR and HR.
        cycle: the LR patch and its way to HR and back, in intensities (L1).
    """

    perceptual: float = 1.0
    adversarial: float = 1.0
    total_variation: float = 1.0
    voxel: float = 5.0
    cycle: float = 10.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0:
                raise ConfigError(f"{name}_weight", got=value, allowed=">= 0")
        if self.voxel == self.cycle == 0:
            raise ConfigError("voxel_weight and cycle_weight", got="both 0", allowed="at least one > 0")


@dataclass(frozen=True)
class Patches:
    """Patches of one step, all (N, C, D, H, W).

    Attributes:
        low: real low-resolution patches.
        high: real high-resolution patches, of other subjects where the batch is unpaired.
        fake_high: G_HR(low).
        fake_low: what the critic of the low side judges: G_LR(G_HR(low)), or G_LR(high) where unpaired.
        back: G_LR(G_HR(low)), to equal `low`.
        restored: to equal `high`: G_HR(low), or G_HR(G_LR(high)) where unpaired.
    """

    low: Tensor
    high: Tensor
    fake_high: Tensor
    fake_low: Tensor
    back: Tensor
    restored: Tensor


def is_paired(batch: Mapping[str, Any]) -> bool:
    """Tell whether the HR patches of a batch are the references of its LR patches; so they are unless it denies it.

    Raises:
        ConfigError: some are and some are not.
    """
    said = torch.as_tensor(batch.get("paired", True))
    if bool(said.any()) != bool(said.all()):
        raise ConfigError(
            "a batch is paired or unpaired as a whole", got=said.tolist(), allowed="all True or all False"
        )
    return bool(said.all())
