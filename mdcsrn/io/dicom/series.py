"""Parts of a DICOM series: files, the frames in them with their geometry, and the volume they form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdcsrn.errors import MdcsrnError
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.image_type import MAGNITUDE
from mdcsrn.io.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True, order=True)
class DicomFile:
    """A file on the disk, or a member of a zip archive.

    Attributes:
        path: the file, or the archive.
        member: name within the archive; None for a plain file.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"

    @property
    def folder(self) -> str:
        """Folder of the file, or of the member with its archive."""
        return str(Path(str(self)).parent)


@dataclass(frozen=True)
class Frame:
    """One image: a single-frame file, or one frame of an enhanced file; lengths in millimetres, LPS+ world.

    Attributes:
        file: that holds it.
        index: number of the frame in its file, from 0.
        instance: InstanceNumber, or the frame's number.
        sop_class: SOPClassUID.
        sop_uid: SOPInstanceUID, or "" where it is missing.
        shape: (rows, columns).
        orientation: direction cosines of increasing column index, then of increasing row index.
        position: centre of the first voxel.
        spacing: PixelSpacing: between rows, between columns.
        thickness: SliceThickness, or None.
        gap: SpacingBetweenSlices (centre to centre), or None.
        slope: RescaleSlope.
        intercept: RescaleIntercept.
        kind: what its values are, see :mod:`mdcsrn.io.image_type`; None where the header does not say.
        padding: stored values, first and last, that stand for places without a measurement; None: no such.
        marks: what can tell stacks of one series apart, as (name, value).
    """

    file: DicomFile
    index: int
    instance: int
    sop_class: str
    sop_uid: str
    shape: tuple[int, int]
    orientation: tuple[float, ...]
    position: tuple[float, float, float]
    spacing: tuple[float, float]
    thickness: float | None
    gap: float | None
    slope: float
    intercept: float
    kind: str | None
    padding: tuple[int, int] | None
    marks: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SeriesIdentity:
    """Which series of which study, as its header says; for the derived one, and never for a message.

    Attributes:
        study: StudyInstanceUID.
        uid: SeriesInstanceUID; the parts of a split series share it.
        number: SeriesNumber, or None.
        description: SeriesDescription in one line, or "".
    """

    study: str = ""
    uid: str = ""
    number: int | None = None
    description: str = ""


@dataclass(frozen=True)
class SeriesFiles:
    """One stack of images, found and not yet read.

    Attributes:
        name: for results, unique in one search: ``series003``, with ``_part2`` where a series was split; no text of the
            file's author goes into it.
        folder: of the first file, relative to the searched path ("" for the path itself), with "/".
        source: the path that was searched.
        frames: images of the stack, in no particular order.
        warnings: what is odd but not fatal.
        error: why the series cannot be read; :func:`read_series` raises it.
        identity: of the series that the stack is of.
    """

    name: str
    folder: str
    source: Path
    frames: tuple[Frame, ...]
    warnings: tuple[str, ...] = ()
    error: MdcsrnError | None = None
    identity: SeriesIdentity = SeriesIdentity()

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the images are, each kind once, see :mod:`mdcsrn.io.image_type`."""
        return tuple(dict.fromkeys(frame.kind or MAGNITUDE for frame in self.frames))

    @property
    def files(self) -> tuple[DicomFile, ...]:
        """Files of the frames, each once."""
        return tuple(dict.fromkeys(frame.file for frame in self.frames))


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """A series that was read.

    Attributes:
        volume: voxels, array axes (column, row, slice), RAS+ world, millimetres.
        facts: contrast, acquisition, slice thickness, and the slice axis (2).
        frames: one per slice, in slice order.
        headers: dataset of each file of `files`, without its pixels.
        files: that hold the frames, in slice order, each once.
        paths: on the disk: the files, or the archive.
        sha256: of the one file, or of the files' hashes in slice order.
        description: modality, matrix, spacing and contrast; no text of the file's author, no patient data.
        warnings: what is odd but not fatal.
    """

    volume: Volume
    facts: ScanFacts
    frames: tuple[Frame, ...]
    headers: tuple[Dataset, ...]
    files: tuple[DicomFile, ...]
    sha256: str
    description: str
    warnings: tuple[str, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files on the disk, each once: the DICOM files, or the archive that holds them."""
        return tuple(dict.fromkeys(file.path for file in self.files))
