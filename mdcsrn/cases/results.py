"""The files of a result: volume, maps, labels, page, series and record, made first and then put in place together."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdcsrn.cases.case import Job
from mdcsrn.cases.options import Options
from mdcsrn.cases.series_place import SERIES, announce, check_series_place, replace_series, settle
from mdcsrn.cases.staging import Staging, exclusive, staging
from mdcsrn.errors import OutputError
from mdcsrn.files import atomic_write_text, sha256
from mdcsrn.inference.record import (
    Written,
    derivation,
    relative,
    series_sha256,
    sidecar,
    sidecar_path,
    to_text,
)
from mdcsrn.io import write_volume
from mdcsrn.notices import Notice, refuse
from mdcsrn.scratch import sweep

if TYPE_CHECKING:
    from mdcsrn.inference.models import Model
    from mdcsrn.inference.pipeline import Prediction
    from mdcsrn.io.scan import Scan
    from mdcsrn.io.volume import Volume

COARSE = 0.01  # relative error of rounding above which an integer type is warned of


@dataclasses.dataclass(frozen=True)
class Places:
    """Hidden folders on the disks where the files of one result go; None: no such file is asked for.

    Attributes:
        volumes: for the volume, its maps, its labels and the record.
        page: for the HTML page.
        series: for the DICOM series.
    """

    volumes: Staging
    page: Staging | None
    series: Staging | None


@contextlib.contextmanager
def places(job: Job) -> Iterator[Places]:
    """Make the hidden folders, so that a place that cannot be written is told before anything is computed.

    Raises:
        OutputError: a place cannot be written, or other files lie where the DICOM series is to go.
    """
    if job.dicom_out is not None:
        check_series_place(job.dicom_out, job.output)
    with contextlib.ExitStack() as stack:
        yield Places(
            volumes=stack.enter_context(staging(job.output.parent)),
            page=None if job.report is None else stack.enter_context(staging(job.report.parent)),
            series=None if job.dicom_out is None else stack.enter_context(staging(job.dicom_out.parent)),
        )


def sweep_places(job: Job) -> None:
    """Remove what killed runs left where a result that is done lies."""
    for path in filter(None, (job.output, job.report, job.dicom_out)):
        sweep(path.parent)
    if job.dicom_out is not None:
        settle(None, job.dicom_out, job.output)


def write_result(
    job: Job,
    options: Options,
    settings: dict[str, Any],
    model: Model,
    scan: Scan,
    prediction: Prediction,
    labels: Volume | None,
    made: Places,
) -> dict[str, Any]:
    """Make every file, then move all to their places.

    The record comes last, for it vouches for all of them.

    Returns:
        The record.

    Raises:
        OutputError: a file cannot be written; nothing new is left.
    """
    like = scan.files[0] if scan.kind == "nifti" and scan.files else None
    names: list[str] = []

    def put(volume: Volume, path: Path, dtype: np.dtype) -> Written:
        write_volume(volume, made.volumes.path(path.name), like=like, dtype=dtype)
        names.append(path.name)
        return Written(path, sha256(made.volumes.path(path.name)))

    dtype = stored_dtype(scan.volume, options.dtype)
    stored, certificate = as_stored(prediction, scan.volume, dtype)
    notices = _rounding(certificate, dtype)
    if options.strict:
        refuse(notices)
    output = put(stored, job.output, dtype)
    others: dict[str, Written] = {}
    if options.uncertainty:
        for role, volume in prediction.maps.items():
            others[role] = put(volume, job.file(role), np.dtype(np.float32))
    if labels is not None:
        from mdcsrn.inference.labels import carry_labels

        carried = carry_labels(labels, prediction.volume.affine, prediction.volume.shape)
        kept = labels.dtype.newbyteorder("=") if labels.dtype.kind in "iu" else np.dtype(np.float32)
        others["mask"] = put(carried, job.file("mask"), kept)
    if made.page is not None and job.report is not None:
        others["report"] = _make_page(made.page.path(job.report.name), job.report, prediction, scan)
    extra: dict[str, Any] = {}
    if made.series is not None and job.dicom_out is not None:
        extra["dicom"] = {
            "path": relative(job.dicom_out, job.output.parent),
            **_make_series(made.series.path(SERIES), prediction, scan, model),
        }
    record = sidecar(
        prediction, scan, output, weights_sha256=model.sha256, settings=settings, dtype=str(dtype),
        stored_certificate=certificate, others=others, sources=job.sources, notices=notices, extra=extra,
    )  # fmt: skip
    name = sidecar_path(job.output).name
    atomic_write_text(made.volumes.path(name), to_text(record))
    _publish(job, made, names, name)
    return record


def stored_dtype(volume: Volume, choice: str) -> np.dtype:
    """The type to store: float32, or the source's own integer type (a source of floats stays float32)."""
    keep = choice == "keep" and volume.dtype.kind in "iu"
    return volume.dtype.newbyteorder("=") if keep else np.dtype(np.float32)


def as_stored(prediction: Prediction, source: Volume, dtype: np.dtype) -> tuple[Volume, dict[str, Any] | None]:
    """The volume as the file will give it back, and the certificate of just that.

    Raises:
        OutputError: the integer type cannot hold a value.
    """
    certificate = prediction.certificate
    if dtype.kind == "f":
        return prediction.volume, None if certificate is None else certificate.to_dict()
    rounded = np.rint(prediction.volume.array)
    limits, low, high = np.iinfo(dtype), float(rounded.min()), float(rounded.max())
    if low < limits.min or high > limits.max:
        raise OutputError(
            f"the result does not fit the source's type {dtype}", got=f"{low:g} to {high:g}",
            allowed=f"{limits.min} to {limits.max}", remedy="leave out --dtype keep: float32 holds every value",
        )  # fmt: skip
    stored = dataclasses.replace(prediction.volume, array=rounded)
    measurement = prediction.plan.measurement
    if certificate is None or measurement is None:
        return stored, None
    import torch

    measured = prediction.plan.measured(torch.from_numpy(source.array))
    return stored, measurement.certify(torch.from_numpy(stored.array), measured).to_dict()


def _rounding(certificate: dict[str, Any] | None, dtype: np.dtype) -> list[Notice]:
    """A warning where whole numbers are too coarse, as for values between 0 and 1 behind a scale factor."""
    if certificate is None or dtype.kind == "f" or certificate["relative_error"] <= COARSE:
        return []
    text = f"rounding to {dtype} costs {100 * certificate['relative_error']:.2g} % of what was measured (at most 1 %)"
    return [Notice("rounding-too-coarse", text)]


def _make_page(path: Path, place: Path, prediction: Prediction, scan: Scan) -> Written:
    from mdcsrn.report.html import write_page
    from mdcsrn.report.prediction import page_of_prediction

    write_page(path, page_of_prediction(prediction, scan.name))
    return Written(place, sha256(path))


def _make_series(folder: Path, prediction: Prediction, scan: Scan, model: Model) -> dict[str, Any]:
    from mdcsrn.io.dicom import storage, write_series

    assert scan.dicom is not None  # checked before anything was computed
    files = write_series(prediction.volume, scan.dicom, folder, derivation(prediction, model.sha256))
    rounding = storage(prediction.volume).to_dict()
    return {"instances": len(files), "sha256": series_sha256(folder), "storage": rounding}


def _publish(job: Job, made: Places, names: list[str], record: str) -> None:
    """Move all to their places: the old record goes first, the new one comes last, so a record is always true."""
    with exclusive(job.output.parent):
        if made.series is not None and job.dicom_out is not None:
            check_series_place(job.dicom_out, job.output)  # another run may have come first
            announce(made.series, job.dicom_out, job.output)
        made.volumes.withdraw(record)
        if made.page is not None and job.report is not None:
            made.page.move([job.report.name])
        made.volumes.move(names)
        if made.series is not None and job.dicom_out is not None:
            replace_series(made.series, job.dicom_out)
        made.volumes.move([record])
        if made.series is not None and job.dicom_out is not None:
            settle(made.series, job.dicom_out, job.output)
