"""Detect an empty outer band of k-space, as scanners leave it that interpolate: learning from it teaches blur.

An empty band is never exactly zero: rounding to integers, the magnitude, masks and cut edges fill it a little. So the
edge is looked for as a *step* in the power spectrum, per axis: a fall that is large and much steeper than the spectrum
around it. The anatomy's own decay is gradual, and so is a scanner's apodisation: neither is a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mdcsrn.errors import GeometryError
from mdcsrn.kspace.intensity import percentile

STEP_DB = 5.5  # real files: at least 7.1 where the scanner interpolated, at most 4.8 where it did not
SHARPNESS = 0.65  # real files: at least 0.74, and at most 0.65; an exact edge has about 0.9, a straight decay 0.33
STEP_SAMPLES = 2  # to each side of an edge: the step falls within them
AROUND_SAMPLES = 6  # to each side of an edge: its surroundings
MIN_AXIS_VOXELS = 32  # voxels; on shorter axes a step and a decay cannot be told apart
# On shorter axes a scanner's apodisation is as sharp as an edge (native scans cut to 64 voxels: steps up to 11.4 dB,
# to 32: 19.7 dB; to 80: a hundredth above 5.5 dB). Only the deep edge of an exact zero-filling counts there.
LONG_AXIS_VOXELS = 88
SHORT_STEP_DB = 20.0
MIN_PLANE_VOXELS = 512  # voxels across an axis; the mean of fewer lines is too noisy: false alarms above 1 % at 256
EDGE_FRACTIONS = (0.2, 0.95)  # of Nyquist: where an edge is looked for; an empty last twentieth does no harm
MAX_FALL_DECADES = 2.5  # log10 of power: a deeper fall says no more, and its foot is the window's leakage
MIN_LINE_BRIGHTNESS = (
    0.6  # lines above this share of the range of brightness: those in air hold magnitude noise, without an edge
)


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

    >>> AxisBand(fraction=0.5, samples=127, step_db=20.0, sharpness=0.9, margin=1.4).empty
    True
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
    volume: Tensor, expected: Sequence[int | None] = (None, None, None)
) -> tuple[AxisBand, AxisBand, AxisBand]:
    """Find interpolated axes of a volume.

    Args:
        volume: real image, shape (D, H, W), any unit, finite.
        expected: samples of each axis that were acquired, where other sources say so. An edge in just that place is
            told from apodisation by its place, so that the height of long axes is enough on short ones too.

    Returns:
        One :class:`AxisBand` per array axis.

    Raises:
        GeometryError: the tensor has not three axes.

    >>> from mdcsrn.kspace import resample_grid
    >>> noise = torch.randn(64, 96, 40, generator=torch.Generator().manual_seed(0))
    >>> [(band.empty, band.samples) for band in detect_band(resample_grid(noise, (64, 128, 40)))]
    [(False, 64), (True, 95), (False, 40)]
    """
    if volume.ndim != 3:
        raise GeometryError("a band is looked for in one volume", got=tuple(volume.shape), allowed="(D, H, W)")
    d, h, w = (_assess(volume, axis, expected[axis]) for axis in range(3))
    return d, h, w


def _assess(volume: Tensor, axis: int, expected: int | None) -> AxisBand:
    n = volume.shape[axis]
    if n < MIN_AXIS_VOXELS or volume.numel() < n * MIN_PLANE_VOXELS:
        return AxisBand(1.0, n, 0.0, 0.0, 0.0, assessed=False)
    spectrum = power_spectrum(volume, axis).tolist()
    band = _find_edge(spectrum, n, STEP_DB if n >= LONG_AXIS_VOXELS else SHORT_STEP_DB)
    if not band.empty and expected is not None:
        there = _find_edge(spectrum, n, STEP_DB, expected // 2)
        return there if there.empty else band
    return band


def power_spectrum(volume: Tensor, axis: int) -> Tensor:
    """Mean power of the bright lines along an axis.

    Args:
        volume: real image, shape (D, H, W).
        axis: 0, 1 or 2.

    Returns:
        log10 of the power at 0, 1, ... n // 2 cycles per field of view, float64, shape (n // 2 + 1,).

    >>> wave = torch.cos(2 * torch.pi * 5 * torch.arange(32) / 32).expand(4, 4, 32)
    >>> int(power_spectrum(wave, 2).argmax())
    5
    """
    n = volume.shape[axis]
    # A Hann window: a field of view that was cut has an edge where its ends meet, and that fills the whole band.
    window = torch.hann_window(n + 2, periodic=False, dtype=torch.float64, device=volume.device)[1:-1].float()
    lines = volume.movedim(axis, -1).reshape(-1, n).float()
    brightness = lines @ window
    darkest = brightness.min()
    lines = lines[brightness - darkest >= MIN_LINE_BRIGHTNESS * (percentile(brightness, 99) - darkest)]
    power = torch.fft.rfft((lines - lines.mean()) * window).abs().square()
    return (power.mean(dim=0, dtype=torch.float64) + torch.finfo(torch.float32).tiny).log10()


def _find_edge(spectrum: Sequence[float], n: int, least: float, place: int | None = None) -> AxisBand:
    """Best step, of `least` dB or more, of a log10 spectrum of an axis with n voxels; anywhere, or near one place."""
    best = (0.0, 0.0, 0.0, 0)
    last = len(spectrum) - 1
    for edge in range(
        max(AROUND_SAMPLES + 1, int(EDGE_FRACTIONS[0] * n / 2)),
        min(int(EDGE_FRACTIONS[1] * n / 2), last - STEP_SAMPLES) + 1,
    ):
        if place is not None and abs(edge - place) > STEP_SAMPLES:
            continue
        far = min(edge + AROUND_SAMPLES, last)
        floor = spectrum[edge - STEP_SAMPLES] - MAX_FALL_DECADES
        fall = spectrum[edge - STEP_SAMPLES] - max(spectrum[edge + STEP_SAMPLES], floor)
        around = max(spectrum[edge - AROUND_SAMPLES], floor) - max(spectrum[far], floor)
        if (
            fall <= 0
            or around <= 0
            or max(floor, *spectrum[edge + STEP_SAMPLES :]) > spectrum[edge - STEP_SAMPLES] - fall / 2
        ):
            continue  # a dip or a line, behind which the band goes on
        slope = (around - fall) / (AROUND_SAMPLES + far - edge - 2 * STEP_SAMPLES)
        step_db, sharpness = 10 * (fall - 2 * STEP_SAMPLES * slope), fall / around
        margin = min(step_db / least, sharpness / SHARPNESS)
        best = max(best, (margin, step_db, sharpness, edge))
    margin, step_db, sharpness, edge = best
    if margin < 1:
        return AxisBand(1.0, n, step_db, sharpness, margin)
    # The last sample within 5 dB of the level inside. The Hann window's own smear puts the last measured sample 0.8 dB
    # below that level and the one after it 7.8 dB below.
    inside = edge - 2 * STEP_SAMPLES
    kept = next((k for k in range(inside, last + 1) if spectrum[k] < spectrum[inside] - 0.5), inside) - 1
    samples = min(n, 2 * kept + 1)  # odd: with an even count the two outermost samples would share one place
    return AxisBand(samples / n, samples, step_db, sharpness, margin)
