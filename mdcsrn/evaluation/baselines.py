"""Baselines: nearest, trilinear, bicubic, B-spline, Lanczos, zero-filled up-sampling, and picture models by file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from torch import Tensor

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.evaluation.picture_models import PREFIX, load_picture_model, refine_planes
from mdcsrn.kspace import resample_grid

ZERO_FILLED = "zero-filled"
SPLINE_ORDERS = {"nearest": 0, "trilinear": 1, "cubic B-spline": 3}
BICUBIC = "bicubic"
LANCZOS = "Lanczos"
LOBES = 3
BASELINES = ("nearest", "trilinear", "cubic B-spline", ZERO_FILLED)  # in every table
METHODS = ("nearest", "trilinear", BICUBIC, "cubic B-spline", LANCZOS, ZERO_FILLED)

Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def upsample(acquired: Tensor, shape: Sequence[int], method: str) -> Tensor:
    r"""Bring a volume from the acquired grid to the reference grid.

    Sample j of an axis n → m is taken at old index (j − ⌊m/2⌋)·n/m + ⌊n/2⌋, where the affine of
    :func:`mdcsrn.kspace.grid_affine` puts it: no half-voxel shift between methods. Intensities are interpolated as they
    are (a grid change keeps the mean); beyond the border the outermost sample is repeated.

    Args:
        acquired: (D, H, W) or (C, D, H, W), any unit.
        shape: (D, H, W) of the reference grid.
        method: one of :data:`METHODS`, or ``"spandrel:FILE"``, the weights of a picture model
            (:func:`mdcsrn.evaluation.picture_models.refine_planes`). ``"nearest"`` takes the higher index where two are
            equally near; ``"bicubic"`` is Keys' cubic convolution (:func:`cubic_matrix`), ``"Lanczos"`` a sinc in a
            window of three samples to each side (:func:`lanczos_matrix`).

    Returns:
        (…, D, H, W) on the reference grid, float32, same unit, on the input's device.

    Raises:
        ConfigError: unknown method.
        GeometryError: not three spatial axes, or axes that the picture model does not refine.
        CheckpointError, MissingDependencyError: as :func:`mdcsrn.evaluation.picture_models.load_picture_model`.
    """
    if acquired.ndim not in (3, 4) or len(shape) != 3:
        raise GeometryError(
            "up-sampling needs three spatial axes", got=f"{tuple(acquired.shape)} to {tuple(shape)}",
            allowed="(D, H, W) or (C, D, H, W) to (D, H, W)",
        )  # fmt: skip
    if method.startswith(PREFIX):
        return refine_planes(acquired, shape, load_picture_model(method.removeprefix(PREFIX)))
    if method == ZERO_FILLED:
        return resample_grid(acquired.float(), shape)
    if method in (BICUBIC, LANCZOS):
        matrix = cubic_matrix if method == BICUBIC else lanczos_matrix
        sizes = zip(acquired.shape[-3:], shape, strict=True)
        d, h, w = (torch.from_numpy(matrix(n, m)).to(acquired.device, torch.float32) for n, m in sizes)
        return torch.einsum("ij,...jhw->...ihw", d, h @ acquired.float() @ w.T)
    if method not in SPLINE_ORDERS:
        raise ConfigError("unknown baseline", got=method, allowed=", ".join((*METHODS, f"{PREFIX}FILE")))
    volumes = acquired.detach().cpu().float().reshape(-1, *acquired.shape[-3:]).numpy()
    placed = np.stack([_interpolate(volume, shape, SPLINE_ORDERS[method]) for volume in volumes])
    return torch.from_numpy(placed).reshape(*acquired.shape[:-3], *shape).to(acquired.device)


def lanczos_matrix(old: int, new: int, lobes: int = LOBES) -> NDArray[np.float64]:
    """Lanczos interpolation of one axis: sinc(x) sinc(x / lobes) for |x| < lobes, x in old samples.

    Each row is divided by its sum, so that a constant stays one.

    Args:
        old: samples of the axis.
        new: samples of the result, placed as :func:`upsample` says.
        lobes: samples to each side.

    Returns:
        (new, old) matrix. Source: C. E. Duchon, "Lanczos filtering in one and two dimensions", J. Appl.
        Meteor. 18, 1979.
    """
    return _kernel_matrix(old, new, lambda x: np.sinc(x) * np.sinc(x / lobes) * (np.abs(x) < lobes), lobes)


def cubic_matrix(old: int, new: int) -> NDArray[np.float64]:
    """Keys' cubic convolution of one axis, a = -1/2: what pictures call bicubic, for any ratio of sizes.

    Args:
        old: samples of the axis.
        new: samples of the result, placed as :func:`upsample` says.

    Returns:
        (new, old) matrix. Source: R. G. Keys, IEEE Trans. Acoust., Speech, Signal Process. 29(6), 1981. For a whole
        factor of an even axis it is :class:`mdcsrn.networks.interpolation.CubicUpsample`.

    >>> cubic_matrix(4, 8)[3].round(4).tolist()
    [-0.0625, 0.5625, 0.5625, -0.0625]
    """
    return _kernel_matrix(old, new, _keys, 2)


def _keys(x: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.abs(x)
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _kernel_matrix(old: int, new: int, kernel: Kernel, reach: int) -> NDArray[np.float64]:
    """Interpolation by a kernel of `reach` samples to each side; rows sum to 1, the border is repeated."""
    place = (np.arange(new) - new // 2) * (old / new) + old // 2
    taken = np.floor(place)[:, None] + np.arange(1 - reach, reach + 1)
    weights = kernel(place[:, None] - taken)
    matrix = np.zeros((new, old))
    np.add.at(matrix, (np.arange(new)[:, None], np.clip(taken, 0, old - 1).astype(int)), weights)
    result: NDArray[np.float64] = matrix / matrix.sum(axis=1, keepdims=True)
    return result


def _interpolate(volume: NDArray[np.float32], shape: Sequence[int], order: int) -> NDArray[np.float32]:
    old, new = np.array(volume.shape), np.array(shape)
    step = old / new
    offset = old // 2 - (new // 2) * step
    # A vector instead of a matrix: SciPy then treats the axes one by one, as in map_coordinates but much faster.
    result: NDArray[np.float32] = affine_transform(
        volume, step, offset, tuple(shape), output=np.float32, order=order, mode="nearest"
    )
    return result


def baselines(acquired: Tensor, shape: Sequence[int], names: Sequence[str] = BASELINES) -> dict[str, Tensor]:
    """Every named baseline of one acquired volume by its label; see :func:`upsample` and :func:`label`."""
    return {label(name): upsample(acquired, shape, name) for name in names}


def label(name: str) -> str:
    """What a table calls a baseline: its name, that of a picture model without the folders of its file.

    >>> label("spandrel:/models/RRDB_ESRGAN_x4.pth")
    'spandrel:RRDB_ESRGAN_x4.pth'
    """
    return PREFIX + Path(name.removeprefix(PREFIX)).name if name.startswith(PREFIX) else name


def check_baselines(names: Sequence[str]) -> None:
    """Refuse a list of baselines before the work begins; picture models are loaded.

    Raises:
        ConfigError: an unknown name, or two files of one name.
        CheckpointError, MissingDependencyError: as :func:`mdcsrn.evaluation.picture_models.load_picture_model`.
    """
    unknown = [name for name in names if name not in METHODS and not name.startswith(PREFIX)]
    if unknown:
        allowed = ", ".join((*METHODS, f"{PREFIX}FILE"))
        raise ConfigError("unknown baseline", got=", ".join(unknown), allowed=allowed)
    labels = [label(name) for name in names]
    twice = sorted({name for name in labels if labels.count(name) > 1})
    if twice:
        raise ConfigError("two baselines of one name", got=", ".join(twice), remedy="rename a file, or leave one out")
    for name in names:
        if name.startswith(PREFIX):
            load_picture_model(name.removeprefix(PREFIX))
