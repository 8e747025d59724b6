"""Learning curves from TensorBoard files, those of a resumed run among them."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from training_log import VALIDATED, curve


def write(folder: Path, values: dict[int, float], name: str) -> None:
    with SummaryWriter(str(folder), filename_suffix=name) as writer:
        for step, value in values.items():
            writer.add_scalar(VALIDATED, value, step)


def test_of_a_step_that_a_resumed_run_did_again_the_latter_counts(tmp_path: Path) -> None:
    write(tmp_path, {1: 20.0, 2: 21.0, 3: 22.0}, ".1")
    write(tmp_path, {3: 22.5, 4: 23.0}, ".2")
    assert curve(tmp_path, VALIDATED) == [(1, 20.0), (2, 21.0), (3, 22.5), (4, 23.0)]


def test_what_was_not_logged_is_empty(tmp_path: Path) -> None:
    write(tmp_path, {1: 20.0}, ".1")
    assert curve(tmp_path, "train/voxel_loss") == []
    assert curve(tmp_path / "nowhere", VALIDATED) == []
