"""Formats that are read, in words, and the errors of files that are in none of them."""

from __future__ import annotations

from pathlib import Path

from mdcsrn.errors import DataError
from mdcsrn.io.content import read_start
from mdcsrn.io.names import is_nifti_name
from mdcsrn.io.nifti_header import MIN_HEADER_BYTES

READABLE = (
    "NIfTI (.nii, .nii.gz, .nii.zst, .nii.bz2, .hdr/.img), FreeSurfer (.mgz, .mgh, .mgh.gz), NRRD (.nrrd, .nhdr), "
    "MetaImage (.mha, .mhd), pictures (.png, .jpg)"
)


def refuse_unread(source: Path, kind: str) -> None:
    """Raise the error of a file that is no volume of a format that is read; NIfTI passes.

    Args:
        source: the file.
        kind: from :func:`mdcsrn.io.formats.image_kind`.

    Raises:
        DataError: Analyze, DICOM, a zip, or none of what is known.
    """
    if kind == "analyze":
        raise DataError(
            f"{source} is an Analyze 7.5 file, which does not say what is left and what is right",
            allowed=READABLE,
            remedy="convert it to NIfTI with the program that made it",
        )
    if kind in ("dicom", "zip"):
        raise DataError(
            f"{source} is a {kind.upper() if kind == 'dicom' else 'zip'} file, not a volume",
            allowed=READABLE,
            remedy="read it as a DICOM series: give `mdcsrn predict` the file, its folder or its zip",
        )
    if kind == "unknown":
        start = read_start(source)
        if len(start) < MIN_HEADER_BYTES:
            raise DataError(
                f"{source} is truncated or not {'a NIfTI' if is_nifti_name(source) else 'an image'} file",
                got=f"{len(start)} bytes",
                allowed=READABLE,
                remedy="copy or export it again",
            )
        raise DataError(
            f"{source} is in no format that is read here (wrong magic)",
            got=f"first bytes {start[:8]!r}",
            allowed=READABLE,
            remedy="convert it to NIfTI, for example with dcm2niix",
        )
