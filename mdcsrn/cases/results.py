"""The files of a result: volume, maps, labels, page, series and record, made first and then put in place together."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mdcsrn
from mdcsrn.cases.case import Job
from mdcsrn.cases.options import Options
from mdcsrn.cases.staging import Staging, staging, unwritable
from mdcsrn.errors import DataError, OutputError
from mdcsrn.files import atomic_write_text, sha256
from mdcsrn.inference.record import (
    Written,
    derivation,
    read_sidecar,
    relative,
    series_change,
    series_sha256,
    sidecar,
    sidecar_path,
    to_text,
)
from mdcsrn.io import write_volume
from mdcsrn.notices import Notice, refuse

if TYPE_CHECKING:
    from mdcsrn.inference.models import Model
    from mdcsrn.inference.pipeline import Prediction
    from mdcsrn.io.scan import Scan
    from mdcsrn.io.volume import Volume

SERIES = "series"
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
        _check_series_place(job.dicom_out, job.output)
    with contextlib.ExitStack() as stack:
        yield Places(
            volumes=stack.enter_context(staging(job.output.parent)),
            page=None if job.report is None else stack.enter_context(staging(job.report.parent)),
            series=None if job.dicom_out is None else stack.enter_context(staging(job.dicom_out.parent)),
        )


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

    The record goes after the volumes, for it vouches for them; the series last, since a folder cannot be replaced in
    one step: the record's hash tells whether it arrived.

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

    def put_further(role: str, volume: Volume, dtype: np.dtype) -> None:
        others[role] = put(volume, job.file(role), dtype)
        if job.describe is not None:
            path = sidecar_path(job.file(role))
            content = {"software": f"mdcsrn {mdcsrn.__version__}", **job.describe(role, volume)}
            atomic_write_text(made.volumes.path(path.name), to_text(content))
            names.append(path.name)
            others[f"{role}_sidecar"] = Written(path, sha256(made.volumes.path(path.name)))

    dtype = stored_dtype(scan.volume, options.dtype)
    stored, certificate = as_stored(prediction, scan.volume, dtype)
    notices = _rounding(certificate, dtype)
    if options.strict:
        refuse(notices)
    output = put(stored, job.output, dtype)
    others: dict[str, Written] = {}
    if options.uncertainty:
        for role, volume in prediction.maps.items():
            put_further(role, volume, np.dtype(np.float32))
    if labels is not None:
        from mdcsrn.inference.labels import carry_labels

        carried = carry_labels(labels, prediction.volume.affine, prediction.volume.shape)
        kept = labels.dtype.newbyteorder("=") if labels.dtype.kind in "iu" else np.dtype(np.float32)
        put_further("mask", carried, kept)
    if made.page is not None and job.report is not None:
        others["report"] = _make_page(made.page.path(job.report.name), job.report, prediction, scan)
    extra: dict[str, Any] = {} if job.describe is None else dict(job.describe("", stored))
    if made.series is not None and job.dicom_out is not None:
        extra["dicom"] = {
            "path": relative(job.dicom_out, job.output.parent),
            **_make_series(made.series.path(SERIES), prediction, scan, model),
        }
    record = sidecar(
        prediction, scan, output, weights_sha256=model.sha256, settings=settings, dtype=str(dtype),
        stored_certificate=certificate, others=others, notices=notices, extra=extra,
    )  # fmt: skip
    name = sidecar_path(job.output).name
    atomic_write_text(made.volumes.path(name), to_text(record))
    if job.dicom_out is not None:
        _clear(job.dicom_out)
    if made.page is not None and job.report is not None:
        made.page.publish([job.report.name])
    made.volumes.publish([*names, name])
    if made.series is not None and job.dicom_out is not None:
        try:
            os.replace(made.series.path(SERIES), job.dicom_out)
        except OSError as error:
            raise unwritable(job.dicom_out, error) from error
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


def _check_series_place(folder: Path, output: Path) -> None:
    """A series may replace the one of an earlier run of this result, and nothing else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    with contextlib.suppress(DataError, OSError):
        record = read_sidecar(sidecar_path(output))
        if _is_of(record, folder, output) and not series_change(record, output):
            return
    raise OutputError(
        f"cannot write a DICOM series to {folder}: there is something already", allowed="a new or empty folder",
        remedy="choose another folder, or empty this one",
    )  # fmt: skip


def _is_of(record: dict[str, Any], folder: Path, output: Path) -> bool:
    return isinstance(record.get("dicom"), dict) and record["dicom"].get("path") == relative(folder, output.parent)


def _clear(folder: Path) -> None:
    """Remove the series of an earlier run (checked before) or an empty folder."""
    if folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise unwritable(folder, error) from error
