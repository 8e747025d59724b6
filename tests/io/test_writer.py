"""SaveImaged with the atomic writer: whole files with their geometry, or the old file and an error."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImaged
from nibabel.eulerangles import euler2mat

from mdcsrn.errors import OutputError
from mdcsrn.io.writer import AtomicNibabelWriter

AFFINE = np.eye(4)
AFFINE[:3, :3] = euler2mat(0.3, -0.2, 0.5) @ np.diag([-0.8, 1.1, 1.9])
AFFINE[:3, 3] = (90, -120, -60)
WRITER = "mdcsrn.io.writer.AtomicNibabelWriter"


def image(seed: int = 0, shape: tuple = (7, 6, 5)) -> MetaTensor:
    values = torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed))
    return MetaTensor(values, affine=torch.from_numpy(AFFINE), meta={"filename_or_obj": "/in/head.nii.gz"})


def writer(values: np.ndarray, dtype: type = np.float32) -> AtomicNibabelWriter:
    made = AtomicNibabelWriter(output_dtype=dtype)
    made.set_data_array(values, channel_dim=None)
    made.set_metadata({"affine": AFFINE, "original_affine": AFFINE, "spatial_shape": values.shape}, resample=False)
    return made


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_save_imaged_writes_values_and_geometry(extension: str, tmp_path: Path) -> None:
    pred = image()
    SaveImaged(
        "pred", output_dir=tmp_path, output_postfix="sr", output_ext=extension, resample=False,
        separate_folder=False, writer=WRITER, print_log=False,
    )({"pred": pred})  # fmt: skip
    (path,) = tmp_path.iterdir()
    assert path.name == f"head_sr{extension}"
    read = nib.load(path)
    np.testing.assert_array_equal(np.asarray(read.dataobj), pred[0].numpy())
    np.testing.assert_allclose(read.affine, AFFINE, rtol=0, atol=1e-5)
    assert read.get_data_dtype() == np.float32
    assert read.header.get_xyzt_units()[0] == "mm"
    assert (int(read.header["sform_code"]), int(read.header["qform_code"])) == (1, 1)
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))  # another reader, axes reversed
    np.testing.assert_array_equal(array.transpose(2, 1, 0), pred[0].numpy())


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float64])
def test_the_stored_type_is_the_one_asked_for(dtype: type, tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    writer(values, dtype).write(tmp_path / "a.nii.gz")
    read = nib.load(tmp_path / "a.nii.gz")
    assert read.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(read.dataobj), values)


def test_the_folder_is_made_and_the_name_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "new" / "deep" / "a.nii.gz"
    with caplog.at_level("INFO"):
        writer(np.ones((3, 3, 3), np.float32)).write(path, verbose=True)
    assert [p.name for p in path.parent.iterdir()] == ["a.nii.gz"]
    assert caplog.messages == [f"written: {path}"]


def test_a_target_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file/out/a.nii.gz"):
        writer(np.ones((3, 3, 3), np.float32)).write(tmp_path / "file" / "out" / "a.nii.gz")
    (tmp_path / "b.nii.gz").mkdir()
    with pytest.raises(OutputError, match=r"b\.nii\.gz"):
        writer(np.ones((3, 3, 3), np.float32)).write(tmp_path / "b.nii.gz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.nii.gz", "file"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """A limit on the size of a file stands for the disk."""
    path = tmp_path / "a.nii"
    writer(np.ones((3, 3, 3), np.float32)).write(path)
    old = path.read_bytes()
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*a\.nii"):
            writer(np.random.default_rng(0).random((30, 30, 30), dtype=np.float32)).write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
