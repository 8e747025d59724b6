"""A small trainer with real networks and made-up batches, for the tests of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mdcsrn.data.patches import SampleStream
from mdcsrn.engines import AdversarialTrainer, Part, Schedule, moving_average
from mdcsrn.losses import Adversary, WassersteinAdversary
from mdcsrn.networks import MDCSRN, Critic

PATCH = 16


def pair(number: int, batch: int = 2) -> dict[str, Any]:
    """Batch `number`: a smooth reference and its blurred copy."""
    random = torch.Generator().manual_seed(1_000 + number)
    label = torch.rand(batch, 1, PATCH, PATCH, PATCH, generator=random)
    image = nn.functional.avg_pool3d(label, 3, stride=1, padding=1)
    return {"image": image, "label": label, "coefficient": torch.rand(batch, generator=random)}


class Loader:
    """Endless batches by number, from a sampler's start on, as the real loader."""

    def __init__(self, sampler: SampleStream | None = None, change: Callable[[int, dict], None] | None = None) -> None:
        self.sampler, self.change = sampler, change

    def __iter__(self) -> Iterator[dict[str, Any]]:
        number = self.sampler.start if self.sampler is not None else 0
        while True:
            batch = pair(number)
            if self.change is not None:
                self.change(number, batch)
            yield batch
            number += 1


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Any]]:
    return pair


@pytest.fixture
def make_loader() -> type[Loader]:
    return Loader


def part(network: nn.Module, rate: float, scheduler: Any = None, max_gradient_norm: float | None = None) -> Part:
    """A network with Adam; ``scheduler(optimizer)`` makes its scheduler."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    return Part(network, optimizer, None if scheduler is None else scheduler(optimizer), max_gradient_norm)


@pytest.fixture
def make_part() -> Callable[..., Part]:
    return part


@pytest.fixture
def make_trainer() -> Callable[..., AdversarialTrainer]:
    """Build a trainer; equal arguments give equal trainers."""

    def make(
        schedule: Schedule | None = None,
        loader: Any = None,
        conditional: bool = False,
        critic: nn.Module | None = None,
        generator: nn.Module | None = None,
        decay: float = 0.9,
        rate: float = 1e-2,
        epoch_length: int = 5,
        penalty_weight: float = 10.0,
        adversary: Adversary | None = None,
        max_gradient_norm: float | None = 1.0,
        generator_scheduler: Any = None,
        without_critic: bool = False,
        **options: Any,
    ) -> AdversarialTrainer:
        torch.manual_seed(0)
        generator = generator or MDCSRN(blocks=1, units=2, growth=4)
        critic = critic or Critic(in_channels=1 + conditional, base_channels=2, patch_size=PATCH)
        return AdversarialTrainer(
            device="cpu",
            train_data_loader=loader if loader is not None else Loader(),
            generator=part(generator, rate, generator_scheduler, max_gradient_norm),
            critic=None if without_critic else part(critic, rate),
            adversary=adversary or WassersteinAdversary(penalty_weight),
            schedule=schedule or Schedule(3, 2, 2, 1, 0, 1),
            epoch_length=epoch_length,
            average=moving_average(generator, decay),
            conditional=conditional,
            **options,
        )

    return make


def equal_states(one: Any, other: Any) -> bool:
    """Bitwise equality of nested states."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return (
            isinstance(other, dict) and one.keys() == other.keys() and all(equal_states(one[k], other[k]) for k in one)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal_states(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


@pytest.fixture
def same() -> Callable[[Any, Any], bool]:
    return equal_states
