"""List the scans of an inference run: a file, a folder, or by default degraded subjects of the embedded sample."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mdcsrn.data.datalist import find_images, load_datalist
from mdcsrn.data.sample import sample_datalist
from mdcsrn.errors import DataError
from mdcsrn.fetched import check_fetched
from mdcsrn.io import Volume, image_stem, read_volume, write_volume
from mdcsrn.kspace import DegradationSpec, degrade, grid_affine


def scans(
    source: str | os.PathLike[str], dataset_dir: str | os.PathLike[str], degradation: Mapping[str, Any]
) -> list[dict[str, str]]:
    """Scans to be restored, as a MONAI data list.

    Args:
        source: an image file or a folder of them; empty: the embedded sample's test subjects, degraded.
        dataset_dir: where the sample is kept.
        degradation: plain values of the degradation for the sample; with ``grid: acquired`` the scans have the matrix
            that was measured.

    Returns:
        ``[{"image": path}, ...]``.

    Raises:
        DataError: no such file or folder, a folder without images, or two files that differ by their suffix alone.
    """
    if not str(source):
        return [{"image": str(path)} for path in _degraded_sample(dataset_dir, degradation)]
    path = Path(source)
    if path.is_dir():
        return [{"image": _whole(image)} for image in _distinct(find_images(path))]
    check_fetched(path)
    if not path.is_file():
        raise DataError(f"no such scan: {path}", remedy="give an image file, or a folder of them")
    return [{"image": _whole(path)}]


def _whole(path: Path) -> str:
    """From the root on: MONAI takes a name that begins with ``~`` for somebody's home."""
    return os.path.abspath(path)


def root(source: str | os.PathLike[str]) -> str:
    """The folder whose structure the results keep, or an empty text for a single file and for the sample."""
    return str(source) if str(source) and Path(source).is_dir() else ""


def _distinct(images: list[Path]) -> list[Path]:
    """Refuse two scans whose results would have the same name."""
    seen: dict[Path, Path] = {}
    for image in images:
        other = seen.setdefault(image.with_name(image_stem(image)), image)
        if other != image:
            raise DataError(f"{other} and {image} would give one result", remedy="rename or remove one of them")
    return images


def _degraded_sample(dataset_dir: str | os.PathLike[str], degradation: Mapping[str, Any]) -> list[Path]:
    spec = DegradationSpec.from_dict(degradation)
    datalist = sample_datalist(dataset_dir)
    folder = Path(datalist).parent / f"degraded-{spec.sha256[:12]}"
    made = []
    for entry in load_datalist(datalist, "test"):
        target = folder / f"{image_stem(entry['image'])}.nii.gz"
        if not target.is_file():
            volume = read_volume(entry["image"])
            low = degrade(torch.from_numpy(volume.array), spec)
            affine = grid_affine(torch.from_numpy(volume.affine), volume.shape, low.shape)
            write_volume(Volume(low.numpy(), affine.numpy()), target)
        made.append(target)
    return made
