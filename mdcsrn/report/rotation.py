"""Study restoration over rotation angles: turn a reference in plane, shorten its scan, restore it by every method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from mdcsrn.errors import ConfigError
from mdcsrn.report.analysis import fidelity, head_of
from mdcsrn.report.page import Array, Rotations

Method = Callable[[Array], Mapping[str, Array]]


def rotate_in_plane(
    volume: Array, degrees: float, plane: tuple[int, int], spacing: Sequence[float], order: int = 3
) -> Array:
    """Turn a volume about the middle of its field, in millimetres, so that pixels that are not square stay true.

    Args:
        volume: (D, H, W), any unit.
        degrees: from the first axis of the plane towards the second.
        plane: two array axes.
        spacing: voxel edges in millimetres per array axis.
        order: of the spline; 3 is cubic.

    Returns:
        Same shape and unit; 0 where the turned field has nothing. A multiple of 360° returns the input.
    """
    if degrees % 360 == 0:
        return volume.copy()
    angle = np.deg2rad(degrees)
    first, second = plane
    # From a place in the result to the place in the input: the turn back, in millimetres.
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = np.sin(angle), -np.sin(angle)
    edges = np.asarray(spacing, np.float64)
    matrix = turn * edges[None, :] / edges[:, None]
    middle = (np.array(volume.shape) - 1) / 2
    result: Array = affine_transform(
        volume, matrix, middle - matrix @ middle, output=np.float32, order=order, mode="constant", cval=0.0
    )
    return result


def study(
    reference: Array,
    method: Method,
    angles: Sequence[float],
    plane: tuple[int, int],
    spacing: Sequence[float],
    after: Callable[[], None] | None = None,
) -> Rotations:
    """Fidelity of several methods over rotation angles.

    Args:
        reference: (D, H, W), any unit.
        method: from the turned reference to the candidates by name; it shortens the scan itself.
        angles: degrees, at least one.
        plane: two array axes.
        spacing: voxel edges in millimetres.
        after: called after each angle.

    Raises:
        ConfigError: no angle, an angle that is not finite, or no plane.
    """
    if not angles or not all(np.isfinite(angles)):
        raise ConfigError("a study over rotations needs angles", got=list(angles), allowed="degrees, finite")
    if len(set(plane)) != 2 or not set(plane) <= {0, 1, 2}:
        raise ConfigError("a plane has two array axes", got=plane, allowed="two of 0, 1, 2")
    slice_axis = ({0, 1, 2} - set(plane)).pop()
    ordered = tuple(sorted(float(angle) for angle in angles))
    overall: dict[str, list[tuple[float, float]]] = {}
    slices: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    for angle in ordered:
        turned = rotate_in_plane(reference, angle, plane, spacing)
        mask, peak = head_of(turned)
        for name, candidate in method(turned).items():
            scores = fidelity(turned, candidate, peak, {"head": mask})["head"]
            overall.setdefault(name, []).append((scores.psnr, scores.ssim))
            slices.setdefault(name, []).append((scores.slice_psnr[slice_axis], scores.slice_ssim[slice_axis]))
        if after is not None:
            after()
    return Rotations(
        angles=ordered,
        plane=plane,
        slice_axis=slice_axis,
        psnr={name: tuple(p for p, _ in values) for name, values in overall.items()},
        ssim={name: tuple(s for _, s in values) for name, values in overall.items()},
        slice_psnr={name: _mean([p for p, _ in values]) for name, values in slices.items()},
        slice_ssim={name: _mean([s for _, s in values]) for name, values in slices.items()},
    )


def in_plane(reduction: Sequence[float]) -> tuple[int, int]:
    """The plane in which a degradation acts: its two reduced axes, else the last two."""
    reduced = [axis for axis, factor in enumerate(reduction) if factor > 1]
    return (reduced[0], reduced[1]) if len(reduced) == 2 else (1, 2)


def baselines_of(acquired: Array, shape: Sequence[int]) -> dict[str, Array]:
    """Nearest, trilinear, cubic and zero-filled up-sampling of the acquired grid."""
    from mdcsrn.evaluation.baselines import baselines

    return {name: image.numpy() for name, image in baselines(torch.from_numpy(acquired), shape).items()}


def _mean(curves: Sequence[NDArray[np.float64]]) -> tuple[float, ...]:
    """Mean over the angles at which the slice holds head; NaN where none does."""
    stacked = np.stack(curves)
    stacked[~np.isfinite(stacked)] = np.nan
    counts = np.isfinite(stacked).sum(axis=0)
    return tuple(np.where(counts > 0, np.nansum(stacked, axis=0) / np.maximum(counts, 1), np.nan).tolist())
