"""Training checkpoints: the whole state, the newest that is sound, refused where they do not belong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mdcsrn.data.patches import SampleStream
from mdcsrn.engines import AdversarialTrainer, Schedule, TrainingCheckpoints
from mdcsrn.engines.checkpoint import latest_training, save_training, training_checkpoints
from mdcsrn.errors import CheckpointError, ConfigError, OutputError
from mdcsrn.networks import MDCSRN, Critic
from mdcsrn.networks.tensor_files import read

SCHEDULE = Schedule(3, 1, 2, 1, 0, 1)


def small(**changes: Any) -> MDCSRN:
    return MDCSRN(**{"blocks": 1, "units": 2, "growth": 4, **changes})


@pytest.fixture
def run(
    make_trainer: Callable[..., AdversarialTrainer], make_loader: type, tmp_path: Path
) -> Callable[..., AdversarialTrainer]:
    """Train with checkpoints in ``tmp_path / 'run'``, going on where the last one stands."""

    def start(steps: int | None = None, every: int = 1, keep: int = 3, **options: Any) -> AdversarialTrainer:
        sampler = SampleStream(2)
        schedule = SCHEDULE if steps is None else Schedule(steps, 0, 0)
        checkpoints = TrainingCheckpoints(tmp_path / "run", sampler, every, keep)
        trainer = make_trainer(schedule, make_loader(sampler), checkpoints=checkpoints, epoch_length=4, **options)
        trainer.run()
        return trainer

    return start


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


def test_a_checkpoint_holds_the_whole_state(run: Callable, tmp_path: Path, same: Callable[..., bool]) -> None:
    """Save, load into a fresh trainer, save: bitwise the same."""
    trainer = run()
    stored = read(training_checkpoints(tmp_path / "run")[-1])
    again = run()
    assert same(again.training_state(), {k: v for k, v in stored.items() if k in again.training_state()})
    assert same(trainer.training_state(), again.training_state())
    assert {"seed", "parts", "averages", "stateful", "iteration"} <= set(stored)
    assert stored["parts"]["generator"]["network"]["network"]["arguments"]["growth"] == 4
    assert all(stored["parts"][name]["optimizer"]["state"] for name in ("generator", "critic"))


@pytest.mark.parametrize("stop", range(1, 8))
def test_a_stopped_run_ends_bitwise_equal(
    make_trainer: Callable, make_loader: type, tmp_path: Path, stop: int, same: Callable[..., bool]
) -> None:
    """Stop after each step of a schedule with all kinds of steps, go on in a new trainer."""

    def make(folder: str, fail_at: int | None) -> AdversarialTrainer:
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
    run: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture, same: Callable[..., bool]
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


@pytest.mark.parametrize("part", ["averages", "parts", "iteration", "seed", "format"])
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
    leftover = tmp_path / "run" / ".mdcsrn-abc123"
    leftover.mkdir()
    (leftover / ".mdcsrn.lock").touch()
    (leftover / "checkpoint_000000003.pt").write_bytes(b"half")
    run(steps=4)
    assert not leftover.exists()
    assert len(training_checkpoints(tmp_path / "run")) == 3


@pytest.mark.parametrize("values", [(0, 3), (1, 0)])
def test_bad_settings(tmp_path: Path, values: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="every and keep"):
        TrainingCheckpoints(tmp_path, SampleStream(2), *values)


def test_a_critic_begins_after_a_voxel_phase_without_one(
    make_trainer: Callable, make_loader: type, tmp_path: Path, same: Callable[..., bool]
) -> None:
    """An L1 run that is continued with adversarial steps is the run that had both phases from the start."""

    def make(folder: str, schedule: Schedule, **options: Any) -> AdversarialTrainer:
        sampler = SampleStream(2)
        checkpoints = TrainingCheckpoints(tmp_path / folder, sampler)
        return make_trainer(schedule, make_loader(sampler), checkpoints=checkpoints, epoch_length=3, **options)

    whole = make("whole", SCHEDULE)
    whole.run()
    make("two", Schedule(3, adversarial_steps=0), without_critic=True).run()
    rest = make("two", SCHEDULE)
    rest.run()
    assert same(whole.training_state(), rest.training_state())


def test_a_critic_that_is_missing_later_is_refused(run: Callable, tmp_path: Path) -> None:
    run()
    newest = training_checkpoints(tmp_path / "run")[-1]
    content = read(newest)
    del content["parts"]["critic"]
    torch.save(content, newest)
    with pytest.raises(CheckpointError, match="does not fit this run.*critic"):
        run()
