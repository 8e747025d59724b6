"""Keep every r-th sample of a low-passed volume: the acquired matrix that an upsampling network reads."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.kspace import decimate
from mdcsrn.kspace.fourier import refined_affine
from mdcsrn.transforms._volumes import check_channel_first, plain, rewrap, tracked


class Decimate(Transform):
    """Keep every r-th sample per axis, the first one on; see :func:`mdcsrn.kspace.decimate`.

    The affine states where the samples are: that of the first is unchanged.

    Args:
        scale: r per axis (D, H, W), whole numbers >= 1.

    Raises:
        ConfigError: `scale` is not three whole numbers.
        GeometryError: the volume is not (C, D, H, W), or a size is no multiple of r.

    >>> import torch
    >>> Decimate((1, 2, 2))(torch.rand(1, 8, 16, 16)).shape
    torch.Size([1, 8, 8, 8])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, scale: Sequence[int]) -> None:
        self.scale = check_scale(scale)

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """(C, D, H, W) -> (C, D/r, H/r, W/r), same unit."""
        volume = tracked(img)
        check_channel_first(volume)
        out = rewrap(decimate(plain(volume), self.scale), volume)
        if isinstance(out, MetaTensor):
            out.affine = refined_affine(out.affine, [1 / r for r in self.scale])
        return out


class Decimated(MapTransform):
    """Dictionary version of :class:`Decimate`.

    Args:
        keys: keys of the volumes.
        scale: r per axis (D, H, W).
        allow_missing_keys: do not raise when a key is missing.

    >>> import torch
    >>> Decimated("image", (1, 2, 2))({"image": torch.rand(1, 8, 8, 8)})["image"].shape
    torch.Size([1, 8, 4, 4])
    """

    backend = Decimate.backend

    def __init__(self, keys: KeysCollection, scale: Sequence[int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.decimate = Decimate(scale)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Decimate the volume under each key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.decimate(d[key])
        return d


def check_scale(scale: Sequence[int]) -> tuple[int, int, int]:
    """Three whole numbers of at least 1.

    Raises:
        ConfigError: they are none.
    """
    whole = [r for r in scale if isinstance(r, int) and not isinstance(r, bool) and r >= 1]
    if len(scale) != 3 or len(whole) != 3:
        raise ConfigError("a scale is a whole number per axis", got=tuple(scale), allowed="three, each >= 1")
    return whole[0], whole[1], whole[2]


DecimateD = DecimateDict = Decimated
