"""Weights files and training checkpoints: whole or not there, safe to read, refused where they do not belong."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mdcsrn.data.patches import SampleStream
from mdcsrn.engines import Schedule, TrainingCheckpoints, WGANGPTrainer, load_weights, save_weights
from mdcsrn.engines.checkpoint import latest_training, save_training, training_checkpoints
from mdcsrn.errors import CheckpointError, ConfigError, OutputError
from mdcsrn.networks import MDCSRN, Critic
from mdcsrn.networks.weights import read

SCHEDULE = Schedule(3, 1, 2, 1, 0, 1)


def small(**changes: Any) -> MDCSRN:
    return MDCSRN(**{"blocks": 1, "units": 2, "growth": 4, **changes})


def same(one: Any, other: Any) -> bool:
    """Bitwise equality of nested states."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


class Bomb:
    """Unpickled, it makes a file: a stand-in for whatever a hostile checkpoint would run."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.trace),))


class Unwritable:
    """Pickling it fails half-way through a save."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise OSError(28, "No space left on device")


@pytest.fixture
def run(make_trainer: Callable[..., WGANGPTrainer], make_loader: type, tmp_path: Path) -> Callable[..., WGANGPTrainer]:
    """Train with checkpoints in ``tmp_path / 'run'``, going on where the last one stands."""

    def start(steps: int | None = None, every: int = 1, keep: int = 3, **options: Any) -> WGANGPTrainer:
        sampler = SampleStream(2)
        schedule = SCHEDULE if steps is None else Schedule(steps, 0, 0)
        checkpoints = TrainingCheckpoints(tmp_path / "run", sampler, every, keep)
        trainer = make_trainer(schedule, make_loader(sampler), checkpoints=checkpoints, epoch_length=4, **options)
        trainer.run()
        return trainer

    return start


def test_weights_round_trip(tmp_path: Path) -> None:
    network = small(residual=False)
    network(torch.rand(1, 1, 8, 8, 8))  # in training mode: statistics move too
    save_weights(tmp_path / "a.pt", network, {"psnr": 33.5, "reduction": [1, 2, 2]})
    for target in (None, small(residual=False)):
        loaded = load_weights(tmp_path / "a.pt", target)
        assert isinstance(loaded, MDCSRN)
        assert same(dict(loaded.state_dict()), dict(network.state_dict()))
        assert not loaded.training
        if target is not None:
            assert loaded is target
    assert read(tmp_path / "a.pt")["facts"] == {"psnr": 33.5, "reduction": [1, 2, 2]}


@pytest.mark.parametrize(
    "network", [small(growth=6, space_to_depth=(1, 2, 2)), Critic("pointwise", 2, 2, 1.0, 16)], ids=["mdcsrn", "critic"]
)
def test_a_network_is_rebuilt_from_its_stored_arguments(tmp_path: Path, network: nn.Module) -> None:
    save_weights(tmp_path / "a.pt", network)
    loaded = load_weights(tmp_path / "a.pt")
    assert type(loaded) is type(network)
    x = torch.rand(1, 2 if isinstance(network, Critic) else 1, 16, 16, 16)
    assert torch.equal(loaded(x), network.eval()(x))


@pytest.mark.parametrize(
    "other",
    [small(units=3), small(growth=8), small(residual=False), small(space_to_depth=(1, 2, 2)), Critic(patch_size=16)],
    ids=["units", "growth", "residual", "space_to_depth", "critic"],
)
def test_another_network_is_refused(tmp_path: Path, other: nn.Module) -> None:
    save_weights(tmp_path / "a.pt", small())
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"a\.pt belongs to another network"):
        load_weights(tmp_path / "a.pt", other)
    assert same(before, dict(other.state_dict()))


def test_weights_that_do_not_fit_their_arguments(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pt", small())
    content = read(tmp_path / "a.pt")
    del content["model"]["conv0.weight"]
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        load_weights(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"model": {}, "network": {"name": "Other", "arguments": {}}},
        {"model": {}, "network": {"name": "MDCSRN", "arguments": {"depth": 3}}},
        {"model": {}, "network": {"name": "MDCSRN"}},
        {"model": {}, "network": 5},
        {"model": 5, "network": {"name": "MDCSRN", "arguments": {"blocks": 1, "units": 2, "growth": 4}}},
        {"model": {"a": 5}, "network": {"name": "MDCSRN", "arguments": {"blocks": 1, "units": 2, "growth": 4}}},
        {"model": {}, "network": {"name": ["MDCSRN"], "arguments": {}}},
        {"model": {}, "network": {"name": "MDCSRN", "arguments": {"blocks": "many"}}},
        [1, 2],
        torch.zeros(3),
    ],
)
@pytest.mark.parametrize("given", [False, True])
def test_files_that_hold_something_else(tmp_path: Path, content: Any, given: bool) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises((CheckpointError, ConfigError)):
        load_weights(tmp_path / "a.pt", small() if given else None)


def test_a_hostile_file_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "was-run"
    torch.save({"model": {}, "network": Bomb(trace)}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb(trace)))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(CheckpointError, match=name):
            load_weights(tmp_path / name)
    assert not trace.exists()
    torch.load(tmp_path / "zip.pt", weights_only=False)  # the same file does harm to those who trust it
    assert trace.exists()


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*a\.pt"):
        load_weights(tmp_path / "a.pt")
    save_weights(tmp_path / "a.pt", small())
    whole = (tmp_path / "a.pt").read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.pt").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"a\.pt"):
            load_weights(tmp_path / "a.pt")


def test_a_failing_save_leaves_the_old_file(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.pt", small(), {"step": 1})
    before = (tmp_path / "a.pt").read_bytes()
    with pytest.raises(OutputError, match=r"a\.pt"):
        save_weights(tmp_path / "a.pt", small(), {"step": Unwritable()})
    assert (tmp_path / "a.pt").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken"):
        save_training(tmp_path / "taken" / "run", 1, {})


def test_the_last_three_are_kept(tmp_path: Path) -> None:
    for number in (1, 5, 10, 100, 2_000_000_000):
        save_training(tmp_path, number, {"value": number})
    assert [p.name for p in training_checkpoints(tmp_path)] == [
        "checkpoint_000000010.pt", "checkpoint_000000100.pt", "checkpoint_2000000000.pt",
    ]  # fmt: skip
    found = latest_training(tmp_path)
    assert found is not None
    assert found[1]["value"] == 2_000_000_000


def test_damaged_ones_never_push_out_good_ones(tmp_path: Path) -> None:
    """Killed between a save and the removal of the oldest, there are four; two newest damaged, a rerun saves anew."""
    for number in (800, 900, 1000):
        save_training(tmp_path, number, {}, keep=3)
    for number in (900, 1000):
        (tmp_path / f"checkpoint_{number:09d}.pt").write_bytes(b"damaged")
    save_training(tmp_path, 850, {}, keep=2)
    found = latest_training(tmp_path)
    assert found is not None
    assert found[1]["iteration"] == 850


def test_a_run_keeps_three_and_resumes_from_the_newest(run: Callable, tmp_path: Path) -> None:
    trainer = run()
    assert trainer.state.iteration == 8
    names = [p.name for p in training_checkpoints(tmp_path / "run")]
    assert names == [f"checkpoint_{n:09d}.pt" for n in (6, 7, 8)]
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == names


def test_a_checkpoint_holds_the_whole_state(run: Callable, tmp_path: Path) -> None:
    """Save, load into a fresh trainer, save: bitwise the same."""
    trainer = run(critic_scheduler=None)
    stored = read(training_checkpoints(tmp_path / "run")[-1])
    again = run()
    assert same(again.training_state(), {k: v for k, v in stored.items() if k in again.training_state()})
    assert same(trainer.training_state(), again.training_state())
    assert {"seed", "generator", "critic", "average", "generator_optimizer", "critic_optimizer", "iteration"} <= set(
        stored
    )
    assert stored["generator"]["network"]["arguments"]["growth"] == 4
    assert stored["generator_optimizer"]["state"]
    assert stored["critic_optimizer"]["state"]


@pytest.mark.parametrize("stop", range(1, 8))
def test_a_stopped_run_ends_bitwise_equal(make_trainer: Callable, make_loader: type, tmp_path: Path, stop: int) -> None:
    """Stop after each step of a schedule with all kinds of steps, go on in a new trainer."""

    def make(folder: str, fail_at: int | None) -> WGANGPTrainer:
        def change(number: int, batch: dict) -> None:
            if number == fail_at:
                raise KeyboardInterrupt

        sampler = SampleStream(2)
        checkpoints = TrainingCheckpoints(tmp_path / folder, sampler, every=2)
        return make_trainer(SCHEDULE, make_loader(sampler, change), checkpoints=checkpoints, epoch_length=3)

    whole = make("whole", None)
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        make("stopped", stop).run()
    rest = make("stopped", None)
    rest.run()
    assert same(whole.training_state(), rest.training_state())
    assert whole.state.epoch == rest.state.epoch


def test_a_damaged_newest_one_gives_way_to_the_one_before(
    run: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = run().training_state()
    newest = training_checkpoints(tmp_path / "run")[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING, logger="mdcsrn"):
        again = run()
    assert same(expected, again.training_state())
    assert newest.name in caplog.text  # said, not swallowed
    assert read(newest)["iteration"] == 8  # and written anew


def test_when_all_are_damaged_the_run_does_not_start_anew(run: Callable, tmp_path: Path) -> None:
    run()
    for path in training_checkpoints(tmp_path / "run"):
        path.write_bytes(b"\x80garbage")
    with pytest.raises(CheckpointError, match=r"checkpoint_00000000\d\.pt"):
        run()


@pytest.mark.parametrize(
    "options",
    [{"generator": small(units=3)}, {"generator": small(residual=False)},
     {"critic": Critic(base_channels=3, patch_size=16)}, {"conditional": True}],
    ids=["units", "residual", "critic", "conditional"],
)  # fmt: skip
def test_a_run_with_another_network_is_refused(run: Callable, tmp_path: Path, options: dict[str, Any]) -> None:
    run()
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    with pytest.raises(CheckpointError, match=r"checkpoint_000000008\.pt belongs to another network"):
        run(**options)
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}


def test_a_run_with_another_seed_is_refused(run: Callable) -> None:
    run(seed=1)
    with pytest.raises(CheckpointError, match="another seed") as caught:
        run(seed=2)
    assert (caught.value.got, caught.value.allowed) == (1, 2)


@pytest.mark.parametrize("part", ["average", "critic_optimizer", "iteration", "seed", "generator"])
def test_a_checkpoint_with_a_part_missing_or_wrong(run: Callable, tmp_path: Path, part: str) -> None:
    run()
    newest = training_checkpoints(tmp_path / "run")[-1]
    content = read(newest)
    for wrong in ("missing", 5 if part not in ("seed", "iteration") else "word"):
        changed = {k: v for k, v in content.items() if k != part}
        if wrong != "missing":
            changed[part] = wrong
        torch.save(changed, newest)
        with pytest.raises(CheckpointError, match=newest.name):
            run()


def test_leftovers_of_a_killed_save_are_removed(run: Callable, tmp_path: Path) -> None:
    run(steps=2)
    leftover = tmp_path / "run" / ".checkpoint_000000003-abc123.pt"
    leftover.write_bytes(b"half")
    run(steps=4)
    assert not leftover.exists()
    assert len(training_checkpoints(tmp_path / "run")) == 3


@pytest.mark.parametrize("values", [(0, 3), (1, 0)])
def test_bad_settings(tmp_path: Path, values: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="every and keep"):
        TrainingCheckpoints(tmp_path, SampleStream(2), *values)
