"""Zero-fill a scan onto a grid that is finer by whole factors: what networks and consistency start from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor

from mdcsrn.kspace import grid_affine, resample_grid
from mdcsrn.transforms._volumes import check_channel_first, plain, rewrap, tracked
from mdcsrn.transforms.decimate import check_scale


class ZeroFill(Transform):
    """Refine the grid by padding k-space with zeros; see :func:`mdcsrn.kspace.resample_grid`.

    Args:
        scale: factor per axis (D, H, W), whole numbers >= 1.

    Raises:
        ConfigError: `scale` is not three whole numbers.
        GeometryError: the volume is not (C, D, H, W).

    >>> import torch
    >>> ZeroFill((1, 2, 2))(torch.rand(1, 8, 9, 9)).shape
    torch.Size([1, 8, 18, 18])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, scale: Sequence[int]) -> None:
        self.scale = check_scale(scale)

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """(C, D, H, W) -> (C, r D, r H, r W), same unit."""
        volume = tracked(img)
        check_channel_first(volume)
        old = tuple(volume.shape[-3:])
        new = [n * r for n, r in zip(old, self.scale, strict=True)]
        out = rewrap(resample_grid(plain(volume), new), volume)
        if isinstance(out, MetaTensor):
            out.affine = grid_affine(out.affine, old, new)
        return out


class ZeroFilld(MapTransform):
    """Dictionary version of :class:`ZeroFill`.

    Args:
        keys: keys of the volumes.
        scale: factor per axis (D, H, W).
        allow_missing_keys: do not raise when a key is missing.

    >>> import torch
    >>> ZeroFilld("image", (1, 2, 2))({"image": torch.rand(1, 8, 4, 4)})["image"].shape
    torch.Size([1, 8, 8, 8])
    """

    backend = ZeroFill.backend

    def __init__(self, keys: KeysCollection, scale: Sequence[int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.zero_fill = ZeroFill(scale)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Zero-fill the volume under each key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.zero_fill(d[key])
        return d


ZeroFillD = ZeroFillDict = ZeroFilld
