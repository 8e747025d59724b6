"""The trainer core by itself: any number of named networks, as a cycle GAN has four; and the supervised trainer."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from mdcsrn.data.patches import SampleStream
from mdcsrn.engines import (
    ResumableTrainer,
    Schedule,
    SupervisedTrainer,
    TrainingBoard,
    TrainingCheckpoints,
    TrainingOptions,
    WeightsSaver,
    load_weights,
    moving_average,
)
from mdcsrn.errors import CheckpointError, ConfigError
from mdcsrn.losses import CrossEntropyAdversary
from mdcsrn.networks import MDCSRN, Critic


class Turn(enum.Enum):
    CRITICS = "critics"
    GENERATORS = "generators"


class Alternating:
    """Critics, generators, critics, ...; six steps."""

    def step(self, number: int) -> Turn:
        return Turn.GENERATORS if number % 2 else Turn.CRITICS

    def count(self, first: int, end: int) -> Mapping[Turn, int]:
        kinds = [self.step(number) for number in range(first, end)]
        return {kind: kinds.count(kind) for kind in Turn}

    def epochs(self, epoch_length: int) -> int:
        return math.ceil(6 / epoch_length)


class ToyCycleGAN(ResumableTrainer):
    """Two generators with one loss, two critics with one loss each: nothing of the core is overridden."""

    adversary = CrossEntropyAdversary()

    def network(self, name: str, training: bool = True) -> nn.Module:
        return self.parts[name].network.requires_grad_(training).train(training)

    def train_step(self, kind: enum.Enum, batch: Mapping[str, Any]) -> dict[str, Any]:
        low, high = (self.to_device(batch[key]) for key in ("image", "label"))
        return self.critics(low, high) if kind is Turn.CRITICS else self.generators(low, high)

    def critics(self, low: Tensor, high: Tensor) -> dict[str, Any]:
        figures = {}
        for up, name, given, real in (("sharpen", "judge_high", low, high), ("blur", "judge_low", high, low)):
            self.network(up, training=False)
            with torch.no_grad():
                fake = self.forward(up, given).float()
            critic = self.network(name)
            loss = self.adversary.critic_loss(critic(fake), critic(real))
            figures |= {f"{name}_loss": loss.item(), **self.update(loss, name)}
        return {"loss": figures["judge_high_loss"], **figures}

    def generators(self, low: Tensor, high: Tensor) -> dict[str, Any]:
        for name in ("sharpen", "blur"):
            self.network(name)
        sharp, blurred = self.forward("sharpen", low).float(), self.forward("blur", high).float()
        cycle = (self.forward("blur", sharp).float() - low).abs().mean()
        cycle = cycle + (self.forward("sharpen", blurred).float() - high).abs().mean()
        against = sum(
            self.adversary.generator_loss(self.network(name, training=False)(fake))
            for name, fake in (("judge_high", sharp), ("judge_low", blurred))
        )
        loss = 10 * cycle + against
        return {"loss": loss.item(), "cycle_loss": cycle.item(), **self.update(loss, "sharpen", "blur")}


@pytest.fixture
def cycle_gan(make_part: Callable, make_loader: type, tmp_path: Path) -> Callable[..., ToyCycleGAN]:
    def make(folder: str, fail_at: int | None = None, **options: Any) -> ToyCycleGAN:
        def change(number: int, batch: dict[str, Any]) -> None:
            if number == fail_at:
                raise KeyboardInterrupt

        torch.manual_seed(0)

        def rate(optimizer: Any) -> Any:
            return torch.optim.lr_scheduler.StepLR(optimizer, 2)

        parts = {name: make_part(MDCSRN(blocks=1, units=1, growth=2), 1e-3, rate, 1.0) for name in ("sharpen", "blur")}
        parts |= {name: make_part(Critic(base_channels=1), 1e-3) for name in ("judge_high", "judge_low")}
        averages = {name: moving_average(parts[name].network, 0.9) for name in ("sharpen", "blur")}
        sampler = SampleStream(2)
        checkpoints = TrainingCheckpoints(tmp_path / folder, sampler, every=1)
        loader = make_loader(sampler, change)
        return ToyCycleGAN(
            parts, averages, TrainingOptions("cpu", loader, Alternating(), 3, checkpoints=checkpoints, **options)
        )

    return make


def test_four_networks_resume_bitwise(cycle_gan: Callable, same: Callable, tmp_path: Path) -> None:
    whole = cycle_gan("whole")
    before = {name: part.network.state_dict() for name, part in whole.parts.items()}
    before = {name: {key: value.clone() for key, value in state.items()} for name, state in before.items()}
    whole.run()
    assert whole.state.iteration == 6
    for name, part in whole.parts.items():
        assert not same(before[name], dict(part.network.state_dict())), f"{name} was trained"
    for stop in range(1, 6):
        with pytest.raises(KeyboardInterrupt):
            cycle_gan(f"stopped{stop}", stop).run()
        rest = cycle_gan(f"stopped{stop}")
        rest.run()
        assert same(whole.training_state(), rest.training_state()), stop
    assert whole.training_state()["parts"].keys() == {"sharpen", "blur", "judge_high", "judge_low"}


def test_a_step_updates_the_parts_that_it_names_alone(
    cycle_gan: Callable, make_batch: Callable, same: Callable
) -> None:
    trainer, touched = cycle_gan("run"), {}
    for kind in Turn:
        before = {name: {k: v.clone() for k, v in p.network.state_dict().items()} for name, p in trainer.parts.items()}
        output = trainer.train_step(kind, make_batch(0))
        changed = {name for name in before if not same(before[name], dict(trainer.parts[name].network.state_dict()))}
        touched[kind] = changed
        assert {key.removesuffix("_gradient_norm") for key in output if key.endswith("norm")} == changed
    assert touched == {Turn.CRITICS: {"judge_high", "judge_low"}, Turn.GENERATORS: {"sharpen", "blur"}}


def test_handlers_follow_the_parts(cycle_gan: Callable, tmp_path: Path) -> None:
    """TensorBoard has a rate for each part, and each average has its files."""
    evaluator = Engine(lambda *_: None)
    evaluator.state.metrics = {"psnr": 30.0}
    handlers = [
        WeightsSaver(tmp_path / "out", evaluator, "psnr"),
        TrainingBoard(tmp_path / "board", evaluator, every=1),
    ]
    trainer = cycle_gan("run", train_handlers=handlers)
    trainer.run()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    stems = ("model", "model_best", "model_blur", "model_blur_best")
    assert names == {f"{stem}{form}" for stem in stems for form in (".pt", ".safetensors")}
    for stem, name in (("model", "sharpen"), ("model_blur", "blur")):
        stored, expected = load_weights(tmp_path / "out" / f"{stem}.pt").state_dict(), trainer.averages[name].module
        assert all(torch.equal(stored[key], value) for key, value in expected.state_dict().items())
    log = EventAccumulator(str(tmp_path / "board"))
    log.Reload()
    tags = set(log.Tags()["scalars"])
    assert {f"learning_rate/{name}" for name in trainer.parts} <= tags
    assert {"train/cycle_loss", "train/blur_gradient_norm", "train/judge_low_loss", "validation/psnr"} <= tags
    assert log.Scalars("learning_rate/blur")[-1].value == pytest.approx(1e-6)


def test_a_part_that_a_checkpoint_lacks_is_refused(cycle_gan: Callable) -> None:
    trainer = cycle_gan("run")
    state = trainer.training_state()
    del state["parts"]["blur"]
    with pytest.raises(CheckpointError, match=r"x\.pt does not fit this run.*blur"):
        trainer.load_training_state({**state, "iteration": 1}, "x.pt")


def test_an_average_of_no_part(make_part: Callable) -> None:
    network = MDCSRN(blocks=1, units=1, growth=2)
    options = TrainingOptions("cpu", [], Schedule(1, 0, 0), 1)
    with pytest.raises(ConfigError, match="moving averages"):
        ResumableTrainer({"one": make_part(network, 1e-3)}, {"other": moving_average(network)}, options)


def supervised(make_part: Callable, loader: Any, **options: Any) -> SupervisedTrainer:
    torch.manual_seed(0)
    network = MDCSRN(blocks=1, units=2, growth=4)
    options = {"schedule": Schedule(4, adversarial_steps=0), "epoch_length": 2} | options
    average = moving_average(network, 0.9)
    return SupervisedTrainer("cpu", loader, make_part(network, 1e-2, None, 1.0), average=average, **options)


def test_supervised_training_is_the_voxel_phase_of_adversarial_training(
    make_part: Callable, make_loader: type, make_trainer: Callable, same: Callable
) -> None:
    one = supervised(make_part, make_loader())
    one.run()
    other = make_trainer(Schedule(4, adversarial_steps=0), make_loader(), epoch_length=2)
    other.run()
    states = [trainer.training_state() for trainer in (one, other)]
    assert states[0]["parts"].keys() == {"generator"}
    assert same(states[0]["parts"]["generator"], states[1]["parts"]["generator"])
    assert same(states[0]["averages"], states[1]["averages"])


def test_any_voxel_loss(make_part: Callable, make_batch: Callable) -> None:
    trainer, batch = supervised(make_part, [], voxel_loss=nn.MSELoss()), make_batch(0)
    output = trainer.generator.train()(batch["image"]).detach()
    found = trainer.train_step(trainer.schedule.step(0), batch)
    expected = float((output - batch["label"]).square().mean())
    assert found["voxel_loss"] == found["generator_loss"] == found["loss"] == pytest.approx(expected, rel=1e-5)


def test_supervised_training_has_no_adversarial_step(make_part: Callable) -> None:
    with pytest.raises(ConfigError, match="adversarial_steps 2"):
        supervised(make_part, [], schedule=Schedule(3, 0, 2))
