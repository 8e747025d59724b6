"""A MONAI image writer whose NIfTI files are whole or not there at all."""

from __future__ import annotations

import os
from typing import Any

from monai.data import NibabelWriter

from mdcsrn.files import atomic_path


class AtomicNibabelWriter(NibabelWriter):
    """NibabelWriter for ``SaveImaged(writer=...)`` that writes beside the target and replaces it in one step."""

    def write(self, filename: str | os.PathLike[str], verbose: bool = False, **obj_kwargs: Any) -> None:
        """Write the image.

        Raises:
            OutputError: the target cannot be written; an old file is intact.
        """
        with atomic_path(filename) as temporary:
            super().write(str(temporary), verbose=verbose, **obj_kwargs)
