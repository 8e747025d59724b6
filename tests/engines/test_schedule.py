"""The schedule's counts against the formula of the published training, and the learning rates."""

from __future__ import annotations

import math
from collections import Counter
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdcsrn.engines import CycleSchedule, CycleStep, GeneratorRate, Schedule, Step
from mdcsrn.errors import ConfigError


def counts(schedule: Schedule) -> Counter[Step]:
    return Counter(schedule.step(n) for n in range(schedule.total_steps))


def test_published_numbers_with_a_short_first_phase() -> None:
    # Published: 10k critic steps, then 7:1 and 200 more critic steps every 500 generator steps.
    schedule = Schedule(voxel_steps=1_000, critic_warmup=10_000, adversarial_steps=2_000)
    found = counts(schedule)
    assert found[Step.VOXEL] == 1_000
    assert found[Step.ADVERSARIAL] == 2_000  # the earlier code's counter gave the generator none
    assert found[Step.CRITIC] == 10_000 + 7 * 2_000 + 200 * 3  # no extras after the last generator step
    assert sum(found.values()) == schedule.total_steps


def test_published_defaults() -> None:
    schedule = Schedule()
    assert (schedule.voxel_steps, schedule.critic_warmup) == (250_000, 10_000)
    assert schedule.total_steps == 250_000 + 10_000 + 50_000 * 8 + 99 * 200
    assert schedule.step(249_999) is Step.VOXEL
    assert schedule.step(250_000) is Step.CRITIC
    assert schedule.step(260_000 + 6) is Step.CRITIC
    assert schedule.step(260_000 + 7) is Step.ADVERSARIAL
    assert schedule.step(260_000 + 500 * 8 - 1) is Step.ADVERSARIAL  # the 500th
    extras = [schedule.step(260_000 + 500 * 8 + n) for n in range(208)]
    assert extras == [Step.CRITIC] * 207 + [Step.ADVERSARIAL]


def test_order_of_a_small_schedule() -> None:
    schedule = Schedule(2, 3, 5, 2, 4, 2)
    runs = [(kind, len(list(group))) for kind, group in groupby(schedule.step(n) for n in range(schedule.total_steps))]
    voxel, critic, adversarial = Step.VOXEL, Step.CRITIC, (Step.ADVERSARIAL, 1)
    assert runs == [
        (voxel, 2),
        (critic, 3 + 2), adversarial, (critic, 2), adversarial,
        (critic, 4 + 2), adversarial, (critic, 2), adversarial,
        (critic, 4 + 2), adversarial,
    ]  # fmt: skip


SMALL = st.integers(0, 12)


@settings(deadline=None, max_examples=60)
@given(SMALL, SMALL, SMALL, SMALL, SMALL, st.integers(1, 6))
def test_counts_equal_the_formula(
    voxel: int, warmup: int, adversarial: int, ratio: int, extra: int, every: int
) -> None:
    if voxel + adversarial == 0:
        return
    schedule = Schedule(voxel, warmup, adversarial, ratio, extra, every)
    found = counts(schedule)
    assert found[Step.VOXEL] == voxel
    assert found[Step.ADVERSARIAL] == adversarial
    expected = warmup + ratio * adversarial + extra * ((adversarial - 1) // every) if adversarial else 0
    assert found[Step.CRITIC] == expected
    if adversarial:
        assert schedule.step(schedule.total_steps - 1) is Step.ADVERSARIAL


def test_a_step_depends_on_its_number_alone() -> None:
    schedule = Schedule(5, 4, 30, 3, 7, 10)
    forward = [schedule.step(n) for n in range(400)]
    assert [schedule.step(n) for n in reversed(range(400))] == forward[::-1]
    assert [Schedule(5, 4, 30, 3, 7, 10).step(n) for n in range(400)] == forward


def test_past_the_end_the_last_phase_goes_on() -> None:
    schedule = Schedule(3, 0, 4, 1, 0, 1)
    assert [schedule.step(schedule.total_steps + n) for n in range(4)] == [Step.CRITIC, Step.ADVERSARIAL] * 2
    assert Schedule(3, 5, 0).step(100) is Step.VOXEL
    assert Schedule(3, 5, 0).total_steps == 3


def test_epochs_hold_the_whole_schedule() -> None:
    assert [Schedule(n, 0, 0).epochs(10) for n in (1, 10, 11, 30)] == [1, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "value"),
    [("voxel_steps", -1), ("critic_warmup", 1.5), ("extra_every", 0), ("critic_per_generator", True),
     ("adversarial_steps", "3")],
)  # fmt: skip
def test_bad_values_are_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        Schedule(**{name: value})
    assert caught.value.got == value


def test_an_empty_schedule_is_refused() -> None:
    with pytest.raises(ConfigError, match="no step"):
        Schedule(voxel_steps=0, adversarial_steps=0)


def test_rate_is_constant_as_published_by_default() -> None:
    rate = GeneratorRate(Schedule(10, 5, 5))
    assert {rate(n) for n in range(10)} == {1.0}
    assert {rate(n) for n in range(10, 200)} == {5e-6 / 1e-4}


def test_rate_warms_up_and_falls_as_a_cosine() -> None:
    rate = GeneratorRate(Schedule(100, 5, 5), voxel_rate=1e-3, adversarial_rate=2e-5, warmup=9, final=0.1)
    cosine = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * n / 100)) for n in range(100)]
    expected = [c * min(1, (n + 1) / 10) for n, c in enumerate(cosine)]
    assert [rate(n) for n in range(100)] == pytest.approx(expected, rel=1e-12)
    assert rate(100) == pytest.approx(0.02)
    without = GeneratorRate(Schedule(100, 5, 0), voxel_rate=1e-3, adversarial_rate=2e-5, final=0.1)
    assert without(100) == without(5_000) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "values", [{"voxel_rate": 0.0}, {"adversarial_rate": -1.0}, {"warmup": -1}, {"final": 0.0}, {"final": 1.1}]
)
def test_bad_rates(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="learning rates"):
        GeneratorRate(Schedule(1, 0, 0), **values)


@settings(deadline=None, max_examples=60)
@given(SMALL, SMALL, st.integers(0, 30), st.integers(0, 30))
def test_counts_of_a_cycle_are_those_of_its_steps(cycle: int, voxel: int, first: int, length: int) -> None:
    if cycle + voxel == 0:
        return
    schedule = CycleSchedule(cycle, voxel)
    walked = Counter(schedule.step(n) for n in range(first, first + length))
    assert schedule.count(first, first + length) == {kind: walked[kind] for kind in CycleStep}
    assert [schedule.epochs(n) for n in (1, 4)] == [cycle + voxel, math.ceil((cycle + voxel) / 4)]


@pytest.mark.parametrize("values", [(0, 0), (-1, 3), (True, 0), (1.0, 0)])
def test_bad_cycles(values: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"cycle_steps|no step"):
        CycleSchedule(*values)
