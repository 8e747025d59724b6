"""Keep loaded volumes in memory or on disk: MONAI's caching datasets behind one setting."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.transforms import Compose

from mdcsrn.errors import root_error


def cached(
    items: Sequence[Mapping[str, Any]],
    transform: Callable[..., Any],
    cache_rate: float = 1.0,
    cache_dir: str | os.PathLike[str] = "",
) -> Dataset:
    """Volumes of a datalist, loaded and checked once.

    Args:
        items: entries with an ``image``.
        transform: loads and checks an entry; deterministic.
        cache_rate: share of the volumes kept in memory, 0 to 1.
        cache_dir: keep all of them in this folder instead (for cohorts larger than the memory); empty: in memory.

    Returns:
        MONAI's PersistentDataset where `cache_dir` is given, else its CacheDataset, filled.

    Raises:
        MdcsrnError: a volume cannot be used; the file is named.
    """
    if isinstance(transform, Compose):  # MONAI takes a Compose within a Compose for random, and would not cache it
        transform = transform.flatten()
    if str(cache_dir):
        return PersistentDataset(items, transform, cache_dir=Path(cache_dir))
    try:
        return CacheDataset(items, transform, cache_rate=cache_rate)
    except Exception as error:  # MONAI wraps what a transform raises
        raise root_error(error) or error from error
