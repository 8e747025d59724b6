"""Steps of the cycle trainer: its five losses by hand, what each network's update leaves alone, what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mdcsrn.engines import CycleSchedule, CycleTrainer
from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.losses import WassersteinAdversary

Make = Callable[..., CycleTrainer]
GENERATORS, CRITICS = ("generator_hr", "generator_lr"), ("critic_hr", "critic_lr")
PARTS = (*GENERATORS, *CRITICS)
LOSSES = ("perceptual", "adversarial", "total_variation", "voxel", "cycle")


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
def test_five_losses_by_hand(make: Make, paired: bool, two_grids: Callable) -> None:
    trainer, given = make(), two_grids(3, paired)
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


def test_weights_scale_their_losses(make: Make, two_grids: Callable) -> None:
    given = two_grids(1)
    for name in LOSSES:
        base, more = (
            make(**{f"{name}_weight": weight}).train_step(CycleSchedule().step(0), given) for weight in (1.0, 3.0)
        )
        difference = more["generator_loss"] - base["generator_loss"]
        assert difference == pytest.approx(2 * base[f"{name}_loss"], rel=1e-3), name


@pytest.mark.parametrize("left_out", LOSSES)
def test_a_weight_of_zero_leaves_its_loss_out(make: Make, left_out: str, two_grids: Callable) -> None:
    options = {"perceptual_loss": None} if left_out == "perceptual" else {}
    trainer = make(**{f"{left_out}_weight": 0.0}, **options)
    found = trainer.train_step(trainer.schedule.step(0), two_grids(1))
    logged = {key.removesuffix("_loss") for key in found if key.endswith("_loss")}
    kept = {name for name in LOSSES if name != left_out}
    assert logged & set(LOSSES) == kept
    assert found["generator_loss"] > 0


def test_the_generators_step_leaves_the_critics_as_they_are(
    make: Make, two_grids: Callable, states_of: Callable, changed_since: Callable
) -> None:
    trainer, given = make(), two_grids(0)
    trainer.train_step(trainer.schedule.step(0), two_grids(9))
    for name in CRITICS:
        trainer.parts[name].optimizer.zero_grad(set_to_none=True)
    before = states_of(trainer)
    trainer.generator_step(trainer.generate(given["image"], given["label"]))
    assert any("running_mean" in key for key in before["critic_hr"])  # there are statistics that could have drifted
    assert changed_since(before, trainer) == set(GENERATORS)
    assert all(p.grad is None for name in CRITICS for p in trainer.parts[name].network.parameters())


def test_the_critics_step_leaves_the_generators_as_they_are(
    make: Make, two_grids: Callable, states_of: Callable, changed_since: Callable
) -> None:
    trainer, given = make(), two_grids(0)
    patches = trainer.generate(given["image"], given["label"])
    for name in GENERATORS:
        trainer.parts[name].optimizer.zero_grad(set_to_none=True)
    before, average = states_of(trainer), copy.deepcopy(trainer.average.state_dict())
    trainer.critic_step(patches)
    assert changed_since(before, trainer) == set(CRITICS)
    assert all(p.grad is None for name in GENERATORS for p in trainer.parts[name].network.parameters())
    assert all(torch.equal(value, average[key]) for key, value in trainer.average.state_dict().items())


def test_it_learns(make: Make, two_grids: Callable) -> None:
    trainer, given = make(rate=3e-3, every=1000), two_grids(0)
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


def test_batches_that_do_not_fit(make: Make, two_grids: Callable) -> None:
    trainer, given = make(), two_grids(0)
    with pytest.raises(ConfigError, match="paired or unpaired as a whole"):
        trainer.train_step(trainer.schedule.step(0), {**given, "paired": torch.tensor([True, False])})
    with pytest.raises(GeometryError, match=r"generator_hr does not lead.*\(2, 1, 2, 32, 32\)"):
        trainer.train_step(trainer.schedule.step(0), {"image": given["label"], "label": given["label"]})
