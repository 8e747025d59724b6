"""How a study makes the short scan: a low-pass in k-space, or the bicubic reduction of papers on natural images.

A bicubic reduction by r puts pixel j over the middle of r fine ones, at index r j + (r - 1) / 2, and every method here
starts from a grid whose samples lie on fine ones (:func:`mdcsrn.kspace.resample_grid`). The reference is therefore
moved by that part of a voxel first, by a linear phase in k-space, which costs it nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mdcsrn.errors import ConfigError
from mdcsrn.evaluation.comparison import degradation_label
from mdcsrn.io.volume import Volume
from mdcsrn.kspace import DegradationSpec, acquired_shape, grid_affine, load_spec
from mdcsrn.report.evaluation import regrid, shorten
from mdcsrn.report.rotation import in_plane
from mdcsrn.resources import config
from mdcsrn.transforms import BicubicDownsample, DivisibleCrop

PATTERN = r"bicubic_x(\d+)(_gaussian)?"
BLUR = 1.0  # sigma of the Gaussian of three coarse pixels, in coarse pixels


@dataclass(frozen=True)
class Shortening:
    """One way to make short scans.

    Attributes:
        label: for people.
        plane: the two array axes that lose resolution, in which references are turned.
        spec: the low-pass; None: bicubic.
        bicubic: the reduction; None: a low-pass.
    """

    label: str
    plane: tuple[int, int]
    spec: DegradationSpec | None = None
    bicubic: BicubicDownsample | None = None

    @property
    def slice_axis(self) -> int:
        """The array axis that the slices are counted along."""
        return ({0, 1, 2} - set(self.plane)).pop()

    @property
    def factor(self) -> tuple[float, float, float]:
        """The reference's grid is finer by this, per array axis."""
        if self.spec is not None:
            return self.spec.reduction
        assert self.bicubic is not None
        d, h, w = (float(self.bicubic.factor) if axis in self.plane else 1.0 for axis in range(3))
        return d, h, w

    def fitted(self, volume: Volume) -> Volume:
        """The volume cut at its centre to sizes that the factors divide, where they are whole numbers."""
        divisor = [int(r) if r == int(r) else 1 for r in self.factor]
        cut = DivisibleCrop(divisor)(torch.from_numpy(volume.array)[None])
        affine = volume.affine.copy()
        begin = [(n % k) // 2 for n, k in zip(volume.shape, divisor, strict=True)]
        affine[:3, 3] += affine[:3, :3] @ begin
        return volume.replace(cut[0].numpy(), affine)

    def acquire(self, reference: Volume) -> Volume:
        """The short scan, on the samples that it measured."""
        if self.spec is not None:
            return shorten(reference, self.spec)
        assert self.bicubic is not None
        r = self.bicubic.factor
        shape = [n // r if axis in self.plane else n for axis, n in enumerate(reference.shape)]
        # Where sample 0 of the coarse grid lies, less where the reduction puts it.
        moves = [n // 2 - r * (m // 2) - (r - 1) / 2 if axis in self.plane else 0.0
                 for axis, (n, m) in enumerate(zip(reference.shape, shape, strict=True))]  # fmt: skip
        moved = shifted(reference.array, moves)
        low = self.bicubic(torch.from_numpy(moved)[None])[0].numpy()
        affine = grid_affine(torch.from_numpy(reference.affine), reference.shape, shape).numpy()
        return reference.replace(low, affine)

    def start(self, acquired: Volume, shape: Sequence[int]) -> Volume:
        """The grid that interpolation starts from: that of ``grid: acquired``, as in every table of this project."""
        if self.spec is None:
            return acquired
        d, h, w = shape
        return regrid(acquired, acquired_shape((d, h, w), self.spec.reduction))


def shortening(name: str) -> Shortening:
    """Find a way by its name.

    Args:
        name: a degradation file or preset (``hcp_2x2``), or ``bicubic_x2``, ``bicubic_x4``, ... in the last two array
            axes, with ``_gaussian`` at the end for a Gaussian of three coarse pixels, sigma 1, behind it.

    Raises:
        ConfigError: neither, or a partial Fourier degradation, which leaves no matrix to start from.

    >>> shortening("bicubic_x4_gaussian").label
    'bicubic ×4, then Gaussian 3×3, sigma 1'
    >>> shortening("hcp_2x2").plane
    (1, 2)
    """
    match = re.fullmatch(PATTERN, name)
    if match is not None:
        blur = BLUR if match[2] else None
        label = f"bicubic ×{match[1]}" + (", then Gaussian 3×3, sigma 1" if match[2] else "")
        return Shortening(label, (1, 2), bicubic=BicubicDownsample(int(match[1]), blur))
    spec = load_spec(config(name, "degradation"))
    if spec.has_partial_fourier:
        raise ConfigError("a study takes no partial Fourier", got=spec.partial_fourier)
    return Shortening(f"{degradation_label(spec)} low-pass in k-space", in_plane(spec.reduction), spec)


def shifted(volume: NDArray[np.float32], move: Sequence[float]) -> NDArray[np.float32]:
    """A band-limited volume sampled elsewhere: result j is the volume at index j + move, by a linear phase.

    Args:
        volume: (D, H, W), any unit.
        move: voxels per axis, real; the field wraps around.

    Returns:
        Same shape and unit, float32.

    >>> shifted(np.eye(5, dtype=np.float32)[None], (0, 0, 1))[0].argmax(axis=1).tolist()
    [4, 0, 1, 2, 3]
    """
    result: NDArray[np.floating] = volume
    for axis, step in enumerate(move):
        if step:
            n = volume.shape[axis]
            phase = np.exp(2j * np.pi * np.fft.rfftfreq(n) * step).reshape([-1 if a == axis else 1 for a in range(3)])
            result = np.fft.irfft(np.fft.rfft(result, axis=axis) * phase, n, axis=axis)
    return np.asarray(result, np.float32)
