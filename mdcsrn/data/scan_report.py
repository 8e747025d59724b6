"""Report on a scan before training: geometry, empty outer band, oddities, and its crop to the acquired matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from mdcsrn.data.band import crop_to_band
from mdcsrn.data.label_maps import label_by_content
from mdcsrn.io.formats import read_image, write_image
from mdcsrn.io.image_type import QUANTITATIVE, REFUSED
from mdcsrn.io.sidecar import scan_facts
from mdcsrn.kspace import AxisBand, detect_band


@dataclass(frozen=True)
class ImageFacts:
    """One line of the table that ``mdcsrn data folder`` prints.

    Attributes:
        shape: (D, H, W).
        spacing: millimetres per axis.
        bands: of the three axes, or None where they were not looked at.
        warnings: oddities of the header.
        cropped: the file at the acquired matrix, where one was written.
        label: why it is no scan: a mask or a label map by its voxels, a phase, a part of a complex image or a
            quantitative map by its name or sidecar; None: a scan.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, float, float]
    bands: tuple[AxisBand, AxisBand, AxisBand] | None
    warnings: tuple[str, ...]
    cropped: Path | None = None
    label: str | None = None

    @property
    def empty(self) -> bool:
        """True where an axis has an empty outer band."""
        return self.bands is not None and any(band.empty for band in self.bands)

    def row(self, name: str) -> str:
        """The line, columns separated by two spaces."""
        shape = "x".join(map(str, self.shape))
        spacing = "x".join(f"{edge:.3f}" for edge in self.spacing)
        parts = [f"{name:<44}", f"{shape:<12}", f"{spacing:<18}", self.band_words(), *self.warnings]
        return "  ".join(parts).rstrip()

    def band_words(self) -> str:
        """Acquired share of each axis's band; a dash where it was not looked at or the axis is too short."""
        if self.bands is None:
            return "band not checked"
        shares = ["-" if not band.assessed else f"{band.fraction:.2f}" for band in self.bands]
        words = f"band {' '.join(shares)}"
        if not self.empty:
            return words
        steps = ", ".join(f"{b.step_db:.0f} dB on axis {i}" for i, b in enumerate(self.bands) if b.empty)
        return f"{words} EMPTY OUTER BAND ({steps})" + (f" -> {self.cropped}" if self.cropped else "")


def inspect_image(image: Path, check_band: bool = True, crop: Path | None = None) -> ImageFacts:
    """Read a scan and say what training should know of it.

    Args:
        image: file of any format that is read.
        check_band: look for an empty outer band.
        crop: where to write the scan at its acquired matrix, if its band is empty.

    Raises:
        DataError: the file cannot be used.
        OutputError: the crop cannot be written.
    """
    volume = read_image(image)
    kind = scan_facts(image)[0].image_type
    label = kind if kind in (*REFUSED, QUANTITATIVE) else label_by_content(volume.array)
    if label is not None or not check_band:
        return ImageFacts(volume.shape, volume.spacing, None, volume.warnings, label=label)
    bands = detect_band(torch.from_numpy(volume.array))
    cropped = None
    if crop is not None and any(band.empty for band in bands):
        cropped = write_image(crop_to_band(volume, bands), crop)
    return ImageFacts(volume.shape, volume.spacing, bands, volume.warnings, cropped)
