"""MONAI's supervised evaluator with errors of this project laid open, for inference and evaluation bundles."""

from __future__ import annotations

import re

from ignite.engine import Events
from monai.engines import SupervisedEvaluator

from mdcsrn import stopping
from mdcsrn.engines.stop import stop_validation
from mdcsrn.errors import MdcsrnError, OutputError, root_error


class Evaluator(SupervisedEvaluator):
    """:class:`monai.engines.SupervisedEvaluator` that raises this project's error where MONAI wrapped one."""

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]  # as MONAI's
        """Run over the data loader once.

        Args:
            global_epoch: epoch to be logged, where a trainer validates.

        Raises:
            MdcsrnError: a volume, a checkpoint or an output is not usable; the file is named.
            Stopped: Ctrl-C or a request to end.
        """
        if not self.has_event_handler(stop_validation, Events.ITERATION_COMPLETED):
            self.add_event_handler(Events.ITERATION_COMPLETED, stop_validation)
        try:
            with stopping.handled():
                super().run(global_epoch)
        except Exception as error:
            stopping.check()  # what failed may have failed because of a signal
            raise root_error(error) or _told(error) or error from error


def _told(error: BaseException) -> MdcsrnError | None:
    """The writer's error that MONAI's SaveImage has turned into the text of its own: only the words are left of it."""
    told = re.search(rf"^{OutputError.__module__}\.{OutputError.__name__}: (.+)$", str(error), re.MULTILINE)
    if told is not None:
        return OutputError(told[1])
    return _told(error.__cause__) if error.__cause__ is not None else None
