"""The cycle trainer with small 2D networks: its five losses by hand, what a step changes, counts, resume, logs."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from mdcsrn.data.patches import SampleStream
from mdcsrn.engines import (
    CycleSchedule,
    CycleTrainer,
    HalvingRate,
    Part,
    TrainingBoard,
    TrainingCheckpoints,
    WeightsSaver,
    load_weights,
    moving_average,
)
from mdcsrn.engines.checkpoint import latest_training
from mdcsrn.errors import CheckpointError, ConfigError, GeometryError, TrainingError
from mdcsrn.losses import FeatureLoss, WassersteinAdversary
from mdcsrn.losses.vgg19 import LAYERS
from mdcsrn.networks import PlaneWise
from mdcsrn.networks.catalog import NETWORKS

Make = Callable[..., CycleTrainer]
GENERATORS, CRITICS = ("generator_hr", "generator_lr"), ("critic_hr", "critic_lr")
PARTS = (*GENERATORS, *CRITICS)
LOSSES = ("perceptual", "adversarial", "total_variation", "voxel", "cycle")


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


@pytest.fixture(scope="module")
def vgg19(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg19") / "vgg19.pt"
    _, before, after = LAYERS["conv1_1"]
    random = torch.Generator().manual_seed(4)
    weight = torch.randn(after, before, 3, 3, generator=random)
    torch.save({"features.0.weight": weight, "features.0.bias": torch.zeros(after)}, path)
    return path


@pytest.fixture
def make(vgg19: Path) -> Make:
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


def _reference_losses(trainer: CycleTrainer, low: Tensor, high: Tensor, paired: bool) -> dict[str, float]:
    """The five losses in NumPy, from copies of the networks."""
    up, down, judge_high, judge_low = (copy.deepcopy(trainer.parts[name].network) for name in PARTS)
    with torch.no_grad():
        sharp = up.train()(low)
        back = down.train()(sharp)
        blurred = back if paired else down(high)
        restored = sharp if paired else up(blurred)
        scores = [
            judge(fake).double().numpy() for judge, fake in ((judge_high.eval(), sharp), (judge_low.eval(), blurred))
        ]
        weight = trainer.perceptual_loss.features[0].weight
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        planes = [(patch.transpose(1, 2).flatten(0, 1).repeat(1, 3, 1, 1) - mean) / std for patch in (restored, high)]
        features = [nn.functional.conv2d(plane, weight, padding=1).numpy() for plane in planes]
    one, two = restored.double().numpy(), high.double().numpy()
    return {
        "perceptual": float(np.square(features[0] - features[1]).mean()),
        "adversarial": float(sum(np.log1p(np.exp(-score)).mean() for score in scores)),
        "total_variation": float(sum(np.abs(np.diff(one, axis=a) - np.diff(two, axis=a)).mean() for a in (-2, -1))),
        "voxel": float(np.abs(one - two).mean()),
        "cycle": float(np.abs((back - low).double().numpy()).mean()),
    }


@pytest.mark.parametrize("paired", [True, False])
def test_five_losses_by_hand(make: Make, paired: bool) -> None:
    trainer, given = make(), batch(3, paired)
    expected = _reference_losses(trainer, given["image"], given["label"], paired)
    before = copy.deepcopy({name: part.network for name, part in trainer.parts.items()})
    found = trainer.train_step(trainer.schedule.step(0), given)
    for name in LOSSES:
        assert found[f"{name}_loss"] == pytest.approx(expected[name], rel=1e-4), name
    weights = {"perceptual": 1, "adversarial": 1, "total_variation": 1, "voxel": 5, "cycle": 10}
    total = sum(weights[name] * expected[name] for name in LOSSES)
    assert found["generator_loss"] == found["loss"] == pytest.approx(total, rel=1e-4)
    parts = found["adversarial_hr_loss"] + found["adversarial_lr_loss"]
    assert found["adversarial_loss"] == pytest.approx(parts, rel=1e-6)
    # The critics judge what the generators made before their update.
    with torch.no_grad():
        sharp = before["generator_hr"].train()(given["image"])
        blurred = before["generator_lr"].train()(sharp if paired else given["label"])
        for name, fake, real in (("critic_hr", sharp, given["label"]), ("critic_lr", blurred, given["image"])):
            critic = before[name].train()
            fake_scores, real_scores = critic(fake).double().numpy(), critic(real).double().numpy()
            loss = np.log1p(np.exp(-real_scores)).mean() + np.log1p(np.exp(fake_scores)).mean()
            assert found[f"{name}_loss"] == pytest.approx(loss, rel=1e-4), name
            assert found[f"{name}_distance"] == pytest.approx(real_scores.mean() - fake_scores.mean(), abs=1e-5)


def test_weights_scale_their_losses(make: Make) -> None:
    given = batch(1)
    for name in LOSSES:
        base, more = (
            make(**{f"{name}_weight": weight}).train_step(CycleSchedule().step(0), given) for weight in (1.0, 3.0)
        )
        difference = more["generator_loss"] - base["generator_loss"]
        assert difference == pytest.approx(2 * base[f"{name}_loss"], rel=1e-3), name


@pytest.mark.parametrize("left_out", LOSSES)
def test_a_weight_of_zero_leaves_its_loss_out(make: Make, left_out: str) -> None:
    options = {"perceptual_loss": None} if left_out == "perceptual" else {}
    trainer = make(**{f"{left_out}_weight": 0.0}, **options)
    found = trainer.train_step(trainer.schedule.step(0), batch(1))
    logged = {key.removesuffix("_loss") for key in found if key.endswith("_loss")}
    kept = {name for name in LOSSES if name != left_out}
    assert logged & set(LOSSES) == kept
    assert found["generator_loss"] > 0


def test_the_generators_step_leaves_the_critics_as_they_are(make: Make) -> None:
    trainer, given = make(), batch(0)
    trainer.train_step(trainer.schedule.step(0), batch(9))
    for name in CRITICS:
        trainer.parts[name].optimizer.zero_grad(set_to_none=True)
    before = states(trainer)
    trainer.generator_step(trainer.generate(given["image"], given["label"]))
    assert any("running_mean" in key for key in before["critic_hr"])  # there are statistics that could have drifted
    assert changed(before, trainer) == set(GENERATORS)
    assert all(p.grad is None for name in CRITICS for p in trainer.parts[name].network.parameters())


def test_the_critics_step_leaves_the_generators_as_they_are(make: Make) -> None:
    trainer, given = make(), batch(0)
    patches = trainer.generate(given["image"], given["label"])
    for name in GENERATORS:
        trainer.parts[name].optimizer.zero_grad(set_to_none=True)
    before, average = states(trainer), copy.deepcopy(trainer.average.state_dict())
    trainer.critic_step(patches)
    assert changed(before, trainer) == set(CRITICS)
    assert all(p.grad is None for name in GENERATORS for p in trainer.parts[name].network.parameters())
    assert all(torch.equal(value, average[key]) for key, value in trainer.average.state_dict().items())


@pytest.mark.parametrize("paired", [True, False])
def test_update_counts_of_all_four(make: Make, paired: bool) -> None:
    """Counted at the optimisers, and at the weights: three voxel steps, then four with critics."""
    trainer = make(CycleSchedule(cycle_steps=4, voxel_steps=3), Loader(paired=paired), epoch_length=7)
    steps: Counter[str] = Counter()
    for name, part in trainer.parts.items():
        part.optimizer.register_step_post_hook(lambda *_, name=name: steps.update([name]))
    moved: Counter[str] = Counter()
    before = states(trainer)

    def compare(engine: CycleTrainer) -> None:
        nonlocal before
        moved.update(changed(before, engine))
        before = states(engine)

    trainer.add_event_handler(Events.ITERATION_COMPLETED, compare)
    trainer.run()
    assert steps == {"generator_hr": 7, "generator_lr": 7, "critic_hr": 4, "critic_lr": 4}
    assert moved == steps
    assert trainer.state.iteration == 7


def test_the_voxel_phase_needs_no_critic_and_no_perceptual_loss(make: Make) -> None:
    trainer = make(CycleSchedule(cycle_steps=0, voxel_steps=2), without=CRITICS, perceptual_loss=None)
    trainer.run()
    assert set(trainer.parts) == set(GENERATORS)
    logged = {key for key in trainer.state.output if key.endswith("_loss")}
    assert logged == {"generator_loss", "voxel_loss", "cycle_loss"}


def stopping(number: int) -> Callable[[int, dict[str, Any]], None]:
    def change(now: int, _: dict[str, Any]) -> None:
        if now == number:
            raise KeyboardInterrupt

    return change


@pytest.mark.parametrize("paired", [True, False])
def test_it_resumes_bitwise(make: Make, same: Callable, tmp_path: Path, paired: bool) -> None:
    schedule = CycleSchedule(cycle_steps=4, voxel_steps=2)

    def start(folder: str, change: Any = None) -> CycleTrainer:
        sampler = SampleStream(2)
        checkpoints = TrainingCheckpoints(tmp_path / folder, sampler, every=1)
        return make(schedule, Loader(sampler, paired, change), checkpoints=checkpoints)

    whole = start("whole")
    initial = states(whole)
    whole.run()
    assert changed(initial, whole) == set(PARTS)
    for stop in range(1, 6):
        with pytest.raises(KeyboardInterrupt):
            start(f"stop{stop}", stopping(stop)).run()
        rest = start(f"stop{stop}")
        rest.run()
        assert rest.state.iteration == 6
        assert same(whole.training_state(), rest.training_state()), stop
    assert same(whole.state.output, rest.state.output)


def test_critics_may_join_where_the_voxel_phase_ended(make: Make, tmp_path: Path) -> None:
    def start(schedule: CycleSchedule, **options: Any) -> CycleTrainer:
        sampler = SampleStream(2)
        return make(schedule, Loader(sampler), checkpoints=TrainingCheckpoints(tmp_path, sampler), **options)

    start(CycleSchedule(cycle_steps=0, voxel_steps=2), without=CRITICS).run()
    trainer = start(CycleSchedule(cycle_steps=2, voxel_steps=2))
    trainer.run()
    assert trainer.state.iteration == 4
    state = trainer.training_state()
    del state["parts"]["critic_lr"]
    with pytest.raises(CheckpointError, match="critic_lr"):
        trainer.load_training_state({**state, "iteration": 4}, "x.pt")


def test_the_average_of_the_first_generator_is_saved_as_model(make: Make, tmp_path: Path) -> None:
    evaluator = Engine(lambda *_: None)
    evaluator.state.metrics = {"psnr": 30.0}
    saver = WeightsSaver(tmp_path, evaluator, "psnr")
    trainer = make(CycleSchedule(cycle_steps=2, voxel_steps=2), train_handlers=[saver])
    trainer.run()
    stems = ("model", "model_best", "model_l1")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{stem}{form}" for stem in stems for form in (".pt", ".safetensors")
    }
    stored = load_weights(tmp_path / "model.pt").state_dict()
    assert all(torch.equal(stored[key], value) for key, value in trainer.average.module.state_dict().items())
    live = trainer.generator.state_dict()
    assert trainer.generator is trainer.parts["generator_hr"].network
    assert any(not torch.equal(stored[key], value) for key, value in live.items())
    parent = load_weights(tmp_path / "model_l1.pt").state_dict()  # of the end of the voxel phase
    assert any(not torch.equal(stored[key], value) for key, value in parent.items())


def test_each_loss_is_a_curve(make: Make, tmp_path: Path) -> None:
    evaluator = Engine(lambda *_: None)
    evaluator.state.metrics = {"psnr": 30.0}
    trainer = make(train_handlers=[TrainingBoard(tmp_path, evaluator, every=1)])
    trainer.run()
    log = EventAccumulator(str(tmp_path))
    log.Reload()
    tags = set(log.Tags()["scalars"])
    assert {
        f"train/{name}_loss" for name in (*LOSSES, *CRITICS, "generator", "adversarial_hr", "adversarial_lr")
    } <= tags
    assert {f"train/{name}_distance" for name in CRITICS} <= tags
    for name in PARTS:
        assert {f"learning_rate/{name}", f"train/{name}_gradient_norm"} <= tags
        rates = [entry.value for entry in log.Scalars(f"learning_rate/{name}")]
        assert rates == pytest.approx([1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4, 1.25e-4])  # of the next step
    last = log.Scalars("train/cycle_loss")[-1]
    assert (last.step, last.value) == (6, pytest.approx(trainer.state.output["cycle_loss"]))


@pytest.mark.parametrize("key", ["image", "label"])
def test_a_value_that_is_not_finite_stops_the_run(make: Make, tmp_path: Path, key: str) -> None:
    def poison(number: int, given: dict[str, Any]) -> None:
        if number == 3:
            given[key][0, 0, 0, 0, 0] = torch.nan

    sampler = SampleStream(2)
    checkpoints = TrainingCheckpoints(tmp_path, sampler, every=1)
    trainer = make(CycleSchedule(6), Loader(sampler, change=poison), checkpoints=checkpoints)
    with pytest.raises(TrainingError, match="step 4: the loss of the generator_hr and generator_lr is not finite"):
        trainer.run()
    _, state = latest_training(tmp_path) or pytest.fail("no checkpoint")
    assert state["iteration"] == 3
    for part in state["parts"].values():
        assert all(torch.isfinite(value).all() for value in part["network"]["state"].values())


def test_it_learns(make: Make) -> None:
    trainer, given = make(rate=3e-3, every=1000), batch(0)
    found = [trainer.train_step(trainer.schedule.step(0), given) for _ in range(40)]
    for name in ("voxel", "cycle", "total_variation"):
        assert found[-1][f"{name}_loss"] < 0.7 * found[0][f"{name}_loss"], name


@pytest.mark.parametrize(
    ("options", "words"),
    [({"without": ("critic_lr",)}, r"no critic_lr.*cycle_steps to 0"),
     ({"without": CRITICS}, "no critic_hr and no critic_lr"),
     ({"perceptual_loss": None}, "perceptual_weight 1.*set perceptual_weight to 0"),
     ({"adversary": WassersteinAdversary()}, "WassersteinAdversary, penalty_weight 10"),
     ({"cycle_weight": -1.0}, "cycle_weight"), ({"voxel_weight": float("nan")}, "voxel_weight"),
     ({"voxel_weight": 0.0, "cycle_weight": 0.0}, "both 0")],
)  # fmt: skip
def test_bad_settings(make: Make, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(**options)


def test_batches_that_do_not_fit(make: Make) -> None:
    trainer, given = make(), batch(0)
    with pytest.raises(ConfigError, match="paired or unpaired as a whole"):
        trainer.train_step(trainer.schedule.step(0), {**given, "paired": torch.tensor([True, False])})
    with pytest.raises(GeometryError, match=r"generator_hr does not lead.*\(2, 1, 2, 32, 32\)"):
        trainer.train_step(trainer.schedule.step(0), {"image": given["label"], "label": given["label"]})
