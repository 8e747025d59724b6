"""SRGAN's recipe in the adversarial trainer: content + 1e-3 cross-entropy on two grids; no collapse on real slices."""

from __future__ import annotations

import copy
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from mdcsrn.engines import AdversarialTrainer, Part, Schedule, Step
from mdcsrn.errors import GeometryError
from mdcsrn.losses import ContentLoss, CrossEntropyAdversary, TotalVariationLoss
from mdcsrn.networks import PlaneWise

FACTOR, EDGE = 3, 48
EPOCHS, BATCH, RATE = 50, 4, 1e-2


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*half, *copy.deepcopy(half))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def generator(width: int = 16, blocks: int = 3) -> nn.Sequential:
    """Residual blocks and one PixelShuffle(3), 2D."""
    first = [nn.Conv2d(1, width, 3, padding=1), nn.LeakyReLU(0.2), *(Block(width) for _ in range(blocks))]
    shuffle = [nn.Conv2d(width, width * FACTOR**2, 3, padding=1), nn.PixelShuffle(FACTOR), nn.LeakyReLU(0.2)]
    return nn.Sequential(*first, *shuffle, nn.Conv2d(width, 1, 3, padding=1))


def discriminator(dropout: float, width: int = 16) -> nn.Sequential:
    """A logit for each slice of 48 x 48, 2D."""
    layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.Dropout(dropout), nn.LeakyReLU(0.2)]
    for before, after in ((width, width), (width, 2 * width), (2 * width, 2 * width)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.Dropout(dropout), nn.LeakyReLU(0.2)]
    hidden = nn.Linear(2 * width * (EDGE // 8) ** 2, 128)
    return nn.Sequential(*layers, nn.Flatten(), hidden, nn.LeakyReLU(0.2), nn.Linear(128, 1))


class PatchCritic(nn.Module):
    """Logits of regions of 4 x 4: (N, 1, D, H, W) -> (N, 1, D, H // 4, W // 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.planes = PlaneWise(nn.Sequential(nn.Conv2d(1, 4, 4, 4), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.planes(x)


def adversarial(up: nn.Module, critic: nn.Module, loader: Any, steps: int, **options: Any) -> AdversarialTrainer:
    parts = [Part(network, torch.optim.Adam(network.parameters(), lr=RATE)) for network in (up, critic)]
    options = {"epoch_length": 1} | options
    schedule = Schedule(0, 0, steps, critic_per_generator=1, extra_critic_steps=0)
    return AdversarialTrainer("cpu", loader, *parts, schedule, adversary=CrossEntropyAdversary(), **options)


def test_two_grids_and_patch_logits() -> None:
    """Every loss by hand, for logits of 20 x 20 regions; the critic's statistics are left alone by the generator."""
    torch.manual_seed(0)
    trainer = adversarial(
        PlaneWise(generator(4, 1)),
        PatchCritic(),
        [],
        1,
        voxel_loss=ContentLoss(nn.MSELoss(), TotalVariationLoss(), 0.1),
    )
    low, high = torch.rand(2, 1, 1, 27, 27), torch.rand(2, 1, 1, 81, 81)
    batch = {"image": low, "label": high}
    up, critic = copy.deepcopy(trainer.generator), copy.deepcopy(trainer.critic)
    found = trainer.train_step(Step.ADVERSARIAL, batch)
    with torch.no_grad():
        output = up.train()(low)
        scores = critic.eval()(output).double().numpy()
    assert scores.shape == (2, 1, 1, 20, 20)
    one, two = output.double().numpy(), high.double().numpy()
    gradients = sum(np.abs(np.diff(one, axis=a) - np.diff(two, axis=a)).mean() for a in (-2, -1))
    content, against = np.square(one - two).mean() + 0.1 * gradients, np.log1p(np.exp(-scores)).mean()
    assert found["voxel_loss"] == pytest.approx(content, rel=1e-4)
    assert found["adversarial_loss"] == pytest.approx(against, rel=1e-4)
    assert found["generator_loss"] == pytest.approx(content + 1e-3 * against, rel=1e-4)
    assert all(torch.equal(value, critic.state_dict()[key]) for key, value in trainer.critic.state_dict().items())
    assert "penalty" not in trainer.train_step(Step.CRITIC, batch)


def test_a_condition_on_another_grid_is_named() -> None:
    trainer = adversarial(PlaneWise(generator(4, 1)), PatchCritic(), [], 1, conditional=True)
    with pytest.raises(GeometryError, match=r"\(1, 8, 8\) and \(1, 24, 24\).*conditional to false"):
        trainer.train_step(Step.CRITIC, {"image": torch.rand(1, 1, 1, 8, 8), "label": torch.rand(1, 1, 1, 24, 24)})


class Slices(NamedTuple):
    """Training and unseen slices, (N, 1, H, W), in units of the 99.9th percentile of their volumes."""

    low: Tensor
    high: Tensor
    unseen_low: Tensor
    unseen_high: Tensor


def resized(plane: np.ndarray, edge: int) -> np.ndarray:
    """The centre of a plane's k-space, mean kept."""
    spectrum = np.fft.fftshift(np.fft.fft2(plane))
    kept = tuple(slice(n // 2 - edge // 2, n // 2 - edge // 2 + edge) for n in plane.shape)
    return np.fft.ifft2(np.fft.ifftshift(spectrum[kept])).real * (edge**2 / plane.size)


def axial(path: Path, count: int = 8) -> list[np.ndarray]:
    volume = np.asarray(nib.load(path).dataobj, dtype=np.float32)
    edge = max(volume.shape[:2])
    volume = np.pad(volume, [(0, edge - n) for n in volume.shape[:2]] + [(0, 0)]) / np.percentile(volume, 99.9)
    places = np.linspace(0.25, 0.75, count) * volume.shape[2]
    return [resized(volume[..., int(place)], EDGE) for place in places]


@pytest.fixture(scope="module")
def slices(shared_data: Path) -> Slices:
    def stack(split: str, people: int) -> tuple[Tensor, Tensor]:
        with open(shared_data / "INDEX.tsv", newline="") as stream:
            names = [row["file"] for row in csv.DictReader(stream, delimiter="\t")]
        names = [name for name in names if name.startswith(f"t1w/{split}/")][:people]
        planes = [plane for name in names for plane in axial(shared_data / name)]
        low = [resized(plane, EDGE // FACTOR) for plane in planes]
        return tuple(torch.from_numpy(np.stack(found)[:, None]).float() for found in (low, planes))  # type: ignore[return-value]

    return Slices(*stack("train", 4), *stack("test", 2))


class Seen(NamedTuple):
    """Mean and deviation of a generator's output on unseen slices against the reference's, in its deviations."""

    level: float
    contrast: float


def watch(network: nn.Module, low: Tensor, high: Tensor) -> Seen:
    was = network.training
    with torch.no_grad():
        output = network.eval()(low)
    network.train(was)
    return Seen(float((output.mean() - high.mean()) / high.std()), float(output.std() / high.std()))


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def old_recipe(data: Slices, seed: int) -> list[Seen]:
    """Images in [-1, 1], tanh, a sigmoid with dropout before it, MSE + BCE of equal weight, all in training mode."""
    torch.manual_seed(seed)
    low, high, unseen_low, unseen_high = (2 * part - 1 for part in data)
    up, critic = nn.Sequential(generator(), nn.Tanh()), nn.Sequential(discriminator(0.5), nn.Sigmoid())
    painter, judge = (torch.optim.Adam(network.parameters(), lr=RATE) for network in (up, critic))
    cross_entropy, square, found = nn.BCELoss(), nn.MSELoss(), []
    for _ in range(EPOCHS):
        for index in torch.randperm(len(high)).split(BATCH):
            fake, real = up(low[index]), high[index]
            yes, no = torch.ones(len(index), 1), torch.zeros(len(index), 1)
            update(judge, cross_entropy(critic(real), yes) + cross_entropy(critic(fake.detach()), no))
            update(painter, square(fake, real) + cross_entropy(critic(fake), yes))
        found.append(watch(up, unseen_low, unseen_high))
    return found


def our_recipe(data: Slices, seed: int) -> list[Seen]:
    """Intensities as they are, a linear output, logits, L1 + 1e-3 BCE; the moving average is what is watched."""
    torch.manual_seed(seed)

    def batches() -> Iterator[dict[str, Tensor]]:
        while True:
            for index in torch.randperm(len(data.high)).split(BATCH):
                yield {"image": data.low[index, :, None], "label": data.high[index, :, None]}

    steps, found = len(data.high) // BATCH, []
    critic = nn.Sequential(PlanesOnly(), discriminator(0.0))
    length = 2 * steps  # a batch for the critic, one for the generator
    trainer = adversarial(PlaneWise(generator()), critic, batches(), EPOCHS * steps, epoch_length=length)
    low, high = data.unseen_low[:, :, None], data.unseen_high[:, :, None]

    def look(engine: AdversarialTrainer) -> None:
        found.append(watch(engine.average.module, low, high))

    trainer.add_event_handler(Events.EPOCH_COMPLETED, look)
    trainer.run()
    return found


class PlanesOnly(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(0, 1)


@pytest.mark.long
def test_no_collapse_where_the_old_recipe_collapses(slices: Slices) -> None:
    """Equal generators, data and rate (1e-2, ten times the usual one) for 50 epochs, three starts each.

    The old recipe ended in black (contrast 0, level -0.86) in three of three starts on one machine and in two of four
    with other draws; at a rate of 1e-3 it did not collapse within 50 epochs of these small slices. Ours ended with a
    contrast of 0.97 and a level of 0.001 in each.
    """
    assert len(slices.high) == 32
    ours = [our_recipe(slices, seed) for seed in range(3)]
    old = [old_recipe(slices, seed) for seed in range(3)]
    black = float(-slices.unseen_high.mean() / slices.unseen_high.std())
    for run in ours:
        assert len(run) == EPOCHS
        assert all(abs(seen.level) < 0.25 and 0.75 < seen.contrast < 1.25 for seen in run[15:]), run
        assert abs(run[-1].level) < 0.1
        assert 0.9 < run[-1].contrast < 1.1
    collapsed = [run for run in old if all(seen.contrast < 0.1 for seen in run[-5:])]
    assert collapsed, [run[-1] for run in old]
    assert all(run[-1].level == pytest.approx(black, abs=0.1) for run in collapsed)
