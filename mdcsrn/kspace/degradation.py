"""Simulate a shorter scan. One frozen `DegradationSpec` defines training pairs, test sets and data consistency."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.files import read_mapping
from mdcsrn.kspace.fourier import fft, frequencies, ifft, resample_grid
from mdcsrn.kspace.intensity import intensity_scale
from mdcsrn.kspace.lowpass import acquired_shape, low_pass, window
from mdcsrn.kspace.windows import check_window

GRIDS = ("reference", "acquired")


@dataclass(frozen=True)
class DegradationSpec:
    """What a short scan keeps of a volume. Hashable, and the same as plain values in a file under ``degradation:``.

    Attributes:
        reduction: how many times fewer frequencies are kept, per axis (D, H, W), real, >= 1; 1 leaves an axis alone.
        window: a registered window: ``box``, ``ellipsoid``, ``tukey``, ``hamming``, ``gaussian`` or one that was added
            (see :func:`mdcsrn.kspace.window`).
        window_parameter: of Tukey (tapered share) or Gaussian (sigma in units of the band edge); None: its default.
        noise: standard deviation of the real and of the imaginary part of the k-space noise, as a fraction of the
            volume's 99.9th percentile (orthonormal transform: the same figure in the image). The result is then a
            magnitude image with Rician statistics.
        partial_fourier: share of the measured band that is sampled, per axis, in (0.5, 1]; the rest is zero-filled.
            A seeded smooth phase is put on the image first, the magnitude is returned, consistency is then off.
        grid: ``reference`` (zero-filled to the input's grid) or ``acquired``.
        seed: of the noise and of the phase map.

    Raises:
        ConfigError: a value is out of range.

    >>> spec = DegradationSpec(reduction=(1, 2, 2), window="tukey")
    >>> spec.window_parameter, spec.is_linear
    (0.5, True)
    >>> DegradationSpec.from_dict(spec.to_dict()) == spec
    True
    """

    reduction: tuple[float, float, float] = (1.0, 2.0, 2.0)
    window: str = "box"
    window_parameter: float | None = None
    noise: float = 0.0
    partial_fourier: tuple[float, float, float] = (1.0, 1.0, 1.0)
    grid: str = "reference"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "reduction", _triple("reduction", self.reduction, 1.0, math.inf))
        object.__setattr__(self, "partial_fourier", _triple("partial_fourier", self.partial_fourier, 0.5, 1.0))
        if min(self.partial_fourier) <= 0.5:
            raise ConfigError("partial_fourier must keep more than half", got=self.partial_fourier, allowed="(0.5, 1]")
        object.__setattr__(self, "window_parameter", check_window(self.window, self.window_parameter))
        if not _is_number(self.noise) or not 0 <= self.noise < math.inf:
            raise ConfigError("noise is a fraction of the 99.9th percentile", got=self.noise, allowed=">= 0, finite")
        object.__setattr__(self, "noise", float(self.noise))
        if self.grid not in GRIDS:
            raise ConfigError("unknown output grid", got=self.grid, allowed=" or ".join(GRIDS))
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError("a seed is a whole number", got=self.seed, allowed=">= 0")

    @property
    def is_linear(self) -> bool:
        """True without noise and partial Fourier: the result is then the signed real image."""
        return self.noise == 0 and not self.has_partial_fourier

    @property
    def has_partial_fourier(self) -> bool:
        """True where an axis samples less than its whole band."""
        return min(self.partial_fourier) < 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON or YAML."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DegradationSpec:
        """Read plain values; an unknown key is refused."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError("unknown key in a degradation", got=", ".join(unknown), allowed=", ".join(sorted(known)))
        return cls(**values)

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON: the name of this degradation in every output."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def as_spec(value: DegradationSpec | Mapping[str, Any]) -> DegradationSpec:
    """Accept a specification or its plain values.

    >>> as_spec({"reduction": [1, 2, 2], "noise": 0.01}).noise
    0.01
    """
    return value if isinstance(value, DegradationSpec) else DegradationSpec.from_dict(value)


def load_spec(path: str | os.PathLike[str]) -> DegradationSpec:
    """Read the one key ``degradation:`` of a YAML or JSON file.

    Raises:
        ConfigError: the file is missing or unreadable, has no such key, or a value is out of range.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "half.yaml")
    ...     _ = path.write_text("degradation: {reduction: [1, 2, 2], window: hamming}")
    ...     load_spec(path).window
    'hamming'
    """
    content = read_mapping(path)
    if not isinstance(content.get("degradation"), dict):
        raise ConfigError(f"{path} has no key 'degradation:' with plain values under it")
    return DegradationSpec.from_dict(content["degradation"])


def degrade(volume: Tensor, spec: DegradationSpec) -> Tensor:
    """Simulate the short scan.

    Args:
        volume: real image, shape (..., D, H, W), any unit.
        spec: the degradation.

    Returns:
        Image in the input's unit, same dtype, on the reference grid or on the acquired one
        (:func:`mdcsrn.kspace.acquired_shape`; its mean is kept). Signed where ``spec.is_linear``, else a magnitude.

    >>> volume = torch.rand(8, 16, 16)
    >>> tuple(degrade(volume, DegradationSpec((1, 2, 2))).shape)
    (8, 16, 16)
    >>> tuple(degrade(volume, DegradationSpec((1, 2, 2), grid="acquired")).shape)
    (8, 8, 8)
    """
    shape = tuple(volume.shape[-3:])
    image = low_pass(volume, spec) if spec.is_linear else _degrade_complex(volume, spec)
    return resample_grid(image, acquired_shape(shape, spec.reduction)) if spec.grid == "acquired" else image


def _degrade_complex(volume: Tensor, spec: DegradationSpec) -> Tensor:
    """Phase, partial Fourier and noise need the complex image; the scanner then shows its magnitude."""
    shape = tuple(volume.shape[-3:])
    generator = torch.Generator().manual_seed(spec.seed)  # on the CPU: the same draw on every device
    image: Tensor = volume
    if spec.has_partial_fourier:
        image = torch.polar(torch.ones_like(volume), smooth_phase(shape, generator).to(volume)) * volume
    k = fft(image)
    if spec.noise > 0:
        sigma = spec.noise * intensity_scale(volume)
        real, imaginary = (torch.randn(volume.shape, generator=generator).to(volume) for _ in range(2))
        k = k + sigma * torch.complex(real, imaginary)
    # Thermal noise enters with each measured sample, so the reconstruction's apodisation weighs both.
    k = k * window(shape, spec, volume.device).to(volume.dtype)
    if spec.has_partial_fourier:
        k = k * partial_fourier_mask(shape, spec).to(volume)
    return ifft(k).abs()


def partial_fourier_mask(shape: Sequence[int], spec: DegradationSpec) -> Tensor:
    """Sampled share of the measured band: the last (1 - share) of each axis's band, positive side, is left out.

    Returns:
        Boolean mask in centred order, broadcastable to (D, H, W).
    """
    mask = torch.ones((1, 1, 1), dtype=torch.bool)
    for axis, share in enumerate(spec.partial_fourier):
        if share < 1:
            n = shape[axis]
            edge = n / (2 * spec.reduction[axis])
            view = [1, 1, 1]
            view[axis] = n
            mask = mask & (frequencies(n) < (2 * share - 1) * edge).view(view)
    return mask


def smooth_phase(shape: Sequence[int], generator: torch.Generator, order: int = 2) -> Tensor:
    """Smooth random phase map, as of B0 inhomogeneity and coil: a few low-order cosines, within about +-pi/2.

    Returns:
        Phase in radians, shape (D, H, W), float32.
    """
    phase = torch.zeros(tuple(shape))
    for axis, n in enumerate(shape):
        view = [1, 1, 1]
        view[axis] = n
        position = torch.linspace(-1, 1, n).view(view)
        for power in range(1, order + 1):
            coefficient = (torch.rand(1, generator=generator) - 0.5) * (math.pi / 3)
            phase = phase + coefficient * position**power
    return phase + (torch.rand(1, generator=generator) - 0.5) * math.pi


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _triple(name: str, values: Sequence[float], low: float, high: float) -> tuple[float, float, float]:
    good = isinstance(values, (tuple, list)) and len(values) == 3 and all(_is_number(v) for v in values)
    if not good or not all(math.isfinite(v) and low <= v <= high for v in values):
        limit = f"at least {low}" if high == math.inf else f"{low} to {high}"
        raise ConfigError(f"{name} is three numbers, one per axis (D, H, W)", got=values, allowed=limit)
    return float(values[0]), float(values[1]), float(values[2])
