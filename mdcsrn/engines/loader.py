"""Build the training loader: volumes of a datalist, degraded and cut into patches, as endless batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from torch.utils.data import DataLoader

from mdcsrn.data.caching import cached
from mdcsrn.data.datalist import repeats
from mdcsrn.data.patches import PatchDataset, SampleStream
from mdcsrn.data.unpaired import UnpairedPatches
from mdcsrn.engines import distributed


def training_loader(  # noqa: PLR0913 - a target of configurations
    items: Sequence[Mapping[str, Any]],
    load: Callable[..., Any],
    degrade: Callable[[dict[str, Any]], Any],
    augment: Callable[[dict[str, Any]], Any] | None = None,
    patch_size: int | Sequence[int] = 64,
    batch_size: int = 2,
    patches_per_volume: int = 16,
    volumes_per_group: int = 4,
    streams: int = 1,
    num_workers: int = 0,
    seed: int = 0,
    cache_rate: float = 1.0,
    cache_dir: str | os.PathLike[str] = "",
    scale: Sequence[int] = (1, 1, 1),
) -> DataLoader:
    """Batches of training patches; with several processes, this one's share of each batch.

    Args:
        items: entries of a datalist.
        load: deterministic transforms that load and check an entry.
        degrade: random transforms of a whole volume, see :class:`mdcsrn.data.patches.PatchDataset`.
        augment: random transforms of a patch pair, or None.
        patch_size: edge of the cubic patch, or its size per axis, voxels of the result's grid.
        batch_size: patches of a batch, over all processes.
        patches_per_volume: patches that are cut from one degraded volume.
        volumes_per_group: degraded volumes that are mixed.
        streams: independent streams that batches are dealt to, at least `num_workers`.
        num_workers: loader processes.
        seed: of every random draw.
        cache_rate: share of the volumes kept in memory, 0 to 1.
        cache_dir: folder to keep all of them in instead; empty: in memory.
        scale: the result's grid over the input's, per axis.

    Returns:
        The loader; its ``dataset`` is the PatchDataset, its ``batch_sampler`` the SampleStream that checkpoints set.

    Raises:
        MdcsrnError: a setting is out of range, or a volume cannot be used.
    """
    volumes = cast(Sequence[Mapping[str, Any]], cached(items, load, cache_rate, cache_dir))  # MONAI's type says less
    dataset = PatchDataset(
        volumes,
        degrade,
        augment,
        patch_size=patch_size,
        batch_size=batch_size,
        patches_per_volume=patches_per_volume,
        volumes_per_group=volumes_per_group,
        streams=streams,
        seed=seed,
        repeats=repeats(items),
        scale=scale,
    )
    sampler = SampleStream(batch_size, rank=distributed.rank(), world_size=distributed.world_size())
    return DataLoader(dataset, batch_sampler=sampler, num_workers=num_workers)


def unpaired_loader(high: DataLoader, low: DataLoader) -> DataLoader:
    """Batches for a cycle GAN without pairs: ``label`` of one training loader, ``image`` of another.

    Args:
        high: :func:`training_loader` of the high-resolution list; its sampler and its number of workers are used.
        low: of the low-resolution list, with the same batches and streams and another seed. Check before with
            :func:`mdcsrn.data.unpaired.check_unpaired` that nobody is in both.

    Returns:
        The loader; its ``dataset`` is the UnpairedPatches, its ``batch_sampler`` the SampleStream that checkpoints set.

    Raises:
        ConfigError: see :class:`mdcsrn.data.unpaired.UnpairedPatches`.
    """
    dataset = UnpairedPatches(cast(PatchDataset, high.dataset), cast(PatchDataset, low.dataset))
    return DataLoader(dataset, batch_sampler=high.batch_sampler, num_workers=high.num_workers)
