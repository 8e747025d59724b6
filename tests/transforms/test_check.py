"""CheckVolume(d): what is not one 3D image is refused with its file named, what is comes through in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from mdcsrn.errors import DataError, GeometryError, root_error
from mdcsrn.transforms import CheckVolume, CheckVolumeD, CheckVolumed, CheckVolumeDict


def volume(shape=(1, 6, 7, 8), dtype=torch.float32, affine=None):
    values = torch.arange(float(np.prod(shape))).reshape(shape).to(dtype)
    return MetaTensor(values, affine=affine, meta={"filename_or_obj": "/data/sub-01_T1w.nii.gz"})


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.float64, torch.float32, torch.bool])
def test_sound_volumes_come_through_in_float32(dtype):
    x = volume(dtype=dtype)
    y = CheckVolume(smallest=6)(x)
    assert y.dtype == torch.float32
    np.testing.assert_array_equal(y.numpy(), x.numpy().astype(np.float32))
    assert y.meta["filename_or_obj"] == "/data/sub-01_T1w.nii.gz"


def test_arrays_without_meta_data():
    assert CheckVolume()(volume().numpy()).dtype == torch.float32


@pytest.mark.parametrize("shape", [(4, 6, 7, 8), (6, 7, 8), (1, 6, 7, 8, 5), (1, 6, 7)])
def test_other_than_one_3d_volume(shape):
    with pytest.raises(DataError, match=r"sub-01_T1w\.nii\.gz is not one 3D volume"):
        CheckVolume()(volume(shape))


@pytest.mark.parametrize(("smallest", "refused"), [(6, False), (7, True), ((6, 7, 8), False), ([6, 7, 9], True)])
def test_smallest_size(smallest, refused):
    if refused:
        with pytest.raises(DataError, match="too small"):
            CheckVolume(smallest)(volume())
    else:
        CheckVolume(smallest)(volume())


def test_values_that_are_not_finite_are_counted():
    x = volume()
    x[0, 0, 0, :3] = float("nan")
    x[0, 1, 0, 0], x[0, 1, 0, 1] = float("inf"), -float("inf")
    with pytest.raises(DataError, match=r"3 NaN, 2 infinite of 336 voxels"):
        CheckVolume()(x)


def test_double_values_beyond_float32_are_refused():
    x = volume(dtype=torch.float64)
    x[0, 0, 0, 0] = 1e300
    with pytest.raises(DataError, match="0 NaN, 1 infinite"):
        CheckVolume()(x)


@pytest.mark.parametrize("fill", [0.0, 7.0])
def test_constant_volumes(fill):
    x = volume()
    x[:] = fill
    with pytest.raises(DataError, match="same value everywhere"):
        CheckVolume()(x)


def test_complex_volumes():
    with pytest.raises(DataError, match="complex"):
        CheckVolume()(volume(dtype=torch.complex64))


OBLIQUE = np.array([[0.6, -0.8, 0, 5], [0.8, 0.6, 0, -3], [0, 0, -3.0, 9], [0, 0, 0, 1.0]])


@pytest.mark.parametrize(
    ("change", "sound"),
    [
        (lambda a: a, True),
        (lambda a: a * np.array([1e-3, 1e-3, 1e-3, 1]), True),  # metres: unusual, yet not singular
        (lambda a: a * np.array([1, 1, 0, 1]), False),
        (lambda a: a[:, [0, 0, 2, 3]], False),
        (lambda a: np.where(np.eye(4, k=1) > 0, np.nan, a), False),
        (lambda a: np.where(np.eye(4, k=3) > 0, np.inf, a), False),
    ],
)
def test_affine(change, sound):
    x = volume(affine=torch.from_numpy(change(OBLIQUE)))
    if sound:
        np.testing.assert_allclose(CheckVolume()(x).affine.numpy(), change(OBLIQUE))
    else:
        with pytest.raises(GeometryError, match=r"sub-01_T1w\.nii\.gz"):
            CheckVolume()(x)


def test_error_is_found_behind_monais_wrapper():
    bad = volume()
    bad[:] = 0
    with pytest.raises(RuntimeError) as error:
        Compose([CheckVolumed(["image", "label"], smallest=4)])({"image": volume(), "label": bad})
    found = root_error(error.value)
    assert isinstance(found, DataError)
    assert found.exit_code == 3


def test_missing_keys_and_names():
    with pytest.raises(KeyError):
        CheckVolumed("absent")({"image": volume()})
    assert "image" in CheckVolumed("absent", allow_missing_keys=True)({"image": volume()})
    assert CheckVolumeD is CheckVolumeDict is CheckVolumed
