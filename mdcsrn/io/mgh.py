"""Read FreeSurfer volumes (.mgh, and packed .mgz or .mgh.gz)."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from nibabel.freesurfer.mghformat import MGHImage

from mdcsrn.errors import DataError
from mdcsrn.io.content import (
    check_claim,
    check_packing,
    open_bytes,
    read_exactly,
    read_into,
    read_to_end,
    reading,
    surplus,
    truncated,
)
from mdcsrn.io.forms import ALIGNED, Forms
from mdcsrn.io.nifti import checked_volume
from mdcsrn.io.nifti_header import volume_shape
from mdcsrn.io.nonfinite import NonFinite
from mdcsrn.io.volume import Header, Volume, check_affine

MGH_HEADER = 284  # bytes before the voxels


def read_mgh(source: Path, allow_constant: bool, nonfinite: NonFinite) -> Volume:
    """Read a FreeSurfer volume; arguments and errors as for :func:`mdcsrn.io.formats.read_image`."""
    with reading(source, "MGH"):
        facts = mgh_header(source)
        volume_shape(facts.shape, source)
        count, size = math.prod(facts.shape), facts.dtype.itemsize
        total = check_claim(MGH_HEADER + count * size, source)
        check_packing(source, total, (count, size), allow_constant)
        with open_bytes(source) as stream:
            read_exactly(stream, MGH_HEADER, source)
            raw = np.empty(count * size, np.uint8)
            got = read_into(stream, raw)
            if got < raw.size:
                raise truncated(source, got, raw.size, "an MGH")
            read_to_end(stream, source)  # FreeSurfer's own tags follow the voxels
            facts = dataclasses.replace(facts, warnings=(*facts.warnings, *surplus(stream)))
        array = np.empty(facts.shape, np.float32)
        with np.errstate(all="ignore"):
            array[...] = raw.view(facts.dtype).reshape(facts.shape, order="F")
    return checked_volume(array, facts, allow_constant, nonfinite)


def mgh_header(source: Path) -> Header:
    """Header of a FreeSurfer volume; no voxel is read."""
    with reading(source, "MGH"):
        with open_bytes(source) as stream:
            start = read_exactly(stream, MGH_HEADER, source)
        header = MGHImage.header_class(start)
        shape = tuple(int(n) for n in header["dims"])
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if min(shape) < 1:
            raise DataError(f"{source} has an axis without voxels", got=f"shape {shape}", remedy="export it again")
        dtype = header.get_data_dtype()
        check_claim(MGH_HEADER + math.prod(shape) * dtype.itemsize, source)
        with np.errstate(all="ignore"):
            affine = check_affine(np.array(header.get_affine(), dtype=np.float64), str(source))
        if int.from_bytes(start[28:30], "big", signed=True) > 0:
            return Header(shape, affine, dtype, source)
        # goodRASFlag; nibabel puts the default in and hides it
        warning = "the file states no orientation (goodRASFlag): FreeSurfer's coronal default is taken"
        return Header(shape, affine, dtype, source, (warning,), forms=Forms.of(affine, ALIGNED))
