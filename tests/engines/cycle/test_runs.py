"""Whole runs of the cycle trainer: update counts, bitwise resume, files, curves, a run from a configuration."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from mdcsrn.bundle.allowlist import CALLABLES
from mdcsrn.data.patches import SampleStream
from mdcsrn.engines import (
    CycleSchedule,
    CycleTrainer,
    TrainingBoard,
    TrainingCheckpoints,
    WeightsSaver,
    load_weights,
    training_loader,
    unpaired_loader,
)
from mdcsrn.engines.checkpoint import latest_training
from mdcsrn.errors import CheckpointError, TrainingError

Make = Callable[..., CycleTrainer]
GENERATORS, CRITICS = ("generator_hr", "generator_lr"), ("critic_hr", "critic_lr")
PARTS = (*GENERATORS, *CRITICS)
LOSSES = ("perceptual", "adversarial", "total_variation", "voxel", "cycle")


@pytest.mark.parametrize("paired", [True, False])
def test_update_counts_of_all_four(
    make: Make, paired: bool, two_grid_loader: type, states_of: Callable, changed_since: Callable
) -> None:
    """Counted at the optimisers, and at the weights: three voxel steps, then four with critics."""
    trainer = make(CycleSchedule(cycle_steps=4, voxel_steps=3), two_grid_loader(paired=paired), epoch_length=7)
    steps: Counter[str] = Counter()
    for name, part in trainer.parts.items():
        part.optimizer.register_step_post_hook(lambda *_, name=name: steps.update([name]))
    moved: Counter[str] = Counter()
    before = states_of(trainer)

    def compare(engine: CycleTrainer) -> None:
        nonlocal before
        moved.update(changed_since(before, engine))
        before = states_of(engine)

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
def test_it_resumes_bitwise(
    make: Make,
    same: Callable,
    tmp_path: Path,
    paired: bool,
    two_grid_loader: type,
    states_of: Callable,
    changed_since: Callable,
) -> None:
    schedule = CycleSchedule(cycle_steps=4, voxel_steps=2)

    def start(folder: str, change: Any = None) -> CycleTrainer:
        sampler = SampleStream(2)
        checkpoints = TrainingCheckpoints(tmp_path / folder, sampler, every=1)
        return make(schedule, two_grid_loader(sampler, paired, change), checkpoints=checkpoints)

    whole = start("whole")
    initial = states_of(whole)
    whole.run()
    assert changed_since(initial, whole) == set(PARTS)
    for stop in range(1, 6):
        with pytest.raises(KeyboardInterrupt):
            start(f"stop{stop}", stopping(stop)).run()
        rest = start(f"stop{stop}")
        rest.run()
        assert rest.state.iteration == 6
        assert same(whole.training_state(), rest.training_state()), stop
    assert same(whole.state.output, rest.state.output)


def test_unpaired_lists_resume_bitwise(make: Make, same: Callable, tmp_path: Path) -> None:
    """The real loader of two lists, stopped within an epoch."""

    def load(item: dict[str, Any]) -> dict[str, Any]:
        random = torch.Generator().manual_seed(item["image"])
        return {"image": torch.rand(1, 4, 24, 20, generator=random) + 0.1}

    def halve(pair: dict[str, Any]) -> dict[str, Any]:
        return {**pair, "image": nn.functional.avg_pool3d(torch.as_tensor(pair["label"]), (1, 2, 2))}

    def start(folder: str) -> CycleTrainer:
        box = {"patch_size": (2, 16, 16), "patches_per_volume": 3, "volumes_per_group": 2, "scale": (1, 2, 2)}
        lists = ([{"image": n} for n in numbers] for numbers in (range(3), range(5, 9)))
        high, low = (training_loader(items, load, halve, seed=seed, **box) for seed, items in enumerate(lists))
        loader = unpaired_loader(high, low)
        checkpoints = TrainingCheckpoints(tmp_path / folder, loader.batch_sampler, every=1)
        return make(CycleSchedule(6), loader, checkpoints=checkpoints, epoch_length=6)

    def stop(_: CycleTrainer) -> None:
        raise KeyboardInterrupt

    whole, stopped = start("whole"), start("stopped")
    whole.run()
    stopped.add_event_handler(Events.ITERATION_STARTED(once=4), stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    rest = start("stopped")
    rest.run()
    assert stopped.state.iteration == 4  # the fourth was begun, and not done
    assert same(whole.training_state(), rest.training_state())
    assert same(whole.state.output, rest.state.output)


CONFIG = """
perceptual_weight: 0
up: {_target_: mdcsrn.networks.MDCSRN, blocks: 1, units: 1, growth: 2}
down: {_target_: mdcsrn.networks.MDCSRN, blocks: 1, units: 1, growth: 2}
judges: [{_target_: mdcsrn.networks.Critic, base_channels: 1}, {_target_: mdcsrn.networks.Critic, base_channels: 1}]
perceptual: {_target_: mdcsrn.losses.feature_loss, weights: '', perceptual_weight: '@perceptual_weight'}
rate: {_target_: mdcsrn.engines.HalvingRate, every: 2}
trainer: {_target_: mdcsrn.engines.CycleTrainer, device: cpu, train_data_loader: '@loader', epoch_length: 1,
  generator_hr: {_target_: mdcsrn.engines.Part, network: '@up', optimizer: '@first', scheduler: '@scheduler'},
  generator_lr: {_target_: mdcsrn.engines.Part, network: '@down', optimizer: '@second'},
  critic_hr: {_target_: mdcsrn.engines.Part, network: '@judges#0', optimizer: '@third'},
  critic_lr: {_target_: mdcsrn.engines.Part, network: '@judges#1', optimizer: '@fourth'},
  schedule: {_target_: mdcsrn.engines.CycleSchedule, cycle_steps: 2},
  perceptual_loss: '@perceptual', perceptual_weight: '@perceptual_weight'}
scheduler: {_target_: torch.optim.lr_scheduler.LambdaLR, optimizer: '@first', lr_lambda: '@rate'}
first: {_target_: torch.optim.Adam, params: $@up.parameters(), lr: 1.0e-4}
second: {_target_: torch.optim.Adam, params: $@down.parameters(), lr: 1.0e-4}
third: {_target_: torch.optim.Adam, params: '$@judges#0.parameters()', lr: 1.0e-4}
fourth: {_target_: torch.optim.Adam, params: '$@judges#1.parameters()', lr: 1.0e-4}
"""


def test_it_is_built_by_a_configuration(make_batch: Callable) -> None:
    """As a bundle would: without VGG19, by a weight of 0; every name is on the allow-list."""
    content = yaml.safe_load(CONFIG)
    named = set(re.findall(r"_target_: ([\w.]+)", yaml.safe_dump(content).replace("'", "")))
    assert len(named) == 9
    assert named <= CALLABLES
    parser = ConfigParser({**content, "loader": [make_batch(0), make_batch(1)]})
    trainer = parser.get_parsed_content("trainer")
    assert trainer.perceptual_loss is None
    trainer.run()
    assert trainer.state.iteration == 2
    assert trainer.parts["generator_hr"].optimizer.param_groups[0]["lr"] == 5e-5
    assert "perceptual_loss" not in trainer.state.output


def test_critics_may_join_where_the_voxel_phase_ended(make: Make, tmp_path: Path, two_grid_loader: type) -> None:
    def start(schedule: CycleSchedule, **options: Any) -> CycleTrainer:
        sampler = SampleStream(2)
        return make(schedule, two_grid_loader(sampler), checkpoints=TrainingCheckpoints(tmp_path, sampler), **options)

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
def test_a_value_that_is_not_finite_stops_the_run(make: Make, tmp_path: Path, key: str, two_grid_loader: type) -> None:
    def poison(number: int, given: dict[str, Any]) -> None:
        if number == 3:
            given[key][0, 0, 0, 0, 0] = torch.nan

    sampler = SampleStream(2)
    checkpoints = TrainingCheckpoints(tmp_path, sampler, every=1)
    trainer = make(CycleSchedule(6), two_grid_loader(sampler, change=poison), checkpoints=checkpoints)
    with pytest.raises(TrainingError, match="step 4: the loss of the generator_hr and generator_lr is not finite"):
        trainer.run()
    _, state = latest_training(tmp_path) or pytest.fail("no checkpoint")
    assert state["iteration"] == 3
    for part in state["parts"].values():
        assert all(torch.isfinite(value).all() for value in part["network"]["state"].values())
