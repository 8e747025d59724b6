"""Validate a loaded volume: one channel, three axes, finite, not constant, invertible affine. Errors name the file."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor

from mdcsrn.errors import DataError, GeometryError
from mdcsrn.io.geometry import has_independent_axes
from mdcsrn.transforms._volumes import affine_of, file_of, plain, rewrap, tracked


class CheckVolume(Transform):
    """Refuse what is not one 3D volume of finite, varying values with a sound affine; returns it in float32.

    Args:
        smallest: fewest voxels per axis, one number or three (D, H, W), for example the patch; None: no limit.

    Raises:
        DataError: 4D or several channels, complex, NaN or infinite values (counted), zero or constant everywhere, or
            an axis shorter than `smallest`.
        GeometryError: the affine is singular, not finite or not 4x4.

    >>> import torch
    >>> CheckVolume(smallest=8)(torch.rand(1, 8, 9, 10)).shape
    torch.Size([1, 8, 9, 10])
    >>> CheckVolume()(torch.zeros(1, 8, 9, 10))
    Traceback (most recent call last):
    mdcsrn.errors.DataError: a volume without a file name holds the same value everywhere | got: 0.0 | allowed: an image
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, smallest: int | Sequence[int] | None = None) -> None:
        if smallest is None:
            smallest = 1
        self.smallest = (smallest,) * 3 if isinstance(smallest, int) else tuple(smallest)

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """(1, D, H, W) -> the same in float32, or an error."""
        name = file_of(img)
        if isinstance(img, Tensor) and img.is_complex() or isinstance(img, np.ndarray) and np.iscomplexobj(img):
            raise DataError(f"{name} is complex", got=img.dtype, remedy="give its magnitude image")
        _check_shape(name, tuple(img.shape), self.smallest)
        volume = tracked(img)
        volume = rewrap(plain(volume).to(torch.float32), volume)
        _check_values(name, plain(volume))
        if isinstance(volume, MetaTensor):
            _check_affine(name, affine_of(volume))
        return volume


class CheckVolumed(MapTransform):
    """Dictionary version of :class:`CheckVolume`.

    Args:
        keys: keys of the volumes to check.
        smallest: fewest voxels per axis; None: no limit.
        allow_missing_keys: do not raise when a key is missing.

    >>> import torch
    >>> CheckVolumed(keys=["image"])({"image": torch.rand(1, 8, 9, 10).double()})["image"].dtype
    torch.float32
    """

    backend = CheckVolume.backend

    def __init__(
        self, keys: KeysCollection, smallest: int | Sequence[int] | None = None, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.check = CheckVolume(smallest)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check the volume under each key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.check(d[key])
        return d


def _check_shape(name: str, shape: tuple[int, ...], smallest: tuple[int, ...]) -> None:
    if len(shape) != 4 or shape[0] != 1:
        raise DataError(
            f"{name} is not one 3D volume",
            got=shape,
            allowed="(1, D, H, W): one channel, no time axis",
            remedy="split a 4D series into volumes first",
        )
    if any(n < least for n, least in zip(shape[1:], smallest, strict=True)):
        raise DataError(
            f"{name} is too small",
            got=shape[1:],
            allowed=f"at least {smallest}",
            remedy=size_remedy(shape[1:], smallest),
        )


def size_remedy(shape: Sequence[int], smallest: Sequence[int]) -> str:
    """What to do about a volume that is smaller than patches: one plane is a picture, which a 2D network learns from.

    Args:
        shape: (D, H, W) of the volume.
        smallest: (D, H, W) of a patch.

    >>> size_remedy((1, 200, 200), (32, 32, 32))
    'it is one plane: 3D patches need a volume; a 2D network takes patches of (1, 32, 32)'
    >>> size_remedy((20, 200, 200), (32, 32, 32))
    'leave it out, or use smaller patches'
    """
    lone = [n == 1 < least for n, least in zip(shape, smallest, strict=True)]
    if not any(lone):
        return "leave it out, or use smaller patches"
    plane = tuple(1 if alone else least for alone, least in zip(lone, smallest, strict=True))
    return f"it is one plane: 3D patches need a volume; a 2D network takes patches of {plane}"


def _check_values(name: str, values: Tensor) -> None:
    bad = values.numel() - int(torch.isfinite(values).sum())
    if bad:
        nan = int(torch.isnan(values).sum())
        raise DataError(
            f"{name} has values that are not finite", got=f"{nan} NaN, {bad - nan} infinite of {values.numel()} voxels"
        )
    low, high = (float(v) for v in torch.aminmax(values))
    if low == high:
        raise DataError(f"{name} holds the same value everywhere", got=low, allowed="an image")


def _check_affine(name: str, affine: np.ndarray | None) -> None:
    if affine is None or affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise GeometryError(f"{name} has an unusable affine", got=affine, allowed="4x4, finite")
    if not has_independent_axes(affine):
        raise GeometryError(f"{name} has a singular affine", got=affine.tolist(), allowed="three independent axes")


CheckVolumeD = CheckVolumeDict = CheckVolumed
