"""Four small 2D networks, batches of two grids, and the cycle trainer on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mdcsrn.data.patches import SampleStream
from mdcsrn.engines import CycleSchedule, CycleTrainer, HalvingRate, Part, moving_average
from mdcsrn.losses import FeatureLoss
from mdcsrn.losses.vgg19 import LAYERS
from mdcsrn.networks import PlaneWise
from mdcsrn.networks.catalog import NETWORKS


class Toy(nn.Module):
    """A 2D network that is run plane by plane, with batch statistics so that there are buffers to be left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.planes = PlaneWise(nn.Sequential(*self.layers()))

    architecture: dict[str, object] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self.planes(x)

    def layers(self) -> list[nn.Module]:
        raise NotImplementedError


class ToyUp(Toy):
    def layers(self) -> list[nn.Module]:
        return [nn.ConvTranspose2d(1, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3, padding=1)]


class ToyDown(Toy):
    def layers(self) -> list[nn.Module]:
        return [nn.Conv2d(1, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3, padding=1)]


class ToyCritic(Toy):
    """Logits of regions, (N, 1, D, H / 4, W / 4)."""

    def layers(self) -> list[nn.Module]:
        return [nn.Conv2d(1, 4, 4, 4), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 1)]


@pytest.fixture(autouse=True)
def _catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (ToyUp, ToyDown, ToyCritic):
        monkeypatch.setitem(NETWORKS, kind.__name__, kind)


def batch(number: int, paired: bool = True) -> dict[str, Any]:
    random = torch.Generator().manual_seed(number)
    high = torch.rand(2, 1, 2, 16, 16, generator=random)
    low = nn.functional.avg_pool3d(high, (1, 2, 2))
    if paired:
        return {"image": low, "label": high}
    return {"image": low, "label": torch.rand(high.shape, generator=random), "paired": torch.tensor([False, False])}


@pytest.fixture
def two_grids() -> Callable[..., dict[str, Any]]:
    """``two_grids(number, paired)``: a batch by number."""
    return batch


class Loader:
    """Endless batches by number, from a sampler's start on, as the real loader."""

    def __init__(
        self,
        sampler: SampleStream | None = None,
        paired: bool = True,
        change: Callable[[int, dict[str, Any]], None] | None = None,
    ) -> None:
        self.sampler, self.paired, self.change = sampler, paired, change

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in count(self.sampler.start if self.sampler else 0):
            found = batch(number, self.paired)
            if self.change is not None:
                self.change(number, found)
            yield found


@pytest.fixture
def two_grid_loader() -> type[Loader]:
    return Loader


@pytest.fixture(scope="module")
def vgg19(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg19") / "vgg19.pt"
    _, before, after = LAYERS["conv1_1"]
    random = torch.Generator().manual_seed(4)
    weight = torch.randn(after, before, 3, 3, generator=random)
    torch.save({"features.0.weight": weight, "features.0.bias": torch.zeros(after)}, path)
    return path


@pytest.fixture
def make(vgg19: Path) -> Callable[..., CycleTrainer]:
    """Build a trainer; equal arguments give equal trainers."""

    def build(
        schedule: CycleSchedule | None = None,
        loader: Any = None,
        epoch_length: int = 2,
        rate: float = 1e-3,
        every: int = 2,
        without: tuple[str, ...] = (),
        **options: Any,
    ) -> CycleTrainer:
        torch.manual_seed(0)
        networks = {
            "generator_hr": ToyUp(),
            "generator_lr": ToyDown(),
            "critic_hr": ToyCritic(),
            "critic_lr": ToyCritic(),
        }
        parts = {}
        for name, network in networks.items():
            optimizer = torch.optim.Adam(network.parameters(), lr=rate)
            parts[name] = Part(network, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, HalvingRate(every)))
        options = {"perceptual_loss": FeatureLoss(vgg19, "conv1_1")} | options
        return CycleTrainer(
            device="cpu",
            train_data_loader=loader if loader is not None else Loader(),
            schedule=schedule or CycleSchedule(cycle_steps=6),
            epoch_length=epoch_length,
            average=moving_average(networks["generator_hr"], 0.9),
            **{name: None if name in without else part for name, part in parts.items()},
            **options,
        )

    return build


def states(trainer: CycleTrainer) -> dict[str, dict[str, Tensor]]:
    return {name: {k: v.clone() for k, v in p.network.state_dict().items()} for name, p in trainer.parts.items()}


def changed(before: dict[str, dict[str, Tensor]], trainer: CycleTrainer) -> set[str]:
    now = states(trainer)
    return {name for name in now if any(not torch.equal(before[name][key], now[name][key]) for key in now[name])}


@pytest.fixture
def states_of() -> Callable[[CycleTrainer], dict[str, dict[str, Tensor]]]:
    """Copies of weights and buffers, by part."""
    return states


@pytest.fixture
def changed_since() -> Callable[..., set[str]]:
    """``changed_since(states, trainer)``: the parts that are no longer as they were."""
    return changed
