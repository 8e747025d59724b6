"""A MONAI image writer whose NIfTI files are whole or not there at all."""

from __future__ import annotations

import logging
import os
from typing import Any

from monai.data import NibabelWriter
from nibabel.nifti1 import Nifti1Header

from mdcsrn.files import atomic_path

logger = logging.getLogger(__name__)


class AtomicNibabelWriter(NibabelWriter):
    """NibabelWriter for ``SaveImaged(writer=...)`` that writes beside the target and replaces it in one step."""

    def write(self, filename: str | os.PathLike[str], verbose: bool = False, **obj_kwargs: Any) -> None:
        """Write the image; its folder is made.

        Args:
            filename: .nii or .nii.gz file.
            verbose: log the name.
            obj_kwargs: passed on to MONAI's `create_backend_obj`.

        Raises:
            OutputError: the target cannot be written; an old file is intact.
        """
        header = Nifti1Header()
        header.set_data_dtype(self.output_dtype)
        header.set_xyzt_units("mm", "sec")  # MONAI states no unit
        with atomic_path(filename) as temporary:
            super().write(str(temporary), verbose=False, **{"header": header, **obj_kwargs})
        if verbose:
            logger.info("written: %s", filename)
