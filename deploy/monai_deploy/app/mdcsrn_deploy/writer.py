"""The result as a derived MR series with its record; no operator of the SDK writes MR images.

``OUTPUT/NAME_sr/00001.dcm`` ... and ``OUTPUT/NAME_sr.json``, NAME being the series' number (``series1301``).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.deploy.core import Fragment, Operator, OperatorSpec

from mdcsrn.errors import OutputError
from mdcsrn.files import atomic_write_text
from mdcsrn.inference import Prediction
from mdcsrn.inference.planning.models import Model
from mdcsrn.io.dicom import Storage, storage, write_series
from mdcsrn.io.scan import Scan
from mdcsrn.jobs.options import Options
from mdcsrn.jobs.staging import Staging
from mdcsrn.record.sidecar import StoredVolume, derivation, series_sha256, sidecar, to_text

logger = logging.getLogger(__name__)
ENDING = "_sr"


@dataclass(frozen=True, eq=False)
class Result:
    """A scan and its restoration."""

    scan: Scan
    prediction: Prediction


class SeriesWriter(Operator):
    """Writes the derived series and its record; both appear at the end, or neither.

    Args:
        fragment: the application.
        made: hidden folder on the output's disk.
        options: what was asked for, for the record.
        model: the weights, likewise.
        name: of the operator.

    Named input:
        result: :class:`Result`.
    """

    def __init__(
        self, fragment: Fragment, *args: Any, made: Staging, options: Options, model: Model, name: str = "writer"
    ) -> None:
        self.made, self.options, self.model = made, options, model
        super().__init__(fragment, *args, name=name)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the port."""
        spec.input("result")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Receive a result, write it."""
        self.write(op_input.receive("result"))

    def write(self, result: Result) -> Path:
        """Write one result.

        Returns:
            Folder of the series.

        Raises:
            OutputError: the disk is full, or the place was taken meanwhile.
        """
        scan, prediction = result.scan, result.prediction
        assert scan.dicom is not None
        place = free_place(self.made.target, scan.name)
        folder = self.made.path(place.name)
        files = write_series(prediction.volume, scan.dicom, folder, derivation(prediction, self.model.sha256))
        stored = storage(prediction.volume)
        certificate = certificate_of_stored(prediction, scan, stored)
        written = StoredVolume(place, series_sha256(folder), "uint16", certificate)
        record = sidecar(
            prediction,
            scan,
            written,
            weights_sha256=self.model.sha256,
            settings=self.options.settings(),
            extra={"dicom": {"path": place.name, "instances": len(files), "storage": stored.to_dict()}},
        )
        name = f"{place.name}.json"
        atomic_write_text(self.made.path(name), to_text(record))
        if place.is_dir():
            place.rmdir()  # empty; a folder replaces nothing
        self.made.publish([place.name, name])
        logger.info("%s: written: %d images in %s", scan.name, len(files), place)
        return place


def free_place(output: Path, name: str) -> Path:
    """Folder for a series' result.

    Args:
        output: folder of the results.
        name: of the series.

    Raises:
        OutputError: something is there already.
    """
    place = output / f"{name}{ENDING}"
    record = place.with_name(f"{place.name}.json")
    if record.exists() or (place.exists() and (not place.is_dir() or any(place.iterdir()))):
        raise OutputError(
            f"cannot write {place}: there is a result already",
            allowed="a new or empty folder",
            remedy="choose another output folder, or remove the earlier result",
        )
    return place


def certificate_of_stored(prediction: Prediction, scan: Scan, stored: Storage) -> dict[str, Any] | None:
    """Consistency of the voxels as a reader of the series gets them, rounding included; None where there is none."""
    measurement = prediction.plan.measurement
    if prediction.certificate is None or measurement is None:
        return None
    values = stored.restore(stored.quantize(prediction.volume.array)).astype(np.float32)
    measured = prediction.plan.measured(torch.from_numpy(scan.volume.array))
    return measurement.certify(torch.from_numpy(values), measured).to_dict()
