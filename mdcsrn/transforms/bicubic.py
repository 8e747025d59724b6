"""Lower a picture's resolution as the papers on natural images do: bicubic, and bicubic with a Gaussian behind it.

A scanner does not interpolate (:class:`mdcsrn.transforms.KSpaceLowPass` simulates it). This is the setting of EDSR and
WDSR, in which their networks and tables are compared: bicubic ×2, ×3, ×4 (B. Lim et al., "Enhanced deep residual
networks for single image super-resolution", CVPRW 2017; J. Yu et al., "Wide activation for efficient and accurate image
super-resolution", arXiv 1808.08718), alone or followed by a Gaussian of 3 pixels, sigma 1.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal, get_args

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.networks.layers import gaussian_1d, separable_filtering
from monai.transforms.transform import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor
from torch.nn.functional import conv1d, interpolate

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.transforms._volumes import check_channel_first, file_of, plain, rewrap, tracked

Place = Literal["edges", "samples"]


class BicubicDownsample(Transform):
    """Make each plane of a volume coarser by a whole factor: antialiased bicubic interpolation, then maybe a blur.

    The kernel is Keys' cubic with a = -0.5, widened by the factor (Pillow's ``BICUBIC``, MATLAB's ``imresize``);
    nothing is clipped. An axis of n pixels keeps ⌊n / factor⌋. As published, new pixel j lies at old index
    (j + 1/2) factor - 1/2: the edges of the field of view stay. With `place="samples"` it lies at j factor, as after a
    k-space crop (:func:`mdcsrn.kspace.decimate`). The affine says which.

    **Train networks of this package with** ``place="samples"``: they, ``predict`` and the data consistency take result
    r j for the place of sample j. Trained on pairs that share their edges, a network learns the shift of
    (factor - 1) / 2 fine pixels, and the results of ``predict`` lie that much beside their affine.

    The Gaussian has weights exp(-x² / (2 sigma²)), sum 1, and runs over the coarse picture, whose border is mirrored
    without its outermost pixel.

    Args:
        factor: whole number, at least 2.
        sigma: of the Gaussian in coarse pixels, above 0; None: no blur.
        size: width of the Gaussian in coarse pixels, odd.
        axis: spatial axis (0, 1, 2) across the planes, which is left alone; 0 for pictures.
        place: ``edges`` or ``samples``: what the two grids share.

    Raises:
        ConfigError: a value is out of range.
        GeometryError: the volume is not (C, D, H, W), or a plane is smaller than 2 coarse pixels (or than the blur).

    >>> import torch
    >>> BicubicDownsample(2)(torch.rand(1, 1, 20, 31)).shape
    torch.Size([1, 1, 10, 15])
    >>> BicubicDownsample(4, sigma=1.0)(torch.ones(1, 3, 8, 8)).flatten()[:2].tolist()
    [1.0, 1.0]
    >>> BicubicDownsample(2, place="samples")(torch.arange(48.0).expand(1, 1, 48, 48))[0, 0, 0, 4:8].round().tolist()
    [8.0, 10.0, 12.0, 14.0]
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self, factor: int = 2, sigma: float | None = None, size: int = 3, axis: int = 0, place: Place = "edges"
    ) -> None:
        if isinstance(factor, bool) or not isinstance(factor, int) or factor < 2:
            raise ConfigError("the factor of a bicubic reduction is a whole number", got=factor, allowed=">= 2")
        if sigma is not None and not 0 < sigma < float("inf"):
            raise ConfigError("a blur has a width", got=sigma, allowed="above 0, or None for no blur")
        if isinstance(size, bool) or not isinstance(size, int) or size < 3 or size % 2 == 0:
            raise ConfigError("the size of a blur is odd", got=size, allowed="3, 5, 7, ...")
        if axis not in (0, 1, 2):
            raise ConfigError("an axis of a volume", got=axis, allowed="0, 1, 2")
        if place not in get_args(Place):
            raise ConfigError("what the grids of a bicubic reduction share", got=place, allowed="edges, samples")
        self.factor, self.sigma, self.size, self.axis, self.place = factor, sigma, size, axis, place

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """(C, D, H, W) -> the same with two axes divided by the factor, the input's unit; the affine follows."""
        volume = tracked(img)
        check_channel_first(volume)
        planes = plain(volume).movedim(self.axis + 1, 1)  # (C, planes, H, W)
        least = 2 if self.sigma is None else self.size // 2 + 1
        if min(planes.shape[-2:]) // self.factor < least:
            raise GeometryError(
                f"{file_of(img)} is too small for a reduction by {self.factor}", got=tuple(volume.shape[1:]),
                allowed=f"planes of {least * self.factor} pixels and more", remedy="check `axis` and the factor",
            )  # fmt: skip
        if self.place == "samples":
            low = _at_samples(_at_samples(planes, self.factor).mT, self.factor).mT
        else:
            low = interpolate(
                planes, scale_factor=1 / self.factor, mode="bicubic", antialias=True, recompute_scale_factor=False
            )
        if self.sigma is not None:
            low = separable_filtering(low, [_gaussian(self.sigma, self.size).to(low)] * 2, mode="reflect")
        out = rewrap(low.movedim(1, self.axis + 1).contiguous(), volume)
        if isinstance(out, MetaTensor):
            out.affine = out.affine @ self._step().to(out.affine)
        return out

    def _step(self) -> Tensor:
        """Index of the coarse grid to index of the fine one, (4, 4)."""
        step = torch.eye(4, dtype=torch.float64)
        for axis in {0, 1, 2} - {self.axis}:
            step[axis, axis] = self.factor
            step[axis, 3] = (self.factor - 1) / 2 if self.place == "edges" else 0
        return step


class BicubicDownsampled(MapTransform):
    """Dictionary version of :class:`BicubicDownsample`.

    Args:
        keys: keys of the volumes to make coarser.
        factor: as there.
        sigma: as there.
        size: as there.
        axis: as there.
        place: as there; ``samples`` where a network of this package is trained.
        allow_missing_keys: do not raise when a key is missing.

    >>> import torch
    >>> BicubicDownsampled("image", factor=3)({"image": torch.rand(1, 1, 30, 33)})["image"].shape
    torch.Size([1, 1, 10, 11])
    """

    backend = BicubicDownsample.backend

    def __init__(
        self,
        keys: KeysCollection,
        factor: int = 2,
        sigma: float | None = None,
        size: int = 3,
        axis: int = 0,
        place: Place = "edges",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.reduce = BicubicDownsample(factor, sigma, size, axis, place)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Make the volume under each key coarser."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.reduce(d[key])
        return d


def _at_samples(x: Tensor, factor: int) -> Tensor:
    """Every `factor`-th position of the last axis of (C, D, H, W), from 0 on; at a border the weights are rescaled."""
    width = 2 * factor  # to either side, where the kernel is 0 again
    t = torch.arange(-width, width + 1, dtype=torch.float64).abs() / factor
    near, far = (1.5 * t - 2.5) * t**2 + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
    weights = torch.where(t <= 1, near, far).to(x).view(1, 1, -1)
    rows = x.reshape(-1, 1, x.shape[-1])
    sums, shares = (conv1d(each, weights, stride=factor, padding=width) for each in (rows, torch.ones_like(rows[:1])))
    return (sums / shares).unflatten(0, x.shape[:-1])[..., 0, : x.shape[-1] // factor]


def _gaussian(sigma: float, size: int) -> Tensor:
    """Weights of one axis, sum 1."""
    weights: Tensor = gaussian_1d(torch.tensor(sigma), truncated=(size // 2) / sigma, approx="sampled", normalize=True)
    return weights


BicubicDownsampleD = BicubicDownsampleDict = BicubicDownsampled
