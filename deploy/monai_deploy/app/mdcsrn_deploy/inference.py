"""The restoration itself: ``mdcsrn.inference.predict``, with the options of ``mdcsrn predict``.

The SDK's bundle operator casts images to uint8 and runs a bundle's transforms one by one; neither is of use here.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment, Operator, OperatorSpec

from mdcsrn.inference import Prediction
from mdcsrn.inference.planning.models import Model
from mdcsrn.jobs.options import Options
from mdcsrn.jobs.run import restore
from mdcsrn_deploy.volume import ScanImage
from mdcsrn_deploy.writer import Result, free_place

logger = logging.getLogger(__name__)


class Restoration(Operator):
    """Restores the outer k-space of a scan.

    Args:
        fragment: the application.
        options: what is asked for.
        model: the weights.
        output: folder of the results; a place that is taken is refused before anything is computed.
        name: of the operator.

    Named input:
        image: :class:`mdcsrn_deploy.volume.ScanImage`.
    Named output:
        result: :class:`mdcsrn_deploy.writer.Result`.
    """

    def __init__(
        self, fragment: Fragment, *args: Any, options: Options, model: Model, output: Path, name: str = "restoration"
    ) -> None:
        self.options, self.model, self.output = options, model, output
        super().__init__(fragment, *args, name=name)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("image")
        spec.output("result")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Receive a scan, emit its restoration."""
        image = op_input.receive("image")
        free_place(self.output, image.scan.name)
        op_output.emit(Result(image.scan, self.restore(image)), "result")

    def restore(self, image: ScanImage) -> Prediction:
        """Restore one scan; errors are those of :func:`mdcsrn.inference.predict`."""
        scan = image.scan
        prediction = restore(scan, self.options, self.model)
        for line in (prediction.plan.decision, *prediction.plan.reasons):
            logger.info("%s: %s", scan.name, line)
        for notice in prediction.notices:
            logger.warning("%s: %s", scan.name, notice)
        if prediction.certificate is not None:
            logger.info("%s: consistency: relative error %.2g", scan.name, prediction.certificate.relative_error)
        seconds = sum(prediction.timings.values())
        logger.info("%s: restored in %.1f s", scan.name, seconds)
        return prediction
