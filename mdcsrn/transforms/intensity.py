"""Scale intensities by one factor per volume, so that low and high resolution keep the same zero and unit."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform
from monai.utils import TraceKeys, TransformBackends
from torch import Tensor

from mdcsrn.errors import ConfigError, DataError
from mdcsrn.kspace.intensity import percentile
from mdcsrn.transforms._volumes import file_of, meta_of, plain, rewrap, tracked


class ScaleByPercentile(InvertibleTransform):
    """Divide a volume by its own percentile: no offset, no clipping. The factor is recorded and the inverse undoes it.

    Args:
        percent: percentile over all voxels of the volume, in (0, 100], linear between neighbours.
        factor_key: name in the meta-data under which the factor is kept, in the input's unit.

    Raises:
        DataError: the percentile is not finite or not above zero; the file is named.

    >>> import torch
    >>> scale = ScaleByPercentile(percent=100)
    >>> scaled = scale(torch.tensor([0.0, 2.0, 4.0]))
    >>> scaled.tolist(), scaled.meta["scale"]
    ([0.0, 0.5, 1.0], 4.0)
    >>> scale.inverse(scaled).tolist()
    [0.0, 2.0, 4.0]
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, percent: float = 99.9, factor_key: str = "scale") -> None:
        if not 0 < percent <= 100:
            raise ConfigError("a percentile", got=percent, allowed="(0, 100]")
        self.percent = percent
        self.factor_key = factor_key

    def factor(self, img: NdarrayOrTensor) -> float:
        """The percentile of all voxels of `img`, in its unit."""
        value = float(percentile(plain(tracked(img)), self.percent))
        if not math.isfinite(value) or value <= 0:
            raise DataError(
                f"the {self.percent}th percentile of {file_of(img)} cannot scale it",
                got=value,
                allowed="a finite number above 0",
                remedy="check that the volume is a magnitude image without NaN and with a signal",
            )
        return value

    def __call__(self, img: NdarrayOrTensor, factor: float | None = None) -> Tensor:
        """Divide `img` (any shape) by `factor`, or by its own percentile where None is given; float32."""
        volume = tracked(img)
        value = self.factor(volume) if factor is None else float(factor)
        out = rewrap(plain(volume) / value, volume)
        if isinstance(out, MetaTensor):
            out.meta[self.factor_key] = value
            self.push_transform(out, extra_info={"factor": value})
        return out

    def inverse(self, data: Tensor) -> Tensor:
        """Multiply by the factor that the forward pass pushed onto `data`."""
        transform = self.pop_transform(data)
        return _multiplied(data, transform[TraceKeys.EXTRA_INFO]["factor"], self.factor_key)


class ScaleByPercentiled(MapTransform, InvertibleTransform):
    """Divide several volumes by one factor: the percentile of the whole low-resolution volume.

    Args:
        keys: volumes to divide.
        reference_key: the volume whose percentile is taken, before anything is divided.
        percent: percentile, in (0, 100].
        factor_key: name in the meta-data of each volume under which the factor is kept.
        allow_missing_keys: do not raise when a key is missing; `reference_key` must be there.

    >>> import torch
    >>> data = {"image": torch.tensor([0.0, 4.0]), "label": torch.tensor([2.0, 6.0])}
    >>> scaled = ScaleByPercentiled(percent=100)(data)
    >>> scaled["image"].tolist(), scaled["label"].tolist()
    ([0.0, 1.0], [0.5, 1.5])
    """

    backend = ScaleByPercentile.backend

    def __init__(
        self,
        keys: KeysCollection = ("image", "label"),
        reference_key: str = "image",
        percent: float = 99.9,
        factor_key: str = "scale",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.reference_key = reference_key
        self.scaler = ScaleByPercentile(percent, factor_key)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Divide the volume under each key."""
        d = dict(data)
        factor = self.scaler.factor(_reference(d, self.reference_key))
        for key in self.key_iterator(d):
            d[key] = self.scaler(d[key], factor)
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Multiply each volume by its factor again (used by MONAI's ``Invertd``)."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.scaler.inverse(d[key])
        return d


class UndoScaled(MapTransform):
    """Bring results back to the input's unit with the factor that :class:`ScaleByPercentiled` left in its meta-data.

    Args:
        keys: volumes to multiply, for example the network's output, which has no factor of its own.
        reference_key: the scaled input, whose meta-data holds the factor.
        factor_key: name of the factor there.
        allow_missing_keys: do not raise when a key is missing; `reference_key` must be there.

    Raises:
        ConfigError: the reference is missing or holds no factor.

    >>> import torch
    >>> from mdcsrn.transforms import ScaleByPercentiled
    >>> data = ScaleByPercentiled("image", percent=100)({"image": torch.tensor([0.0, 4.0])})
    >>> data["pred"] = torch.tensor([0.25, 1.0])
    >>> UndoScaled()(data)["pred"].tolist()
    [1.0, 4.0]
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        keys: KeysCollection = ("pred",),
        reference_key: str = "image",
        factor_key: str = "scale",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.reference_key = reference_key
        self.factor_key = factor_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Multiply the volume under each key; the factor in its meta-data becomes 1."""
        d = dict(data)
        reference = _reference(d, self.reference_key)
        factor = meta_of(reference).get(self.factor_key)
        if isinstance(factor, Tensor) and factor.numel() == 1:  # a batch of one that was not decollated
            factor = factor.item()
        if not isinstance(factor, (int, float)):
            raise ConfigError(
                f"no scaling factor '{self.factor_key}' is recorded in {file_of(reference)}",
                got=factor,
                remedy=f"put ScaleByPercentiled with the key '{self.reference_key}' into the preprocessing",
            )
        for key in self.key_iterator(d):
            d[key] = _multiplied(tracked(d[key]), float(factor), self.factor_key)
        return d


def _reference(data: Mapping[Hashable, Any], key: str) -> Any:
    if key not in data:
        raise ConfigError("the scaling's reference volume is missing", got=key, allowed=", ".join(map(str, data)))
    return data[key]


def _multiplied(img: Tensor, factor: float, factor_key: str) -> Tensor:
    """`img` times `factor`, float32 at least; its meta-data then says that it is in its own unit."""
    values = plain(img)
    out = rewrap(values.to(torch.promote_types(values.dtype, torch.float32)) * factor, img)
    if isinstance(out, MetaTensor):
        out.meta[factor_key] = 1.0
    return out


ScaleByPercentileD = ScaleByPercentileDict = ScaleByPercentiled
UndoScaleD = UndoScaleDict = UndoScaled
