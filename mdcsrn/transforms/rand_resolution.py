"""Lower a reference's resolution by a random centred crop of k-space, so that training sees many voxel spacings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms.transform import RandomizableTransform
from monai.utils import TransformBackends
from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.kspace import grid_affine, resample_grid
from mdcsrn.transforms._one_draw import OneDrawd
from mdcsrn.transforms._ranges import check_range
from mdcsrn.transforms._volumes import check_channel_first, plain, rewrap, tracked


class RandResolution(RandomizableTransform):
    """Bring a volume to a random coarser grid by a centred crop of its k-space; the field of view stays.

    What is left is what the same scanner would have measured in less time: larger voxels, less noise in each, and an
    outer band of k-space that holds signal, also where the scanner had interpolated an axis. (A spatial interpolation
    would leave that band empty, and a network trained on it learns blur.)

    Args:
        factor: (lowest, highest) ratio of the old to the new number of samples, real, >= 1; drawn for each axis.
        min_size: an axis is never cropped below so many samples; one that is smaller already is left alone.
        prob: probability to change the volume at all.

    Raises:
        ConfigError: `factor` is not two numbers in order, from 1, or `min_size` is below 1.

    >>> import torch
    >>> RandResolution(factor=(2, 2))(torch.rand(1, 8, 10, 12)).shape
    torch.Size([1, 4, 5, 6])
    >>> RandResolution(factor=(2, 2), min_size=5)(torch.rand(1, 8, 10, 12)).shape
    torch.Size([1, 5, 5, 6])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, factor: Sequence[float] = (1.0, 1.5), min_size: int = 1, prob: float = 1.0) -> None:
        super().__init__(prob)
        if isinstance(min_size, bool) or not isinstance(min_size, int) or min_size < 1:
            raise ConfigError("min_size is a whole number of samples", got=min_size, allowed=">= 1")
        self.factor, self.min_size = check_range("factor", factor, 1.0), min_size
        self._drawn = (1.0, 1.0, 1.0)

    def randomize(self, data: Any = None) -> None:
        """Draw the three factors of the next call from ``self.R``; `data` plays no part."""
        super().randomize(None)
        first, second, third = self.R.uniform(*self.factor, size=3)
        self._drawn = (float(first), float(second), float(third)) if self._do_transform else (1.0, 1.0, 1.0)

    def new_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Grid (D, H, W) that the latest draw makes of `shape`."""
        pairs = zip(shape, self._drawn, strict=True)
        return tuple(min(n, max(self.min_size, round(n / factor))) for n, factor in pairs)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """(C, D, H, W) -> (C, D', H', W'), same unit, affine of the new grid; ``randomize=False``: the latest draw."""
        volume = tracked(img)
        check_channel_first(volume)
        if randomize:
            self.randomize()
        old = tuple(volume.shape[-3:])
        new = self.new_shape(old)
        if new == old:
            return volume
        out = rewrap(resample_grid(plain(volume), new), volume)
        if isinstance(out, MetaTensor):
            out.affine = grid_affine(out.affine, old, new)
        return out


class RandResolutiond(OneDrawd):
    """Dictionary version of :class:`RandResolution`; all keys get the same draw.

    Args:
        keys: keys of the volumes.
        factor: see :class:`RandResolution`, as all that follow.
        min_size: smallest number of samples per axis.
        prob: probability to change the volumes.
        allow_missing_keys: do not raise when a key is missing.

    >>> import torch
    >>> volume = torch.rand(1, 24, 24, 24)
    >>> data = RandResolutiond(["a", "b"]).set_random_state(seed=0)({"a": volume, "b": volume})
    >>> data["a"].shape == data["b"].shape
    True
    """

    backend = RandResolution.backend

    def __init__(
        self,
        keys: KeysCollection,
        factor: Sequence[float] = (1.0, 1.5),
        min_size: int = 1,
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandResolution(factor, min_size, prob), allow_missing_keys)


RandResolutionD = RandResolutionDict = RandResolutiond
