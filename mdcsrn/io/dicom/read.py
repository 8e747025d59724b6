"""Read a found series into a volume: decode each image, rescale it, put it at its place in the stack."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.dicom.facts import facts_of
from mdcsrn.io.dicom.gdcm import Gdcm
from mdcsrn.io.dicom.header import FrameTags, parse, quiet
from mdcsrn.io.dicom.padding import BACKGROUND, describe, refuse_nothing_else
from mdcsrn.io.dicom.pixels import check_pixels, decode
from mdcsrn.io.dicom.series import DicomFile, DicomSeries, Frame, SeriesFiles
from mdcsrn.io.dicom.source import read_bytes
from mdcsrn.io.dicom.stack import Stack, arrange
from mdcsrn.io.image_type import MAGNITUDE, REFUSED
from mdcsrn.io.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_VOXELS = 1 << 30


def read(series: SeriesFiles) -> DicomSeries:
    """See :func:`mdcsrn.io.dicom.read_series`."""
    if series.error is not None:
        raise series.error
    if not series.frames:
        raise DataError(f"{series.source}, {series.name}: no images")
    title = f"{series.source}, {series.name}"
    stack = arrange(series.frames, title)
    rows, columns = series.frames[0].shape
    if rows * columns * len(stack.levels) > MAX_VOXELS:
        raise DataError(f"{title} is too large", got=f"{columns} x {rows} x {len(stack.levels)}", allowed=MAX_VOXELS)
    with quiet(), Gdcm() as gdcm:
        return _read(series, stack, title, gdcm)


def _read(series: SeriesFiles, stack: Stack, title: str, gdcm: Gdcm) -> DicomSeries:
    by_file: dict[DicomFile, list[Frame]] = {}
    for level in stack.levels:
        for frame in level:
            by_file.setdefault(frame.file, []).append(frame)
    headers: dict[DicomFile, Dataset] = {}
    hashes: dict[DicomFile, str] = {}
    images = _Images(stack, title)
    for file, dataset, digest in _datasets(list(by_file)):
        hashes[file] = digest
        check_pixels(dataset, by_file[file][0])
        for frame in by_file[file]:
            images.put(frame, *decode(dataset, frame, gdcm))
        del dataset.PixelData
        headers[file] = dataset
    frames = tuple(images.kept[k] for k in range(len(stack.levels)))
    files = tuple(dict.fromkeys(f.file for f in frames))
    first = FrameTags(headers[frames[0].file], frames[0].index, frames[0].file)
    warnings = [*series.warnings, *stack.warnings, *_oddities(first, frames), *_shown(headers), *images.warnings()]
    volume = Volume(images.array.T, stack.affine, images.dtype, series.source, tuple(warnings))
    _refuse_constant(volume, title)
    facts = dataclasses.replace(facts_of(first), image_type=_kind(frames))
    return DicomSeries(
        volume=volume,
        facts=facts,
        frames=frames,
        headers=tuple(headers[file] for file in files),
        files=files,
        sha256=_joined([hashes[file] for file in files]),
        description=_describe(volume, facts),
        warnings=tuple(warnings),
    )


class _Images:
    """Decoded images at their places in the stack.

    Attributes:
        array: shape (slices, rows, columns), as stored; its transpose is the volume. Made when the first image is
            decoded, so that a header alone cannot claim memory.
        kept: frame of each slice.
        dtype: of the stored values.
    """

    def __init__(self, stack: Stack, title: str) -> None:
        self.array = np.zeros((0, 0, 0), dtype=np.float32)
        self.kept: dict[int, Frame] = {}
        self.dtype = np.dtype(np.int16)
        self._levels, self._title = stack.levels, title
        self._place = {(f.file, f.index): k for k, level in enumerate(stack.levels) for f in level}
        self._copies = self._padded = self._changed = 0

    def put(self, frame: Frame, raw: NDArray[Any], padding: NDArray[np.bool_] | None) -> None:
        """Rescale an image and put it at its place; an equal copy of one that is there is dropped."""
        if not self.array.size:
            self.array = np.zeros((len(self._levels), *frame.shape), dtype=np.float32)
        self.dtype = raw.dtype
        values = _rescaled(raw, frame)
        padded = changed = 0
        if padding is not None:
            padded, changed = int(padding.sum()), int((values[padding] != BACKGROUND).sum())
            values[padding] = BACKGROUND
        k = self._place[frame.file, frame.index]
        if k not in self.kept:
            self.kept[k], self.array[k] = frame, values
            self._padded += padded
            self._changed += changed
        elif np.array_equal(self.array[k], values):
            self._copies += 1
        else:
            raise DataError(
                f"{self._title}: several different images lie at one position",
                got=f"slice {k + 1} of {len(self._levels)}: {_names(self._levels[k])}",
                allowed="one image per slice",
                remedy="give one echo, time point or acquisition, each in a folder of its own",
            )

    def warnings(self) -> list[str]:
        """What was dropped and what was taken as background.

        Raises:
            DataError: there is nothing but padding.
        """
        said = [f"{self._copies} images are copies of others and were left out"] if self._copies else []
        refuse_nothing_else(self._padded, self.array.size, self._title)
        return said + ([describe(self._padded, self.array.size)] if self._changed else [])


def _kind(frames: tuple[Frame, ...]) -> str | None:
    """Kind of the images; of several, one that is no magnitude."""
    kinds = list(dict.fromkeys(frame.kind for frame in frames))
    return min(kinds, key=lambda kind: (kind not in REFUSED, kind in (None, MAGNITUDE), kind is None))


def _datasets(files: list[DicomFile]) -> Iterator[tuple[DicomFile, Dataset, str]]:
    for file, content in read_bytes(files):
        if isinstance(content, MdcsrnError):
            raise content
        yield file, parse(content, file, pixels=True), hashlib.sha256(content).hexdigest()


def _joined(hashes: list[str]) -> str:
    """Hash of one file as it is; of several, the hash of their hashes."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _rescaled(raw: NDArray[Any], frame: Frame) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # an infinite value is refused, with its count, by Volume
        return (raw.astype(np.float64) * frame.slope + frame.intercept).astype(np.float32)


def _names(frames: tuple[Frame, ...]) -> str:
    return ", ".join(Path(str(f.file)).name + (f" frame {f.index + 1}" if f.index else "") for f in frames[:4])


def _oddities(tags: FrameTags, frames: tuple[Frame, ...]) -> list[str]:
    """Facts of a header that change nothing here, but that a user should know."""
    odd = []
    if tags.get("RealWorldValueMappingSequence") is not None:
        odd.append("a real world value mapping is there and is not applied")
    if tags.text("LossyImageCompression") == "01":
        odd.append("the images went through lossy compression")
    instances = [f.instance for f in frames]
    if len(set(instances)) == len(instances) and max(instances) - min(instances) >= len(instances):
        odd.append("instance numbers have gaps: slices at the ends of the stack may be missing")
    return odd


def _shown(headers: dict[DicomFile, Dataset]) -> list[str]:
    """A warning where low values are bright, and another where that is so in some images and not in others."""
    inverted = [
        FrameTags(h, -1, file).text("PhotometricInterpretation") == "MONOCHROME1" for file, h in headers.items()
    ]
    if not any(inverted):
        return []
    if all(inverted):
        return ["MONOCHROME1: the scanner shows low values bright; the values are kept as they are"]
    count = f"{sum(inverted)} of {len(inverted)} files"
    return [
        f"MONOCHROME1 in {count} and not in the others: some slices may be inverted; the values are kept as they are"
    ]


def _describe(volume: Volume, facts: ScanFacts) -> str:
    size = " x ".join(map(str, volume.shape))
    spacing = " x ".join(f"{s:.4g}" for s in volume.spacing)
    kind = " ".join(filter(None, (facts.acquisition, facts.contrast)))
    return f"MR series{' ' + kind if kind else ''}, {size} voxels of {spacing} mm"


def _refuse_constant(volume: Volume, title: str) -> None:
    low, high = float(volume.array.min()), float(volume.array.max())
    if low == high:
        what = "nothing but zeros" if low == 0 else "one value in every voxel"
        raise DataError(f"{title} holds {what}", got=low, remedy="check how the images were exported")
