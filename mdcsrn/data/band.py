"""Detect an empty outer k-space band. A scanner that interpolates leaves it empty, and training on that teaches blur.

An empty band is never exactly zero: rounding to integers, the magnitude, masks and cut edges fill it a little. So the
edge is looked for as a *step* in the power spectrum, per axis: a fall that is large and much steeper than the spectrum
around it. The anatomy's own decay is gradual, and so is a scanner's apodisation: neither is a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from mdcsrn.io import Volume
from mdcsrn.kspace import grid_affine, resample_grid

STEP_DB = 5.5  # real files: at least 7.1 where the scanner interpolated, at most 4.8 where it did not
SHARPNESS = 0.65  # real files: at least 0.74, and at most 0.65; an exact edge has about 0.9, a straight decay 0.33
NEAR, FAR = 2, 6  # samples: the step falls within +-NEAR, its surroundings reach to +-FAR
SMALLEST_AXIS = 32  # voxels; on shorter axes a step and a decay cannot be told apart
# Below LONG_AXIS voxels a scanner's apodisation is as sharp as an edge (native scans cut to 64 voxels: steps up to
# 11.4 dB, to 32: 19.7 dB; to 80: a hundredth above 5.5 dB). Only the deep edge of an exact zero-filling counts there.
LONG_AXIS = 88
SHORT_STEP_DB = 20.0
SMALLEST_PLANE = 512  # voxels across an axis; the mean of fewer lines is too noisy: false alarms above 1 % at 256
FRACTIONS = (0.2, 0.95)  # of Nyquist: where an edge is looked for; an empty last twentieth does no harm
DEEPEST = 2.5  # log10 of power: a deeper fall says no more, and its foot is the window's leakage
BRIGHT = 0.6  # lines above this share of the range of brightness: those in air hold magnitude noise, without an edge


@dataclass(frozen=True)
class AxisBand:
    """What one axis's spectrum says.

    Attributes:
        fraction: acquired share of the band, 1.0 where no empty band was found.
        samples: size of the acquired matrix on this axis.
        step_db: height of the largest sharp fall above the trend around it, dB of power.
        sharpness: share of the fall over +-6 samples that happens within +-2; 1/3 for a straight decay.
        margin: the smaller of step_db and sharpness, each over its threshold (which is higher for the step on an axis
            below 88 voxels); at least 1 where a band is empty.
        assessed: False for an axis too short, or with too few lines along it, to tell.
    """

    fraction: float
    samples: int
    step_db: float
    sharpness: float
    margin: float
    assessed: bool = True

    @property
    def empty(self) -> bool:
        """True where the outer band holds no measurement."""
        return self.fraction < 1


def detect_band(
    array: NDArray[np.float32], expected: Sequence[int | None] = (None, None, None)
) -> tuple[AxisBand, AxisBand, AxisBand]:
    """Find interpolated axes of a volume.

    Args:
        array: volume, shape (D, H, W), any unit, finite.
        expected: samples of each axis that were acquired, where other sources say so. An edge in just that place is
            distinguished from apodisation by its place, so that the height of long axes is enough on short ones too.

    Returns:
        One :class:`AxisBand` per array axis.
    """
    d, h, w = (_assess(array, axis, expected[axis]) for axis in range(3))
    return d, h, w


def _assess(array: NDArray[np.float32], axis: int, expected: int | None) -> AxisBand:
    n = array.shape[axis]
    if n < SMALLEST_AXIS or array.size < n * SMALLEST_PLANE:
        return AxisBand(1.0, n, 0.0, 0.0, 0.0, assessed=False)
    spectrum = power_spectrum(array, axis)
    band = _find_edge(spectrum, n, STEP_DB if n >= LONG_AXIS else SHORT_STEP_DB)
    if not band.empty and expected is not None:
        there = _find_edge(spectrum, n, STEP_DB, expected // 2)
        return there if there.empty else band
    return band


def crop_to_band(volume: Volume, bands: tuple[AxisBand, AxisBand, AxisBand] | None = None) -> Volume:
    """Bring a volume to its acquired matrix by a centred k-space crop; field of view and mean stay.

    Args:
        volume: the scan.
        bands: from :func:`detect_band`; None: looked for here.

    Returns:
        The volume on the acquired grid with the affine of its samples; the same object where no band is empty.
    """
    bands = detect_band(volume.array) if bands is None else bands
    if not any(band.empty for band in bands):
        return volume
    shape = [band.samples for band in bands]
    affine = grid_affine(torch.from_numpy(volume.affine), volume.shape, shape).numpy()
    return volume.replace(resample_grid(torch.from_numpy(volume.array), shape).numpy(), affine)


def power_spectrum(array: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    """Mean power of the bright lines along an axis.

    Args:
        array: volume, shape (D, H, W).
        axis: 0, 1 or 2.

    Returns:
        log10 of the power at 0, 1, ... n // 2 cycles per field of view.
    """
    n = array.shape[axis]
    # A Hann window: a field of view that was cut has an edge where its ends meet, and that fills the whole band.
    window = np.hanning(n + 2)[1:-1].astype(np.float32)
    lines = np.moveaxis(array, axis, -1).reshape(-1, n)
    brightness = lines @ window
    darkest = brightness.min()
    lines = lines[brightness - darkest >= BRIGHT * (np.percentile(brightness, 99) - darkest)]
    power = np.abs(fft.rfft((lines - lines.mean()) * window, axis=-1)) ** 2
    return np.log10(power.mean(axis=0, dtype=np.float64) + np.finfo(np.float32).tiny)


def _find_edge(spectrum: NDArray[np.float64], n: int, least: float, place: int | None = None) -> AxisBand:
    """Best step, of `least` dB or more, of a log10 spectrum of an axis with n voxels; anywhere, or near one place."""
    best = (0.0, 0.0, 0.0, 0)
    last = len(spectrum) - 1
    for edge in range(max(FAR + 1, int(FRACTIONS[0] * n / 2)), min(int(FRACTIONS[1] * n / 2), last - NEAR) + 1):
        if place is not None and abs(edge - place) > NEAR:
            continue
        far = min(edge + FAR, last)
        floored = np.maximum(spectrum, spectrum[edge - NEAR] - DEEPEST)
        fall = floored[edge - NEAR] - floored[edge + NEAR]
        around = floored[edge - FAR] - floored[far]
        if fall <= 0 or around <= 0 or floored[edge + NEAR :].max() > spectrum[edge - NEAR] - fall / 2:
            continue  # a dip or a line, behind which the band goes on
        slope = (around - fall) / (FAR + far - edge - 2 * NEAR)
        step_db, sharpness = 10 * (fall - 2 * NEAR * slope), fall / around
        margin = min(step_db / least, sharpness / SHARPNESS)
        best = max(best, (margin, step_db, sharpness, edge))
    margin, step_db, sharpness, edge = best
    if margin < 1:
        return AxisBand(1.0, n, float(step_db), float(sharpness), float(margin))
    # The last sample within 5 dB of the level inside. The Hann window's own smear puts the last measured sample 0.8 dB
    # below that level and the one after it 7.8 dB below.
    inside = edge - 2 * NEAR
    kept = inside + int(np.argmax(spectrum[inside:] < spectrum[inside] - 0.5)) - 1
    samples = min(n, 2 * kept + 1)  # odd: with an even count the two outermost samples would share one place
    return AxisBand(samples / n, samples, float(step_db), float(sharpness), float(margin))
