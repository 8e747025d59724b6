"""A rate of its own for the last convolution: which parameters are where, and what an optimiser makes of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mdcsrn.engines import GeneratorRate, HalvingRate, Schedule, parameter_groups
from mdcsrn.errors import ConfigError
from mdcsrn.networks import MDCSRN


def network(**options: object) -> MDCSRN:
    torch.manual_seed(0)
    return MDCSRN(blocks=2, units=1, growth=4, **options)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([None, (1, 2, 2), (2, 2, 2)]), st.floats(1e-6, 1), st.floats(1e-3, 1))
def test_every_parameter_is_in_one_group(factor: tuple[int, int, int] | None, rate: float, last: float) -> None:
    generator = network(space_to_depth=factor)
    found = [parameter for group in parameter_groups(generator, rate, last) for parameter in group["params"]]
    assert sorted(map(id, found)) == sorted(map(id, generator.parameters()))
    assert len(found) == len(set(map(id, found)))


def test_the_reconstruction_alone_is_slower() -> None:
    generator = network()
    fast, slow = parameter_groups(generator, 1e-3, 0.1)
    assert [id(parameter) for parameter in slow["params"]] == [id(generator.recon.weight)]
    assert (fast["lr"], slow["lr"]) == (1e-3, pytest.approx(1e-4))


def test_a_share_of_one_is_one_group_in_the_networks_order() -> None:
    generator = network()
    (group,) = parameter_groups(generator, 1e-3)
    assert list(map(id, group["params"])) == list(map(id, generator.parameters()))
    assert group["lr"] == 1e-3


def test_the_first_step_of_adam_moves_each_group_by_its_rate() -> None:
    """Adam's first step is the rate times the gradient's sign, whatever the gradient's size."""
    generator = network(residual=False)
    optimizer = torch.optim.Adam(parameter_groups(generator, 1e-3, 0.1), lr=1e-3)
    before = {name: parameter.detach().clone() for name, parameter in generator.named_parameters()}
    generator(torch.rand(1, 1, 8, 8, 8)).square().sum().backward()
    optimizer.step()
    moved = {name: (after.detach() - before[name]).abs().max().item() for name, after in generator.named_parameters()}
    assert moved.pop("recon.weight") == pytest.approx(1e-4, rel=1e-2)
    assert moved["conv0.weight"] == pytest.approx(1e-3, rel=1e-2)
    assert max(moved.values()) <= 1.01e-3


def test_the_groups_keep_their_ratio_over_the_whole_schedule() -> None:
    schedule = Schedule(20, 3, 10)
    optimizer = torch.optim.Adam(parameter_groups(network(), 1e-3, 0.1), lr=1e-3)
    rate = GeneratorRate(schedule, voxel_rate=1e-3, adversarial_rate=1e-5, warmup=5, final=0.05)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    seen = []
    for number in range(30):
        fast, slow = (group["lr"] for group in optimizer.param_groups)
        assert fast == pytest.approx(1e-3 * rate(number))
        assert slow == pytest.approx(0.1 * fast)
        seen.append(fast)
        optimizer.step()
        scheduler.step()
    assert len({round(value, 12) for value in seen}) > 15  # there was a schedule to follow
    assert seen[-1] == pytest.approx(1e-5)


def test_a_restored_optimiser_keeps_both_rates() -> None:
    first, second = (torch.optim.Adam(parameter_groups(network(), 1e-3, share), lr=1e-3) for share in (0.1, 0.5))
    second.load_state_dict(first.state_dict())
    assert [group["lr"] for group in second.param_groups] == [1e-3, pytest.approx(1e-4)]


@pytest.mark.parametrize(("rate", "last"), [(0.0, 1.0), (-1e-3, 0.1), (1e-3, 0.0), (1e-3, -0.1), (1e-3, 1.01)])
def test_rates_that_are_refused(rate: float, last: float) -> None:
    with pytest.raises(ConfigError, match=r"learning rate > 0 and a share"):
        parameter_groups(network(), rate, last)


def test_a_network_without_a_reconstruction_is_refused_by_name() -> None:
    plain = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Conv3d(2, 1, 3))
    with pytest.raises(ConfigError, match=r"Sequential.*recon"):
        parameter_groups(plain, 1e-3, 0.1)
    assert len(parameter_groups(plain, 1e-3)) == 1


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 20), st.integers(0, 200))
def test_a_rate_is_halved_at_the_end_of_each_period(every: int, number: int) -> None:
    rate, expected = HalvingRate(every), 1.0
    for _ in range(every, number + 1, every):
        expected /= 2
    assert rate(number) == expected


def test_adam_follows_the_halving_and_a_checkpoint_keeps_its_place() -> None:
    def start() -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.LambdaLR]:
        optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1e-4)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, HalvingRate(3))

    def go(optimizer: torch.optim.Adam, scheduler: torch.optim.lr_scheduler.LambdaLR, steps: int) -> list[float]:
        rates = []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return rates

    optimizer, scheduler = start()
    rates = go(optimizer, scheduler, 4)
    other, resumed = start()
    other.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert rates + go(other, resumed, 4) == pytest.approx([1e-4] * 3 + [5e-5] * 3 + [2.5e-5] * 2)


@pytest.mark.parametrize("every", [0, -5, 1.5, True])
def test_periods_that_are_refused(every: object) -> None:
    with pytest.raises(ConfigError, match="two halvings"):
        HalvingRate(every)  # type: ignore[arg-type]
