"""A training run that gets a signal saves a checkpoint, ends with the shell's code, and resumes bitwise equal."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ignite.engine import Engine, Events
from monai.handlers import ValidationHandler

from mdcsrn import stopping
from mdcsrn.data.patches import SampleStream
from mdcsrn.engines import AdversarialTrainer, Evaluator, Schedule, TrainingCheckpoints
from mdcsrn.engines.checkpoint import training_checkpoints
from mdcsrn.networks.weights import read
from mdcsrn.stopping import Stopped

SCHEDULE = Schedule(3, 1, 2, 1, 0, 1)  # 8 steps
EPOCH = 4
VOLUMES = 3


class Figures:
    """What each validation found, as a part of the checkpoints."""

    def __init__(self) -> None:
        self.found: list[list[float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.found = state["found"]


class Run:
    """A trainer with a validation; ``moment(event, number)`` is called at each step and each validation volume."""

    def __init__(
        self, make_trainer: Callable, make_loader: type, make_batch: Callable, folder: Path,
        moment: Callable[[str, int], None],
    ) -> None:  # fmt: skip
        sampler, self.figures = SampleStream(2), Figures()
        checkpoints = TrainingCheckpoints(folder, sampler, every=100, stateful={"figures": self.figures})
        validation = [make_batch(50 + k, 1) for k in range(VOLUMES)]
        self.trainer: AdversarialTrainer = make_trainer(
            SCHEDULE, make_loader(sampler, lambda number, _: moment("step", number + 1)), checkpoints=checkpoints,
            epoch_length=EPOCH,
        )  # fmt: skip
        evaluator = Evaluator(device="cpu", val_data_loader=validation, network=self.trainer.average.module)
        self.volumes = 0

        def volume(engine: Engine) -> None:
            self.volumes += 1
            moment("volume", self.trainer.state.iteration * 10 + engine.state.iteration)

        def figures(engine: Engine) -> None:
            total = sum(float(p.double().sum()) for p in self.trainer.average.module.parameters())
            self.figures.found.append([engine.state.epoch, engine.state.iteration, total])

        evaluator.add_event_handler(Events.ITERATION_COMPLETED, volume)
        # Before the checkpoints' own handlers, as the configuration has them.
        handlers = self.trainer._event_handlers[Events.EPOCH_COMPLETED]
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, ValidationHandler(1, evaluator))
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, figures)
        handlers[:] = handlers[-2:] + handlers[:-2]


@pytest.fixture
def make_run(make_trainer: Callable, make_loader: type, make_batch: Callable, tmp_path: Path) -> Callable[..., Run]:
    def make(folder: str, moment: Callable[[str, int], None] = lambda *_: None) -> Run:
        return Run(make_trainer, make_loader, make_batch, tmp_path / folder, moment)

    return make


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return {}


@pytest.fixture
def whole(make_run: Callable[..., Run], kept: dict[str, Any]) -> Run:
    if "whole" not in kept:
        kept["whole"] = make_run("whole")
        kept["whole"].trainer.run()
    assert [(epoch, step) for epoch, step, _ in kept["whole"].figures.found] == [(1, 4), (2, 8)]
    return kept["whole"]


def at(event: str, number: int, sent: int, times: int = 1) -> Callable[[str, int], None]:
    def moment(what: str, where: int) -> None:
        if (what, where) == (event, number):
            for _ in range(times):
                signal.raise_signal(sent)

    return moment


MOMENTS = [("step", n) for n in range(1, 9)] + [("volume", n) for n in (41, 42, 43, 81, 82, 83)]


@pytest.mark.parametrize(("event", "number"), MOMENTS)
def test_stopped_by_a_signal_it_resumes_bitwise_equal(
    make_run: Callable[..., Run], whole: Run, same: Callable[..., bool], tmp_path: Path, event: str, number: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    sent = signal.SIGTERM if number % 2 else signal.SIGINT
    stopped = make_run("stopped", at(event, number, sent, times=2))  # a launcher passes it on once more
    with pytest.raises(Stopped) as end:
        stopped.trainer.run()
    assert end.value.code == 128 + sent
    step = number if event == "step" else number // 10
    word = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted"}[sent]
    assert capsys.readouterr().err == f"{word}: a checkpoint of step {step} is saved; the same command resumes\n"
    newest = training_checkpoints(tmp_path / "stopped")[-1]
    assert read(newest)["iteration"] == stopped.trainer.state.iteration == step
    assert sorted(p.suffix for p in (tmp_path / "stopped").iterdir()) == [".pt"] * len(list(newest.parent.iterdir()))
    if event == "volume":
        assert stopped.volumes % VOLUMES == number % 10 % VOLUMES  # none is begun after the signal
    rest = make_run("stopped")
    rest.trainer.run()
    assert same(whole.trainer.training_state(), rest.trainer.training_state())
    assert rest.figures.found == whole.figures.found
    assert (rest.trainer.state.iteration, rest.trainer.state.epoch) == (8, 2)
    assert "validation_due" not in read(training_checkpoints(tmp_path / "stopped")[-1])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # the handlers of the process are back


def test_a_second_signal_ends_at_once(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "REPEATED", 0.0)
    with pytest.raises(Stopped) as end:
        make_run("run", at("step", 2, signal.SIGINT, times=2)).trainer.run()
    assert end.value.code == 130
    assert training_checkpoints(tmp_path / "run") == []


def test_an_error_of_the_loader_after_a_signal_is_the_signal(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """A scheduler signals the loader's processes too, and torch makes a RuntimeError of that."""

    def moment(event: str, number: int) -> None:
        if (event, number) == ("step", 3):
            signal.raise_signal(signal.SIGTERM)
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")

    with pytest.raises(Stopped) as end:
        make_run("run", moment).trainer.run()
    assert end.value.code == 143


def test_without_checkpoints_the_code_is_the_same(make_trainer: Callable, make_loader: type) -> None:
    loader = make_loader(None, lambda number, _: number == 1 and signal.raise_signal(signal.SIGTERM))
    trainer = make_trainer(SCHEDULE, loader)
    with pytest.raises(Stopped) as end:
        trainer.run()
    assert end.value.code == 143
    assert trainer.state.iteration == 2


def test_an_evaluation_ends_at_once() -> None:
    from mdcsrn.networks import MDCSRN

    seen = []

    class Loader:
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Any:
            import torch

            for number in range(3):
                seen.append(number)
                if number == 1:
                    signal.raise_signal(signal.SIGTERM)
                yield {"image": torch.rand(1, 1, 8, 8, 8)}

    evaluator = Evaluator(device="cpu", val_data_loader=Loader(), network=MDCSRN(blocks=1, units=1, growth=2))
    with pytest.raises(Stopped) as end:
        evaluator.run()
    assert (end.value.code, seen) == (143, [0, 1])
