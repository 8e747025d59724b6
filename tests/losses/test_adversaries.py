"""Cross-entropy losses against NumPy, and the adversaries that wrap the losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.losses import (
    CrossEntropyAdversary,
    WassersteinAdversary,
    critic_loss,
    cross_entropy_critic_loss,
    cross_entropy_generator_loss,
    generator_loss,
    gradient_penalty,
)


def scores(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _reference_minus_log_sigmoid(x: Tensor) -> np.ndarray:
    return np.log1p(np.exp(-x.double().numpy()))


@pytest.mark.parametrize("shape", [(5,), (2, 1, 4, 4)])  # a score a patch, or one a region
def test_cross_entropy_is_that_of_numpy(shape: tuple[int, ...]) -> None:
    fake, real = scores(*shape, seed=1), scores(*shape, seed=2)
    expected = _reference_minus_log_sigmoid(real).mean() + _reference_minus_log_sigmoid(-fake).mean()
    assert float(cross_entropy_critic_loss(fake, real)) == pytest.approx(expected, rel=1e-5)
    assert float(cross_entropy_generator_loss(fake)) == pytest.approx(
        _reference_minus_log_sigmoid(fake).mean(), rel=1e-5
    )


def test_large_logits_stay_finite() -> None:
    large = torch.tensor([1e4, -1e4])
    assert torch.isfinite(cross_entropy_critic_loss(large, large))
    assert torch.isfinite(cross_entropy_generator_loss(large))


def test_each_side_lowers_its_own_loss() -> None:
    fake, real = scores(4, seed=1), scores(4, seed=2)
    for adversary in (WassersteinAdversary(), CrossEntropyAdversary()):
        base = adversary.critic_loss(fake, real)
        assert adversary.critic_loss(fake, real + 1) < base < adversary.critic_loss(fake + 1, real)
        assert adversary.generator_loss(fake + 1) < adversary.generator_loss(fake)


def test_wasserstein_is_its_functions() -> None:
    adversary, fake, real = WassersteinAdversary(3.0), scores(4, seed=1), scores(4, seed=2)
    assert adversary.penalty_weight == 3.0
    assert torch.equal(adversary.critic_loss(fake, real), critic_loss(fake, real))
    assert torch.equal(adversary.generator_loss(fake), generator_loss(fake))

    def critic(x: Tensor) -> Tensor:
        return x.square().flatten(1).sum(1)

    patches = [scores(2, 1, 3, 3, 3, seed=n) for n in (3, 4)]
    found = adversary.penalty(critic, *patches, torch.tensor([0.2, 0.7]), None)
    assert torch.equal(found, gradient_penalty(critic, *patches, torch.tensor([0.2, 0.7])))


def test_cross_entropy_has_no_penalty() -> None:
    adversary, patch = CrossEntropyAdversary(), scores(1, 1, 2, 2, 2)
    assert adversary.penalty_weight == 0
    assert adversary.penalty(lambda x: x, patch, patch, None, None) is None


def test_a_negative_weight() -> None:
    with pytest.raises(ConfigError, match="penalty_weight"):
        WassersteinAdversary(-1.0)
