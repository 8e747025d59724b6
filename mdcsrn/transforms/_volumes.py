"""Read the volumes that transforms get: plain float values, the name of the file, the degradation it carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.utils import convert_to_tensor
from torch import Tensor

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.kspace import DegradationSpec
from mdcsrn.kspace.degradation import as_spec

DEGRADATION_KEY = "degradation"


def tracked(img: NdarrayOrTensor) -> Tensor:
    """The volume as MONAI's transforms return it: a MetaTensor where meta-data is tracked, float32 unless float64."""
    out = convert_to_tensor(img, track_meta=get_track_meta())
    return out if out.dtype == torch.float64 else out.to(torch.float32)


def plain(img: Tensor) -> Tensor:
    """The same values without meta-data: MetaTensor copies its meta in every single operation."""
    return img.as_tensor() if isinstance(img, MetaTensor) else img


def rewrap(values: Tensor, like: Tensor) -> Tensor:
    """`values` with a copy of the meta-data of `like`, where it has any."""
    return MetaTensor(values).copy_meta_from(like) if isinstance(like, MetaTensor) else values


def meta_of(img: object) -> Mapping[str, Any]:
    """Meta-data of a volume; empty for plain tensors and arrays."""
    return img.meta if isinstance(img, MetaTensor) else {}


def file_of(img: object) -> str:
    """Name of the file that a volume was read from, for errors."""
    name = meta_of(img).get("filename_or_obj")
    if isinstance(name, (list, tuple)) and name:
        name = name[0]
    return str(name) if name else "a volume without a file name"


def check_channel_first(img: Tensor) -> None:
    """Raise GeometryError unless the volume is (C, D, H, W)."""
    if img.ndim != 4 or min(img.shape) < 1:
        raise GeometryError(
            f"{file_of(img)} is not a channel-first volume",
            got=tuple(img.shape),
            allowed="(C, D, H, W)",
            remedy="put EnsureChannelFirstd before this transform",
        )


def record_degradation(img: Tensor, spec: DegradationSpec) -> None:
    """Write the degradation into the volume's meta-data as JSON text.

    Text, because a data loader's collate accepts neither None nor dictionaries that differ within a batch.
    """
    if isinstance(img, MetaTensor):
        img.meta[DEGRADATION_KEY] = json.dumps(spec.to_dict(), sort_keys=True)


def recorded_degradation(img: object) -> DegradationSpec:
    """Read the degradation that :class:`KSpaceLowPass` or :class:`RandKSpaceLowPass` recorded in a volume.

    Args:
        img: one volume (not a batch) with meta-data, or its meta dictionary.

    Raises:
        ConfigError: none is recorded, or it cannot be read.

    >>> import torch
    >>> from mdcsrn.transforms import KSpaceLowPass
    >>> recorded_degradation(KSpaceLowPass({"reduction": [1, 2, 2]})(torch.rand(1, 8, 8, 8))).reduction
    (1.0, 2.0, 2.0)
    """
    meta = img if isinstance(img, Mapping) else meta_of(img)
    value = meta.get(DEGRADATION_KEY)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigError("the recorded degradation is not JSON", got=value) from error
    if not isinstance(value, (Mapping, DegradationSpec)):
        raise ConfigError(
            f"no degradation is recorded in {file_of(img)}",
            got=value,
            remedy="give the degradation as `spec`, or degrade with KSpaceLowPassd or RandKSpaceLowPassd",
        )
    return as_spec(value)


def affine_of(img: object) -> np.ndarray | None:
    """Affine of a volume in float64, shape (4, 4) when sound; None without meta-data."""
    return np.asarray(img.affine.cpu(), dtype=np.float64) if isinstance(img, MetaTensor) else None
