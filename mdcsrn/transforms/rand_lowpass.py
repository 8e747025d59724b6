"""Simulate a short scan at random: reduction, axes, window and noise from ranges, each draw recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms.transform import RandomizableTransform
from monai.utils import TransformBackends
from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.kspace import DegradationSpec
from mdcsrn.transforms._one_draw import OneDrawd
from mdcsrn.transforms._ranges import check_range
from mdcsrn.transforms.lowpass import apply_degradation

AXES: dict[str, tuple[tuple[int, ...], ...]] = {
    "one": tuple(combinations(range(3), 1)),
    "pair": tuple(combinations(range(3), 2)),
    "all": ((0, 1, 2),),
    "any": tuple(axes for count in (1, 2, 3) for axes in combinations(range(3), count)),
}
MAX_SEED = 2**31 - 1


class RandKSpaceLowPass(RandomizableTransform):
    """Degrade a volume by a random :class:`mdcsrn.kspace.DegradationSpec`; the draw is recorded in the meta-data.

    The defaults are the training of the published 2x2 setting: half the frequencies of a random pair of array axes.

    Args:
        reduction: (lowest, highest) reduction of a reduced axis, real, >= 1; drawn for each axis by itself.
        axes: which array axes (D, H, W) = (0, 1, 2) are reduced: ``one``, ``pair``, ``all``, ``any`` (each non-empty
            set equally likely), fixed axes such as ``[1, 2]``, or a list of sets to choose from, ``[[0, 1], [1, 2]]``.
        windows: k-space windows to choose from, each equally likely.
        noise: (lowest, highest) noise, as in ``DegradationSpec.noise``; (0, 0) keeps the result linear and signed.
        partial_fourier: (lowest, highest) sampled share of one of the reduced axes, in (0.5, 1]; (1, 1): none.
        grid: ``reference`` or ``acquired``.
        prob: probability to degrade; a volume that is left alone records the reduction (1, 1, 1).

    Raises:
        ConfigError: a range is not two numbers in order, or a value is unknown or out of range.

    >>> import torch
    >>> transform = RandKSpaceLowPass(axes=[1, 2]).set_random_state(seed=0)
    >>> transform(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    >>> transform.spec.reduction
    (1.0, 2.0, 2.0)
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        reduction: Sequence[float] = (2.0, 2.0),
        axes: str | Sequence[int] | Sequence[Sequence[int]] = "pair",
        windows: Sequence[str] = ("box",),
        noise: Sequence[float] = (0.0, 0.0),
        partial_fourier: Sequence[float] = (1.0, 1.0),
        grid: str = "reference",
        prob: float = 1.0,
    ) -> None:
        super().__init__(prob)
        self.reduction = check_range("reduction", reduction)
        self.axes = _axes(axes)
        self.windows = (windows,) if isinstance(windows, str) else tuple(windows)
        self.noise = check_range("noise", noise)
        self.partial_fourier = check_range("partial_fourier", partial_fourier)
        self.grid = grid
        if not self.windows:
            raise ConfigError("a random low-pass needs at least one window", got=windows)
        # Both ends of every range go through the specification once, so that a bad setting fails here, not in a worker.
        for end in (0, 1):
            for kind in self.windows:
                r, share = self.reduction[end], self.partial_fourier[end]
                DegradationSpec((r, r, r), kind, None, self.noise[end], (share, share, share), grid)
        self._spec = DegradationSpec((1.0, 1.0, 1.0), grid=grid)

    @property
    def spec(self) -> DegradationSpec:
        """The latest draw."""
        return self._spec

    def draw(self, random: np.random.RandomState) -> DegradationSpec:
        """Draw a degradation: a pure function of the random state, with the same number of draws whatever comes out."""
        axes = self.axes[random.randint(len(self.axes))]
        factors = random.uniform(*self.reduction, size=3)
        kind = self.windows[random.randint(len(self.windows))]
        noise = float(random.uniform(*self.noise))
        partial_axis = axes[random.randint(len(axes))]
        share = float(random.uniform(*self.partial_fourier))
        seed = int(random.randint(MAX_SEED))
        return DegradationSpec(
            reduction=_per_axis(1.0, {a: float(factors[a]) for a in axes}),
            window=kind,
            noise=noise,
            partial_fourier=_per_axis(1.0, {partial_axis: share}),
            grid=self.grid,
            seed=seed,
        )

    def randomize(self, data: Any = None) -> None:
        """Draw the degradation of the next call from ``self.R``; `data` plays no part."""
        super().randomize(None)
        drawn = self.draw(self.R)
        self._spec = drawn if self._do_transform else DegradationSpec((1.0, 1.0, 1.0), seed=drawn.seed)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """(C, D, H, W) -> degraded volume; ``randomize=False`` applies the latest draw again."""
        if randomize:
            self.randomize()
        return apply_degradation(img, self._spec)


class RandKSpaceLowPassd(OneDrawd):
    """Dictionary version of :class:`RandKSpaceLowPass`; all keys get the same draw.

    Args:
        keys: keys of the volumes to degrade.
        reduction: see :class:`RandKSpaceLowPass`, as all that follow.
        axes: which array axes are reduced.
        windows: k-space windows to choose from.
        noise: range of the noise.
        partial_fourier: range of the sampled share.
        grid: ``reference`` or ``acquired``.
        prob: probability to degrade.
        allow_missing_keys: do not raise when a key is missing.

    >>> import torch
    >>> from mdcsrn.transforms import recorded_degradation
    >>> volume = torch.rand(1, 8, 8, 8)
    >>> transform = RandKSpaceLowPassd(["a", "b"], reduction=(1.5, 3.0)).set_random_state(seed=0)
    >>> data = transform({"a": volume, "b": volume})
    >>> recorded_degradation(data["a"]) == recorded_degradation(data["b"])
    True
    """

    backend = RandKSpaceLowPass.backend

    def __init__(  # noqa: PLR0913 - a target of configurations
        self,
        keys: KeysCollection,
        reduction: Sequence[float] = (2.0, 2.0),
        axes: str | Sequence[int] | Sequence[Sequence[int]] = "pair",
        windows: Sequence[str] = ("box",),
        noise: Sequence[float] = (0.0, 0.0),
        partial_fourier: Sequence[float] = (1.0, 1.0),
        grid: str = "reference",
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(
            keys, RandKSpaceLowPass(reduction, axes, windows, noise, partial_fourier, grid, prob), allow_missing_keys
        )


def _per_axis(default: float, values: Mapping[int, float]) -> tuple[float, float, float]:
    return values.get(0, default), values.get(1, default), values.get(2, default)


def _axes(value: str | Sequence[int] | Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """All sets of axes that a draw may choose from."""
    allowed = f"{', '.join(AXES)}, axes such as [1, 2], or a list of such sets"
    if isinstance(value, str):
        if value not in AXES:
            raise ConfigError("unknown choice of axes", got=value, allowed=allowed)
        return AXES[value]
    entries: list[Any] = list(value)
    sets = [tuple(e) for e in entries] if entries and not isinstance(entries[0], int) else [tuple(entries)]
    for axes in sets:
        if not axes or len(set(axes)) != len(axes) or any(a not in (0, 1, 2) for a in axes):
            raise ConfigError("axes are 0, 1 and 2, each at most once", got=value, allowed=allowed)
    return tuple(sets)


RandKSpaceLowPassD = RandKSpaceLowPassDict = RandKSpaceLowPassd
