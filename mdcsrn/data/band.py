"""Crop an interpolated volume to the matrix that was acquired."""

from __future__ import annotations

import torch

from mdcsrn.io import Volume
from mdcsrn.kspace import AxisBand, detect_band, grid_affine, resample_grid


def crop_to_band(volume: Volume, bands: tuple[AxisBand, AxisBand, AxisBand] | None = None) -> Volume:
    """Bring a volume to its acquired matrix by a centred k-space crop; field of view and mean stay.

    Args:
        volume: the scan.
        bands: from :func:`mdcsrn.kspace.detect_band`; None: looked for here.

    Returns:
        The volume on the acquired grid with the affine of its samples; the same object where no band is empty.
    """
    array = torch.from_numpy(volume.array)
    bands = detect_band(array) if bands is None else bands
    if not any(band.empty for band in bands):
        return volume
    shape = [band.samples for band in bands]
    affine = grid_affine(torch.from_numpy(volume.affine), volume.shape, shape).numpy()
    return volume.replace(resample_grid(array, shape).numpy(), affine)
