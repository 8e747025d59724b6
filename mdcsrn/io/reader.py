"""A MONAI image reader that takes sound volumes alone, of every format, and names the file of any other."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple
from numpy.typing import NDArray

from mdcsrn.errors import DataError
from mdcsrn.io.formats import SUFFIXES, is_image_name, read_image
from mdcsrn.io.forms import FORMS_KEY

logger = logging.getLogger(__name__)
STORED_TYPE_KEY = "stored_type"  # of the meta-data: name of the type in the file


class NiftiReader(ImageReader):
    """:func:`mdcsrn.io.formats.read_image` for ``LoadImaged(reader=...)``: checked to the end, millimetres, float32.

    MONAI tries its other readers when `read` fails, and reports in the end that none was suitable; so `read` only
    takes the name, and `get_data` reads. Oddities of a header are logged as warnings.
    """

    def verify_suffix(self, filename: Sequence[os.PathLike[str] | str] | os.PathLike[str] | str) -> bool:
        """True for names that end as one of the formats does, packed or not."""
        return all(is_image_name(name) for name in ensure_tuple(filename))

    def read(self, data: Sequence[os.PathLike[str] | str] | os.PathLike[str] | str) -> str:  # type: ignore[override]
        """Take the name of one file (there are no options)."""
        return ", ".join(str(name) for name in ensure_tuple(data))

    def get_data(self, img: str) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read the volume.

        Args:
            img: what `read` returned.

        Returns:
            Voxels (D, H, W), float32, in the file's unit; affine in millimetres and spatial shape as MONAI names them,
            and the type in the file under ``stored_type``.

        Raises:
            DataError, GeometryError: see :func:`mdcsrn.io.formats.read_image`; the file is named.
        """
        if not self.verify_suffix(img):
            raise DataError(
                f"{img} is not a NIfTI file by its name, nor of another format", allowed=", ".join(SUFFIXES)
            )
        volume = read_image(img)
        for warning in volume.warnings:
            logger.warning("%s: %s", img, warning)
        return volume.array, {
            STORED_TYPE_KEY: volume.dtype.newbyteorder("=").name,
            **({} if volume.forms is None else {FORMS_KEY: volume.forms.to_array()}),
            MetaKeys.AFFINE: volume.affine.copy(),
            MetaKeys.ORIGINAL_AFFINE: volume.affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(volume.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),  # MONAI's word for none
            MetaKeys.SPACE: SpaceKeys.RAS,
        }
