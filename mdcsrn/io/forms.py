"""Transforms of a NIfTI header, sform and qform: read, judge, move to another grid and write again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from nibabel.quaternions import mat2quat, quat2mat
from numpy.typing import NDArray

from mdcsrn.io.geometry import corners_apart_mm

# A header's two transforms disagree when a corner of the volume moves by more than this share of a voxel: far more
# than CORNER_TOLERANCE_VOXELS, since a qform cannot hold every sform exactly.
FORM_TOLERANCE = 0.1
# |b, c, d|^2 of a quaternion may exceed 1 by rounding (of float32, or of a text with six digits): half a turn. What
# exceeds it further is no rotation.
QUATERNION_ROUNDING, QUATERNION_LIMIT = 1e-6, 1e-3
FORMS_KEY = "nifti_forms"  # of a volume's meta-data in MONAI
SCANNER, ALIGNED = 1, 2  # form codes: the scanner's own coordinates, and some others


@dataclass(frozen=True, eq=False)
class Forms:
    """What a NIfTI header says of a volume's place, beyond the affine that is used, and fields that results keep.

    Attributes:
        sform: voxel index to millimetres, shape (4, 4); None: not set.
        sform_code: what its coordinates are (1 scanner, 2 aligned, 3 Talairach, 4 MNI, 5 another template); 0: not set.
        qform: likewise; a rotation with voxel sizes.
        qform_code: likewise.
        kept: further header fields that hold for every volume made from this one.
    """

    sform: NDArray[np.float64] | None = None
    sform_code: int = 0
    qform: NDArray[np.float64] | None = None
    qform_code: int = 0
    kept: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, affine: NDArray[np.float64], code: int) -> Forms:
        """Both forms hold one affine."""
        return cls(affine, code, affine, code)

    @classmethod
    def from_array(cls, values: NDArray[np.float64]) -> Forms:
        """The inverse of :meth:`to_array`."""
        (sform, sform_code), (qform, qform_code) = ((row[:4], int(row[4, 0])) for row in values)
        return cls(sform if sform_code else None, sform_code, qform if qform_code else None, qform_code)

    def to_array(self) -> NDArray[np.float64]:
        """Matrices and codes as one array, shape (2, 5, 4): MONAI's data loaders carry it in a volume's meta-data."""
        values = np.zeros((2, 5, 4))
        for row, matrix, code in ((0, self.sform, self.sform_code), (1, self.qform, self.qform_code)):
            values[row, :4] = np.eye(4) if matrix is None else matrix
            values[row, 4] = code
        return values

    @property
    def placed(self) -> bool:
        """False where neither is set: then only the voxel size is known."""
        return self.sform_code > 0 or self.qform_code > 0

    def moved(self, change: NDArray[np.float64]) -> Forms:
        """The forms of another grid in the same space.

        Args:
            change: index of the new grid to index of this one, shape (4, 4).
        """
        sform = None if self.sform is None else self.sform @ change
        qform = None if self.qform is None else self.qform @ change
        return Forms(sform, self.sform_code, qform, self.qform_code, self.kept)


def with_kept(forms: Forms | None, other: Forms | None) -> Forms | None:
    """Places of one header with the further fields of another, such as a label map's intent."""
    if forms is None or other is None:
        return forms
    return dataclasses.replace(forms, kept=other.kept)


def sform_of(header: Any) -> NDArray[np.float64]:
    """Rows of the sform, in the header's unit."""
    affine = np.eye(4)
    for row, key in enumerate(("srow_x", "srow_y", "srow_z")):
        affine[row] = header[key]
    return affine


def qform_of(header: Any, zooms: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """The qform in the header's unit, and whether its quaternion had to be normalised by more than rounding.

    Args:
        header: a NIfTI header; any ``pixdim[0]`` that is not negative means a right-handed one.
        zooms: voxel edge lengths to use, shape (3,).

    Returns:
        Affine, NaN where the quaternion is none.
    """
    vector = np.array([float(header[f"quatern_{axis}"]) for axis in "bcd"])
    square = float(vector @ vector)
    if not square <= 1 + QUATERNION_LIMIT:
        return np.full((4, 4), np.nan), True
    if square >= 1:
        vector /= np.sqrt(square)
    rotation = quat2mat(np.array([np.sqrt(max(0.0, 1 - float(vector @ vector))), *vector]))
    handed = -1.0 if float(header["pixdim"][0]) < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * (zooms * (1, 1, handed))
    affine[:3, 3] = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    return affine, square > 1 + QUATERNION_ROUNDING


def agree(one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    """True where no corner of the grid moves by more than a tenth of a voxel."""
    return corners_apart_mm(one, other, shape) <= FORM_TOLERANCE * float(np.abs(one[:3, :3]).max())


def put_forms(header: Any, affine: NDArray[np.float64], forms: Forms | None) -> None:
    """Write forms into a NIfTI header whose shape is set.

    A qform that is no rotation with voxel sizes (a sheared one) cannot be stored: it is left unset.

    Args:
        header: nibabel's header; its unit is millimetres.
        affine: of the volume; voxel size and rows where a form is not set.
        forms: None: the affine, as scanner coordinates, in both.
    """
    stated = Forms.of(affine, SCANNER) if forms is None else forms
    for key, value in stated.kept.items():
        header[key] = value
    rows = affine if stated.sform is None else stated.sform
    for row, key in enumerate(("srow_x", "srow_y", "srow_z")):
        header[key] = rows[row]
    header["sform_code"] = stated.sform_code
    _put_qform(header, affine)
    header["qform_code"] = 0
    if stated.qform is None:
        return
    _put_qform(header, stated.qform)
    if agree(stated.qform, qform_of(header, np.asarray(header["pixdim"][1:4], float))[0], header.get_data_shape()):
        header["qform_code"] = stated.qform_code
    else:
        _put_qform(header, affine)


def _put_qform(header: Any, affine: NDArray[np.float64]) -> None:
    """Voxel size, position and nearest rotation of an affine."""
    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    handed = -1.0 if np.linalg.det(affine[:3, :3]) < 0 else 1.0
    left, _, right = np.linalg.svd(affine[:3, :3] / zooms * (1, 1, handed))
    quaternion = mat2quat(left @ right)
    vector = quaternion[1:].astype(np.float32)
    # Half a turn: rounding below 1 would add up to 0.04 degrees, for the real part is the root of what is missing.
    largest = int(np.argmax(np.abs(vector)))
    while quaternion[0] < 1e-7 and float(vector.astype(float) @ vector.astype(float)) < 1:
        vector[largest] = np.nextafter(vector[largest], np.float32(2 * np.sign(vector[largest])))
    header["pixdim"][:4] = (handed, *zooms)
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = vector
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = affine[:3, 3]
