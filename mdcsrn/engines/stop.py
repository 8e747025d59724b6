"""Stop a training run after a signal: save a checkpoint after the present step; the same command resumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from ignite.engine import Engine, Events
from torch.utils.data import DataLoader

from mdcsrn import stopping
from mdcsrn.engines import distributed
from mdcsrn.engines.protocol import Resumable
from mdcsrn.stopping import Stopped


class StoppedInValidation(Stopped):
    """A request to end that came while a training run validated: its weights are those of the epoch's last step."""


def stop_validation(evaluator: Engine) -> None:
    """Handler of a validation engine: do not go on to the next volume after a request to end that was noted.

    Several processes complete the validation, since one that left would let the others wait for its figures.
    """
    number = stopping.requested()
    if number is not None and distributed.world_size() == 1:
        raise StoppedInValidation(number)


class StopAfterStep:
    """Looks for a noted request to end after each step; all processes stop at the same one.

    A scheduler gives half a minute or so, and a validation may take longer: none is begun. The checkpoint says that it
    is due, and the resumed run begins with it.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._saved = False

    def attach(self, trainer: Resumable) -> None:
        """Attach it after the checkpoints; workers of the loader leave signals to this process."""
        loader = trainer.data_loader
        if isinstance(loader, DataLoader) and loader.worker_init_fn is None:
            loader.worker_init_fn = stopping.ignored_in_worker
        trainer.add_event_handler(Events.STARTED, self._validate_late)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self.after_step)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.after_epoch)

    def run(self, trainer: Resumable, train: Callable[[], None]) -> None:
        """Train with the signals noted.

        Raises:
            Stopped: the run was asked to end, and has saved its state where it could.
        """
        with stopping.handled(), stopping.noted():
            try:
                train()
            except StoppedInValidation as stop:
                self._number = stop.number
                self._save(trainer, validated=False)
                trainer.fire_event(Events.TERMINATE)  # handlers close what they have open
            except Exception:
                number = stopping.requested()
                if number is None:
                    raise
                leave(number, trainer.state.iteration, saved=False)  # the signal ended the loader or other processes
            finally:
                end_workers(trainer)
            number = self._number or stopping.requested()
            if number is not None:
                leave(number, trainer.state.iteration, self._saved)

    def after_step(self, trainer: Resumable) -> None:
        """Save and terminate; after the last step of an epoch, its validation is left to the resumed run."""
        if self._is_asked(trainer):
            self._save(trainer, validated=trainer.state.iteration % trainer.state.epoch_length != 0)
            trainer.terminate(skip_completed=True)

    def after_epoch(self, trainer: Resumable) -> None:
        """Terminate: the epoch's checkpoint has just been written."""
        if self._is_asked(trainer):
            self._saved = trainer.checkpoints is not None
            trainer.terminate(skip_completed=True)

    def _validate_late(self, trainer: Resumable) -> None:
        """End the epoch of a run that was stopped between its last step and the end of its validation."""
        if trainer.validation_due:
            trainer.fire_event(Events.EPOCH_COMPLETED)
            trainer.validation_due = False

    def _is_asked(self, trainer: Resumable) -> bool:
        self._number = distributed.largest(stopping.requested() or 0, trainer.state.device) or None
        return self._number is not None

    def _save(self, trainer: Resumable, validated: bool) -> None:
        if trainer.checkpoints is not None:
            with stopping.held():
                trainer.checkpoints.save(trainer, validated)
            self._saved = True
        distributed.wait()  # a launcher ends the others as soon as one process has ended


def end_workers(trainer: Resumable) -> None:
    """End the loader's workers with the run: torch ends them with their iterator, which an error keeps alive."""
    shut_down = getattr(getattr(trainer, "_dataloader_iter", None), "_shutdown_workers", None)
    if shut_down is not None:
        shut_down()


def leave(number: int, step: int, saved: bool) -> NoReturn:
    """Report the end in one line, from the first process, and raise it."""
    what = f"a checkpoint of step {step} is saved" if saved else "the last checkpoint is whole"
    text = f"{stopping.WORDS[number]}: {what}; the same command resumes" if distributed.rank() == 0 else ""
    stop = Stopped(number, text)
    stopping.report(stop)
    distributed.stop()
    raise stop
