"""Write NRRD (.nrrd) and MetaImage (.mha) through SimpleITK: RAS turned to LPS, the file read back before it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mdcsrn.errors import DataError, OutputError
from mdcsrn.files import atomic_path
from mdcsrn.io.itk import FORMATS, LPS_TO_RAS, read_itk, silence
from mdcsrn.io.nifti import as_type
from mdcsrn.io.volume import Volume, check_kept

LEVEL = 1  # of deflate: voxels pack hardly better at higher ones


def write_itk(volume: Volume, target: Path, kind: str, dtype: np.dtype) -> None:
    """Write a volume in one step, packed (gzip, zlib); equal input gives equal bytes.

    ITK notices most failed writes, but not one of the last bytes: so the new file is read back before it replaces
    the old one.

    Args:
        volume: float32 (D, H, W), affine in millimetres, RAS+.
        target: ends in .nrrd or .mha; its folder is made.
        kind: ``nrrd`` or ``metaimage``.
        dtype: integer of 8 to 64 bits, float32 or float64; values are rounded for an integer type.

    Raises:
        OutputError: values that the type cannot hold, or the file cannot be written; an old file is intact.
    """
    import SimpleITK as sitk  # imported late: half a second that most runs do not need

    array = as_type(volume.array, dtype, target)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T), isVector=False)
    lps = LPS_TO_RAS @ volume.affine
    spacing = np.array(volume.spacing)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    writer = sitk.ImageFileWriter()
    writer.SetImageIO(FORMATS[kind])
    writer.SetUseCompression(True)
    writer.SetCompressionLevel(LEVEL)
    with atomic_path(target) as temporary:
        try:
            with silence():
                writer.SetFileName(str(temporary))
                writer.Execute(image)
            again = read_itk(temporary, kind, allow_constant=True)
        except (DataError, RuntimeError, TypeError, ValueError) as error:  # the last two: a name that is no UTF-8
            reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
            remedy = "choose a writable folder with free space"
            raise OutputError(f"cannot write {target}", got=reason.strip(), remedy=remedy) from error
        assert isinstance(again, Volume)
        check_kept(volume, again.affine, target)
        if not np.array_equal(again.array, array.astype(np.float32)):
            raise OutputError(f"cannot write {target}: its voxels read back otherwise", remedy="check the disk")
