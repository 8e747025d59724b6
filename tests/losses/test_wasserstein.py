"""Wasserstein losses and the gradient penalty against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mdcsrn.errors import ConfigError
from mdcsrn.losses import critic_loss, generator_loss, gradient_penalty
from mdcsrn.networks import Critic

SHAPE = (3, 1, 4, 5, 6)


def random(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Linear(nn.Module):
    """D(x) = <w, x>: the gradient is w everywhere."""

    def __init__(self, scale):
        super().__init__()
        self.weight = nn.Parameter(random(SHAPE[1:], 9) * scale)

    def forward(self, x):
        return (x * self.weight).flatten(1).sum(1)


class Quadratic(nn.Module):
    """D(x) = a / 2 ||x||^2: the gradient at x is a x, so the penalty knows where it was taken."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, x):
        return self.a / 2 * x.flatten(1).square().sum(1)


def test_signs_and_values():
    fake, real = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([4.0, 8.0])
    assert float(critic_loss(fake, real)) == 3 - 6
    assert float(generator_loss(fake)) == -3
    # A critic that scores real patches higher has a smaller loss; a generator that scores higher too.
    assert critic_loss(fake, real + 1) < critic_loss(fake, real) < critic_loss(fake + 1, real)
    assert generator_loss(fake + 1) < generator_loss(fake)


@pytest.mark.parametrize("scale", [0.01, 0.09, 1.0])
def test_linear_critic_has_the_closed_form(scale):
    critic = Linear(scale)
    w = critic.weight.detach()
    penalty = gradient_penalty(critic, random(SHAPE, 1), random(SHAPE, 2), torch.rand(3))
    assert penalty.item() == pytest.approx(float((w.norm() - 1) ** 2), rel=1e-5)
    penalty.backward()
    expected = 2 * (w.norm() - 1) * w / w.norm()  # d/dw (||w|| - 1)^2
    torch.testing.assert_close(critic.weight.grad, expected, rtol=1e-4, atol=1e-6)


def test_one_coefficient_for_each_sample():
    real, fake, c = random(SHAPE, 1), random(SHAPE, 2), torch.tensor([0.0, 0.3, 1.0])
    critic = Quadratic(0.7)
    points = [fake[0], 0.3 * real[1] + 0.7 * fake[1], real[2]]
    norms = torch.stack([p.norm() for p in points])
    penalty = gradient_penalty(critic, real, fake, c)
    assert penalty.item() == pytest.approx(float(((0.7 * norms - 1) ** 2).mean()), rel=1e-5)
    penalty.backward()
    assert float(critic.a.grad) == pytest.approx(float((2 * (0.7 * norms - 1) * norms).mean()), rel=1e-5)


@pytest.mark.parametrize("shape", [(), (1,), (3, 1), SHAPE])
def test_other_coefficients_are_refused(shape):
    with pytest.raises(ConfigError, match="one interpolation coefficient"):
        gradient_penalty(Linear(1.0), random(SHAPE, 1), random(SHAPE, 2), torch.rand(shape))


def test_the_graph_of_the_generator_is_not_reached():
    source = random(SHAPE, 2).requires_grad_(True)
    gradient_penalty(Quadratic(0.5), random(SHAPE, 1).requires_grad_(True), source * 2, torch.rand(3)).backward()
    assert source.grad is None


def test_float32_under_autocast():
    torch.manual_seed(0)
    critic = Critic(base_channels=4)
    real, fake, c = random((2, 1, 16, 16, 16), 1), random((2, 1, 16, 16, 16), 2), torch.tensor([0.2, 0.6])
    point = (c.view(2, 1, 1, 1, 1) * real + (1 - c.view(2, 1, 1, 1, 1)) * fake).requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
    expected = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
    plain = torch.autograd.grad(expected, list(critic.parameters()), allow_unused=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert critic(real).dtype == torch.bfloat16  # the critic itself would run short here
        exact = gradient_penalty(critic, real, fake, c)
        under = torch.autograd.grad(exact, list(critic.parameters()), allow_unused=True)
    assert exact.dtype == torch.float32
    assert torch.equal(exact, expected)
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(plain, under, strict=True))


def test_short_patches_are_brought_to_float32():
    real, fake = random(SHAPE, 1).to(torch.bfloat16), random(SHAPE, 2).to(torch.bfloat16)
    c = torch.tensor([0.5, 0.25, 1.0], dtype=torch.float64)
    penalty = gradient_penalty(Quadratic(0.3), real, fake, c)
    assert penalty.dtype == torch.float32
    torch.testing.assert_close(penalty, gradient_penalty(Quadratic(0.3), real.float(), fake.float(), c.float()))


def test_critic_gradients_against_finite_differences():
    class Smooth(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(random((2, 1, 3, 3, 3), 5) * 0.3)

        def forward(self, x):
            return nn.functional.conv3d(x, self.weight.to(x), padding=1).tanh().flatten(1).sum(1)

    critic, real, fake, c = Smooth(), random((2, 1, 4, 4, 4), 1), random((2, 1, 4, 4, 4), 2), torch.tensor([0.3, 0.8])
    gradient_penalty(critic, real, fake, c).backward()
    direction = random(critic.weight.shape, 6)
    values = []
    for step in (-1e-2, 1e-2):
        moved = Smooth()
        with torch.no_grad():
            moved.weight.copy_(critic.weight + step * direction)
        values.append(gradient_penalty(moved, real, fake, c).item())
    slope = float((critic.weight.grad * direction).sum())
    assert (values[1] - values[0]) / 2e-2 == pytest.approx(slope, rel=2e-2)


def test_condition_is_seen_but_not_differentiated():
    class Conditional(nn.Module):
        def forward(self, x):
            return (x[:, 0] * x[:, 1]).flatten(1).sum(1)  # the gradient with respect to the patch is the condition

    condition = random(SHAPE, 4)
    penalty = gradient_penalty(Conditional(), random(SHAPE, 1), random(SHAPE, 2), torch.rand(3), condition)
    assert penalty.item() == pytest.approx(float(((condition.flatten(1).norm(dim=1) - 1) ** 2).mean()), rel=1e-5)
