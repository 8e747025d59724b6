"""Panel as a plain array, for TensorBoard: LR, SR, HR and both errors in three planes, no drawing library."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mdcsrn.report.views import AnyVolume, Image, error_limit, make_scene

_GAP = 2


def panel_array(lr: AnyVolume, sr: AnyVolume, hr: AnyVolume) -> NDArray[np.uint8]:
    """Rows: axial, coronal, sagittal, as far as there are several slices. Columns: LR, SR, HR, |LR − HR|, |SR − HR|.

    Pictures are windowed from 0 to the 99.9th percentile of HR, both errors from 0 to the 99.5th percentile of
    |LR − HR| in the planes shown; pixels are square in millimetres where HR is a MetaTensor with its affine.

    Args:
        lr: (D, H, W) or (1, D, H, W), low resolution on the reference grid.
        sr: restored, same shape and unit.
        hr: reference, same shape and unit.

    Returns:
        Grey image (H, W), uint8.

    Raises:
        GeometryError: shapes differ.
        DataError: the reference has no signal.
    """
    scene = make_scene({"lr": lr, "sr": sr, "hr": hr}, "hr")
    finest = min(scene.spacing)
    rows = []
    for plane in scene.planes:
        low, restored, truth = (scene.cut(name, plane) for name in ("lr", "sr", "hr"))
        errors = [np.abs(low - truth), np.abs(restored - truth)]
        limit = error_limit(errors, scene.peak)
        cells = [_grey(image, scene.peak) for image in (low, restored, truth)] + [_grey(e, limit) for e in errors]
        height, width = scene.pixel(plane)
        rows.append([_stretch(cell, height / finest, width / finest) for cell in cells])
    cell_width = max(cell.shape[1] for row in rows for cell in row)
    return np.concatenate([np.concatenate([_framed(cell, cell_width) for cell in row], axis=1) for row in rows])


def _grey(image: Image, limit: float) -> NDArray[np.uint8]:
    return np.rint(np.nan_to_num(np.clip(image / limit, 0, 1)) * 255).astype(np.uint8)


def _stretch(image: NDArray[np.uint8], height: float, width: float) -> NDArray[np.uint8]:
    """Repeat rows and columns so that a pixel becomes square."""
    rows, columns = (
        np.minimum((np.arange(round(n * factor)) / factor).astype(int), n - 1)
        for n, factor in zip(image.shape, (height, width), strict=True)
    )
    return image[np.ix_(rows, columns)]


def _framed(cell: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    spare = width - cell.shape[1]
    return np.pad(cell, ((_GAP, _GAP), (_GAP + spare // 2, _GAP + spare - spare // 2)))
