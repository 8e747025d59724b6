"""Compare the places of two images, as closely as their formats state them."""

from __future__ import annotations

from pathlib import Path

from mdcsrn.io.formats import image_kind
from mdcsrn.io.pictures import PICTURE_KINDS, same_pixels
from mdcsrn.io.volume import Volume, check_same_grid


def check_same_place(volume: Volume, reference: Volume, path: Path, reference_path: Path) -> None:
    """Refuse volumes whose voxels lie elsewhere; a picture states no place but its pixel size, and that roughly.

    Args:
        volume: is compared.
        reference: with it.
        path: of the first; where one of the files is a picture, equal shape and pixel size within 0.2 % are enough.
        reference_path: of the second.

    Raises:
        GeometryError: shapes or places differ; both files are named.
    """
    pictures = any(image_kind(file) in PICTURE_KINDS for file in (path, reference_path))
    if not (pictures and same_pixels(volume, reference)):
        check_same_grid(volume, reference, path, reference_path)
