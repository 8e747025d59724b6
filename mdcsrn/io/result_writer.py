"""Places and files of a MONAI inference run: a picture's result is a picture, a volume's a NIfTI file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import FolderLayoutBase

from mdcsrn.io.formats import image_kind, write_image
from mdcsrn.io.names import image_stem, is_picture_name
from mdcsrn.io.pictures import clipped_pixels, picture_type, result_suffix
from mdcsrn.io.reader import STORED_TYPE_KEY
from mdcsrn.io.volume import Volume
from mdcsrn.io.writer import AtomicNibabelWriter

logger = logging.getLogger(__name__)


class ResultLayout(FolderLayoutBase):
    """Names for ``SaveImaged(folder_layout=...)``, as ``mdcsrn predict FOLDER -o OUT`` gives them.

    Args:
        output_dir: folder of the results.
        postfix: what is added to a name.
        data_root_dir: folder of the inputs, whose sub-folders are kept; empty: all lie in `output_dir`.
    """

    def __init__(
        self, output_dir: str | os.PathLike[str], postfix: str = "sr", data_root_dir: str | os.PathLike[str] = ""
    ) -> None:
        self.output_dir, self.postfix, self.data_root_dir = Path(output_dir), postfix, data_root_dir

    # MONAI's base class declares no arguments, and calls it with these.
    def filename(self, subject: str | os.PathLike[str], idx: int | None = None) -> Path:  # type: ignore[override]
        """Place of one result.

        Args:
            subject: the input; its content says whether it is a picture.
            idx: of a patch; None or 0: a whole image.

        Returns:
            ``OUTPUT_DIR/SUB-FOLDER/NAME_sr.png`` of a picture, ``.nii.gz`` of any other.
        """
        source = Path(subject)
        folder = os.path.relpath(source.parent, self.data_root_dir) if str(self.data_root_dir) else ""
        parts = [image_stem(source), self.postfix, "" if not idx else str(idx)]
        return self.output_dir / folder / ("_".join(filter(None, parts)) + result_suffix(image_kind(source)))


class ResultWriter(AtomicNibabelWriter):
    """Writer for ``SaveImaged(writer=...)`` that writes PNG where the name says so, with the bits of its source.

    Values of a picture are rounded, and clipped to 8 or 16 bit with a warning; NIfTI has `output_dtype`.
    """

    _stored = np.dtype(np.float32)

    def set_metadata(self, meta_dict: Mapping[str, Any] | None, resample: bool = True, **options: Any) -> None:
        """Take affine, forms and the stored type of the source from a volume's meta-data."""
        super().set_metadata(meta_dict, resample, **options)
        self._stored = np.dtype((meta_dict or {}).get(STORED_TYPE_KEY, np.float32))

    def write(self, filename: str | os.PathLike[str], verbose: bool = False, **obj_kwargs: Any) -> None:
        """Write the image; its folder is made.

        Args:
            filename: .png, .nii or .nii.gz file.
            verbose: log the name.
            obj_kwargs: of NIfTI, see :class:`mdcsrn.io.writer.AtomicNibabelWriter`.

        Raises:
            OutputError: the target cannot be written, or several planes as a picture; an old file is intact.
        """
        if not is_picture_name(filename):
            super().write(filename, verbose, **obj_kwargs)
            return
        array = np.asarray(self.data_obj, np.float32)
        volume = Volume(array, np.asarray(self.affine, np.float64), self._stored)
        write_image(volume, filename)
        dtype = picture_type(volume, Path(filename), np.dtype(np.float32))
        if count := clipped_pixels(volume, dtype):
            logger.warning("%s: %d pixels lie outside %s and are stored as its limits", filename, count, dtype)
        if verbose:
            logger.info("written: %s", filename)
