"""Wasserstein losses with gradient penalty (Gulrajani et al., Improved Training of Wasserstein GANs, 2017)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError


def critic_loss(fake_scores: Tensor, real_scores: Tensor) -> Tensor:
    """What the critic minimises, without the penalty: mean D(SR) - mean D(HR).

    Args:
        fake_scores: scores of generated patches, shape (N,).
        real_scores: scores of real patches, shape (N,).

    Returns:
        Scalar; minus the critic's estimate of the Wasserstein distance.

    Examples:
        >>> critic_loss(torch.tensor([1.0, 3.0]), torch.tensor([5.0])).item()
        -3.0
    """
    return fake_scores.mean() - real_scores.mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """Adversarial part of the generator's loss: -mean D(SR), to be weighted against the voxel loss.

    Args:
        fake_scores: scores of generated patches, shape (N,).

    Returns:
        Scalar.

    Examples:
        >>> generator_loss(torch.tensor([1.0, 3.0])).item()
        -2.0
    """
    return -fake_scores.mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, coefficient: Tensor, condition: Tensor | None = None
) -> Tensor:
    """Mean of (||grad D(x)||_2 - 1)^2 at x = c real + (1 - c) fake, one coefficient c for each sample.

    Runs in float32 with autocast off: the double backward is not to be trusted in a shorter type.

    Args:
        critic: scores a batch, (N, C, D, H, W) -> (N,), each from its own sample alone.
        real: real patches, shape (N, C, D, H, W).
        fake: generated patches, same shape; both are detached here.
        coefficient: interpolation coefficients in [0, 1], shape (N,).
        condition: patches that are concatenated to x as further channels and not differentiated, or None.

    Returns:
        Scalar, differentiable with respect to the critic's parameters; not yet weighted.

    Raises:
        ConfigError: another number of coefficients than samples.

    Examples:
        A critic that sums 2 x over eight voxels has a gradient of length 2 sqrt(8) everywhere.

        >>> patch = torch.zeros(1, 1, 2, 2, 2)
        >>> penalty = gradient_penalty(lambda x: 2 * x.flatten(1).sum(1), patch, patch, torch.ones(1))
        >>> round(penalty.item(), 3) == round((2 * 8**0.5 - 1) ** 2, 3)
        True
    """
    if coefficient.shape != real.shape[:1]:
        raise ConfigError(
            "one interpolation coefficient for each sample", got=tuple(coefficient.shape), allowed=(len(real),)
        )
    with torch.autocast(real.device.type, enabled=False):
        c = coefficient.to(real.device, torch.float32).view(-1, *[1] * (real.ndim - 1))
        point = (c * real.detach().float() + (1 - c) * fake.detach().float()).requires_grad_(True)
        scores = critic(point if condition is None else torch.cat((point, condition.detach().float()), dim=1))
        (gradient,) = torch.autograd.grad(scores.sum(), point, create_graph=True)
        return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
