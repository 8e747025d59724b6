"""Scan: one volume with what its files say of its acquisition, whatever their format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.volume import Volume

if TYPE_CHECKING:
    from mdcsrn.io.dicom.series import DicomSeries


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume and where it came from.

    Attributes:
        volume: voxels and affine, millimetres, RAS+ world as in NIfTI.
        name: stem for the names of results; no patient data.
        source: file, folder or zip that was given.
        kind: ``nifti``, ``nifti-pair`` (.hdr and .img), ``mgz``, ``nrrd``, ``metaimage``, ``png``, ``jpeg`` or
            ``dicom``.
        facts: what is known of the acquisition.
        files: the files that hold the voxels (and header); of DICOM in a zip, the zip.
        sha256: of the file; of several, of their hexadecimal hashes in order (of a DICOM series: in slice order).
        dicom: the series' headers, from which a derived series is written.
    """

    volume: Volume
    name: str
    source: Path
    kind: str
    facts: ScanFacts = field(default_factory=ScanFacts)
    files: tuple[Path, ...] = ()
    sha256: str = ""
    dicom: DicomSeries | None = None
