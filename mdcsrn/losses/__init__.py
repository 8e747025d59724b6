"""Losses: Wasserstein with gradient penalty and binary cross-entropy, both as adversaries of a trainer; total variation
and VGG19 features between an output and its reference.
"""

from mdcsrn.losses.adversarial import Adversary, CrossEntropyAdversary, WassersteinAdversary
from mdcsrn.losses.cross_entropy import cross_entropy_critic_loss, cross_entropy_generator_loss
from mdcsrn.losses.feature import ContentLoss, FeatureLoss, feature_loss
from mdcsrn.losses.total_variation import TotalVariationLoss, total_variation
from mdcsrn.losses.wasserstein import critic_loss, generator_loss, gradient_penalty

__all__ = [
    "Adversary",
    "ContentLoss",
    "CrossEntropyAdversary",
    "FeatureLoss",
    "TotalVariationLoss",
    "WassersteinAdversary",
    "critic_loss",
    "cross_entropy_critic_loss",
    "cross_entropy_generator_loss",
    "feature_loss",
    "generator_loss",
    "gradient_penalty",
    "total_variation",
]
