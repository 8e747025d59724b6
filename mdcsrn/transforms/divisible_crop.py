"""Crop a volume at its centre to sizes that a whole number divides: MONAI pads to such sizes, but air is no data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Crop, Cropd

from mdcsrn.transforms.decimate import check_scale


class DivisibleCrop(Crop):
    """Crop to the largest multiples of k, at the centre; counterpart of :class:`monai.transforms.DivisiblePad`.

    Args:
        k: divisor per axis (D, H, W), whole numbers >= 1.

    Raises:
        ConfigError: `k` is not three whole numbers.

    >>> DivisibleCrop((1, 2, 4))(torch.rand(1, 7, 9, 10)).shape
    torch.Size([1, 7, 8, 8])
    """

    def __init__(self, k: Sequence[int]) -> None:
        super().__init__()
        self.k = check_scale(k)

    def __call__(self, img: torch.Tensor, lazy: bool | None = None) -> torch.Tensor:  # type: ignore[override]
        """(C, D, H, W) -> the same, no axis longer."""
        shape = img.peek_pending_shape() if isinstance(img, MetaTensor) else img.shape[1:]
        slices = [slice((n % k) // 2, (n % k) // 2 + n - n % k) for n, k in zip(shape, self.k, strict=True)]
        return super().__call__(img=img, slices=tuple(slices), lazy=lazy)


class DivisibleCropd(Cropd):
    """Dictionary version of :class:`DivisibleCrop`.

    Args:
        keys: keys of the volumes.
        k: divisor per axis (D, H, W).
        allow_missing_keys: do not raise when a key is missing.

    >>> DivisibleCropd("image", (1, 2, 2))({"image": torch.rand(1, 7, 9, 10)})["image"].shape
    torch.Size([1, 7, 8, 10])
    """

    def __init__(self, keys: KeysCollection, k: Sequence[int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, cropper=DivisibleCrop(k), allow_missing_keys=allow_missing_keys)


DivisibleCropD = DivisibleCropDict = DivisibleCropd
