"""Read and write DICOM MR series: slices or frames become a volume, and a volume becomes a derived series.

pydicom is optional; it is imported when a function is called. Whatever it raises ends here, and no value of a patient's
tag reaches an error, a description or a warning.
"""

from __future__ import annotations

import datetime
import os
from importlib import import_module
from pathlib import Path

from mdcsrn.errors import MissingDependencyError
from mdcsrn.io.dicom.naming import SeriesLabel, labels_of
from mdcsrn.io.dicom.series import DicomFile, DicomSeries, Frame, SeriesFiles, SeriesIdentity
from mdcsrn.io.dicom.store import SlopeChoice, Storage, storage
from mdcsrn.io.volume import Volume
from mdcsrn.optional import install_command

__all__ = [
    "DicomFile",
    "DicomSeries",
    "Frame",
    "SeriesFiles",
    "SeriesIdentity",
    "SeriesLabel",
    "SlopeChoice",
    "Storage",
    "find_series",
    "labels_of",
    "read_series",
    "storage",
    "write_series",
]

MIN_PYDICOM = 3  # pydicom 3 brought the pixel decoders used here


def find_series(path: str | os.PathLike[str]) -> list[SeriesFiles]:
    """Find the MR series in a file, a folder (recursive, any file names) or a zip archive.

    Images are grouped by SeriesInstanceUID; a series that holds several stacks (echoes, time points, magnitude and
    phase, orientations, sizes) is split where the parts are regular stacks. Other kinds of DICOM objects (secondary
    captures, structure sets, reports, other modalities) and files that are no DICOM are left out. Only headers are
    read.

    Args:
        path: file, folder or zip archive (never unpacked to the disk).

    Returns:
        The series by folder, number and part; one that cannot be read has its reason in ``error``.

    Raises:
        DataError: no such path, an archive that is unsafe or damaged, or no MR image in it.
        MissingDependencyError: pydicom is not installed.
    """
    _require_pydicom()
    from mdcsrn.io.dicom.find import find

    return find(Path(path))


def read_series(files: SeriesFiles) -> DicomSeries:
    """Read the voxels of a series.

    Array axes are (column, row, slice) of the images, slices in the direction row x column cosines, as DICOM to NIfTI
    converters and SimpleITK do; the world is RAS+, millimetres. RescaleSlope and RescaleIntercept are applied per slice
    in float64. Slices that are shifted in their plane (gantry tilt) give a sheared affine, exactly.

    Args:
        files: from :func:`find_series`.

    Returns:
        The series.

    Raises:
        GeometryError: missing slices, unequal spacing, varying orientation or size.
        DataError: damaged or unsupported pixels, several images at one position, nothing but one value.
        MissingDependencyError: pydicom is not installed.
    """
    _require_pydicom()
    from mdcsrn.io.dicom.read import read

    return read(files)


def write_series(
    volume: Volume,
    like: DicomSeries,
    folder: str | os.PathLike[str],
    description: str,
    *,
    series_number: int | None = None,
    series_description: str | None = None,
    created: datetime.datetime | None = None,
    slope: SlopeChoice = "exact",
) -> list[Path]:
    """Write a volume as a derived series of single-frame MR images; all slices appear at once, or none.

    Values are stored in 16 bits with RescaleSlope and RescaleIntercept; :func:`storage` says with what rounding error.

    Args:
        volume: voxels; array axes (column, row, slice), the first two perpendicular.
        like: source series: patient, study, frame of reference and acquisition are copied as they are there.
        folder: new or empty; its parents are made.
        description: DerivationDescription, 1 to 1024 characters: what was done.
        series_number: SeriesNumber; by default 100 times that of the source, plus 1.
        series_description: SeriesDescription, up to 64 characters; by default the source's with ``_SR``.
        created: time of creation; by default now.
        slope: ``exact`` or ``one``, see :func:`storage`.

    Returns:
        The files, in slice order.

    Raises:
        ConfigError: a number, description or slope that is not allowed.
        OutputError: the folder is not empty or cannot be written, or values do not fit a slope of 1.
        GeometryError: the in-plane axes are not perpendicular.
        MissingDependencyError: pydicom is not installed.
    """
    _require_pydicom()
    from mdcsrn.io.dicom.write import write

    created = datetime.datetime.now() if created is None else created
    return write(volume, like, Path(folder), description, series_number, series_description, created, slope)


def _require_pydicom() -> None:
    try:
        version = import_module("pydicom").__version__
    except ImportError as error:
        raise MissingDependencyError(
            "DICOM needs the package pydicom",
            remedy=f"{install_command('dicom')}, or convert to NIfTI with dcm2niix",
        ) from error
    if int(version.split(".")[0]) < MIN_PYDICOM:
        raise MissingDependencyError(
            "DICOM needs a newer pydicom",
            got=version,
            allowed=f"{MIN_PYDICOM}.0 or newer",
            remedy="pip install -U pydicom",
        )
