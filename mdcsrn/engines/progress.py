"""Report how far a training run is: a bar on a terminal, elsewhere an estimate and a line every 15 seconds."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar

from mdcsrn.engines import distributed
from mdcsrn.engines.schedule import Plan

SECONDS_BETWEEN_LINES = 15.0
STEPS_BEFORE_ESTIMATE = 3  # the first one compiles


class ProgressLine:
    """A progress bar with the step's losses where the error stream is a terminal, else a line every 15 seconds.

    The first line, after a few steps, estimates the whole run; every line has the time left. Each kind of step counts
    with its own time: a critic step may take several times as long as one of the voxel phase.

    Args:
        seconds: between two lines, > 0.
    """

    def __init__(self, seconds: float = SECONDS_BETWEEN_LINES) -> None:
        self.seconds = seconds
        self.clock = StepClock()

    def attach(self, trainer: Any) -> None:
        """Show the first process's progress.

        Args:
            trainer: an engine with a `schedule`, whose output has ``step`` and ``loss``.
        """
        if distributed.rank() != 0:
            return
        if sys.stderr.isatty():
            bar = ProgressBar(persist=False, desc="training")
            bar.attach(trainer, output_transform=lambda output: {output["step"]: output["loss"]})
            return
        trainer.add_event_handler(Events.STARTED, self._start)
        trainer.add_event_handler(Events.GET_BATCH_STARTED, lambda: self.clock.start())
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._stop)
        trainer.add_event_handler(Events.EPOCH_STARTED, lambda: self.clock.leave())
        trainer.add_event_handler(Events.COMPLETED, self._end)

    def _start(self, engine: Engine) -> None:
        self.first, self.began, self.shown = engine.state.iteration, time.monotonic(), time.monotonic()

    def _stop(self, engine: Engine) -> None:
        self.clock.stop(engine.state.output["step"])  # type: ignore[index]
        now, done = time.monotonic(), engine.state.iteration - self.first
        if done != STEPS_BEFORE_ESTIMATE and now - self.shown < self.seconds:
            return
        if done < STEPS_BEFORE_ESTIMATE:
            return
        self.shown = now
        total = engine.state.max_epochs * engine.state.epoch_length  # type: ignore[operator]
        left = self.clock.seconds_left(engine.schedule, engine.state.iteration, total)  # type: ignore[attr-defined]
        left += self.clock.between_epochs() * (engine.state.max_epochs - engine.state.epoch + 1)  # type: ignore[operator]
        engine.logger.info(line(engine.state.iteration, total, engine.state.output, left))  # type: ignore[arg-type]

    def _end(self, engine: Engine) -> None:
        took = duration(time.monotonic() - self.began)
        engine.logger.info(f"progress: {engine.state.iteration - self.first} steps done in {took}")


class StepClock:
    """Mean seconds of each kind of step with its batch, and of what happens between two epochs (validation, saving)."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.counts: Counter[str] = Counter()
        self.between, self.epochs = 0.0, 0
        self._from = self._last = 0.0

    def start(self) -> None:
        """A step begins."""
        self._from = time.monotonic()

    def stop(self, kind: str) -> None:
        """A step of this kind ends; the first of a kind compiles, and is not counted where there is another."""
        self._last = time.monotonic()
        self.counts[kind] += 1
        if self.counts[kind] == 2:
            self.seconds[kind] = 0.0
        self.seconds[kind] += self._last - self._from

    def leave(self) -> None:
        """An epoch begins: what passed since the last step was validation."""
        if self._last:
            self.between += time.monotonic() - self._last
            self.epochs += 1

    def mean(self, kind: str) -> float | None:
        """Mean seconds of a kind of step, None where none was seen."""
        count = self.counts[kind]
        return self.seconds[kind] / max(1, count - 1) if count else None

    def between_epochs(self) -> float:
        """Mean seconds between two epochs, 0 before the first."""
        return self.between / self.epochs if self.epochs else 0.0

    def seconds_left(self, schedule: Plan, done: int, total: int) -> float:
        """Seconds of the steps `done` to `total`; a kind that was not seen yet takes as long as the slowest that was.

        Args:
            schedule: kinds of the steps.
            done: steps done.
            total: steps in all.
        """
        seen = [self.mean(kind) for kind in self.counts]
        slowest = max((seconds for seconds in seen if seconds is not None), default=0.0)
        left = schedule.count(done, total)
        return sum(n * (slowest if (mean := self.mean(kind.value)) is None else mean) for kind, n in left.items())


def line(done: int, total: int, output: Mapping[str, Any], left: float) -> str:
    """``progress: step 120 of 700 (voxel), loss 0.0123, 3 min 20 s left``."""
    return f"progress: step {done} of {total} ({output['step']}), loss {output['loss']:.4g}, {duration(left)} left"


def duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
