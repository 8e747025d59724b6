"""Three anatomical planes through the middle of a head, cut from volumes that share one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdcsrn.errors import GeometryError
from mdcsrn.metrics import data_range, head_mask

BRAIN_BELOW_VERTEX_MM = 75.0  # lateral ventricles of an adult below the top of the field

Image = NDArray[np.float32]
AnyVolume = Tensor | NDArray[np.floating]


@dataclass(frozen=True)
class Plane:
    """How one plane is cut and shown.

    Attributes:
        name: ``axial``, ``coronal`` or ``sagittal``.
        across: index of the axis that the plane is perpendicular to, in R-A-S order.
        letters: what lies to the left, right, top and bottom of the picture.
    """

    name: str
    across: int
    letters: tuple[str, str, str, str]


PLANES = (
    Plane("axial", 2, ("L", "R", "A", "P")),
    Plane("coronal", 1, ("L", "R", "S", "I")),
    Plane("sagittal", 0, ("P", "A", "S", "I")),
)
PICTURE = Plane("picture", 2, ("", "", "", ""))  # of a file that states no orientation


@dataclass(frozen=True)
class Scene:
    """What several volumes of one grid need to be shown alike.

    Attributes:
        volumes: name to (D, H, W) array, axes turned so that they run to the right, anterior, superior.
        spacing: voxel edges in millimetres, in that order.
        centre: voxel index that the planes pass through.
        box: first and one-past-last voxel of the field shown, per axis.
        peak: data range of the reference: white in the pictures.
        picture: a picture (:func:`upright`): its one plane has no anatomical name.
    """

    volumes: dict[str, Image]
    spacing: tuple[float, float, float]
    centre: tuple[int, int, int]
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    peak: float
    picture: bool = False

    @property
    def planes(self) -> tuple[Plane, ...]:
        """What can be shown: planes with more than one row and column, so that one slice is shown once."""
        if self.picture:
            return (PICTURE,)
        shape = next(iter(self.volumes.values())).shape
        flat = [axis for axis, size in enumerate(shape) if size == 1]
        return tuple(plane for plane in PLANES if not set(flat) - {plane.across}) or PLANES[:1]

    def cut(self, name: str, plane: Plane) -> Image:
        """Slice of a volume, ready to be drawn: rows from top to bottom, columns from left to right."""
        index: list[slice | int] = [slice(*limits) for limits in self.box]
        index[plane.across] = self.centre[plane.across]
        return np.ascontiguousarray(self.volumes[name][tuple(index)].T[::-1])

    def pixel(self, plane: Plane) -> tuple[float, float]:
        """Height and width of a pixel of :meth:`cut`, millimetres."""
        width, height = (edge for axis, edge in enumerate(self.spacing) if axis != plane.across)
        return height, width


def as_array(volume: AnyVolume) -> Image:
    """(D, H, W) float32 array of a tensor or array of (D, H, W) or (1, D, H, W).

    Raises:
        GeometryError: any other shape.
    """
    tensor = volume.detach().cpu().float().numpy() if isinstance(volume, Tensor) else np.asarray(volume, np.float32)
    if tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 3:
        raise GeometryError("a picture needs one volume", got=tensor.shape, allowed="(D, H, W) or (1, D, H, W)")
    return np.asarray(tensor, np.float32)


def make_scene(
    volumes: dict[str, AnyVolume], reference: str, affine: NDArray[np.float64] | Tensor | None = None
) -> Scene:
    """Turn volumes to R-A-S by their affine, find the middle of the head and the field to show.

    Args:
        volumes: name to (D, H, W) or (1, D, H, W), one shape, any unit.
        reference: name of the volume that decides window, head and planes.
        affine: voxel index to millimetres, (4, 4); None: the one that the reference carries (a MetaTensor), else array
            axes as they are, 1 mm.

    Returns:
        The scene; its field is the head's bounding box with a margin of 3 %.

    Raises:
        GeometryError: shapes differ.
        DataError: the reference has no signal.
    """
    arrays = {name: as_array(volume) for name, volume in volumes.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1:
        raise GeometryError("volumes of one picture differ in shape", got=sorted(shapes))
    if affine is None:
        affine = getattr(volumes[reference], "affine", None)
    matrix = np.eye(4) if affine is None else np.asarray(affine, dtype=np.float64)
    truth = torch.from_numpy(np.ascontiguousarray(arrays[reference]))
    return scene_of(arrays, matrix, head_mask(truth).numpy(), data_range(truth))


def upright(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine with which a picture is shown as it is stored: columns to the right, rows downwards.

    Args:
        affine: of a picture, (4, 4); its spacing alone counts, since no orientation is stated.

    >>> upright(np.diag([1.0, 0.5, 0.25, 1.0]))[:3, :3].tolist()
    [[0.0, 0.0, 0.25], [0.0, -0.5, 0.0], [1.0, 0.0, 0.0]]
    """
    across, down, right = np.sqrt((np.asarray(affine, np.float64)[:3, :3] ** 2).sum(axis=0))
    turned = np.eye(4)
    turned[:3, :3] = [[0, 0, right], [0, -down, 0], [across, 0, 0]]
    return turned


def scene_of(
    volumes: Mapping[str, Image],
    affine: NDArray[np.float64],
    mask: NDArray[np.bool_],
    peak: float,
    picture: bool = False,
) -> Scene:
    """As :func:`make_scene`, where head and data range are known; no volume is copied.

    Args:
        volumes: name to (D, H, W), one shape.
        affine: voxel index to millimetres, (4, 4).
        mask: head, same shape.
        peak: data range.
        picture: see :class:`Scene`.
    """
    order, signs = to_ras(affine)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    turns = tuple(slice(None, None, sign) for sign in signs)
    turned = {name: array.transpose(order)[turns] for name, array in volumes.items()}
    mask = mask.transpose(order)[turns]
    box, centre = [], []
    for axis, size in enumerate(mask.shape):
        profile = mask.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
        # Where a fair part of the head is: a wrap-around artefact or an arm does not widen the field.
        inside = np.flatnonzero(profile > 0.01 * profile.max())
        margin = max(1, round(0.03 * (inside[-1] - inside[0])))
        box.append((max(0, int(inside[0]) - margin), min(size, int(inside[-1]) + 1 + margin)))
        centre.append(round(float(np.average(np.arange(size), weights=profile))))
    x, y, z = (float(spacing[axis]) for axis in order)
    # With face and neck in the field, the middle of the head is the cerebellum; the brain's is nearer to the top.
    top = box[2][1] - 1
    centre[2] = min(top, max(centre[2], round(top - BRAIN_BELOW_VERTEX_MM / z)))
    return Scene(turned, (x, y, z), (centre[0], centre[1], centre[2]), (box[0], box[1], box[2]), peak, picture)


def to_ras(matrix: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Array axis that runs closest to each of right, anterior, superior, and its direction (+1 or -1)."""
    cosines = matrix[:3, :3] / np.sqrt((matrix[:3, :3] ** 2).sum(axis=0))
    order, signs = [0, 0, 0], [1, 1, 1]
    left = np.abs(cosines)
    for _ in range(3):  # the best pair first, so that an oblique volume has each axis once
        world, axis = (int(i) for i in np.unravel_index(np.argmax(left), left.shape))
        order[world], signs[world] = axis, 1 if cosines[world, axis] > 0 else -1
        left[world, :], left[:, axis] = -1, -1
    return order, signs


def error_limit(errors: Sequence[Image], peak: float) -> float:
    """Upper end of a common error scale: 99.5th percentile of the first error, at least 0.1 % of the peak."""
    return max(float(np.percentile(errors[0], 99.5)), 1e-3 * peak)
