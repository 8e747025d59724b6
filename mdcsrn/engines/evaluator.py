"""MONAI's supervised evaluator with errors of this project laid open, for inference and evaluation bundles."""

from __future__ import annotations

from monai.engines import SupervisedEvaluator

from mdcsrn.errors import root_error


class Evaluator(SupervisedEvaluator):
    """:class:`monai.engines.SupervisedEvaluator` that raises this project's error where MONAI wrapped one."""

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]  # as MONAI's
        """Run over the data loader once.

        Args:
            global_epoch: epoch to be logged, where a trainer validates.

        Raises:
            MdcsrnError: a volume, a checkpoint or an output is not usable; the file is named.
        """
        try:
            super().run(global_epoch)
        except Exception as error:
            raise root_error(error) or error from error
