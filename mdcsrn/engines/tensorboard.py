"""TensorBoard log of a training run: losses, critic distance, gradient norms, rates, validation figures, pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import cast

import numpy as np
from ignite.engine import Engine, Events
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mdcsrn.engines import distributed
from mdcsrn.engines.trainer import ResumableTrainer
from mdcsrn.errors import OutputError


class TrainingBoard:
    """Writes scalars while training and figures and pictures after each validation, from the first process.

    A resumed run purges what was logged after its checkpoint (`purge_step`), so the curves have no double part.

    Args:
        folder: where the event files go.
        evaluator: the validation engine; its output holds ``image``, ``pred`` and ``label``.
        every: steps between two scalars.
        picture: makes a picture (H, W) or (H, W, 3), uint8, of the (D, H, W) volumes LR, SR and reference
            (:func:`mdcsrn.report.panel_array`); None: no pictures.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        evaluator: Engine,
        every: int = 20,
        picture: Callable[[Tensor, Tensor, Tensor], np.ndarray] | None = None,
    ) -> None:
        self.folder, self.evaluator, self.every, self.picture = folder, evaluator, every, picture
        self.writer: SummaryWriter | None = None
        self._shown: tuple[np.ndarray, str] | None = None

    def attach(self, trainer: ResumableTrainer) -> None:
        """Log at iterations and epochs; attach it after the validation handler."""
        if distributed.rank() != 0:
            return
        trainer.add_event_handler(Events.STARTED, self._open)
        trainer.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self._scalars)
        self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._picture, trainer)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._figures)
        for event in (Events.COMPLETED, Events.TERMINATE, Events.EXCEPTION_RAISED):
            trainer.add_event_handler(event, self._close)

    def _open(self, trainer: ResumableTrainer) -> None:
        try:
            self.writer = SummaryWriter(str(self.folder), purge_step=trainer.state.iteration + 1)
        except OSError as error:
            remedy = "choose a writable output folder with free space"
            raise OutputError(f"cannot write {self.folder}", got=error.strerror or error, remedy=remedy) from error

    def _scalars(self, trainer: ResumableTrainer) -> None:
        assert self.writer is not None  # opened at STARTED
        step = trainer.state.iteration
        for name, value in trainer.state.output.items():
            if isinstance(value, float) and name != "loss":
                self.writer.add_scalar(f"train/{name}", value, step)
        for name, part in trainer.parts.items():
            self.writer.add_scalar(f"learning_rate/{name}", part.optimizer.param_groups[0]["lr"], step)
        self.writer.flush()  # a killed run has no gap before its checkpoint

    def _figures(self, trainer: ResumableTrainer) -> None:
        assert self.writer is not None
        for name, value in self.evaluator.state.metrics.items():
            self.writer.add_scalar(f"validation/{name}", float(value), trainer.state.iteration)
        if self._shown is not None:  # not before: a validation that is left is done again, at the same step
            picture, form = self._shown
            self.writer.add_image("validation/lr_sr_hr_error", picture, trainer.state.iteration, dataformats=form)
            self._shown = None
        self.writer.flush()

    def _picture(self, evaluator: Engine, trainer: ResumableTrainer) -> None:
        """LR, SR, HR and error of the first validation volume."""
        if self.writer is None or self.picture is None or evaluator.state.iteration != 1:
            return
        case = cast(list[dict[str, Tensor]], evaluator.state.output)[0]
        low, restored, reference = (case[key][0] for key in ("image", "pred", "label"))
        picture = self.picture(low, restored, reference)
        self._shown = picture, "HW" if picture.ndim == 2 else "HWC"

    def _close(self, trainer: ResumableTrainer, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None
