"""Compute a report's curves: slice by slice, along k-space, and the distribution of differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mdcsrn.errors import DataError
from mdcsrn.kspace.measurement import AxisMeasurement, Measurement
from mdcsrn.metrics import data_range, head_mask, masked_mean, nrmse, psnr, ssim_map
from mdcsrn.report.page import Array

Curve = NDArray[np.float64]
Mask = NDArray[np.bool_]
MIN_HEAD_SHARE = 0.02  # share of the fullest slice's head voxels below which a slice has no figure
BINS = 121


@dataclass(frozen=True, eq=False)
class SliceCurves:
    """One figure per slice, along each array axis.

    Attributes:
        curves: name of a volume to one (n_axis,) curve per axis; NaN where a slice holds no head.
    """

    curves: Mapping[str, tuple[Curve, Curve, Curve]]


def slice_means(volumes: Mapping[str, Array]) -> SliceCurves:
    """Mean intensity of each whole slice: data consistency keeps it where the axis's k = 0 was measured."""
    return SliceCurves({name: _per_axis(array) for name, array in volumes.items()})


def slice_differences(before: Array, after: Array, mask: Mask) -> SliceCurves:
    """Mean |after − before| of each slice, in the mask."""
    return SliceCurves({"|after − before|": _masked_means(np.abs(after - before), mask)})


def outside_band(array: Array, shares: tuple[float, float, float]) -> Array:
    """The part of a volume that lies outside the measured band of k-space.

    Args:
        array: (D, H, W), any unit.
        shares: share of each axis's frequencies that was measured.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    d, h, w = (AxisMeasurement(n, round(n * share)) for n, share in zip(array.shape, shares, strict=True))
    band = Measurement((d, h, w))  # products of small matrices: faster than a transform of the whole volume
    result: Array = band.outside(tensor).numpy()
    return result


def slice_energy(volumes: Mapping[str, Array], mask: Mask) -> SliceCurves:
    """Root mean square of each slice, in the mask."""
    squares = {name: _masked_means(np.square(array, dtype=np.float32), mask) for name, array in volumes.items()}
    return SliceCurves({name: _three([np.sqrt(c) for c in curves]) for name, curves in squares.items()})


@dataclass(frozen=True, eq=False)
class Fidelity:
    """How close one candidate is to the reference, in one region.

    Attributes:
        psnr: dB.
        ssim: mean of the 3D map.
        nrmse: root mean square error over the data range.
        slice_psnr: dB per slice along each axis, from the squared error of the slice's masked voxels.
        slice_ssim: mean of the 3D map over the slice's masked voxels.
    """

    psnr: float
    ssim: float
    nrmse: float
    slice_psnr: tuple[Curve, Curve, Curve]
    slice_ssim: tuple[Curve, Curve, Curve]


def fidelity(reference: Array, candidate: Array, peak: float, masks: Mapping[str, Mask]) -> dict[str, Fidelity]:
    """Figures of one candidate in several regions; the SSIM map is made once.

    All slices use the data range of the whole reference, so that they can be compared.

    Args:
        reference: (D, H, W), any unit.
        candidate: same shape and unit.
        peak: data range of the reference.
        masks: region to (D, H, W) mask.
    """
    truth, image = (torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in (reference, candidate))
    similarity = ssim_map(image, truth, peak)
    squares = np.square((candidate - reference) / peak, dtype=np.float32)
    results = {}
    for region, mask in masks.items():
        inside = torch.from_numpy(mask)
        with np.errstate(divide="ignore"):
            decibels = _three([-10 * np.log10(error) for error in _masked_means(squares, mask)])
        results[region] = Fidelity(
            psnr(image, truth, peak, inside),
            masked_mean(similarity, inside),
            nrmse(image, truth, peak, inside),
            decibels,
            _masked_means(similarity.numpy(), mask),
        )
    return results


def plane_fidelity(
    reference: Array, candidate: Array, peak: float, masks: Mapping[str, Mask], axis: int
) -> dict[str, tuple[Curve, Curve]]:
    """PSNR (dB) and SSIM of each slice across one axis, every slice a picture of its own.

    Args:
        reference: (D, H, W), any unit.
        candidate: same shape and unit.
        peak: data range of the whole reference, for all slices.
        masks: region to (D, H, W) mask; both figures are means over its voxels.
        axis: the array axis that the slices are counted along.

    Returns:
        Region to two (n_axis,) curves; NaN where a slice holds less than 2 % of the fullest slice's voxels. SSIM has a
        window in the plane: Gaussian, 11 x 11, sigma 1.5.
    """
    truth, image = (np.ascontiguousarray(np.moveaxis(a, axis, 0), np.float32) for a in (reference, candidate))
    similarity = ssim_map(torch.from_numpy(image), torch.from_numpy(truth), peak, spatial_dims=2).numpy()
    squares = np.square((image - truth) / peak, dtype=np.float32)
    results = {}
    for region, mask in masks.items():
        inside = np.moveaxis(mask, axis, 0)
        with np.errstate(divide="ignore"):
            decibels = -10 * np.log10(_masked_means(squares, inside)[0])
        results[region] = (decibels, _masked_means(similarity, inside)[0])
    return results


def central_planes(array: Array) -> tuple[Array, Array, Array]:
    """log10 magnitude of the three planes through the centre of k-space, perpendicular to each axis.

    By the central-slice theorem each is the 2D transform of the sum along its axis: no 3D transform is needed.
    """
    planes = []
    for axis in range(3):
        summed = array.sum(axis=axis, dtype=np.float64)
        magnitude = np.abs(np.fft.fftshift(np.fft.fft2(summed, norm="ortho")))
        planes.append(np.log10(magnitude + np.finfo(np.float32).tiny).astype(np.float32))
    return planes[0], planes[1], planes[2]


def histogram(values: Array, limit: float) -> tuple[Curve, Curve]:
    """Share of voxels per bin, and the bins' centres; what lies beyond the limits counts in the last bins.

    Args:
        values: differences in the mask, any shape.
        limit: the bins run from -limit to limit, in the values' unit.
    """
    counts, edges = np.histogram(np.clip(values, -limit, limit), bins=BINS, range=(-limit, limit))
    return (edges[:-1] + edges[1:]) / 2, counts / max(1, values.size)


def head_of(array: Array) -> tuple[Mask, float]:
    """Head mask and data range of the volume that decides both.

    Raises:
        DataError: it has no signal.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    mask = head_mask(tensor).numpy()
    if not mask.any():
        raise DataError("no head found in the volume to report on", remedy="check the file")
    return mask, data_range(tensor)


def _per_axis(array: Array) -> tuple[Curve, Curve, Curve]:
    others = ((1, 2), (0, 2), (0, 1))
    return _three([array.mean(axis=axes, dtype=np.float64) for axes in others])


def _masked_means(values: Array, mask: Mask) -> tuple[Curve, Curve, Curve]:
    kept = np.where(mask, values, 0)
    curves = []
    for axes in ((1, 2), (0, 2), (0, 1)):
        count = mask.sum(axis=axes, dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = kept.sum(axis=axes, dtype=np.float64) / count
        curves.append(np.where(count >= MIN_HEAD_SHARE * count.max(), mean, np.nan))
    return _three(curves)


def _three(curves: list[Curve]) -> tuple[Curve, Curve, Curve]:
    a, b, c = curves
    return a, b, c
