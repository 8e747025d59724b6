"""Write a volume as single-frame MR images of a derived series, all of them or none."""

from __future__ import annotations

import contextlib
import copy
import datetime
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.valuerep import format_number_as_ds

from mdcsrn.errors import ConfigError, GeometryError, OutputError
from mdcsrn.io.dicom.derived import UNICODE, source_images, template
from mdcsrn.io.dicom.header import FrameTags, identity_of, quiet
from mdcsrn.io.dicom.naming import WITHOUT, label_of
from mdcsrn.io.dicom.series import DicomSeries, Frame
from mdcsrn.io.dicom.stack import LPS_TO_RAS
from mdcsrn.io.dicom.store import SlopeChoice, Storage, storage
from mdcsrn.io.volume import Volume
from mdcsrn.scratch import scratch, sweep

if TYPE_CHECKING:
    from pydicom import Dataset

RIGHT_ANGLE = 1e-4  # cosine between the in-plane axes that still counts as perpendicular


def write(
    volume: Volume,
    like: DicomSeries,
    folder: Path,
    description: str,
    number: int | None,
    name: str | None,
    created: datetime.datetime,
    slope: SlopeChoice,
) -> list[Path]:
    """See :func:`mdcsrn.io.dicom.write_series`."""
    if not 1 <= len(description) <= 1024:
        raise ConfigError("DerivationDescription has 1 to 1024 characters", got=len(description))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"cannot write a DICOM series to {folder}: there is something already",
            allowed="a new or empty folder",
            remedy="choose another folder, or empty this one",
        )
    stored = storage(volume, slope)
    with quiet():
        plane = _plane(volume, folder)
        identity = identity_of(like.headers[0], like.files[0])
        header = template(like, description, label_of(identity, number, name), created)
        if not _is_writable(header, name is not None):
            if name is not None:
                raise ConfigError(
                    "the SeriesDescription cannot be written in the character set of the source",
                    got=str(header.get("SpecificCharacterSet") or "ASCII"),
                    remedy="give it in plain letters",
                )
            header.SeriesDescription = WITHOUT  # the source's own is damaged
        _image_module(volume, like, stored, plane, header)
        with _appearing(folder) as temporary:
            names = []
            for k in range(volume.shape[2]):
                dataset = _slice(volume, like, stored, plane, header, k)
                names.append(f"{k + 1:05d}.dcm")
                pydicom.dcmwrite(temporary / names[-1], dataset, enforce_file_format=True)
    return [folder / n for n in names]


def _is_writable(header: Dataset, asked: bool) -> bool:
    """False where the source's character set cannot hold the description: pydicom would write question marks.

    A source without a character set is in ASCII: for a description beyond it UTF-8 is declared, unless the source has
    such letters too, of which nobody knows what they are. Its own description is passed on as it is there.

    Args:
        header: of the derived series; its SpecificCharacterSet may be set.
        asked: the description is not the source's.
    """
    if asked and not header.get("SpecificCharacterSet") and not header.SeriesDescription.isascii():
        if not all(str(e.value).isascii() for e in header if e.keyword != "SeriesDescription"):
            return False
        header.SpecificCharacterSet = UNICODE  # pydicom would write Latin-1 and say nothing of it
    encodings = pydicom.charset.convert_encodings(header.get("SpecificCharacterSet") or "ISO_IR 6")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pydicom.charset.encode_string(header.SeriesDescription, encodings)
    except (UnicodeError, UserWarning):
        return False
    return True


def _plane(volume: Volume, folder: Path) -> NDArray[np.float64]:
    """Affine to LPS+ millimetres; DICOM can state any slice direction, but only perpendicular in-plane axes."""
    affine = LPS_TO_RAS @ volume.affine
    row, column, _ = affine[:3, :3].T / np.array(volume.spacing)[:, None]
    if abs(row @ column) > RIGHT_ANGLE:
        raise GeometryError(
            f"cannot write a DICOM series to {folder}: the in-plane axes are not perpendicular",
            got=f"cosine {row @ column:.3g}",
            allowed=f"{RIGHT_ANGLE:g}",
            remedy="write NIfTI, whose affine may be sheared",
        )
    return np.asarray(affine)


def _image_module(
    volume: Volume, like: DicomSeries, stored: Storage, affine: NDArray[np.float64], header: Dataset
) -> None:
    """Geometry and pixel description that all slices share."""
    columns, rows, _ = volume.shape
    spacing = volume.spacing
    row, column, step = affine[:3, :3].T
    cosines = [*row / spacing[0], *column / spacing[1]]
    header.ImageOrientationPatient = [_decimal(c) for c in cosines]
    header.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]
    normal = _normal(affine)
    between = abs(float(step @ normal))
    header.SpacingBetweenSlices = _decimal(between)
    header.SliceThickness = _decimal(round(_thickness(like, between), 6))
    header.Rows, header.Columns = rows, columns
    header.SamplesPerPixel = 1
    # MONOCHROME1 says how values are shown, and the values keep their meaning.
    tags = FrameTags(like.headers[0], like.frames[0].index, like.frames[0].file)
    inverted = tags.text("PhotometricInterpretation") == "MONOCHROME1"
    header.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
    header.PixelRepresentation = int(stored.signed)
    header.RescaleSlope, header.RescaleIntercept = _decimal(stored.slope), _decimal(stored.intercept)
    header.RescaleType = "US"
    header.WindowCenter, header.WindowWidth = (_decimal(v) for v in _window(volume, like))


def _slice(
    volume: Volume, like: DicomSeries, stored: Storage, affine: NDArray[np.float64], header: Dataset, k: int
) -> Dataset:
    """Dataset of one slice."""
    dataset = copy.copy(header)
    position = (affine @ (0, 0, k, 1))[:3]
    dataset.SOPInstanceUID = pydicom.uid.generate_uid(prefix=None)
    dataset.InstanceNumber = k + 1
    dataset.ImagePositionPatient = [_decimal(v) for v in position]
    dataset.SliceLocation = _decimal(float(position @ _normal(affine)))
    source_images(like, _nearest(like, position, _normal(affine)), dataset)
    dataset.PixelData = stored.quantize(volume.array[:, :, k]).T.astype("<i2" if stored.signed else "<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return dataset


def _normal(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return np.asarray(normal / np.linalg.norm(normal))


def _nearest(like: DicomSeries, position: NDArray[np.float64], normal: NDArray[np.float64]) -> list[Frame]:
    """Source images within one source spacing along the normal: one at its own place, two between."""
    heights = np.array([f.position for f in like.frames]) @ normal - position @ normal
    order = np.argsort(np.abs(heights), kind="stable")
    if len(order) == 1 or abs(heights[order[0]]) < 1e-3:
        return [like.frames[order[0]]]
    return [like.frames[i] for i in sorted(order[:2])]


def _thickness(like: DicomSeries, between: float) -> float:
    """Slice thickness for a new spacing: a gap or an overlap of the source stays in proportion."""
    source = like.frames[0].thickness
    return between if source is None else source * between / like.volume.spacing[2]


def _window(volume: Volume, like: DicomSeries) -> tuple[float, float]:
    """(centre, width) of the source's middle slice, else the 1st to 99th percentile."""
    middle = like.frames[len(like.frames) // 2]
    tags = FrameTags(like.headers[like.files.index(middle.file)], middle.index, middle.file)
    centre, width = tags.numbers("WindowCenter")[:1], tags.numbers("WindowWidth")[:1]
    if centre and width and width[0] >= 1:
        return centre[0], width[0]
    low, high = (float(v) for v in np.percentile(volume.array, (1, 99)))
    return (low + high) / 2, max(high - low, 1.0)


def _decimal(value: float) -> str:
    """Decimal string of at most 16 characters."""
    return format_number_as_ds(float(value) + 0.0)


@contextlib.contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place when all is written."""
    try:
        sweep(folder.parent)
        with scratch(folder.parent) as hidden:
            temporary = hidden / folder.name
            temporary.mkdir()
            yield temporary
            for path in sorted(temporary.iterdir()):
                with open(path, "rb") as stream:
                    os.fsync(stream.fileno())
            os.replace(temporary, folder)  # an empty folder is replaced, one that filled meanwhile is not
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            f"cannot write a DICOM series to {folder}", got=reason, remedy="choose a writable folder with free space"
        ) from error
