"""MONAI image reader that takes sound NIfTI volumes alone and names the file of any other."""

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
from mdcsrn.io.forms import FORMS_KEY
from mdcsrn.io.names import NIFTI, is_nifti_name
from mdcsrn.io.nifti import read_volume

logger = logging.getLogger(__name__)


class NiftiReader(ImageReader):
    """:func:`mdcsrn.io.read_volume` for ``LoadImaged(reader=...)``: checked to the last byte, millimetres, float32.

    MONAI tries its other readers when `read` fails, and reports in the end that none was suitable; so `read` only
    takes the name, and `get_data` reads. Oddities of a header are logged as warnings.
    """

    def verify_suffix(self, filename: Sequence[os.PathLike[str] | str] | os.PathLike[str] | str) -> bool:
        """True for names that end as NIfTI files do, packed or not."""
        return all(is_nifti_name(name) for name in ensure_tuple(filename))

    def read(self, data: Sequence[os.PathLike[str] | str] | os.PathLike[str] | str) -> str:  # type: ignore[override]
        """Take the name of one file (there are no options)."""
        return ", ".join(str(name) for name in ensure_tuple(data))

    def get_data(self, img: str) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read the volume.

        Args:
            img: what `read` returned.

        Returns:
            Voxels (D, H, W), float32, in the file's unit; affine in millimetres and spatial shape as MONAI names them.

        Raises:
            DataError, GeometryError: see :func:`mdcsrn.io.read_volume`; the file is named.
        """
        if not self.verify_suffix(img):
            raise DataError(f"{img} is not a NIfTI file by its name", allowed=", ".join(NIFTI))
        volume = read_volume(img)
        for warning in volume.warnings:
            logger.warning("%s: %s", img, warning)
        return volume.array, {
            **({} if volume.forms is None else {FORMS_KEY: volume.forms.to_array()}),
            MetaKeys.AFFINE: volume.affine.copy(),
            MetaKeys.ORIGINAL_AFFINE: volume.affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(volume.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),  # MONAI's word for none
            MetaKeys.SPACE: SpaceKeys.RAS,
        }
