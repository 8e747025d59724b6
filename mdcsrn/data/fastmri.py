"""Convert fastMRI files to volumes: k-space to root-sum-of-squares images, or the reconstructions that they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mdcsrn.errors import ConfigError, DataError
from mdcsrn.io import Volume
from mdcsrn.io.fastmri import FastMRI, Grid, kspace_slices, read_reconstruction
from mdcsrn.io.forms import ALIGNED, Forms
from mdcsrn.kspace import DegradationSpec, degrade, grid_affine, ifft

SOURCES = ("auto", "kspace", "rss", "esc")
SCALES = ("none", "max")
PLANE = (-2, -1)


@dataclass(frozen=True)
class Conversion:
    """How files become volumes.

    Attributes:
        source: ``kspace``, ``rss`` or ``esc`` (the reconstruction of that name), or ``auto``: k-space where it is fully
            sampled, else a reconstruction.
        spec: degradation of a second, low volume: a complex low-pass of each coil's image, along H and W alone; None:
            no such volume.
        scale: ``none``, or ``max``: both volumes are divided by the maximum of the whole reference volume.

    Raises:
        ConfigError: an unknown word; a degradation that is not a mere low-pass in the plane, or without k-space.
    """

    source: str = "auto"
    spec: DegradationSpec | None = None
    scale: str = "none"

    def __post_init__(self) -> None:
        for name, value, allowed in (("source", self.source, SOURCES), ("scale", self.scale, SCALES)):
            if value not in allowed:
                raise ConfigError(f"unknown {name} of a conversion", got=value, allowed=", ".join(allowed))
        if self.spec is None:
            return
        if not self.spec.is_linear or self.spec.reduction[0] != 1:
            raise ConfigError(
                "the degradation of k-space is a low-pass in the plane of the slices",
                got=f"reduction {self.spec.reduction}, noise {self.spec.noise:g}, partial Fourier "
                f"{self.spec.partial_fourier}",
                allowed="reduction [1, a, b], no noise, no partial Fourier",
            )
        if self.source in ("rss", "esc"):
            raise ConfigError("a degradation needs k-space", got=f"--from {self.source}", remedy="leave out --from")


@dataclass(frozen=True, eq=False)
class Converted:
    """The volumes of one file.

    Attributes:
        reference: float32, shape (slices, H, W); a magnitude.
        low: degraded, on the reference grid or the acquired one; None without a degradation.
        source: ``kspace`` or the name of the reconstruction.
        notices: what was assumed, one sentence each.
    """

    reference: Volume
    low: Volume | None
    source: str
    notices: tuple[str, ...]


def centre_crop(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Crop the last two axes about the origin of the centred transform: index n // 2 becomes m // 2.

    Equal to fastMRI's ``center_crop``, which begins at (n - m) // 2, but for an odd m of an even n.

    Args:
        image: shape (..., H, W).
        shape: (H, W) of the result, at most those of the image.
    """
    for dim, m in zip(PLANE, shape, strict=True):
        image = image.narrow(dim, image.shape[dim] // 2 - m // 2, m)
    return image


def coil_images(kspace: Tensor, columns: tuple[int, int] | None, shape: Sequence[int]) -> Tensor:
    """Complex images of one slice: unmeasured columns zeroed, centred inverse transform, crop to the field of view.

    Args:
        kspace: complex, shape (coils, H, W), the zero frequency at index n // 2.
        columns: first measured column and the one behind the last; None: all.
        shape: (H, W) of the result: the crop takes the readout's oversampling away.
    """
    if columns is not None:
        measured = torch.zeros(kspace.shape[-1], dtype=torch.bool)
        measured[columns[0] : columns[1]] = True
        kspace = kspace * measured
    return centre_crop(ifft(kspace, PLANE), shape)


def root_sum_of_squares(images: Tensor) -> Tensor:
    """Magnitude of a slice from its coils: sqrt(sum |image|^2), shape (coils, H, W) -> (H, W)."""
    return torch.view_as_real(images).square().sum(dim=(0, -1)).sqrt()


def convert_file(file: FastMRI, how: Conversion) -> Converted:
    """Read one file as volumes, slice by slice.

    Slices are axis 0, the readout is axis 1, phase encoding axis 2. The spacing is the header's field of view over its
    matrix (across the slices that is their thickness; a gap is not stated), 1 mm where there is none. The header says
    nothing of the orientation: the affine has the spacing alone.

    Args:
        file: from :func:`mdcsrn.io.fastmri.read_fastmri`.
        how: the conversion.

    Raises:
        DataError: undersampled k-space without a reconstruction; what is asked for is not there; damaged data; values
            that are not finite, or no signal.
    """
    source = _source_of(file, how)
    low: Tensor | None = None
    notices: list[str] = []
    if source == "kspace":
        reference, low, notices = _from_kspace(file, how.spec)
    else:
        reference = torch.from_numpy(read_reconstruction(file, source))
    spacing = _spacing(file, source, tuple(reference.shape))
    if spacing is None:
        notices.append("the field of view is not stated: a spacing of 1 mm is taken")
        spacing = 1.0, 1.0, 1.0
    affine = np.diag([*spacing, 1.0])
    peak = float(reference.max())
    if peak <= 0:  # NaN is counted by the volume itself
        raise DataError(f"{file.path} has no signal", got=f"maximum {peak:g}", allowed="above 0")
    factor = 1 / peak if how.scale == "max" else 1.0
    volumes = []
    for values in (reference, low):
        if values is not None:
            place = grid_affine(torch.from_numpy(affine), tuple(reference.shape), tuple(values.shape)).numpy()
            volumes.append(Volume((values * factor).numpy(), place, path=file.path, forms=Forms.of(place, ALIGNED)))
    return Converted(volumes[0], volumes[1] if low is not None else None, source, tuple(notices))


def _source_of(file: FastMRI, how: Conversion) -> str:
    """``kspace`` or the name of a reconstruction."""
    full = file.kspace is not None and not file.masked
    if how.source == "kspace" or how.spec is not None or (how.source == "auto" and full):
        if file.kspace is None:
            raise DataError(
                f"{file.path} has no kspace", got=", ".join(file.reconstructions), remedy="--from rss or esc"
            )
        if file.masked:
            raise DataError(
                f"{file.path} holds undersampled k-space (a mask), as the test files do",
                allowed="fully sampled k-space", remedy="leave it out, or take a reconstruction with --from",
            )  # fmt: skip
        return "kspace"
    if how.source != "auto":
        return f"reconstruction_{how.source}"
    if not file.reconstructions:
        raise DataError(
            f"{file.path} holds undersampled k-space (a mask) and no reconstruction, as the test files do",
            allowed="fully sampled k-space, reconstruction_rss or reconstruction_esc", remedy="leave it out",
        )  # fmt: skip
    return next(iter(file.reconstructions))


def _from_kspace(file: FastMRI, spec: DegradationSpec | None) -> tuple[Tensor, Tensor | None, list[str]]:
    assert file.kspace is not None
    height, width = file.kspace[-2:]
    notices: list[str] = []
    if file.reconstructed is not None:
        wanted = file.reconstructed.matrix[:2]
    elif file.reconstructions:
        wanted = next(iter(file.reconstructions.values()))[1:]
    else:
        wanted = height, width
        notices.append("neither header nor reconstruction state the matrix: nothing is cropped")
    shape = min(wanted[0], height), min(wanted[1], width)
    planes: list[Tensor] = []
    low: list[Tensor] = []
    for kspace in kspace_slices(file):
        images = coil_images(torch.from_numpy(kspace), file.columns, shape)
        planes.append(root_sum_of_squares(images))
        if spec is not None:
            low.append(root_sum_of_squares(degrade(images[:, None], spec)[:, 0]))
    return torch.stack(planes), torch.stack(low) if low else None, notices


def _spacing(file: FastMRI, source: str, shape: Sequence[int]) -> tuple[float, float, float] | None:
    """Millimetres across the slices, along the readout and along phase encoding."""
    grid: Grid | None = file.reconstructed
    if source == "kspace" and file.encoded is not None and file.kspace is not None:
        fits = file.encoded.matrix[:2] == file.kspace[-2:] and file.encoded.field is not None
        grid = file.encoded if fits else grid
    thick = file.reconstructed or grid
    if grid is None or grid.field is None or thick is None or thick.field is None:
        return None
    edges = [edge / n for edge, n in zip(grid.field[:2], grid.matrix[:2], strict=True)]
    slices = thick.matrix[2] if thick.matrix[2] in (1, shape[0]) else 1
    return thick.field[2] / slices, edges[0], edges[1]
