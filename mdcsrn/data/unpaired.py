"""Unpaired training patches: high-resolution ones of some subjects beside low-resolution ones of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from mdcsrn.data.patches import PatchDataset
from mdcsrn.data.split import check_disjoint
from mdcsrn.errors import ConfigError


class UnpairedPatches(Dataset[dict[str, Any]]):
    """The ``label`` of one list and the ``image`` of another, by global sample number.

    Each list draws from its own seed, so a sample is a pure function of both seeds and its number.

    Args:
        high: patches of the high-resolution list; its ``image`` is not used.
        low: patches of the low-resolution list; its ``label`` is not used. Volumes that were acquired at low resolution
            need a `degrade` that scales them alone, and the low-resolution size as `patch_size`.

    Raises:
        ConfigError: the two have one seed, or different batches or streams.
    """

    def __init__(self, high: PatchDataset, low: PatchDataset) -> None:
        if high.seed == low.seed:
            raise ConfigError(
                "two lists with one seed draw at the same places",
                got=high.seed,
                remedy="give the low list a seed of its own",
            )
        for name in ("batch_size", "streams"):
            if getattr(high, name) != getattr(low, name):
                raise ConfigError(
                    f"{name} is the same in both lists", got=getattr(low, name), allowed=getattr(high, name)
                )
        self.high, self.low = high, low

    def __getitem__(self, sample: int) -> dict[str, Any]:
        """Patches of a sample number.

        Returns:
            ``label``, float32 (1, D, H, W), of the high list; ``image``, (1, d, h, w), of the low one; ``paired``,
            False; ``sample``.
        """
        return {
            "image": self.low[sample]["image"],
            "label": self.high[sample]["label"],
            "paired": torch.tensor(False),
            "sample": sample,
        }


def check_unpaired(high: Sequence[Mapping[str, Any]], low: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a person, a subject or a file of both lists: its patches could be a pair.

    Args:
        high: entries of the high-resolution datalist.
        low: entries of the low-resolution one.

    Raises:
        DataError: with the name.
    """
    check_disjoint({"high": high, "low": low}, "unpaired lists")
