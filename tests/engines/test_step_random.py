"""Dropout in a training step: what is dropped depends on seed and step alone, so a run with dropout resumes bitwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mdcsrn.data.patches import SampleStream
from mdcsrn.engines import AdversarialTrainer, Schedule, TrainingCheckpoints
from mdcsrn.engines.step_random import random_of_step
from mdcsrn.losses import CrossEntropyAdversary
from mdcsrn.networks.catalog import NETWORKS

CPU = torch.device("cpu")


class DropoutCritic(nn.Module):
    """A logit a patch, as that of the first SRGAN, half of its features dropped."""

    architecture: dict[str, object] = {}

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv3d(1, 4, 4, 4), nn.Dropout(0.5), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(256, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def test_a_run_with_dropout_resumes_bitwise(
    make_trainer: Callable[..., AdversarialTrainer],
    make_loader: type,
    same: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(NETWORKS, "DropoutCritic", DropoutCritic)

    def start(folder: str, stop: int | None = None, seed: int = 0) -> AdversarialTrainer:
        def change(number: int, batch: dict[str, Any]) -> None:
            if number == stop:
                raise KeyboardInterrupt

        sampler = SampleStream(2)
        checkpoints = TrainingCheckpoints(tmp_path / folder, sampler, every=1)
        torch.manual_seed(1)
        options = {"critic": DropoutCritic(), "adversary": CrossEntropyAdversary(), "seed": seed}
        return make_trainer(
            Schedule(1, 1, 3, 1, 0, 1), make_loader(sampler, change), checkpoints=checkpoints, **options
        )

    whole = start("whole")
    whole.run()
    assert whole.state.iteration == 10
    torch.manual_seed(99)  # the state of the process plays no part
    with pytest.raises(KeyboardInterrupt):
        start("stopped", 4).run()
    rest = start("stopped")
    rest.run()
    assert same(whole.training_state(), rest.training_state())
    other = start("other", seed=3)
    other.run()
    parts = (trainer.training_state()["parts"]["critic"] for trainer in (whole, other))
    assert not same(*parts)  # it was dropout that the seed decided: the batches are the same


def test_the_state_of_the_process_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with random_of_step(0, 4, CPU):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with random_of_step(0, 4, CPU):
        assert torch.equal(torch.rand(3), inside)


def test_steps_and_seeds_differ() -> None:
    found = set()
    for seed, iteration in ((0, 1), (0, 2), (1, 1), (1, 2), (2, 0), (2**31, 10**6)):
        with random_of_step(seed, iteration, CPU):
            found.add(torch.rand(1).item())
    assert len(found) == 6
