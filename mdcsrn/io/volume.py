"""Volume: voxel values on a regular grid, the affine that places the samples, and the source of both."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import DataError, GeometryError, OutputError
from mdcsrn.io.forms import Forms
from mdcsrn.io.geometry import CORNER_TOLERANCE_VOXELS, corners_apart, corners_apart_mm, has_independent_axes

SPACING_RANGE = (1e-3, 1e3)  # millimetres; what lies outside is a damaged header, not a brain
MAX_DISTANCE_MM = 1e6  # millimetres from the scanner's centre; beyond, positions lose their meaning in float32 headers


@dataclass(frozen=True, eq=False)
class Header:
    """What a file says about its volume, without the voxels.

    Attributes:
        shape: (D, H, W), or the file's shape where it is not a volume.
        affine: voxel index to millimetres, float64, shape (4, 4).
        dtype: type of the stored voxels.
        path: the file.
        warnings: what is odd but not fatal, one sentence each.
        slice_axis: array axis perpendicular to the slices, where the file says so.
        forms: what the header says of the place beyond `affine`, where the format has such; None: scanner coordinates.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    dtype: np.dtype
    path: Path
    warnings: tuple[str, ...] = ()
    slice_axis: int | None = None
    forms: Forms | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths in millimetres, per array axis."""
        return voxel_spacing(self.affine)


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels with their geometry; every instance has finite values and a usable affine.

    Attributes:
        array: voxel values in the file's unit (scale factors applied), float32, C order, shape (D, H, W).
        affine: voxel index to millimetres, float64, shape (4, 4).
        dtype: type of the stored voxels (float32 for one that was computed).
        path: file it came from, or None.
        warnings: what is odd but not fatal, one sentence each.
        forms: what the header says of the place beyond `affine`; None: `affine` is in scanner coordinates.

    Raises:
        DataError: not three axes, no voxels, or a value is NaN or infinite.
        GeometryError: see :func:`check_affine`.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    dtype: np.dtype = np.dtype(np.float32)
    path: Path | None = None
    warnings: tuple[str, ...] = ()
    forms: Forms | None = None

    def __post_init__(self) -> None:
        name = "volume" if self.path is None else str(self.path)
        array = np.ascontiguousarray(self.array, dtype=np.float32)
        if array.ndim != 3 or array.size == 0:
            raise DataError(f"{name} is not a 3D volume", got=f"shape {array.shape}", allowed="three axes (D, H, W)")
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise DataError(
                f"{name} holds values that are NaN or infinite",
                got=f"{bad} of {array.size} voxels",
                allowed="finite values within the range of float32",
                remedy="fill them before use (`mdcsrn predict --fill-nonfinite`, or numpy.nan_to_num)",
            )
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", check_affine(self.affine, name))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        d, h, w = self.array.shape
        return d, h, w

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths in millimetres, per array axis."""
        return voxel_spacing(self.affine)

    @property
    def placed(self) -> bool:
        """False where the file states neither orientation nor position: then only the voxel size means something."""
        return self.forms is None or self.forms.placed

    def replace(self, array: NDArray[np.float32], affine: NDArray[np.float64] | None = None) -> Volume:
        """The same scan with new voxels, and with a new affine where the grid changed; its forms move along."""
        if affine is None:
            return dataclasses.replace(self, array=array)
        forms = self.forms
        if forms is not None and not np.array_equal(affine, self.affine):
            change: NDArray[np.float64] = np.linalg.solve(self.affine, affine).astype(np.float64)
            forms = forms.moved(change)
        return dataclasses.replace(self, array=array, affine=affine, forms=forms)


def voxel_spacing(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Edge lengths of a voxel.

    Args:
        affine: voxel index to millimetres, shape (4, 4).

    Returns:
        Length per array axis, millimetres.
    """
    with np.errstate(over="ignore"):  # of a damaged header: infinite, and refused where it matters
        x, y, z = np.sqrt((np.asarray(affine, dtype=np.float64)[:3, :3] ** 2).sum(axis=0))
    return float(x), float(y), float(z)


def check_affine(affine: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Return a float64 copy of an affine that can be trusted.

    Args:
        affine: voxel index to millimetres, shape (4, 4); oblique, flipped, left-handed and sheared ones are fine.
        name: of the file, for the error.

    Raises:
        GeometryError: wrong shape, not finite, a last row other than 0 0 0 1, dependent axes, a voxel edge outside
            1e-3 to 1e3 mm, or a position beyond a kilometre.
    """
    matrix = np.array(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise GeometryError(f"{name} has no finite 4x4 affine", got=matrix.tolist(), remedy="repair its header")
    if not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise GeometryError(f"{name} has a projective affine", got=matrix[3].tolist(), allowed="last row 0 0 0 1")
    spacing = voxel_spacing(matrix)
    low, high = SPACING_RANGE
    if not all(low <= s <= high for s in spacing):
        raise GeometryError(
            f"{name} has an impossible voxel size",
            got=" x ".join(f"{s:g}" for s in spacing) + " mm",
            allowed=f"{low:g} to {high:g} mm per axis",
            remedy="repair its header",
        )
    if np.abs(matrix[:3, 3]).max() > MAX_DISTANCE_MM:
        raise GeometryError(
            f"{name} has an impossible position",
            got=f"{matrix[:3, 3].tolist()} mm",
            allowed=f"within {MAX_DISTANCE_MM:g} mm",
            remedy="repair its header",
        )
    if not has_independent_axes(matrix):
        raise GeometryError(
            f"{name} has a singular affine: two axes point the same way",
            got=matrix[:3, :3].tolist(),
            remedy="repair its header",
        )
    return matrix


def check_same_grid(volume: Volume, reference: Volume, path: Path, reference_path: Path) -> None:
    """Refuse two volumes whose voxels do not lie at the same places: no corner may be off by more than 1e-3 voxel.

    Args:
        volume: is compared.
        reference: with it; the distance is in its voxels.
        path: of the first, for the error.
        reference_path: of the second.

    Raises:
        GeometryError: shapes or affines differ; both files are named.
    """
    if volume.shape != reference.shape:
        raise GeometryError(
            f"{path} and {reference_path} differ in shape", got=volume.shape, allowed=reference.shape,
            remedy="bring both to one grid first",
        )  # fmt: skip
    apart = corners_apart(reference.affine, volume.affine, reference.shape)
    if apart > CORNER_TOLERANCE_VOXELS:
        raise GeometryError(
            f"{path} and {reference_path} have different affines", got=f"corners up to {apart:.3g} voxels apart",
            allowed=f"{CORNER_TOLERANCE_VOXELS:g} voxel", remedy="bring both to one grid first",
        )  # fmt: skip


def check_kept(volume: Volume, stored: NDArray[np.float64], target: Path) -> None:
    """Refuse to write where the file would put a corner elsewhere, by more than 1e-3 of the smallest voxel edge.

    Args:
        volume: to be written.
        stored: affine as a reader gets it back, millimetres, RAS+, shape (4, 4).
        target: the file, for the error.

    Raises:
        OutputError: see above; as of a position so far out that float32 is too coarse for it.
    """
    shift = corners_apart_mm(volume.affine, stored, volume.shape) / min(volume.spacing)
    if not shift <= CORNER_TOLERANCE_VOXELS:
        raise OutputError(
            f"cannot write {target}: the format does not keep the voxels' places",
            got=f"a corner {shift:.2g} voxels off",
            allowed=f"{CORNER_TOLERANCE_VOXELS:g} voxel",
            remedy="write another format",
        )
