"""Binary cross-entropy losses of a critic and a generator, on logits (Goodfellow et al., Generative Adversarial Nets,
2014; the generator's is the non-saturating one).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy_critic_loss(fake_scores: Tensor, real_scores: Tensor) -> Tensor:
    """Return -mean log s(D(HR)) - mean log(1 - s(D(SR))), with the logistic function s.

    Args:
        fake_scores: logits of generated patches, any shape: one a patch, or one a region of it.
        real_scores: logits of real patches, likewise.

    Returns:
        Scalar, >= 0; 2 log 2 = 1.386 for a critic that always answers 0.

    Examples:
        >>> undecided = torch.zeros(4)
        >>> round(cross_entropy_critic_loss(undecided, undecided).item(), 3)
        1.386
        >>> cross_entropy_critic_loss(torch.tensor([-20.0]), torch.tensor([20.0])).item() < 1e-6
        True
    """
    real = functional.binary_cross_entropy_with_logits(real_scores, torch.ones_like(real_scores))
    fake = functional.binary_cross_entropy_with_logits(fake_scores, torch.zeros_like(fake_scores))
    return real + fake


def cross_entropy_generator_loss(fake_scores: Tensor) -> Tensor:
    """Return -mean log s(D(SR)): small where the critic takes generated patches for real ones.

    Args:
        fake_scores: logits of generated patches, any shape.

    Returns:
        Scalar, >= 0.

    Examples:
        >>> round(cross_entropy_generator_loss(torch.zeros(4)).item(), 3)
        0.693
        >>> cross_entropy_generator_loss(torch.tensor([20.0])).item() < 1e-6
        True
    """
    return functional.binary_cross_entropy_with_logits(fake_scores, torch.ones_like(fake_scores))
