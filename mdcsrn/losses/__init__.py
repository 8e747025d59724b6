"""Losses: Wasserstein with gradient penalty, binary cross-entropy, and both as adversaries of a trainer."""

from mdcsrn.losses.adversarial import Adversary, CrossEntropyAdversary, WassersteinAdversary
from mdcsrn.losses.cross_entropy import cross_entropy_critic_loss, cross_entropy_generator_loss
from mdcsrn.losses.wasserstein import critic_loss, generator_loss, gradient_penalty

__all__ = [
    "Adversary",
    "CrossEntropyAdversary",
    "WassersteinAdversary",
    "critic_loss",
    "cross_entropy_critic_loss",
    "cross_entropy_generator_loss",
    "generator_loss",
    "gradient_penalty",
]
