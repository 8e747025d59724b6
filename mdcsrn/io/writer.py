"""MONAI image writer whose NIfTI files are whole or not there at all, with the forms of their source."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import NibabelWriter
from nibabel.nifti1 import Nifti1Header

from mdcsrn.files import atomic_write_bytes
from mdcsrn.io.forms import FORMS_KEY, Forms, put_forms
from mdcsrn.io.nifti import encode, packed

logger = logging.getLogger(__name__)


class AtomicNibabelWriter(NibabelWriter):
    """NibabelWriter for ``SaveImaged(writer=...)`` that writes beside the target and replaces it in one step.

    The forms that :class:`mdcsrn.io.reader.NiftiReader` found move along with the affine, under their own codes.
    """

    _forms: Forms | None = None

    def set_metadata(self, meta_dict: Mapping[str, Any] | None, resample: bool = True, **options: Any) -> None:
        """Take affine and forms from a volume's meta-data; see MONAI for the arguments."""
        super().set_metadata(meta_dict, resample, **options)
        found = (meta_dict or {}).get(FORMS_KEY)
        before = (meta_dict or {}).get("original_affine")
        if found is not None and before is not None and self.affine is not None:
            change = np.linalg.solve(np.asarray(before, np.float64), np.asarray(self.affine, np.float64))
            self._forms = Forms.from_array(np.asarray(found, np.float64)).moved(change)

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
        image = self.create_backend_obj(
            self.data_obj, affine=self.affine, dtype=self.output_dtype, **{"header": header, **obj_kwargs}
        )
        put_forms(image.header, np.asarray(image.affine, np.float64), self._forms)
        content = encode(image.header, np.asanyarray(image.dataobj).astype(image.get_data_dtype(), copy=False))
        atomic_write_bytes(filename, packed(content) if Path(filename).name.lower().endswith(".gz") else content)
        if verbose:
            logger.info("written: %s", filename)
