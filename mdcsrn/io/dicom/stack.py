"""Build a regular stack of images: slice order, the affine, and reasons why images form no single volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdcsrn.errors import DataError, GeometryError
from mdcsrn.io.dicom.series import Frame

SAME_PLACE = 5e-3  # millimetres; images closer than this are at one position
ORIENTATION_TOLERANCE = 1e-3  # of each direction cosine, from the mean: 0.13 mm at the rim of a large head
SEEN_ORIENTATION = 1e-4  # below, it is rounding
OTHER_ORIENTATION = 0.05  # direction cosines further apart (3 degrees) are meant to be different
MIN_SLICES = 3  # fewer are no volume
MAX_STEP_THICKNESSES = 2.0  # slice thicknesses between slices: beyond, more of the head is missing than was measured
SPACING_TOLERANCE = 1e-3  # relative, of the in-plane voxel size
PLACE_TOLERANCE = 0.02  # of the slice spacing, and at least 0.01 mm: positions are often rounded to 0.01 mm
MAX_SHEAR_DEGREES = 45.0  # degrees between the line through the slices' centres and their normal
SEEN_SHEAR = 0.1  # degrees; below, it is rounding
LOCALIZER = {"LOCALIZER", "SCOUT", "SURVEY"}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Stack:
    """Images in slice order.

    Attributes:
        levels: the images at each slice position; more than one are duplicates.
        affine: (column, row, slice) to RAS+ millimetres, shape (4, 4).
        warnings: what is odd but not fatal.
    """

    levels: tuple[tuple[Frame, ...], ...]
    affine: NDArray[np.float64]
    warnings: tuple[str, ...]


def arrange(frames: Sequence[Frame], name: str) -> Stack:
    """Order images along the normal of their plane and check that they form a regular grid.

    Args:
        frames: at least one.
        name: of the series, for errors.

    Raises:
        DataError: images of several sizes.
        GeometryError: varying orientation or voxel size, slices that are missing, unequally spaced or side by side.
    """
    first = frames[0]
    row, column, apart = _same_plane(frames, first, name)
    normal = np.cross(row, column)
    levels = _levels(frames, normal, name)
    places = np.array([np.mean([f.position for f in level], axis=0) for level in levels])
    warnings: list[str] = []
    if apart > SEEN_ORIENTATION:
        warnings.append(f"direction cosines vary by {apart:.2g} between the images; their mean is taken")
    if len(levels) == 1:
        step = _thickness(first, warnings) * normal
    else:
        step = (places[-1] - places[0]) / (len(levels) - 1)
        _regular(places, normal, name)
        shear = float(np.degrees(np.arccos(min(1.0, step @ normal / np.linalg.norm(step)))))
        if shear > MAX_SHEAR_DEGREES:
            raise GeometryError(
                f"{name}: its slices lie beside each other rather than on each other", got=f"{shear:.1f} degrees"
            )
        if shear > SEEN_SHEAR:
            warnings.append(f"slices are shifted in their plane (gantry tilt, {shear:.2f} degrees); the affine has it")
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * first.spacing[1], column * first.spacing[0], step])
    affine[:3, 3] = places[0]
    if len({f.thickness for f in frames}) > 1:
        warnings.append("SliceThickness differs between slices")
    return Stack(tuple(levels), LPS_TO_RAS @ affine, tuple(warnings))


def check_volume(frames: Sequence[Frame], distance: float, name: str) -> None:
    """Refuse a stack that is regular and still no volume: a few slices, a localizer, slices far apart.

    Args:
        frames: of the stack, one a slice.
        distance: between neighbouring slices, mm.
        name: of the series, for the error.

    Raises:
        GeometryError: no volume.
    """
    reason = ""
    if len(frames) < MIN_SLICES:
        reason = "1 slice" if len(frames) == 1 else f"{len(frames)} slices"
    elif any(LOCALIZER & set(dict(frame.marks)["image type"].split("\\")) for frame in frames):
        reason = "a localizer, by its ImageType"
    elif frames[0].thickness is not None and distance > MAX_STEP_THICKNESSES * frames[0].thickness * (
        1 + PLACE_TOLERANCE
    ):
        reason = f"slices of {frames[0].thickness:.4g} mm, {distance:.4g} mm from one to the next"
    if reason:
        raise GeometryError(
            f"{name} is no volume",
            got=reason,
            allowed=f"at least {MIN_SLICES} slices, at most {MAX_STEP_THICKNESSES:g} slice thicknesses from one to the "
            "next",
            remedy="give the folder with all images of the series; localizers and single slices cannot be restored",
        )


def _same_plane(
    frames: Sequence[Frame], first: Frame, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Mean directions of rows and columns, perpendicular unit vectors, and how far a cosine is from its mean."""
    sizes = sorted({f.shape for f in frames})
    if len(sizes) > 1:
        raise DataError(
            f"{name} mixes images of several sizes",
            got=", ".join(f"{r} x {c}" for r, c in sizes[:5]),
            allowed="one number of rows and columns",
            remedy="give a folder with the images of one scan",
        )
    cosines = np.array([f.orientation for f in frames])
    mean = cosines.mean(axis=0) if len(set(map(tuple, cosines))) > 1 else cosines[0]
    apart = float(np.abs(cosines - mean).max())
    if apart > ORIENTATION_TOLERANCE:
        raise GeometryError(
            f"{name}: the orientation varies between its images",
            got=f"direction cosines differ by up to {apart:.2g}",
            allowed=f"{ORIENTATION_TOLERANCE:g}",
            remedy="give parallel slices; localizers and radial stacks are no volume",
        )
    spacing = np.array([f.spacing for f in frames])
    if not (spacing > 0).all() or np.abs(spacing / spacing[0] - 1).max() > SPACING_TOLERANCE:
        raise GeometryError(f"{name}: PixelSpacing varies between its images, or is not positive")
    row = mean[:3] / np.linalg.norm(mean[:3])
    column = mean[3:] - (mean[3:] @ row) * row
    return row, column / np.linalg.norm(column), apart


def _levels(frames: Sequence[Frame], normal: NDArray[np.float64], name: str) -> list[tuple[Frame, ...]]:
    """Images grouped by position, along the normal."""
    heights = np.array([f.position for f in frames]) @ normal
    order = sorted(range(len(frames)), key=lambda i: (heights[i], frames[i].instance, str(frames[i].file)))
    groups: list[list[int]] = []
    for i in order:
        if groups and heights[i] - heights[groups[-1][-1]] <= SAME_PLACE:
            groups[-1].append(i)
        else:
            groups.append([i])
    for group in groups:
        places = np.array([frames[i].position for i in group])
        if np.ptp(places, axis=0).max() > 2 * SAME_PLACE:
            raise GeometryError(
                f"{name} has images of one plane side by side", got=f"{np.ptp(places, axis=0).max():.3g} mm apart"
            )
    return [tuple(frames[i] for i in group) for group in groups]


def _regular(places: NDArray[np.float64], normal: NDArray[np.float64], name: str) -> None:
    """Refuse positions that are not equally spaced on a line; say where slices are missing."""
    count = len(places)
    step = (places[-1] - places[0]) / (count - 1)
    off = np.abs(places - places[0] - np.arange(count)[:, None] * step).max()
    if off <= max(0.01, PLACE_TOLERANCE * float(step @ normal)):
        return
    gaps = np.diff(places @ normal)
    usual = float(np.median(gaps))
    multiples = np.rint(gaps / usual)
    if (np.abs(gaps / usual - multiples) < 0.1).all() and multiples.min() >= 1 and multiples.max() > 1:
        where = [int(i) + 1 for i in np.flatnonzero(multiples > 1)]
        raise GeometryError(
            f"{name}: slices are missing",
            got=f"{int((multiples - 1).sum())} missing, after slice {', '.join(map(str, where[:8]))} of {count}",
            allowed=f"one slice every {usual:.4g} mm",
            remedy="export the whole series again",
        )
    raise GeometryError(
        f"{name}: slices are not equally spaced",
        got=f"gaps of {gaps.min():.4g} to {gaps.max():.4g} mm, positions up to {off:.3g} mm off a line",
        allowed=f"{PLACE_TOLERANCE:.0%} of the spacing",
        remedy="resample it to equal spacing, or give the slices of one stack",
    )


def _thickness(frame: Frame, warnings: list[str]) -> float:
    """Distance to the next slice of a series that has one."""
    if frame.gap is None and frame.thickness is None:
        warnings.append("one slice without SliceThickness: 1 mm assumed")
    return frame.gap or frame.thickness or 1.0
