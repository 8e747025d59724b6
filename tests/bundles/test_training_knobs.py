"""Every knob of training changes the object that it is about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


def _last_share(p: Callable[[str], Any]) -> float:
    """Rate of the last group over that of the first: the reconstruction's share."""
    groups = p("train#generator_optimizer").param_groups
    return round(groups[-1]["lr"] / groups[0]["lr"], 12)


# Knob: another value, and where it must arrive, as an expression of the parser p.
KNOBS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "seed": (7, lambda p: (p("train#dataset").seed, p("train#trainer").seed)[0]),
    "train_reduction": ([1.5, 3.0], lambda p: list(p("train_reduction"))),
    "train_axes": ("all", lambda p: p("train_axes")),
    "train_windows": (["tukey"], lambda p: p("train_windows")),
    "train_noise": ([0.0, 0.05], lambda p: p("train_noise")),
    "patch_size": (17, lambda p: p("train#dataset").patch_size),
    "batch_size": (3, lambda p: p("train#dataloader").batch_sampler.batch_size),
    "patches_per_volume": (5, lambda p: p("train#dataset").patches_per_volume),
    "volumes_per_group": (2, lambda p: p("train#dataset").volumes_per_group),
    "streams": (2, lambda p: p("train#dataset").streams),
    "num_workers": (1, lambda p: p("train#dataloader").num_workers),
    "cache_rate": (0.0, lambda p: float(p("train#dataset").volumes.cache_num + p("validate#dataset").cache_num)),
    "voxel_steps": (11, lambda p: p("train#trainer").schedule.voxel_steps),
    "critic_warmup": (12, lambda p: p("train#trainer").schedule.critic_warmup),
    "adversarial_steps": (13, lambda p: p("train#trainer").schedule.adversarial_steps),
    "critic_per_generator": (4, lambda p: p("train#trainer").schedule.critic_per_generator),
    "extra_critic_steps": (15, lambda p: p("train#trainer").schedule.extra_critic_steps),
    "extra_every": (16, lambda p: p("train#trainer").schedule.extra_every),
    "voxel_rate": (0.003, lambda p: p("train#generator_optimizer").param_groups[0]["lr"]),
    "last_rate": (0.1, lambda p: _last_share(p)),
    "rate_warmup": (3, lambda p: p("train#generator_scheduler").lr_lambdas[0].warmup),
    "rate_final": (0.25, lambda p: p("train#generator_scheduler").lr_lambdas[0].final),
    "adversarial_rate": (
        2e-6,
        lambda p: round(p("train#generator_scheduler").lr_lambdas[0].ratio * p("voxel_rate"), 12),
    ),
    "critic_rate": (3e-6, lambda p: p("train#critic_optimizer").param_groups[0]["lr"]),
    "voxel_loss": (
        {"_target_": "torch.nn.MSELoss"},
        lambda p: {"_target_": f"torch.nn.{type(p('train#trainer').voxel_loss).__name__}"},
    ),
    "adversarial_weight": (0.02, lambda p: p("train#trainer").adversarial_weight),
    "penalty_weight": (5.0, lambda p: p("train#trainer").adversary.penalty_weight),
    "conditional": (True, lambda p: p("train#trainer").conditional),
    "critic_preset": ("pointwise", lambda p: p("critic").preset),
    "ema_decay": (0.9, lambda p: p("train#trainer").average.multi_avg_fn.decay),
    "precision": ("bfloat16", lambda p: p("train#trainer").precision),
    "max_gradient_norm": (None, lambda p: p("train#trainer").parts["generator"].max_gradient_norm),
    "epoch_length": (21, lambda p: p("train#trainer").state.epoch_length),
    "checkpoint_every": (22, lambda p: p("train#checkpoints").every),
    "log_every": (23, lambda p: p("train#handlers")[2].every),
    "max_memory": (2.5, lambda p: p("validate#inferer").max_memory),
    "val_interval": (2, lambda p: p("train#handlers")[0].interval),
}
ELSEWHERE = {
    "bundle_root", "device", "dataset_dir", "datalist", "datalist_file", "output_dir", "degradation",
    "cache_dir", "start", "imports", "network_def", "network", "average", "critic", "adversary", "load", "train",
    "validate", "initialize", "run", "training", "finalize",
}  # fmt: skip


def test_every_training_knob_is_tried() -> None:
    known = set(yaml.safe_load(Path("configs/train.yaml").read_text()))
    assert known - ELSEWHERE == set(KNOBS)


@pytest.mark.parametrize("knob", KNOBS)
def test_a_training_knob_reaches_its_object(knob: str, resolved: Callable, overrides: Callable) -> None:
    value, arrive = KNOBS[knob]
    before = arrive(resolved("train").get_parsed_content)
    # The original critics take 64-voxel patches alone; every other value is tried at the small size.
    extra = {"patch_size": 64} if knob == "critic_preset" else {}
    after = arrive(resolved("train", [], {**overrides("train"), **extra, knob: value}).get_parsed_content)
    plain = after[0] if knob == "patch_size" and isinstance(after, tuple) else after
    assert plain == value
    assert before != after


def test_volumes_are_cached_on_disk_when_asked(resolved: Callable, overrides: Callable, tmp_path: Path) -> None:
    parser = resolved("train", [], {**overrides("train"), "cache_dir": str(tmp_path / "cache")})
    for volumes in (parser.get_parsed_content("train#dataset").volumes, parser.get_parsed_content("validate#dataset")):
        assert len(volumes) == 1
        assert volumes[0]["image"].shape == (1, 20, 18, 17)
    assert list((tmp_path / "cache").rglob("*"))


def test_a_critic_is_built_where_the_schedule_uses_it(resolved: Callable, overrides: Callable) -> None:
    """The L1 phase alone keeps a million parameters and their gradients out of memory."""
    parser = resolved("train", [], {**overrides("train"), "adversarial_steps": 0})
    trainer = parser.get_parsed_content("train#trainer")
    assert trainer.parts.keys() == {"generator"}
    for name in ("critic", "train#critic", "train#critic_optimizer"):
        assert parser.get_parsed_content(name) is None
    both = resolved("train").get_parsed_content("train#trainer")
    assert both.parts.keys() == {"generator", "critic"}
    assert both.parts["critic"].optimizer.defaults["betas"] == (0.0, 0.9)


def test_another_adversary(resolved: Callable, overrides: Callable) -> None:
    chosen = {"adversary": {"_target_": "mdcsrn.losses.CrossEntropyAdversary"}}
    parser = resolved("train", [], {**overrides("train"), **chosen})
    assert type(parser.get_parsed_content("train#trainer").adversary).__name__ == "CrossEntropyAdversary"
