"""LoadImaged with the strict reader: what MONAI's own gives for sound files, and named errors for the others."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from mdcsrn.errors import DataError, GeometryError, root_error

AFFINE = np.array([[-0.8, 0.1, 0.3, 90], [0.2, 1.1, -0.2, -120], [-0.1, 0.2, 1.9, -60], [0, 0, 0, 1]])
READER = "mdcsrn.io.reader.NiftiReader"


def load(path: Path, reader: str | None = READER) -> MetaTensor:
    steps = [LoadImaged("image", image_only=True, reader=reader), EnsureChannelFirstd("image")]
    return Compose(steps)({"image": str(path)})["image"]


def save(path: Path, dtype: type = np.float32, affine: np.ndarray = AFFINE) -> Path:
    values = np.random.default_rng(0).integers(0, 200, (7, 6, 5)).astype(dtype)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, np.float64])
def test_sound_files_read_as_with_monai(name: str, dtype: type, tmp_path: Path) -> None:
    path = save(tmp_path / name, dtype)
    ours, theirs = load(path), load(path, None)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    for key in ("filename_or_obj", "spatial_shape", "original_affine", "space"):
        np.testing.assert_array_equal(ours.meta[key], theirs.meta[key])


def test_scale_factors_and_units(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = nib.Nifti1Image(np.arange(210, dtype=np.int16).reshape(7, 6, 5), np.diag([100, 100, 100, 1]) @ AFFINE)
    image.header.set_slope_inter(0.5, 10)
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    with caplog.at_level(logging.WARNING):
        volume = load(tmp_path / "a.nii")
    np.testing.assert_allclose(volume[0].numpy(), np.asarray(nib.load(tmp_path / "a.nii").dataobj), rtol=1e-6)
    np.testing.assert_allclose(volume.affine[:3], 0.1 * AFFINE[:3], rtol=1e-5)
    assert any("micron" in message and "a.nii" in message for message in caplog.messages)


def test_damage_comes_through_monai_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RuntimeError) as caught:
        load(path)
    error = root_error(caught.value)
    assert isinstance(error, DataError)
    assert str(path) in str(error)


def test_geometry_and_names_are_checked(tmp_path: Path) -> None:
    flat = save(tmp_path / "flat.nii", affine=np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    with pytest.raises(RuntimeError) as caught:
        load(flat)
    assert isinstance(root_error(caught.value), GeometryError)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(RuntimeError) as caught:
        load(tmp_path / "a.png")
    assert "a.png" in str(root_error(caught.value))
