"""Picture models as baselines: ESRGAN, SwinIR, HAT, DAT, RCAN, EDSR or WDSR refine a volume plane by plane."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from mdcsrn.errors import CheckpointError, GeometryError
from mdcsrn.evaluation.picture_files import describe
from mdcsrn.kspace import acquired_shape
from mdcsrn.kspace.intensity import intensity_scale

PREFIX = "spandrel:"


@dataclass(frozen=True)
class PictureModel:
    """A network for pictures, and what it wants of them.

    Attributes:
        name: of its file, for messages.
        network: (1, C, h, w) in units of white -> (1, C', r h, r w), edges of pixels aligned: output sample k lies at
            input sample (k - (r - 1) / 2) / r.
        scale: factor r, >= 2.
        channels: C, 1 or 3.
        minimum: shortest edge h or w that it takes.
        multiple: what both edges must divide by.
        square: both edges must be equal.
    """

    name: str
    network: nn.Module
    scale: int
    channels: int = 1
    minimum: int = 0
    multiple: int = 1
    square: bool = False


def load_picture_model(path: str | os.PathLike[str]) -> PictureModel:
    """Read the weights of a picture model; a file that has not changed is read once.

    Raises:
        MissingDependencyError: spandrel is not installed.
        CheckpointError: as :func:`mdcsrn.evaluation.picture_files.describe`; or the model does not refine pictures, or
            takes neither one nor three channels.
    """
    file = Path(path)
    return _load(file, file.stat().st_mtime_ns if file.is_file() else 0)


@functools.lru_cache(maxsize=4)
def _load(file: Path, changed: int) -> PictureModel:
    found = describe(file)
    kind = f"{file.name} ({found.architecture.name})"
    if found.purpose not in ("SR", "FaceSR") or found.scale < 2:
        raise CheckpointError(
            f"{kind} does not refine a grid: it is no baseline", got=f"scale {found.scale}, made for {found.purpose}",
            allowed="super-resolution by 2 or more",
        )  # fmt: skip
    if found.input_channels not in (1, 3):
        raise CheckpointError(f"{kind} takes neither grey nor colour", got=found.input_channels, allowed="1 or 3")
    size = found.size_requirements
    return PictureModel(
        kind, found.model.float(), found.scale, found.input_channels, size.minimum, size.multiple_of, size.square
    )


def refine_planes(acquired: Tensor, shape: Sequence[int], model: PictureModel) -> Tensor:
    """Refine a volume plane by plane, and place the result on the reference grid.

    Pictures meet at the edges of pixels, k-space grids at their central samples. The acquired samples are therefore
    first interpolated, exactly, to where the model expects them (:func:`pixel_grid`); each of its output samples then
    lies on a reference sample. The volume is divided by its 99.9th percentile, and nothing is clipped. Where the model
    has three channels, the plane is repeated and the result averaged.

    Args:
        acquired: (D, H, W) or (C, D, H, W), any unit; two of its axes reduced by the factor of the model.
        shape: (D, H, W) of the reference grid.
        model: of :func:`load_picture_model`.

    Returns:
        (..., D, H, W) on the reference grid, float32, same unit, on the input's device.

    Raises:
        GeometryError: other axes are reduced, or by another factor.
        CheckpointError: the model gives something else than pictures refined by its factor.

    >>> import torch
    >>> model = PictureModel("twice", torch.nn.Upsample(scale_factor=2, mode="bicubic"), 2)
    >>> refine_planes(torch.ones(3, 8, 8), (3, 16, 16), model).shape
    torch.Size([3, 16, 16])
    """
    first, second = _reduced_axes(acquired.shape[-3:], shape, model)
    scale = intensity_scale(acquired.float())
    unit = scale if float(scale) > 0 else torch.ones_like(scale)
    planes = (acquired.float() / unit).reshape(-1, *acquired.shape[-3:]).movedim((first + 1, second + 1), (-2, -1))
    rows, columns = (
        torch.from_numpy(pixel_grid(acquired.shape[-3:][axis], shape[axis], model.scale)).to(planes)
        for axis in (first, second)
    )
    network = model.network.to(planes.device).eval()
    with torch.inference_mode():
        placed = rows @ planes @ columns.T
        refined = torch.stack([_refine(plane, model, network) for plane in placed.flatten(0, 1)])
    result = refined[:, : shape[first], : shape[second]].unflatten(0, placed.shape[:2])
    result = result.movedim((-2, -1), (first + 1, second + 1)) * unit
    return result.reshape(*acquired.shape[:-3], *shape).clone()


def pixel_grid(old: int, new: int, scale: int) -> NDArray[np.float64]:
    """Interpolation of one axis from the acquired grid to pixels whose edges fit those of the reference grid.

    Pixel i lies at reference sample r i + (r - 1) / 2, and a reference sample j at old index
    (j - floor(new / 2)) old / new + floor(old / 2), as :func:`mdcsrn.kspace.grid_affine` says. The interpolation is the
    trigonometric polynomial through the samples: what was acquired, without loss.

    Args:
        old: samples of the acquired axis.
        new: samples of the reference axis.
        scale: factor r.

    Returns:
        (ceil(new / r), old) matrix.

    >>> pixel_grid(9, 27, 3).round(6).tolist() == np.eye(9).tolist()  # an odd factor, an odd grid: they agree
    True
    """
    pixels = scale * np.arange(-(-new // scale)) + (scale - 1) / 2
    place = (pixels - new // 2) * (old / new) + old // 2
    distance = place[:, None] - np.arange(old)
    frequencies = np.arange(old) - old // 2
    result: NDArray[np.float64] = np.cos(2 * np.pi / old * distance[..., None] * frequencies).mean(axis=-1)
    return result


def _reduced_axes(old: Sequence[int], new: Sequence[int], model: PictureModel) -> tuple[int, int]:
    """The two axes of the planes: those that the model's factor was taken from."""
    for axes in ((1, 2), (0, 1), (0, 2)):
        reduction = [model.scale if axis in axes else 1 for axis in range(3)]
        if acquired_shape(new, reduction) == tuple(old):
            return axes
    ratios = " x ".join(f"{m / n:.3g}" for n, m in zip(old, new, strict=True))
    raise GeometryError(
        f"{model.name} refines both axes of a plane by {model.scale}: this scan is reduced otherwise",
        got=f"{tuple(old)} to {tuple(new)}, by {ratios}", allowed=f"two axes by {model.scale}, the third by 1",
        remedy=f"take another weight file, or a reduction such as [1, {model.scale}, {model.scale}]",
    )  # fmt: skip


def _refine(plane: Tensor, model: PictureModel, network: nn.Module) -> Tensor:
    """(h, w) -> (r h, r w): padded as the model wants it, called, and cut."""
    (h, w), r = plane.shape, model.scale
    picture = plane.repeat(1, model.channels, 1, 1)  # a copy: RCAN changes its input in place
    output = network(_padded(picture, model))
    if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[-2] < r * h or output.shape[-1] < r * w:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise CheckpointError(f"{model.name} gives no refined picture", got=got, allowed=f"(1, C, {r * h}, {r * w})")
    return output[0, :, : r * h, : r * w].mean(dim=0)


def _padded(picture: Tensor, model: PictureModel) -> Tensor:
    """Mirrored at the far edges to a size that the model takes; where that is not enough, the last sample repeated."""
    height, width = (-(-max(edge, model.minimum) // model.multiple) * model.multiple for edge in (picture.shape[-2:]))
    if model.square:
        height = width = max(height, width)
    for mode in ("reflect", "replicate"):
        down, right = height - picture.shape[-2], width - picture.shape[-1]
        if mode == "reflect":
            down, right = min(down, picture.shape[-2] - 1), min(right, picture.shape[-1] - 1)
        picture = pad(picture, (0, right, 0, down), mode)
    return picture
