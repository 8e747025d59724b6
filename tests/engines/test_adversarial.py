"""Real steps of the training engine: what each one changes, what it leaves alone, and the values of its losses."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from mdcsrn.engines import AdversarialTrainer, Part, Schedule, Step
from mdcsrn.errors import ConfigError, TrainingError
from mdcsrn.losses import CrossEntropyAdversary
from mdcsrn.networks import Critic

Make = Callable[..., AdversarialTrainer]


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def trained(make_trainer: Make, **options: Any) -> AdversarialTrainer:
    """A trainer after some steps, so that weights, statistics and moments are no longer the initial ones."""
    trainer = make_trainer(schedule=Schedule(3, 1, 0), **options)
    trainer.run()
    return trainer


def step(trainer: AdversarialTrainer, kind: str, batch: dict[str, Any]) -> dict[str, Any]:
    if kind == "critic":
        return trainer.critic_step(batch["image"], batch["label"], batch["coefficient"])
    return trainer.generator_step(batch["image"], batch["label"], adversarial=kind == "adversarial")


class LinearCritic(nn.Module):
    """D(x) = <w, x> with a constant w: every loss and gradient is known in closed form."""

    def __init__(self, weight: float = 0.01) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, 16, 16, 16), weight))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return (x * self.weight).flatten(1).sum(1)


@pytest.mark.parametrize("conditional", [False, True])
def test_critic_step_leaves_the_generator_as_it_is(make_trainer: Make, make_batch: Callable, conditional: bool) -> None:
    trainer = trained(make_trainer, conditional=conditional)
    trainer.parts["generator"].optimizer.zero_grad(set_to_none=True)
    before, average = snapshot(trainer.generator), snapshot(trainer.average)
    critic, moments = (
        snapshot(trainer.critic),
        copy.deepcopy(trainer.parts["generator"].optimizer.state_dict()["state"]),
    )
    for number in range(3):
        step(trainer, "critic", make_batch(number))
    assert any("running_mean" in name for name in before)  # there are statistics that could have drifted
    assert equal(before, snapshot(trainer.generator))
    assert equal(average, snapshot(trainer.average))
    assert all(p.grad is None for p in trainer.generator.parameters())  # no graph of the generator was kept
    after = trainer.parts["generator"].optimizer.state_dict()["state"]
    assert all(torch.equal(moments[i][key], after[i][key]) for i in moments for key in moments[i])
    changed = {name for name, value in snapshot(trainer.critic).items() if not torch.equal(critic[name], value)}
    assert changed == set(critic) - {"head.3.bias"}  # a constant on every score has no effect on a distance


def test_generators_mode_does_not_matter_to_a_critic_step(make_trainer: Make, make_batch: Callable) -> None:
    results = []
    for mode in (True, False):
        trainer = trained(make_trainer)
        trainer.generator.train(mode)
        results.append((step(trainer, "critic", make_batch(0)), snapshot(trainer.critic)))
    assert results[0][0] == results[1][0]
    assert equal(results[0][1], results[1][1])


def test_the_critic_sees_a_detached_fake(make_trainer: Make, make_batch: Callable) -> None:
    critic = LinearCritic()
    trainer = make_trainer(critic=critic)
    batch = make_batch(0)
    step(trainer, "critic", batch)
    fake, real, between = critic.seen
    assert fake.grad_fn is None
    assert not fake.requires_grad
    assert torch.equal(real, batch["label"])
    c = batch["coefficient"].view(-1, 1, 1, 1, 1)  # one coefficient for each sample
    torch.testing.assert_close(between.detach(), c * real + (1 - c) * fake)


@pytest.mark.parametrize("conditional", [False, True])
def test_adversarial_step_leaves_the_critic_as_it_is(
    make_trainer: Make, make_batch: Callable, conditional: bool
) -> None:
    trainer = trained(make_trainer, conditional=conditional)
    step(trainer, "critic", make_batch(9))
    trainer.parts["critic"].optimizer.zero_grad(set_to_none=True)
    critic, generator = snapshot(trainer.critic), snapshot(trainer.generator)
    step(trainer, "adversarial", make_batch(0))
    assert equal(critic, snapshot(trainer.critic))
    assert all(p.grad is None for p in trainer.critic.parameters())
    assert not equal(generator, snapshot(trainer.generator))
    step(trainer, "critic", make_batch(1))  # and it can still learn afterwards
    assert not equal(critic, snapshot(trainer.critic))


def test_critic_loss_by_hand(make_trainer: Make, make_batch: Callable) -> None:
    """D linear: loss = w (mean sum SR - mean sum HR) + 10 (|w| - 1)^2, the penalty counted once."""
    w, batch = 0.01, make_batch(0)
    trainer = trained(make_trainer)
    fake = trainer.generator.eval()(batch["image"]).detach().double().numpy()
    critic = LinearCritic(w)
    trainer.parts["critic"] = Part(critic, torch.optim.SGD(critic.parameters(), lr=1e-5))
    found = step(trainer, "critic", batch)
    real = batch["label"].double().numpy()
    distance = w * (real.sum((1, 2, 3, 4)).mean() - fake.sum((1, 2, 3, 4)).mean())
    norm = w * np.sqrt(16**3)
    penalty = (norm - 1) ** 2
    assert found["distance"] == pytest.approx(distance, abs=1e-4)
    assert found["penalty"] == pytest.approx(penalty, rel=1e-4)
    assert found["critic_loss"] == pytest.approx(10 * penalty - distance, abs=1e-3)
    # Gradient descent: dL/dw = mean SR - mean HR + 10 d(|w| - 1)^2/dw, voxel by voxel.
    gradient = (fake - real).mean(0) + 10 * 2 * (norm - 1) * w / norm
    np.testing.assert_allclose(critic.weight.detach().numpy(), w - 1e-5 * gradient, rtol=1e-4)
    assert found["critic_gradient_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-4)


def test_generator_loss_by_hand(make_trainer: Make, make_batch: Callable) -> None:
    """Voxel loss - weight x mean score: a generator that fools the critic has the smaller loss."""
    batch = make_batch(0)
    values = {}
    for w in (0.01, -0.01):
        trainer = trained(make_trainer, critic=LinearCritic(w), adversarial_weight=0.5)
        output = trainer.generator.train()(batch["image"]).detach().double()
        voxel = (output - batch["label"]).abs().mean().item()
        score = w * output.sum((1, 2, 3, 4)).mean().item()
        found = step(trainer, "adversarial", batch)
        assert found["voxel_loss"] == pytest.approx(voxel, rel=1e-5)
        assert found["adversarial_loss"] == pytest.approx(-score, rel=1e-4)
        assert found["generator_loss"] == pytest.approx(voxel - 0.5 * score, rel=1e-4)
        values[w] = found["generator_loss"]
    assert values[0.01] < values[-0.01]


def test_adversarial_steps_raise_the_score(make_trainer: Make, make_batch: Callable) -> None:
    trainer = make_trainer(critic=LinearCritic(0.01), adversarial_weight=100.0, rate=1e-3)
    batch = make_batch(0)
    scores = [-step(trainer, "adversarial", batch)["adversarial_loss"] for _ in range(8)]
    assert scores[-1] > scores[0]


def test_critic_steps_raise_the_distance(make_trainer: Make, make_batch: Callable) -> None:
    trainer = make_trainer(rate=1e-3)
    batch = make_batch(0)
    found = [step(trainer, "critic", batch)["distance"] for _ in range(12)]
    assert found[-1] > found[0]


def test_voxel_step_ignores_the_critic(make_trainer: Make, make_batch: Callable) -> None:
    critic = LinearCritic()
    trainer = make_trainer(critic=critic)
    found = step(trainer, "voxel", make_batch(0))
    assert critic.seen == []
    assert "adversarial_loss" not in found
    assert found["generator_loss"] == found["voxel_loss"]


def test_generator_learns(make_trainer: Make, make_batch: Callable) -> None:
    trainer = make_trainer(rate=3e-3)
    batch = make_batch(0)
    losses = [step(trainer, "voxel", batch)["voxel_loss"] for _ in range(15)]
    assert losses[-1] < 0.9 * losses[0]


def test_conditional_critic_gets_the_patch_as_second_channel(make_trainer: Make, make_batch: Callable) -> None:
    seen: list[Tensor] = []
    trainer = make_trainer(conditional=True)
    trainer.critic.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    batch = make_batch(0)
    step(trainer, "critic", batch)
    step(trainer, "adversarial", batch)
    assert len(seen) == 4  # fake, real, between; then the generator's
    assert all(x.shape == (2, 2, 16, 16, 16) and torch.equal(x[:, 1:], batch["image"]) for x in seen)
    assert torch.equal(seen[1][:, :1], batch["label"])


@pytest.mark.parametrize("preset", ["light", "pointwise", "original"])
def test_every_critic_preset_trains(make_trainer: Make, make_batch: Callable, preset: str) -> None:
    critic = Critic(preset=preset, base_channels=2, patch_size=16)
    same = copy.deepcopy(critic)
    trainer = make_trainer(critic=critic, channels_last=True)
    found = [step(trainer, "critic", make_batch(0)), step(trainer, "adversarial", make_batch(0))]
    assert all(np.isfinite(part["loss"]) for part in found)
    weight = trainer.generator.conv0.weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    plain = make_trainer(critic=same, channels_last=False)
    assert step(plain, "critic", make_batch(0))["loss"] == pytest.approx(found[0]["loss"], rel=1e-3)


def test_activations_are_channels_last(make_trainer: Make, make_batch: Callable) -> None:
    # one input channel is contiguous in either layout: the strides of the first weights decide for the whole network
    trainer = trained(make_trainer)
    with torch.no_grad():
        features = trainer.generator.conv0(trainer.to_device(make_batch(0)["image"]))
    assert features.stride(1) == 1
    assert features.is_contiguous(memory_format=torch.channels_last_3d)


def test_clipping(make_trainer: Make, make_batch: Callable) -> None:
    """The step uses clipped gradients; what is reported is the norm before."""
    batch = make_batch(0)
    norms = {}
    for limit in (None, 1e-3):
        trainer = make_trainer(max_gradient_norm=limit)
        norms[limit] = step(trainer, "voxel", batch)["generator_gradient_norm"]
        gradients = torch.cat([p.grad.flatten() for p in trainer.generator.parameters()])
        norm = gradients.norm().item()
        assert norm == pytest.approx(norms[None] if limit is None else 1e-3, rel=1e-3)
    assert norms[None] == norms[1e-3] > 1e-3


def test_bfloat16_is_the_generators_alone(make_trainer: Make, make_batch: Callable) -> None:
    trainer = trained(make_trainer, precision="bfloat16")
    types: dict[str, set[torch.dtype]] = {"generator": set(), "critic": set()}
    for name in types:
        for module in getattr(trainer, name).modules():
            if isinstance(module, nn.Conv3d):
                module.register_forward_hook(lambda _, __, out, name=name: types[name].add(out.dtype))
    outputs = [step(trainer, kind, make_batch(3)) for kind in ("voxel", "critic", "adversarial")]
    assert types == {"generator": {torch.bfloat16}, "critic": {torch.float32}}
    assert {p.dtype for network in (trainer.generator, trainer.critic) for p in network.parameters()} == {torch.float32}
    exact = trained(make_trainer)
    for kind, found in zip(("voxel", "critic", "adversarial"), outputs, strict=True):
        expected = step(exact, kind, make_batch(3))
        assert found["loss"] == pytest.approx(expected["loss"], rel=0.05, abs=0.05), kind


@pytest.mark.parametrize("decay", [0.0, 0.2, 0.999])
def test_moving_average_with_its_buffers(make_trainer: Make, make_batch: Callable, decay: float) -> None:
    """average <- average + (1 - min(d, (1 + n) / (10 + n))) (current - average), from the first update's copy on."""
    trainer = make_trainer(decay=decay)
    expected: dict[str, np.ndarray] = {}
    for n in range(6):
        step(trainer, "adversarial" if n % 2 else "voxel", make_batch(n))
        step(trainer, "critic", make_batch(n))  # plays no part
        now = {name: value.numpy().copy() for name, value in trainer.generator.state_dict().items()}
        weight = 1 - min(decay, (1 + n) / (10 + n))
        for name, value in now.items():
            if n == 0 or not np.issubdtype(value.dtype, np.floating):
                expected[name] = value.astype(np.float64)
            else:
                expected[name] += weight * (value - expected[name])
    found = trainer.average.module.state_dict()
    assert any("running_var" in name for name in found)
    for name, value in found.items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-5, atol=1e-7, err_msg=name)
    assert not trainer.average.module.training
    assert int(found["block0.denselayer1.norm.num_batches_tracked"]) == 6


def test_a_run_follows_the_schedule(make_trainer: Make) -> None:
    schedule = Schedule(4, 3, 4, 2, 3, 2)
    trainer = make_trainer(schedule=schedule, epoch_length=1)
    updates: Counter[str] = Counter()
    before = {"generator": snapshot(trainer.generator), "critic": snapshot(trainer.critic)}

    def count(engine: AdversarialTrainer) -> None:
        changed = []
        for name in before:
            now = snapshot(getattr(engine, name))
            if not equal(before[name], now):
                changed.append(name)
            before[name] = now
        assert len(changed) == 1, "each step updates exactly one network"
        assert changed[0] == ("critic" if engine.state.output["step"] == "critic" else "generator")
        updates[changed[0]] += 1

    trainer.add_event_handler(Events.ITERATION_COMPLETED, count)
    trainer.run()
    assert updates == {"generator": 4 + 4, "critic": 3 + 2 * 4 + 3}
    assert trainer.state.iteration == schedule.total_steps


def test_an_infinite_gradient_stops_before_the_update(make_trainer: Make, make_batch: Callable) -> None:
    trainer = trained(make_trainer)
    next(iter(trainer.generator.parameters())).register_hook(lambda g: g * float("inf"))
    before = [p.detach().clone() for p in trainer.generator.parameters()]
    with pytest.raises(TrainingError, match="gradient norm of the generator"):
        step(trainer, "voxel", make_batch(0))
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.generator.parameters(), strict=True))


def test_a_schedule_with_adversarial_steps_needs_a_critic(make_trainer: Make) -> None:
    with pytest.raises(ConfigError, match="adversarial_steps 2 .* give a critic"):
        make_trainer(Schedule(3, 1, 2), without_critic=True)
    trainer = make_trainer(Schedule(3, adversarial_steps=0), without_critic=True)
    trainer.run()
    assert trainer.training_state()["parts"].keys() == {"generator"}


def test_cross_entropy_needs_no_coefficient(make_trainer: Make, make_batch: Callable) -> None:
    """Losses by hand for a critic that is linear, logits of whatever shape."""
    batch = make_batch(0)
    del batch["coefficient"]
    trainer = make_trainer(critic=LinearCritic(0.01), adversary=CrossEntropyAdversary(), adversarial_weight=0.5)
    fake = trainer.generator.eval()(batch["image"]).detach().double().numpy().sum((1, 2, 3, 4)) * 0.01
    real = batch["label"].double().numpy().sum((1, 2, 3, 4)) * 0.01
    found = trainer.critic_step(batch["image"], batch["label"])
    expected = np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean()
    assert found["critic_loss"] == pytest.approx(expected, rel=1e-4)
    assert found["distance"] == pytest.approx(real.mean() - fake.mean(), rel=1e-3)
    assert "penalty" not in found
    after = trainer.train_step(Step.ADVERSARIAL, batch)
    assert after["generator_loss"] == pytest.approx(after["voxel_loss"] + 0.5 * after["adversarial_loss"], rel=1e-5)


def test_a_gradient_penalty_without_coefficients_is_named(make_trainer: Make, make_batch: Callable) -> None:
    batch = make_batch(0)
    with pytest.raises(ConfigError, match="without coefficient"):
        make_trainer().critic_step(batch["image"], batch["label"])
