"""Training checkpoints of earlier formats load, and unknown ones are refused.

``data/format1_000000006.pt.xz`` is a checkpoint that version 0.1.0 wrote after the sixth of eight steps (three voxel
steps, two critic steps, one adversarial step); most of its critic is rounded away, so that it packs small.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mdcsrn.data.patches import SampleStream
from mdcsrn.engines import GeneratorRate, Schedule, SupervisedTrainer, TrainingCheckpoints
from mdcsrn.engines.checkpoint import latest_training, save_training, training_checkpoints
from mdcsrn.engines.formats import TRAINING_FORMAT, upgraded
from mdcsrn.errors import CheckpointError
from mdcsrn.networks import MDCSRN, Critic
from mdcsrn.networks.tensor_files import read

STORED = Path(__file__).parent / "data" / "format1_000000006.pt.xz"
SCHEDULE = Schedule(3, 1, 2, 1, 0, 1)


class Best:
    best: float | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state["best"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "checkpoint_000000006.pt"
    path.parent.mkdir()
    path.write_bytes(lzma.decompress(STORED.read_bytes()))
    return path


def small() -> MDCSRN:
    return MDCSRN(blocks=1, units=1, growth=2)


def test_a_run_of_format_1_resumes(old: Path, make_trainer: Callable, make_loader: type, same: Callable) -> None:
    stored, sampler, best = read(old), SampleStream(2), Best()
    assert stored["format"] == 1
    trainer = make_trainer(
        SCHEDULE,
        make_loader(sampler),
        generator=small(),
        critic=Critic(base_channels=1, patch_size=16),
        epoch_length=4,
        checkpoints=TrainingCheckpoints(old.parent, sampler, every=1, stateful={"weights": best}),
        generator_scheduler=lambda it: torch.optim.lr_scheduler.LambdaLR(it, GeneratorRate(SCHEDULE, 1e-2, 1e-3)),
    )
    trainer.checkpoints.resume(trainer)
    assert (trainer.state.iteration, trainer.state.epoch, best.best) == (6, 1, 30.25)
    for name in ("generator", "critic"):
        part = trainer.parts[name]
        assert same(dict(part.network.state_dict()), dict(stored[name]["state"]))
        assert same(part.optimizer.state_dict(), stored[f"{name}_optimizer"])
    assert same(dict(trainer.average.state_dict()), dict(stored["average"]))
    assert trainer.parts["generator"].scheduler.state_dict() == stored["generator_scheduler"]
    trainer.run()
    assert trainer.state.iteration == 8
    newest = training_checkpoints(old.parent)[-1]
    assert (newest.name, read(newest)["format"]) == ("checkpoint_000000008.pt", TRAINING_FORMAT)
    assert old.is_file()  # still one of the last three


def test_a_supervised_run_takes_the_generator_of_format_1(
    old: Path, make_part: Callable, make_loader: type, same: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    """The critic was always stored, used or not; a run without one resumes all the same."""
    sampler, stored = SampleStream(2), read(old)
    trainer = SupervisedTrainer(
        "cpu",
        make_loader(sampler),
        make_part(small(), 1e-2),
        Schedule(8, adversarial_steps=0),
        epoch_length=4,
        checkpoints=TrainingCheckpoints(old.parent, sampler),
    )
    with caplog.at_level("INFO"):
        trainer.checkpoints.resume(trainer)
    assert same(dict(trainer.generator.state_dict()), dict(stored["generator"]["state"]))
    assert "holds a critic, which this run does not train" in caplog.text
    trainer.run()
    assert trainer.state.iteration == 8


@pytest.mark.parametrize("key", ["generator", "critic_optimizer", "average", "parts"])
def test_format_1_with_a_key_missing(old: Path, key: str) -> None:
    content = {name: value for name, value in read(old).items() if name != key}
    with pytest.raises(CheckpointError, match=rf"{old.name} is no whole training checkpoint.*no {key}"):
        upgraded(content, old)


@pytest.mark.parametrize("number", [None, 0, TRAINING_FORMAT + 1, "2"])
def test_an_unknown_format_is_refused_and_never_passed_over(tmp_path: Path, number: object) -> None:
    save_training(tmp_path, 3, {})
    save_training(tmp_path, 4, {"format": number})
    with pytest.raises(CheckpointError, match=r"checkpoint_000000004\.pt .* unknown format") as caught:
        latest_training(tmp_path)
    assert caught.value.got == number


def test_the_present_format_is_left_as_it_is() -> None:
    content = {"format": TRAINING_FORMAT, "parts": {}}
    assert upgraded(content, "x.pt") == content
