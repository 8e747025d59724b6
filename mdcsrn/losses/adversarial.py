"""Adversaries: the critic's loss, the generator's loss and the penalty of one kind of adversarial training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.losses.cross_entropy import cross_entropy_critic_loss, cross_entropy_generator_loss
from mdcsrn.losses.wasserstein import critic_loss, generator_loss, gradient_penalty


class Adversary(Protocol):
    """What an adversarial trainer asks: two losses of scores, and a penalty on the critic.

    Attributes:
        penalty_weight: weight of the penalty beside the critic's loss, >= 0.
    """

    penalty_weight: float

    def critic_loss(self, fake_scores: Tensor, real_scores: Tensor) -> Tensor:
        """What the critic minimises, without the penalty; scalar."""

    def generator_loss(self, fake_scores: Tensor) -> Tensor:
        """What the generator minimises beside its voxel loss, not yet weighted; scalar."""

    def penalty(
        self,
        critic: Callable[[Tensor], Tensor],
        real: Tensor,
        fake: Tensor,
        coefficient: Tensor | None,
        condition: Tensor | None,
    ) -> Tensor | None:
        """Penalty on the critic, not yet weighted; None where this kind has none.

        Args:
            critic: scores a batch.
            real: real patches, shape (N, C, D, H, W).
            fake: generated patches, same shape.
            coefficient: interpolation coefficients in [0, 1], shape (N,), or None where the batch has none.
            condition: further channels that the critic is given, or None.
        """


class WassersteinAdversary:
    """WGAN-GP: :mod:`mdcsrn.losses.wasserstein`, with one interpolation coefficient a sample.

    Args:
        penalty_weight: weight of the gradient penalty, >= 0.

    Raises:
        ConfigError: a negative weight.

    Examples:
        >>> import torch
        >>> adversary = WassersteinAdversary()
        >>> adversary.critic_loss(torch.tensor([1.0, 3.0]), torch.tensor([5.0])).item()
        -3.0
        >>> adversary.generator_loss(torch.tensor([1.0, 3.0])).item()
        -2.0
    """

    def __init__(self, penalty_weight: float = 10.0) -> None:
        if penalty_weight < 0:
            raise ConfigError("penalty_weight of the gradient penalty", got=penalty_weight, allowed=">= 0")
        self.penalty_weight = penalty_weight

    def critic_loss(self, fake_scores: Tensor, real_scores: Tensor) -> Tensor:
        """See :func:`mdcsrn.losses.critic_loss`."""
        return critic_loss(fake_scores, real_scores)

    def generator_loss(self, fake_scores: Tensor) -> Tensor:
        """See :func:`mdcsrn.losses.generator_loss`."""
        return generator_loss(fake_scores)

    def penalty(
        self,
        critic: Callable[[Tensor], Tensor],
        real: Tensor,
        fake: Tensor,
        coefficient: Tensor | None,
        condition: Tensor | None,
    ) -> Tensor:
        """See :func:`mdcsrn.losses.gradient_penalty`.

        Raises:
            ConfigError: the batch has no coefficients.
        """
        if coefficient is None:
            raise ConfigError(
                "the gradient penalty needs one interpolation coefficient for each sample",
                got="a batch without coefficient",
                remedy="let the data set give a coefficient in [0, 1], as mdcsrn.data.patches.PatchDataset does",
            )
        return gradient_penalty(critic, real, fake, coefficient, condition)


class CrossEntropyAdversary:
    """Binary cross-entropy on logits, without a penalty: :mod:`mdcsrn.losses.cross_entropy`.

    Attributes:
        penalty_weight: 0.

    Examples:
        >>> import torch
        >>> round(CrossEntropyAdversary().generator_loss(torch.zeros(2)).item(), 3)
        0.693
    """

    def __init__(self) -> None:
        self.penalty_weight = 0.0

    def critic_loss(self, fake_scores: Tensor, real_scores: Tensor) -> Tensor:
        """See :func:`mdcsrn.losses.cross_entropy_critic_loss`."""
        return cross_entropy_critic_loss(fake_scores, real_scores)

    def generator_loss(self, fake_scores: Tensor) -> Tensor:
        """See :func:`mdcsrn.losses.cross_entropy_generator_loss`."""
        return cross_entropy_generator_loss(fake_scores)

    def penalty(
        self,
        critic: Callable[[Tensor], Tensor],
        real: Tensor,
        fake: Tensor,
        coefficient: Tensor | None,
        condition: Tensor | None,
    ) -> None:
        """Return None: there is no penalty."""
        return
