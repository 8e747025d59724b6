"""Suffixes of image files: which names count as images, and a name without its suffix."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

WRITTEN = (".nii", ".nii.gz")  # of NIfTI results; BIDS allows no others
WRITABLE = (*WRITTEN, ".mgz", ".nrrd", ".mha", ".png")
NIFTI = (*WRITTEN, ".nii.zst", ".nii.bz2")
# Longest first. Of a pair, the file that is listed; its partner goes with it.
SUFFIXES = (
    ".nii.zst", ".nii.bz2", ".nii.gz", ".img.gz", ".hdr.gz", ".mgh.gz",
    ".nii", ".mgz", ".mgh", ".nrrd", ".nhdr", ".mha", ".mhd", ".img", ".hdr", ".jpeg", ".png", ".jpg",
)  # fmt: skip
PICTURES = (".png", ".jpeg", ".jpg")

DICOM_NAMES = (".dcm", ".ima", ".dicom")


def may_be_dicom_name(path: str | os.PathLike[str]) -> bool:
    """True for a name that a DICOM file may have, where its content cannot tell.

    By its ending, or where it has a digit and no ending (a number behind a dot is none).
    """
    name = Path(path).name
    suffix = Path(name).suffix.lower()
    bare = not suffix[1:].isalpha() and any(letter.isdigit() for letter in name)
    return suffix in DICOM_NAMES or (bare and not is_image_name(name))


def is_image_name(path: str | os.PathLike[str]) -> bool:
    """True for a name that ends as one of the formats does (any case) and is not hidden."""
    return _ends(path, SUFFIXES)


def is_nifti_name(path: str | os.PathLike[str]) -> bool:
    """True for a name that ends in .nii, .nii.gz, .nii.zst or .nii.bz2 (any case) and is not hidden."""
    return _ends(path, NIFTI)


def is_standard_name(path: str | os.PathLike[str]) -> bool:
    """True for a name that ends in .nii or .nii.gz (any case) and is not hidden: what is written, and BIDS allows."""
    return _ends(path, WRITTEN)


def is_writable_name(path: str | os.PathLike[str]) -> bool:
    """True for a name that ends as one of the formats that are written does (any case) and is not hidden."""
    return _ends(path, WRITABLE)


def is_picture_name(path: str | os.PathLike[str]) -> bool:
    """True for a name that ends in .png, .jpeg or .jpg (any case) and is not hidden."""
    return _ends(path, PICTURES)


def without_pictures_beside_volumes(files: Sequence[Path]) -> list[Path]:
    """The files; where some are volumes, without the pictures: those are previews of volumes, no scans."""
    volumes = [file for file in files if not is_picture_name(file)]
    return volumes or list(files)


def image_stem(path: str | os.PathLike[str]) -> str:
    """File name without the ending of its format."""
    return _stem(path, SUFFIXES)


def nifti_stem(path: str | os.PathLike[str]) -> str:
    """File name without .nii, .nii.gz, .nii.zst or .nii.bz2."""
    return _stem(path, NIFTI[::-1])


def _ends(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> bool:
    name = Path(path).name.lower()
    return name.endswith(suffixes) and not name.startswith(".")


def _stem(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> str:
    name = Path(path).name
    for suffix in suffixes:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
