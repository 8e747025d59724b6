"""Losses: the Wasserstein critic and generator losses and the gradient penalty."""

from mdcsrn.losses.wasserstein import critic_loss, generator_loss, gradient_penalty

__all__ = ["critic_loss", "generator_loss", "gradient_penalty"]
