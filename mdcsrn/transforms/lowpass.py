"""Simulate a short scan of a volume: the k-space degradation as a MONAI transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor

from mdcsrn.kspace import DegradationSpec, degrade, grid_affine
from mdcsrn.kspace.degradation import as_spec
from mdcsrn.transforms._volumes import check_channel_first, plain, record_degradation, rewrap, tracked


def apply_degradation(img: NdarrayOrTensor, spec: DegradationSpec) -> Tensor:
    """Degrade a channel-first volume; meta-data, affine and device are kept, and the degradation is recorded.

    Args:
        img: volume, shape (C, D, H, W), any unit, on any device.
        spec: the degradation. With ``grid="acquired"`` the affine is changed to the new grid's.

    Returns:
        Volume, shape (C, D', H', W'), float32 (float64 stays), the input's unit; the input is not changed.
    """
    volume = tracked(img)
    check_channel_first(volume)
    out = rewrap(degrade(plain(volume), spec), volume)
    if isinstance(out, MetaTensor) and out.shape != volume.shape:
        out.affine = grid_affine(out.affine, tuple(volume.shape[-3:]), tuple(out.shape[-3:]))
    record_degradation(out, spec)
    return out


class KSpaceLowPass(Transform):
    """Keep of a volume what a short scan would have measured; see :func:`mdcsrn.kspace.degrade`.

    The degradation is recorded in the result's meta-data (:func:`mdcsrn.transforms.recorded_degradation` reads it).

    Args:
        spec: the degradation, or its plain values as under ``degradation:`` in ``configs/degradation/*.yaml``.

    Raises:
        ConfigError: a value of `spec` is unknown or out of range.
        GeometryError: the volume is not (C, D, H, W).

    >>> import torch
    >>> volume = torch.rand(1, 8, 16, 16)
    >>> KSpaceLowPass({"reduction": [1, 2, 2]})(volume).shape
    torch.Size([1, 8, 16, 16])
    >>> KSpaceLowPass({"reduction": [1, 2, 2], "grid": "acquired"})(volume).shape
    torch.Size([1, 8, 8, 8])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, spec: DegradationSpec | Mapping[str, Any]) -> None:
        self.spec = as_spec(spec)

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """(C, D, H, W) -> degraded volume on the reference or the acquired grid, same unit."""
        return apply_degradation(img, self.spec)


class KSpaceLowPassd(MapTransform):
    """Dictionary version of :class:`KSpaceLowPass`.

    Args:
        keys: keys of the volumes to degrade.
        spec: the degradation, or its plain values.
        allow_missing_keys: do not raise when a key is missing.

    >>> import torch
    >>> from mdcsrn.transforms import recorded_degradation
    >>> data = KSpaceLowPassd("image", {"reduction": [1, 2, 2]})({"image": torch.rand(1, 8, 8, 8)})
    >>> recorded_degradation(data["image"]).reduction
    (1.0, 2.0, 2.0)
    """

    backend = KSpaceLowPass.backend

    def __init__(
        self, keys: KeysCollection, spec: DegradationSpec | Mapping[str, Any], allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.low_pass = KSpaceLowPass(spec)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Degrade the volume under each key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.low_pass(d[key])
        return d


KSpaceLowPassD = KSpaceLowPassDict = KSpaceLowPassd
