"""Write the files of a result (volume, maps, labels, page, series, record), then put them in place together."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mdcsrn
from mdcsrn.errors import OutputError
from mdcsrn.files import atomic_write_text, sha256
from mdcsrn.io.formats import check_writable, stored_type, write_image
from mdcsrn.io.names import is_picture_name
from mdcsrn.io.pictures import PICTURE_KINDS
from mdcsrn.jobs.byproducts import Failures, attempt, earlier_files
from mdcsrn.jobs.job import Job
from mdcsrn.jobs.options import Options
from mdcsrn.jobs.rounding import certify_stored, clipping_notices, rounding_notices
from mdcsrn.jobs.series import make_series
from mdcsrn.jobs.series_folder import SERIES, announce, check_series_place, replace_series, settle
from mdcsrn.jobs.staging import Staging, exclusive, staging
from mdcsrn.notices import refuse
from mdcsrn.record.sidecar import (
    StoredVolume,
    Written,
    relative,
    sidecar,
    sidecar_path,
    to_text,
)
from mdcsrn.scratch import sweep

if TYPE_CHECKING:
    from mdcsrn.inference.pipeline import Prediction
    from mdcsrn.inference.planning.models import Model
    from mdcsrn.io.scan import Scan
    from mdcsrn.io.volume import Volume
    from mdcsrn.report.prediction import Stored


@dataclasses.dataclass(frozen=True)
class Places:
    """Hidden folders on the disks where the files of one result go; None: no such file is asked for.

    Attributes:
        volumes: for the volume, its maps, its labels and the record.
        page: for the HTML page.
        series: for the DICOM series.
        failed: by role, what could not be made beside the volume; filled by :func:`write_result`.
    """

    volumes: Staging
    page: Staging | None
    series: Staging | None
    failed: Failures = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def places(job: Job) -> Iterator[Places]:
    """Make the hidden folders, so that a place that cannot be written is reported before anything is computed.

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

    A map, labels, a page or a series that fails is noted in ``made.failed`` and under ``not_made`` in the record; the
    volume is written all the same. The record comes last, for it vouches for all of them.

    Returns:
        The record.

    Raises:
        OutputError: a file cannot be written; nothing new is left.
    """
    names: list[str] = []

    def put(volume: Volume, path: Path, dtype: np.dtype) -> Written:
        write_image(volume, made.volumes.path(path.name), dtype)
        names.append(path.name)
        return Written(path, sha256(made.volumes.path(path.name)))

    def put_further(role: str, volume: Volume, dtype: np.dtype) -> None:
        others[role] = put(volume, job.file(role), dtype)
        if job.describe is not None:
            path = sidecar_path(job.file(role))
            content = {"software": f"mdcsrn {mdcsrn.__version__}", **job.describe(role, volume)}
            atomic_write_text(made.volumes.path(path.name), to_text(content))
            names.append(path.name)
            others[f"{role}_sidecar"] = Written(path, sha256(made.volumes.path(path.name)))

    dtype = stored_dtype(scan.volume, options.dtype, job.output)
    picture = is_picture_name(job.output)
    stored, certificate = as_stored(prediction, scan.volume, dtype, clip=picture)
    notices = rounding_notices(certificate, dtype)
    if picture:
        notices += clipping_notices(prediction.volume, dtype)
    if options.strict:
        refuse(notices)
    output = put(stored, job.output, dtype)
    others: dict[str, Written] = {}
    if options.uncertainty:
        for role, volume in prediction.maps.items():
            with attempt(role, made.failed):
                put_further(role, volume, np.dtype(np.float32))
    if labels is not None:
        with attempt("mask", made.failed):
            put_further("mask", *_carried(labels, prediction, job.file("mask")))
    extra: dict[str, Any] = {} if job.describe is None else dict(job.describe("", stored))
    if made.series is not None and job.dicom_out is not None:
        with attempt("series", made.failed):
            series, coarse = make_series(made.series.path(SERIES), job, options, prediction, scan, model)
            extra["dicom"] = {"path": relative(job.dicom_out, job.output.parent), **series}
            notices += coarse
    if made.page is not None and job.report is not None:  # after all else: it says what the files hold
        with attempt("report", made.failed):
            from mdcsrn.report.prediction import Stored

            of_series = extra.get("dicom", {}).get("certificate")
            shown = Stored(stored.array, certificate, of_series, tuple(notices))
            others["report"] = _make_page(made.page.path(job.report.name), job.report, prediction, scan, shown)
    if made.failed:
        extra["not_made"] = sorted(made.failed)
    extra |= _earlier(job, others)
    written = StoredVolume(output.path, output.sha256, str(dtype), certificate)
    record = sidecar(
        prediction, scan, written, weights_sha256=model.sha256, settings=settings,
        others=others, notices=notices, extra=extra,
    )  # fmt: skip
    name = sidecar_path(job.output).name
    atomic_write_text(made.volumes.path(name), to_text(record))
    _publish(job, made, names, record)
    return record


def _carried(labels: Volume, prediction: Prediction, place: Path) -> tuple[Volume, np.dtype]:
    """Label map on the result's grid, and the type to store it in."""
    from mdcsrn.inference.labels import carry_labels

    carried = carry_labels(labels, prediction.volume.affine, prediction.volume.shape, prediction.volume.forms)
    return carried, label_dtype(labels, place)


def _earlier(job: Job, others: dict[str, Written]) -> dict[str, Any]:
    """Key ``earlier_files`` of a record, where an earlier run left files that this one does not write."""
    now = {role: {"path": relative(written.path, job.output.parent)} for role, written in others.items()}
    found = earlier_files(sidecar_path(job.output), now)
    return {"earlier_files": found} if found else {}


def stored_dtype(volume: Volume, choice: str, output: Path) -> np.dtype:
    """The type to store: float32, or the source's own integer type (a source of floats stays float32).

    Args:
        volume: the source.
        choice: ``float32`` or ``keep``.
        output: its format may lack that type; then a wider one.

    Raises:
        OutputError: the format cannot hold the volume, see :func:`mdcsrn.io.formats.write_image`.
    """
    check_writable(output, volume)
    keep = choice == "keep" and volume.dtype.kind in "iu"
    return stored_type(volume, output, volume.dtype.newbyteorder("=") if keep else np.float32)


def label_dtype(labels: Volume, place: Path) -> np.dtype:
    """The type to store a label map: its own integer type, or a wider one where the format of `place` lacks it.

    Raises:
        OutputError: labels that no integer of the format holds.
    """
    if is_picture_name(place):
        low, high = float(labels.array.min()), float(labels.array.max())
        if low < 0 or high > np.iinfo(np.uint16).max or (labels.array % 1).any():
            raise OutputError(
                f"the labels do not fit a PNG: {labels.path}", got=f"{low:g} to {high:g}",
                allowed="whole numbers from 0 to 65535", remedy="-o NAME.nii.gz",
            )  # fmt: skip
        return np.dtype(np.uint8) if labels.dtype.str[1:] == "u1" else np.dtype(np.uint16)
    whole = labels.dtype.kind in "iu"
    return stored_type(labels, place, labels.dtype.newbyteorder("=") if whole else np.float32)


def as_stored(
    prediction: Prediction, source: Volume, dtype: np.dtype, clip: bool = False
) -> tuple[Volume, dict[str, Any] | None]:
    """The volume as the file will give it back, and the certificate of just that.

    Args:
        prediction: what was computed.
        source: the scan.
        dtype: of the file.
        clip: bring values to the limits of an integer type: a picture has no other.

    Raises:
        OutputError: the integer type cannot hold a value.
    """
    certificate = prediction.certificate
    if dtype.kind == "f":
        return prediction.volume, None if certificate is None else certificate.to_dict()
    rounded = np.rint(prediction.volume.array)
    limits = np.iinfo(dtype)
    if clip:
        rounded = np.clip(rounded, limits.min, limits.max)
    low, high = float(rounded.min()), float(rounded.max())
    if low < limits.min or high > limits.max:
        raise OutputError(
            f"the result does not fit the source's type {dtype}", got=f"{low:g} to {high:g}",
            allowed=f"{limits.min} to {limits.max}", remedy="leave out --dtype keep: float32 holds every value",
        )  # fmt: skip
    stored = dataclasses.replace(prediction.volume, array=rounded)
    return stored, certify_stored(prediction, source, stored.array)


def _make_page(path: Path, place: Path, prediction: Prediction, scan: Scan, stored: Stored) -> Written:
    from mdcsrn.report.html import write_page
    from mdcsrn.report.prediction import page_of_prediction

    write_page(path, page_of_prediction(prediction, scan.name, scan.kind in PICTURE_KINDS, stored))
    return Written(place, sha256(path))


def _publish(job: Job, made: Places, names: list[str], record: dict[str, Any]) -> None:
    """Move all to their places: the old record goes first, the new one comes last, so a record is always true."""
    name, missing = sidecar_path(job.output).name, set(made.failed)
    with exclusive(job.output.parent), contextlib.ExitStack() as late:
        if made.series is not None and job.dicom_out is not None and "dicom" in record:
            with attempt("series", made.failed):
                check_series_place(job.dicom_out, job.output)  # another run may have come first
                announce(made.series, job.dicom_out, job.output)
        made.volumes.withdraw(name)
        if made.page is not None and job.report is not None and "report" in record["files"]:
            with attempt("report", made.failed):
                made.page.move([job.report.name])
        made.volumes.move(names)
        if made.series is not None and job.dicom_out is not None and "dicom" in record and "series" not in made.failed:
            with attempt("series", made.failed):
                replace_series(made.series, job.dicom_out)
                late.callback(settle, made.series, job.dicom_out, job.output)
        if set(made.failed) != missing:  # what could be made, but not moved
            record["not_made"] = sorted(made.failed)
            for role in made.failed:
                record["files"].pop(role, None)
            if "series" in made.failed:
                record.pop("dicom", None)
            atomic_write_text(made.volumes.path(name), to_text(record))
        made.volumes.move([name])
