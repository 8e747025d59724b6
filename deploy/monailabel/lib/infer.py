"""Inference task: restore one scan into the volume that ``mdcsrn predict`` writes for it, with its facts."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from lib.infer_tasks import Offer
from lib.request import offered, read_request
from mdcsrn.errors import DataError
from mdcsrn.inference.planning.models import Model, find_model
from mdcsrn.io.formats import image_stem
from mdcsrn.io.sources import find_cases
from mdcsrn.jobs.job import Outcome
from mdcsrn.jobs.options import Options
from mdcsrn.jobs.output_paths import jobs_of
from mdcsrn.jobs.run import run_case
from mdcsrn.record.sidecar import sidecar_path

logger = logging.getLogger(__name__)


class SuperResolution(InferTask):
    """Restores the outer k-space of a scan.

    The type is ``OTHERS``: what comes back is an image, no mask. The work is that of the command line, from reading to
    writing, so that both give the same voxels.

    Args:
        offer: what is offered.
        results: folder for results that are on their way to a client.
    """

    def __init__(self, offer: Offer, results: Path) -> None:
        super().__init__(
            type=InferType.OTHERS, labels=None, dimension=3, description=offer.about, config=offered(offer)
        )
        self.offer, self.results = offer, results
        self._model: tuple[int, Model] | None = None

    def is_valid(self) -> bool:
        """True: models are looked for when the task is listed."""
        return True

    def get_path(self, validate: bool = True) -> None:
        """None: MONAI Label would let clients replace or delete the file."""
        return None

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Do it.

        Args:
            request: path of the scan under ``image``, and the options of :func:`lib.request.offered`.

        Returns:
            A NIfTI file, which the server sends and then removes, and what is known of the result.

        Raises:
            MdcsrnError: as ``mdcsrn predict``.
        """
        options, extension = read_request(request, self.offer)
        source = Path(str(request["image"]))
        output = self.results / f"{image_stem(source)[:80]}_sr-{uuid.uuid4().hex[:12]}{extension}"
        try:
            outcome = self._run(source, output, options)
        finally:
            sidecar_path(output).unlink(missing_ok=True)  # it is part of the answer
        logger.info("%s: %s", self.offer.name, outcome.lines[0])
        return str(output), answer(outcome)

    def _run(self, source: Path, output: Path, options: Options) -> Outcome:
        cases = find_cases(source)
        if len(cases) != 1:
            names = ", ".join(case.name for case in cases[:5])
            raise DataError(f"{source} holds {len(cases)} scans", got=names, allowed="one", remedy="ask for each")
        jobs, _ = jobs_of(source, cases, output, options)
        return run_case(jobs[0], options, self.model())

    def model(self) -> Model:
        """The weights, read once; a file that was replaced is read anew."""
        found = find_model(self.offer.bundle, self.offer.model)
        stamp = os.stat(found.path).st_mtime_ns
        if self._model is None or self._model[0] != stamp or self._model[1].path != found.path:
            self._model = stamp, found
        return self._model[1]


def answer(outcome: Outcome) -> dict[str, Any]:
    """What is reported to a client: the decision and the warnings in words, the times, and the whole record.

    Keys that MONAI Label's own clients look for (``label_names``, ``latencies``, ``centroids``) are there.
    """
    record = outcome.facts
    seconds = record["timings_s"]
    return {
        "label_names": {},
        "centroids": {},
        "latencies": {**seconds, "total": round(sum(seconds.values()), 3)},
        "decision": record["plan"]["decision"],
        "warnings": [f"{warning['name']}: {warning['text']}" for warning in record["warnings"]],
        "lines": [line for line in outcome.lines if not line.startswith("written: ")],
        "record": record,
    }
