"""Exchange two axes of a volume at random, unless one is too short: planes along another axis, and pictures as well."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import RandRotate90d

from mdcsrn.errors import ConfigError


class RandQuarterTurnd(RandRotate90d):
    """MONAI's :class:`monai.transforms.RandRotate90d` for lists that hold pictures and thin slabs too.

    A picture has one plane: were its first axis exchanged, nothing of a plane's edge would be left to cut a patch from.
    Where one of the two axes is shorter than `least`, the volume stays as it is; the same numbers are drawn all the
    same, so that one seed turns the other volumes of a list alike.

    Args:
        keys: keys of volumes of one shape, (C, D, H, W).
        prob: probability of a turn.
        max_k: turns are by 90 degrees times 1 to `max_k`.
        spatial_axes: the two axes, of (D, H, W).
        least: fewest voxels of either axis, such as the patch's edge.
        allow_missing_keys: do not raise when a key is missing.

    Raises:
        ConfigError: `least` is below 1.

    >>> turn = RandQuarterTurnd("image", prob=1.0, max_k=1, spatial_axes=(0, 1), least=8)
    >>> [tuple(turn({"image": torch.rand(1, d, 9, 10)})["image"].shape) for d in (8, 1)]
    [(1, 9, 8, 10), (1, 1, 9, 10)]
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.1,
        max_k: int = 3,
        spatial_axes: Sequence[int] = (0, 1),
        least: int = 2,
        allow_missing_keys: bool = False,
    ) -> None:
        first, second = spatial_axes
        super().__init__(keys, prob, max_k, (first, second), allow_missing_keys)
        if least < 1:
            raise ConfigError("the shortest axis to be exchanged has a length", got=least, allowed=">= 1 voxels")
        self.least = least

    def __call__(self, data: Mapping[Hashable, torch.Tensor], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Turn the volume under each key, or none."""
        shape = next(data[key].shape[1:] for key in self.key_iterator(data))
        if min(shape[axis] for axis in self.spatial_axes) < self.least:
            self.randomize()
            return dict(data)
        return dict(super().__call__(data, lazy=lazy))


RandQuarterTurnD = RandQuarterTurnDict = RandQuarterTurnd
