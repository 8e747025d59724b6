"""Write the derived DICOM series of a case, with what its rounding costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdcsrn.jobs.job import Job
from mdcsrn.jobs.options import Options
from mdcsrn.jobs.rounding import certify_stored, rounding_notices
from mdcsrn.notices import Notice, refuse
from mdcsrn.record.sidecar import derivation, series_sha256

if TYPE_CHECKING:
    from mdcsrn.inference.pipeline import Prediction
    from mdcsrn.inference.planning.models import Model
    from mdcsrn.io.scan import Scan


def make_series(
    folder: Path, job: Job, options: Options, prediction: Prediction, scan: Scan, model: Model
) -> tuple[dict[str, Any], list[Notice]]:
    """Write the series.

    Args:
        folder: new.
        job: says number and description.
        options: say the slope, and whether warnings are errors.
        prediction: the result.
        scan: a DICOM series.
        model: the weights, for DerivationDescription.

    Returns:
        Its entry in the record (number of images, hash, storage with the largest rounding error, certificate of the
        voxels as stored), and a warning where rounding is too coarse.

    Raises:
        OutputError: it cannot be written, or values do not fit a slope of 1.
        RefusedError: strict, and rounding is too coarse.
    """
    from mdcsrn.io.dicom import storage, write_series

    assert scan.dicom is not None  # checked before anything was computed
    stored = storage(prediction.volume, options.dicom_slope)
    values = stored.restore(stored.quantize(prediction.volume.array)).astype(np.float32)
    certificate = certify_stored(prediction, scan.volume, values)
    notices = rounding_notices(certificate, stored.dtype, " in the DICOM series")
    if options.strict:
        refuse(notices)
    files = write_series(
        prediction.volume, scan.dicom, folder, derivation(prediction, model.sha256), slope=options.dicom_slope,
        series_number=None if job.label is None else job.label.number,
        series_description=None if job.label is None else job.label.description,
    )  # fmt: skip
    entry = {
        "instances": len(files),
        "sha256": series_sha256(folder),
        "storage": stored.to_dict(),
        "certificate": certificate,
    }
    return entry, notices
