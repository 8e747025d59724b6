"""A small oblique volume, and its files in every format that is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.eulerangles import euler2mat

ARRAY = np.random.default_rng(0).normal(100, 20, (7, 6, 5)).astype(np.float32)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = euler2mat(0.3, -0.2, 0.5) @ np.diag([1.0, -1.2, 2.5])
OBLIQUE[:3, 3] = (-90.5, 126.25, -72.0)


def nifti(path: Path, array: np.ndarray = ARRAY, affine: np.ndarray = OBLIQUE) -> Path:
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def itk(array: np.ndarray = ARRAY, affine: np.ndarray = OBLIQUE) -> sitk.Image:
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def any_format(folder: Path, ending: str, array: np.ndarray = ARRAY) -> Path:
    path = folder / f"scan{ending}"
    if ending in (".nii", ".nii.gz"):
        return nifti(path, array)
    if ending in (".mgz", ".mgh"):
        nib.freesurfer.MGHImage(array, OBLIQUE).to_filename(path)
    elif ending in (".img", ".hdr"):
        nib.Nifti1Pair(array, OBLIQUE).to_filename(path)
    else:
        sitk.WriteImage(itk(array), str(path), useCompression=False)
    return path


@pytest.fixture
def array() -> np.ndarray:
    """float32, (7, 6, 5), values about 100."""
    return ARRAY.copy()


@pytest.fixture
def oblique() -> np.ndarray:
    """Its affine: turned, left-handed, anisotropic."""
    return OBLIQUE.copy()


@pytest.fixture
def save_nifti() -> Callable[..., Path]:
    """``save_nifti(path, array, affine)``, both forms of the affine set."""
    return nifti


@pytest.fixture
def itk_image() -> Callable[..., sitk.Image]:
    """``itk_image(array, affine)``, made from ITK's own parts: no file of another format in between."""
    return itk


@pytest.fixture
def write_as() -> Callable[..., Path]:
    """``write_as(folder, ending, array)`` writes ``scan`` with that ending."""
    return any_format
