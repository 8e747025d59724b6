"""Progress of a run without a terminal: lines with the time left, from what each kind of step took."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcsrn.engines import ProgressLine, Schedule, Step
from mdcsrn.engines import progress as module
from mdcsrn.engines.progress import StepClock, duration

FEW = st.integers(0, 9)


@given(FEW, FEW, FEW, FEW, FEW, st.integers(1, 4), st.integers(0, 60), st.integers(0, 60))
def test_the_schedule_counts_as_if_walked(a: int, b: int, c: int, d: int, e: int, f: int, x: int, y: int) -> None:
    if a + c == 0:
        return
    schedule, first, end = Schedule(a, b, c, d, e, f), min(x, y), max(x, y)
    walked = Counter(schedule.step(number) for number in range(first, end))
    assert schedule.count(first, end) == {kind: walked[kind] for kind in Step}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Move the time of the module on; starts at 100 s."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def step(steps: StepClock, forward: Callable[[float], None], kind: str, seconds: float) -> None:
    steps.start()
    forward(seconds)
    steps.stop(kind)


def test_each_kind_counts_with_its_own_time(clock: Callable[[float], None]) -> None:
    schedule, steps = Schedule(10, 4, 2, 1, 0, 1), StepClock()
    for seconds in (9.0, 1.0, 1.0):  # the first one compiles
        step(steps, clock, "voxel", seconds)
    assert steps.seconds_left(schedule, 3, schedule.total_steps) == pytest.approx(
        7 * 1 + 8 * 1
    )  # none of the others yet
    for seconds in (30.0, 5.0):
        step(steps, clock, "critic", seconds)
    assert steps.seconds_left(schedule, 12, schedule.total_steps) == pytest.approx(4 * 5 + 2 * 5)


def test_time_between_epochs_is_validation(clock: Callable[[float], None]) -> None:
    steps = StepClock()
    steps.leave()
    assert steps.between_epochs() == 0
    for seconds in (20.0, 40.0):
        step(steps, clock, "voxel", 1.0)
        clock(seconds)
        steps.leave()
    assert steps.between_epochs() == 30


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (-3, "0 s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.message.startswith("progress: ")]


def test_a_run_without_a_terminal_estimates_and_ends_with_a_line(
    make_trainer: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trainer = make_trainer(train_handlers=[ProgressLine()])
    trainer.run()
    total = trainer.state.iteration
    first, last = lines(caplog)
    assert re.fullmatch(rf"progress: step 3 of {total} \(voxel\), loss [\d.e-]+, \d+ s left", first)
    assert re.fullmatch(rf"progress: {total} steps done in \d+ s", last)


def test_a_line_at_least_so_often(make_trainer: Callable, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    trainer = make_trainer(train_handlers=[ProgressLine(seconds=1e-9)])
    trainer.run()
    said = [int(found[1]) for found in map(re.compile(r"progress: step (\d+) of").match, lines(caplog)) if found]
    assert said == list(range(3, trainer.state.iteration + 1))
