"""Simulate a 2D multi-slice scan at random: slices with a profile, a distance and unequal brightness, which alias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms.transform import RandomizableTransform
from monai.utils import TransformBackends
from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.kspace import SLICE_PROFILES, AxisMeasurement, Measurement, resample_grid
from mdcsrn.transforms._one_draw import OneDrawd
from mdcsrn.transforms._ranges import check_range
from mdcsrn.transforms._volumes import check_channel_first, plain, rewrap, tracked


@dataclass(frozen=True)
class Slices:
    """One draw.

    Attributes:
        axis: array axis across the slices.
        reduction: distance between slices over that between the planes of the fine grid, >= 1; 1: left alone.
        thickness: of a slice, in distances between slices.
        profile: ``box`` or ``gaussian``.
        interleave: brightness of every second slice over that of its neighbours, less 1.
    """

    axis: int
    reduction: float = 1.0
    thickness: float = 1.0
    profile: str = "gaussian"
    interleave: float = 0.0

    def measurement(self, shape: Sequence[int]) -> Measurement:
        """What these slices measure of a volume (D, H, W)."""
        d, h, w = (
            AxisMeasurement(n, max(1, round(n / self.reduction)), self.profile, self.thickness)
            if axis == self.axis
            else AxisMeasurement(n, n)
            for axis, n in enumerate(shape)
        )
        return Measurement((d, h, w))


def apply_slices(volume: Tensor, slices: Slices) -> Tensor:
    """Measure thick slices of a volume and zero-fill them back to its grid, as `mdcsrn predict` does with such a scan.

    Args:
        volume: real, shape (..., D, H, W).
        slices: the draw.

    Returns:
        Same shape, dtype and unit; signed, since zero-filling rings.
    """
    shape = tuple(volume.shape[-3:])
    if slices.reduction == 1:
        return volume.clone()
    measured = slices.measurement(shape).forward(volume)
    if slices.interleave:
        gains = torch.ones(measured.shape[slices.axis - 3], dtype=volume.dtype, device=volume.device)
        gains[1::2] += slices.interleave
        measured = measured * gains.view([-1 if axis == slices.axis else 1 for axis in range(3)])
    return resample_grid(measured, shape)


class RandThickSlices(RandomizableTransform):
    """Degrade a volume to random thick slices along one axis, on its own grid.

    A 2D multi-slice scan is not band-limited across its slices: what lies beyond their distance aliases, more with
    thin slices and gaps. Interleaved passes differ in brightness (saturation, cross-talk). No k-space low-pass says
    any of this, so no :class:`mdcsrn.kspace.DegradationSpec` is recorded, and consistency has nothing to put back.

    Args:
        reduction: (lowest, highest) distance between slices over that of the planes, real, >= 1.
        thickness: (lowest, highest) slice thickness in distances between slices, > 0: below 1 with gaps, above with
            overlap. Full width of a box, full width at half maximum of a Gaussian.
        profiles: slice profiles to choose from, ``box`` and ``gaussian``, each equally likely.
        interleave: (lowest, highest) amount by which every second slice is brighter or darker (equally likely), as a
            share, 0 to below 1.
        axes: array axes to choose from.
        prob: probability to degrade.

    Raises:
        ConfigError: a range is not two numbers in order, or a value is unknown or out of range.

    >>> import torch
    >>> transform = RandThickSlices(reduction=(2, 2), thickness=(1, 1), profiles="box", axes=[0])
    >>> transform(torch.rand(1, 8, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    >>> transform.slices.axis, transform.slices.reduction, transform.slices.profile
    (0, 2.0, 'box')
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        reduction: Sequence[float] = (2.0, 5.0),
        thickness: Sequence[float] = (0.7, 1.2),
        profiles: Sequence[str] = SLICE_PROFILES,
        interleave: Sequence[float] = (0.0, 0.0),
        axes: Sequence[int] = (0, 1, 2),
        prob: float = 1.0,
    ) -> None:
        super().__init__(prob)
        self.reduction = check_range("reduction", reduction, 1.0)
        self.thickness = check_range("thickness", thickness, 0.05)
        self.interleave = check_range("interleave", interleave, 0.0, 0.99)
        self.profiles = (profiles,) if isinstance(profiles, str) else tuple(profiles)
        if not self.profiles or not set(self.profiles) <= set(SLICE_PROFILES):
            raise ConfigError("unknown slice profile", got=profiles, allowed=", ".join(SLICE_PROFILES))
        self.axes = tuple(axes)
        if not self.axes or not set(self.axes) <= {0, 1, 2}:
            raise ConfigError("slices lie along one of the array axes", got=axes, allowed="of 0, 1, 2")
        self._slices = Slices(self.axes[0])

    @property
    def slices(self) -> Slices:
        """The latest draw."""
        return self._slices

    def draw(self, random: np.random.RandomState) -> Slices:
        """Draw slices: a pure function of the random state, with the same number of draws whatever comes out."""
        axis = self.axes[random.randint(len(self.axes))]
        profile = self.profiles[random.randint(len(self.profiles))]
        reduction, thickness = (float(random.uniform(*ends)) for ends in (self.reduction, self.thickness))
        sign = 1.0 if random.randint(2) else -1.0
        return Slices(axis, reduction, thickness, profile, sign * float(random.uniform(*self.interleave)))

    def randomize(self, data: Any = None) -> None:
        """Draw the slices of the next call from ``self.R``; `data` plays no part."""
        super().randomize(None)
        drawn = self.draw(self.R)
        self._slices = drawn if self._do_transform else Slices(drawn.axis)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """(C, D, H, W) -> degraded volume; ``randomize=False`` applies the latest draw again."""
        volume = tracked(img)
        check_channel_first(volume)
        if randomize:
            self.randomize()
        return rewrap(apply_slices(plain(volume), self._slices), volume)


class RandThickSlicesd(OneDrawd):
    """Dictionary version of :class:`RandThickSlices`; all keys get the same draw.

    Args:
        keys: keys of the volumes to degrade.
        reduction: see :class:`RandThickSlices`, as all that follow.
        thickness: range of the slice thickness.
        profiles: slice profiles to choose from.
        interleave: range of the difference in brightness.
        axes: array axes to choose from.
        prob: probability to degrade.
        allow_missing_keys: do not raise when a key is missing.

    >>> import torch
    >>> volume = torch.rand(1, 8, 8, 8)
    >>> data = RandThickSlicesd(["a", "b"]).set_random_state(seed=0)({"a": volume, "b": volume})
    >>> torch.equal(data["a"], data["b"])
    True
    """

    backend = RandThickSlices.backend

    def __init__(
        self,
        keys: KeysCollection,
        reduction: Sequence[float] = (2.0, 5.0),
        thickness: Sequence[float] = (0.7, 1.2),
        profiles: Sequence[str] = SLICE_PROFILES,
        interleave: Sequence[float] = (0.0, 0.0),
        axes: Sequence[int] = (0, 1, 2),
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(
            keys, RandThickSlices(reduction, thickness, profiles, interleave, axes, prob), allow_missing_keys
        )


RandThickSlicesD = RandThickSlicesDict = RandThickSlicesd
