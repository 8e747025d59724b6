"""Base of the random dictionary transforms: change several volumes by one and the same draw."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms.transform import MapTransform, RandomizableTransform
from torch import Tensor

Self = TypeVar("Self", bound="OneDrawd")


class Drawing(Protocol):
    """A random array transform whose draw is apart from its application."""

    prob: float

    def randomize(self, data: Any = None) -> None:
        """Draw for the next call."""

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Any:
        """Set the state that the draws come from."""

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """Apply; ``randomize=False``: the latest draw again."""


class OneDrawd(RandomizableTransform, MapTransform):
    """Dictionary version of a random array transform: drawn once a call, applied to each key.

    Args:
        keys: keys of the volumes.
        transform: the array transform; its own probability counts.
        allow_missing_keys: do not raise when a key is missing.
    """

    def __init__(self, keys: KeysCollection, transform: Drawing, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, transform.prob)
        self.transform = transform

    def set_random_state(self: Self, seed: int | None = None, state: np.random.RandomState | None = None) -> Self:
        """Set the state that the draws come from, as MONAI's Randomizable."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw for the next call; `data` plays no part."""
        self.transform.randomize()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the volume under each key by one and the same draw."""
        d = dict(data)
        self.randomize()
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key], randomize=False)
        return d
