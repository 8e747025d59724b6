"""Decode compressed images with GDCM, run as a script in its own process; damaged data can crash GDCM.

Each request on the standard input is a length (8 bytes, little-endian) and a DICOM file; each answer on the standard
output is a length and an NPY array, length 0 where the image cannot be decoded.
"""

from __future__ import annotations

import io
import resource
import struct
import sys
import tempfile
from pathlib import Path

MEMORY = 8 << 30  # bytes of address space; the largest image allowed has 64 MiB


def main() -> None:
    """Answer requests until the input ends."""
    allowed = [limit for limit in resource.getrlimit(resource.RLIMIT_AS) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([MEMORY, *allowed]), resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import numpy as np
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.dcm"
        reader.SetFileName(str(path))
        while head := sys.stdin.buffer.read(8):
            path.write_bytes(sys.stdin.buffer.read(struct.unpack("<Q", head)[0]))
            answer = io.BytesIO()
            try:
                np.save(answer, sitk.GetArrayFromImage(reader.Execute()), allow_pickle=False)
            except Exception:  # the parent says what it means
                answer = io.BytesIO()
            sys.stdout.buffer.write(struct.pack("<Q", len(answer.getvalue())) + answer.getvalue())
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
