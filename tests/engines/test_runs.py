"""Whole runs of the training engine: what stops them, with which words, and when there is nothing left to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mdcsrn.data.patches import SampleStream
from mdcsrn.engines import AdversarialTrainer, Schedule, TrainingCheckpoints
from mdcsrn.engines.checkpoint import latest_training, training_checkpoints
from mdcsrn.errors import ConfigError, DataError, TrainingError
from mdcsrn.networks import MDCSRN

Make = Callable[..., AdversarialTrainer]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", [2, 4, 6])  # a voxel, a critic and an adversarial step
def test_a_value_that_is_not_finite_stops_the_run_in_that_step(
    make_trainer: Make, make_loader: type, tmp_path: Path, value: float, where: int
) -> None:
    def poison(number: int, batch: dict[str, Any]) -> None:
        if number == where:
            batch["label"][0, 0, 0, 0, 0] = value

    sampler = SampleStream(2)
    schedule = Schedule(4, 1, 4, 1, 0, 1)
    checkpoints = TrainingCheckpoints(tmp_path, sampler, every=1)
    trainer = make_trainer(schedule, make_loader(sampler, poison), checkpoints=checkpoints)
    assert schedule.step(where).value == {2: "voxel", 4: "critic", 6: "adversarial"}[where]
    with pytest.raises(TrainingError, match=f"step {where + 1}: .*not finite"):
        trainer.run()
    path, state = latest_training(tmp_path) or pytest.fail("no checkpoint")
    assert state["iteration"] == where
    for name in ("generator", "critic"):
        network = getattr(trainer, name)
        weights = {key: p.detach() for key, p in network.named_parameters()}
        stored = state["parts"][name]["network"]["state"]
        assert all(torch.equal(stored[key], p) for key, p in weights.items()), "weights of before"
        assert all(torch.isfinite(v).all() for v in stored.values())
    again = make_trainer(schedule, make_loader(sampler), checkpoints=TrainingCheckpoints(tmp_path, sampler))
    again.run()  # clean data: the run goes on
    assert again.state.iteration == 15
    assert path.name in {p.name for p in training_checkpoints(tmp_path)} | {path.name}


def test_an_error_of_the_loader_keeps_its_kind(make_trainer: Make, make_loader: type) -> None:
    def fail(number: int, batch: dict[str, Any]) -> None:
        raise RuntimeError("applying transform failed") from DataError("brain.nii.gz is empty")

    with pytest.raises(DataError, match=r"brain\.nii\.gz"):
        make_trainer(loader=make_loader(None, fail)).run()


class Failing(Dataset):
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        raise DataError("brain.nii.gz is empty", got=0, remedy="leave it out")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_loader_worker_keeps_its_words_alone(make_trainer: Make, workers: int) -> None:
    loader = DataLoader(Failing(), batch_sampler=SampleStream(2), num_workers=workers)
    with pytest.raises(DataError) as caught:
        make_trainer(loader=loader).run()
    assert str(caught.value) == "brain.nii.gz is empty | got: 0 | remedy: leave it out"


@pytest.mark.parametrize(
    ("options", "word"),
    [({"precision": "float8"}, "precision"), ({"adversarial_weight": -1.0}, "adversarial_weight"),
     ({"penalty_weight": -1.0}, "penalty_weight"), ({"epoch_length": 0}, "epoch_length")],
)  # fmt: skip
def test_bad_settings(make_trainer: Make, options: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        make_trainer(**options)


def test_a_complete_run_returns_at_once(make_trainer: Make, make_loader: type, tmp_path: Path) -> None:
    sampler = SampleStream(2)
    for _ in range(2):
        trainer = make_trainer(
            Schedule(4, 0, 0), make_loader(sampler), checkpoints=TrainingCheckpoints(tmp_path, sampler), epoch_length=2
        )
        seen: list[int] = []
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine, seen=seen: seen.append(1))
        trainer.run()
    assert seen == []
    assert isinstance(trainer.generator, MDCSRN)
    assert trainer.state.iteration == 4


def test_a_resumed_run_computes_in_the_precision_that_it_began_with(
    make_trainer: Make, make_loader: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``auto`` goes by the clock: a second measurement must not turn a run over in its middle."""
    sampler = SampleStream(2)

    def run(faster: str, steps: int) -> AdversarialTrainer:
        monkeypatch.setattr("mdcsrn.engines.trainer.resolve_precision", lambda *_, **__: faster)
        checkpoints = TrainingCheckpoints(tmp_path, sampler, every=1)
        trainer = make_trainer(
            Schedule(steps, adversarial_steps=0), make_loader(sampler), checkpoints=checkpoints, precision="auto"
        )
        trainer.run()
        return trainer

    assert run("float32", 5).training_state()["precision"] == "float32"
    assert run("bfloat16", 10).training_state()["precision"] == "float32"
