"""Draw training patches: every random draw is a pure function of the seed and the global sample number.

Sample numbers run through the whole training: batch b holds the numbers b B ... b B + B - 1, whatever the number of
loader workers and of processes. Batches are dealt to `streams`; a stream works through groups of a few degraded
volumes ("draws") and shuffles the patches of a group, so that a volume is degraded once and gives many patches, yet
the patches of one batch come from different volumes. A resumed run asks for the next number and gets what it would
have got.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mdcsrn.errors import ConfigError, DataError, root_error
from mdcsrn.kspace.intensity import METRIC_HEAD_FRACTION, intensity_scale
from mdcsrn.transforms.check import size_remedy

# One branch of the random tree for each kind of draw, so that adding one kind never shifts another.
_VOLUME, _DEGRADATION, _SHUFFLE, _PATCH, _COEFFICIENT = range(5)
WHOLE_VOXEL_ERROR = 1e-3


class PatchDataset(Dataset[dict[str, Any]]):
    """Patches of degraded volumes, by global sample number.

    Args:
        volumes: volumes by index, each ``{"image": (1, D, H, W)}``: a MONAI CacheDataset or PersistentDataset.
        degrade: random transforms of a whole volume; takes ``image`` and ``label`` (both the reference at first) and
            leaves the degraded, scaled pair in them.
        augment: random transforms of a patch pair, or None.
        patch_size: edges of the reference's patch, voxels: one for a cube, or (d, h, w); multiples of `scale`. For
            patches of one plane, (1, h, w), a volume is turned where only its planes across another axis are as large.
        batch_size: samples in a global batch, over all processes.
        patches_per_volume: patches that are cut from one degraded volume.
        volumes_per_group: degraded volumes that are mixed; so many are held in memory for each stream.
        streams: independent streams that batches are dealt to; at least the number of loader workers, so that no two
            workers degrade the same volume.
        seed: of everything random here.
        foreground: share of patches whose centre lies in the head.
        repeats: how often each volume is drawn in a pass through the list, so that a scanner with few volumes weighs
            as much as one with many; None: once each.
        scale: voxels of ``label`` for each voxel of ``image``, per axis (D, H, W): what a network that reads the
            acquired matrix refines by. A corner of the one is the corner of the other divided by it; of a pair whose
            affines put voxel 0 of the image elsewhere (odd sizes), the label is cut to begin there.
    """

    def __init__(  # noqa: PLR0913 - a target of configurations
        self,
        volumes: Sequence[Mapping[str, Any]],
        degrade: Callable[[dict[str, Any]], Any],
        augment: Callable[[dict[str, Any]], Any] | None = None,
        patch_size: int | Sequence[int] = 64,
        batch_size: int = 2,
        patches_per_volume: int = 16,
        volumes_per_group: int = 4,
        streams: int = 1,
        seed: int = 0,
        foreground: float = 1.0,
        repeats: Sequence[int] | None = None,
        scale: Sequence[int] = (1, 1, 1),
    ) -> None:
        if len(volumes) == 0:
            raise DataError("the list of training volumes is empty", remedy="check the section of the datalist")
        for name, value in {
            "batch_size": batch_size,
            "patches_per_volume": patches_per_volume,
            "volumes_per_group": volumes_per_group,
            "streams": streams,
        }.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} is a whole number", got=value, allowed=">= 1")
        if not 0 <= foreground <= 1:
            raise ConfigError("foreground is a share", got=foreground, allowed="0 to 1")
        counts = [1] * len(volumes) if repeats is None else list(repeats)
        whole = all(isinstance(count, int) and not isinstance(count, bool) and count >= 1 for count in counts)
        if len(counts) != len(volumes) or not whole:
            raise ConfigError(
                "repeats holds a whole number for each volume", got=repeats, allowed=f"{len(volumes)} numbers >= 1"
            )
        self._pass = np.repeat(np.arange(len(volumes)), counts)
        self.volumes, self.degrade, self.augment = volumes, degrade, augment
        self.patch_size, self.scale = _grids(patch_size, scale)
        self.batch_size, self.streams = batch_size, streams
        self.patches_per_volume, self.volumes_per_group = patches_per_volume, volumes_per_group
        self.seed, self.foreground = seed, foreground
        self._draws: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def __getitem__(self, sample: int) -> dict[str, Any]:
        """Patch pair of a sample number.

        Returns:
            ``label``, float32 (1, d, h, w), and ``image``, the same over `scale`; ``coefficient``, the
            sample's interpolation coefficient of the gradient penalty; ``sample``.
        """
        draw, patch = self.locate(sample)
        pair = self._crop(self._draw(draw), self._random(_PATCH, sample))
        if self.augment is not None:
            pair = self._apply(self.augment, pair, _PATCH, sample)
        coefficient = self._random(_COEFFICIENT, sample).random(dtype=np.float32)
        plain = {key: convert_to_tensor(pair[key], track_meta=False).contiguous() for key in ("image", "label")}
        return {**plain, "coefficient": torch.tensor(coefficient), "sample": sample}

    def locate(self, sample: int) -> tuple[int, int]:
        """Draw number of a sample, and which of the draw's patches it is."""
        batch, slot = divmod(sample, self.batch_size)
        position = (batch // self.streams) * self.batch_size + slot
        stream = batch % self.streams
        group, within = divmod(position, self.volumes_per_group * self.patches_per_volume)
        group_number = group * self.streams + stream
        order = self._random(_SHUFFLE, group_number).permutation(self.volumes_per_group * self.patches_per_volume)
        draw_in_group, patch = divmod(int(order[within]), self.patches_per_volume)
        return group_number * self.volumes_per_group + draw_in_group, patch

    def volume_of(self, draw: int) -> int:
        """Volume of a draw: each pass through the list (with its repeats) is a new permutation of it."""
        turn, place = divmod(draw, len(self._pass))
        return int(self._pass[self._random(_VOLUME, turn).permutation(len(self._pass))[place]])

    def _draw(self, draw: int) -> dict[str, Any]:
        """The degraded volume of a draw, kept while its group (and the next one's beginning) needs it."""
        if draw in self._draws:
            self._draws.move_to_end(draw)
            return self._draws[draw]
        try:
            image = self.volumes[self.volume_of(draw)]["image"]
        except Exception as error:
            raise root_error(error) or error from error
        name = getattr(image, "meta", {}).get("filename_or_obj", "a volume")
        image = _planes_first(image, self.patch_size)
        if any(size < edge for size, edge in zip(image.shape[-3:], self.patch_size, strict=True)):
            shape = tuple(image.shape[-3:])
            raise DataError(
                f"{name} is smaller than a patch", got=shape, allowed=f">= {self.patch_size} per axis",
                remedy=size_remedy(shape, self.patch_size),
            )  # fmt: skip
        result = self._apply(self.degrade, {"image": image, "label": image}, _DEGRADATION, draw)
        label = convert_to_tensor(result["label"], track_meta=False)[0]
        given = tuple(result["image"].shape[-3:])
        if tuple(n * s for n, s in zip(given, self.scale, strict=True)) != tuple(label.shape):
            raise DataError(
                f"the two grids of {name} do not fit",
                got=f"image {given}, label {tuple(label.shape)}",
                allowed=f"label = image x {self.scale}",
                remedy="let the degradation write the grid that the network reads (grid: reference or acquired)",
            )
        result["image"], result["label"] = _aligned(result["image"], result["label"], self.scale)
        label = convert_to_tensor(result["label"], track_meta=False)[0]
        if any(size < edge for size, edge in zip(label.shape, self.patch_size, strict=True)):
            raise DataError(
                f"{name} is smaller than a patch, its two grids aligned",
                got=tuple(label.shape), allowed=f">= {self.patch_size} per axis",
            )  # fmt: skip
        result["mask"] = label > METRIC_HEAD_FRACTION * intensity_scale(label)  # holes of the head stay
        self._draws[draw] = result
        while len(self._draws) > (self.volumes_per_group + 1) * self.streams:
            self._draws.popitem(last=False)
        return result

    def _crop(self, volume: dict[str, Any], random: np.random.Generator) -> dict[str, Tensor]:
        """Cut a patch at random, centred in the head for a share `foreground` of all draws."""
        mask: Tensor = volume["mask"]
        edges, scale = np.asarray(self.patch_size), np.asarray(self.scale)
        room = (np.asarray(mask.shape) - edges) // scale + 1  # corners on the image's grid
        # Rejection needs no list of head voxels: a few candidates nearly always hold one. The draw count is fixed.
        corners = random.integers(0, room, size=(32, 3))
        if random.random() < self.foreground:
            inside = mask[tuple(torch.from_numpy(corners * scale + edges // 2).T)]
            first = int(inside.to(torch.uint8).argmax())
        else:
            first = 0
        pair = {}
        for key, corner, size in (
            ("image", corners[first], edges // scale), ("label", corners[first] * scale, edges),
        ):  # fmt: skip
            where = (slice(None), *(slice(int(c), int(c + n)) for c, n in zip(corner, size, strict=True)))
            pair[key] = convert_to_tensor(volume[key], track_meta=False)[where].clone()
        return pair

    def _apply(self, transform: Callable[[dict[str, Any]], Any], data: dict[str, Any], kind: int, number: int) -> Any:
        reseed = getattr(transform, "set_random_state", None)  # MONAI's Randomizable; a Compose passes it on
        if reseed is not None:
            reseed(seed=int(self._random(kind, number, 1).integers(2**32 - 1)))
        try:
            return transform(data)
        except Exception as error:  # MONAI wraps what a transform raises
            raise root_error(error) or error from error

    def _random(self, *path: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.seed, *path]))


def _planes_first(image: Tensor, patch_size: tuple[int, ...]) -> Tensor:
    """A volume whose planes across axis 0 are smaller than a patch of one plane, turned until a patch fits.

    As of thick slices, whose good planes lie across another axis. The affine follows; a volume that fits, one that
    fits no way, and one for patches of several planes stay as they are.
    """
    for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1)) if patch_size[0] == 1 else ():
        if all(image.shape[axis + 1] >= edge for axis, edge in zip(order, patch_size, strict=True)):
            if order == (0, 1, 2):
                break
            turned = image.permute(0, *(axis + 1 for axis in order)).contiguous()
            if isinstance(turned, MetaTensor):
                turned.affine = turned.affine[:, [*order, 3]]
            return turned
    return image


def _aligned(image: Tensor, label: Tensor, scale: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Cut a pair so that voxel j of the image lies at index scale x j of the label, where the affines say otherwise.

    A k-space crop to an odd size puts voxel 0 at scale // 2: the label then begins there, and the image's last voxel,
    which the label no longer holds, is left out. Offsets that are no whole voxel of the label stay.
    """
    if not isinstance(image, MetaTensor) or not isinstance(label, MetaTensor):
        return image, label
    offset = torch.linalg.solve(label.affine.double(), image.affine.double())[:3, 3]
    for axis, (r, first) in enumerate(zip(scale, offset.tolist(), strict=True), start=1):
        start = round(first)
        if 0 < start < r and abs(first - start) < WHOLE_VOXEL_ERROR:
            image = image.narrow(axis, 0, image.shape[axis] - 1)
            label = label.narrow(axis, start, r * image.shape[axis])
    return image, label


def _grids(patch_size: int | Sequence[int], scale: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Patch edges and scale as three whole numbers each."""
    edges = tuple(patch_size) if isinstance(patch_size, Sequence) else (patch_size,) * 3
    factors = tuple(scale)
    for name, values in (("patch_size", edges), ("scale", factors)):
        if len(values) != 3 or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
            allowed = "a whole number >= 1, or three" if name == "patch_size" else "three whole numbers >= 1"
            raise ConfigError(f"{name} is in voxels, per axis", got=values, allowed=allowed)
    if any(edge % factor for edge, factor in zip(edges, factors, strict=True)):
        raise ConfigError("patch_size is a multiple of scale on every axis", got=f"{edges}, scale {factors}")
    return edges, factors


class SampleStream(Sampler[list[int]]):
    """Endless batches of global sample numbers for one process, from any batch on.

    Args:
        batch_size: samples in a global batch, over all processes; a multiple of `world_size`.
        start: first batch; a resumed run sets it to the saved iteration.
        rank: this process.
        world_size: number of processes; process r takes the numbers at places r, r + world_size, ... of each batch.
    """

    def __init__(self, batch_size: int, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < 1 or batch_size % world_size or not 0 <= rank < world_size:
            raise ConfigError(
                "the global batch is shared evenly by the processes",
                got=f"batch_size {batch_size}, {world_size} processes",
                allowed="a multiple of the number of processes",
            )
        self.batch_size, self.start, self.rank, self.world_size = batch_size, start, rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        batch = self.start
        while True:
            first = batch * self.batch_size
            yield list(range(first + self.rank, first + self.batch_size, self.world_size))
            batch += 1
