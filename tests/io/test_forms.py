"""What a header said goes into the result unchanged in meaning: both forms under their own codes, on any new grid."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, SaveImaged
from nibabel.eulerangles import euler2mat

from mdcsrn.cli.main import main
from mdcsrn.inference import RunSettings, Task, predict
from mdcsrn.inference.labels import carry_labels
from mdcsrn.io import Volume, read_volume, write_volume
from mdcsrn.io.formats import read_image
from mdcsrn.io.forms import Forms
from mdcsrn.kspace import grid_affine
from mdcsrn.transforms import KSpaceLowPassd

ARRAY = np.random.default_rng(0).uniform(1, 100, (12, 10, 9)).astype(np.float32)
SCANNER = np.eye(4)
SCANNER[:3, :3] = euler2mat(0.1, -0.2, 0.3) @ np.diag([-1.0, 1.2, 2.0])
SCANNER[:3, 3] = (15, -18, -17)
TEMPLATE = np.array([[-0.98, 0, 0.1, 91], [0.05, 0.97, 0, -126], [0, 0.1, 0.95, -72], [0, 0, 0, 1.0]])  # sheared
EAGER = ["--backend", "eager"]
CODES = [(4, 1), (1, 4), (2, 3), (5, 5), (1, 0), (0, 1), (4, 0), (0, 2)]  # sform, qform


def scan(path: Path, codes: tuple[int, int], array: np.ndarray = ARRAY) -> Path:
    image = nib.Nifti1Image(array, None)
    image.set_sform(TEMPLATE, codes[0])
    image.set_qform(SCANNER, codes[1])
    image.header["sform_code"], image.header["qform_code"] = codes
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"phantom"
    image.header.set_dim_info(0, 1, 2)
    image.header.set_intent(1002, (), "tissue")
    nib.save(image, path)
    return path


def corners(shape: tuple[int, ...]) -> np.ndarray:
    points = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    return np.vstack([points, np.ones(points.shape[1])])


def check(path: Path, old_shape: tuple[int, ...], codes: tuple[int, int]) -> None:
    """Each form that was set puts every sample where the old one puts it; none that was not set is set."""
    header = nib.load(path).header
    shape = header.get_data_shape()
    assert (int(header["sform_code"]), int(header["qform_code"])) == codes
    for matrix, code, source in ((header.get_sform(), codes[0], TEMPLATE), (header.get_qform(), codes[1], SCANNER)):
        if code:
            moved = grid_affine(torch.from_numpy(source), old_shape, shape).numpy()
            there = np.linalg.solve(moved, matrix @ corners(shape))
            assert np.abs(there - corners(shape)).max() < 1e-3
    assert header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize(
    "task", [Task(), Task("factor", factor=(2, 1.5, 1)), Task("to-spacing", spacing=(0.7, 0.6, 1))]
)
def test_row_forms_of_a_prediction(tmp_path: Path, codes: tuple[int, int], task: Task) -> None:
    volume = read_volume(scan(tmp_path / "scan.nii", codes))
    np.testing.assert_allclose(volume.affine, TEMPLATE if codes[0] else SCANNER, atol=1e-4)
    made = predict(volume, task, RunSettings(backend="eager", region="all"))
    for role, result in {"volume": made.volume, **made.maps}.items():
        check(write_volume(result, tmp_path / f"{role}.nii.gz"), ARRAY.shape, codes)
    header = nib.load(tmp_path / "volume.nii.gz").header
    assert header["descrip"] == b"phantom"
    assert header.get_dim_info() == (0, 1, 2)
    assert header.get_intent()[0::2] == ("label", "tissue")


@pytest.mark.parametrize("codes", CODES)
def test_forms_of_labels_and_degraded_scans(tmp_path: Path, codes: tuple[int, int]) -> None:
    path = scan(tmp_path / "scan.nii", codes)
    volume = read_volume(path)
    finer = volume.replace(np.ones((24, 10, 9), np.float32), grid_affine(
        torch.from_numpy(volume.affine), ARRAY.shape, (24, 10, 9)).numpy())  # fmt: skip
    labels = Volume((ARRAY > 50).astype(np.float32), volume.affine, np.dtype(np.uint8))
    carried = carry_labels(labels, finer.affine, finer.shape, finer.forms)
    check(write_volume(carried, tmp_path / "labels.nii", np.uint8), ARRAY.shape, codes)
    for grid in ("reference", "acquired"):
        arguments = ["degrade", str(path), "-o", str(tmp_path / "low.nii.gz"), "--spec", "hcp_2x2", "--grid", grid]
        assert CliRunner().invoke(main, arguments).exit_code == 0
        check(tmp_path / "low.nii.gz", ARRAY.shape, codes)


@pytest.mark.parametrize("codes", CODES)
def test_forms_through_monai(tmp_path: Path, codes: tuple[int, int]) -> None:
    """As a bundle's inference does it: reader, loader, transforms that change the grid, writer."""
    path = scan(tmp_path / "scan.nii", codes)
    load = Compose([
        LoadImaged("image", image_only=True, reader="mdcsrn.io.reader.NiftiReader"), EnsureChannelFirstd("image"),
    ])  # fmt: skip
    save = SaveImaged(
        "image", output_dir=tmp_path / "out", output_postfix="sr", resample=False, separate_folder=False,
        writer="mdcsrn.io.writer.AtomicNibabelWriter", print_log=False,
    )  # fmt: skip
    (batch,) = torch.utils.data.DataLoader([{"image": str(path)}], collate_fn=lambda items: [load(i) for i in items])
    save(KSpaceLowPassd("image", {"reduction": [1, 2, 2], "grid": "acquired"})(batch[0]))
    check(tmp_path / "out/scan_sr.nii.gz", ARRAY.shape, codes)


def test_neither_form_stays_neither(tmp_path: Path) -> None:
    """Only the voxel size is known, and a result claims no more; it is verified by that."""
    path = scan(tmp_path / "scan.nii", (0, 0), np.repeat(ARRAY, 3, 0))
    arguments = ["predict", str(path), "-o", str(tmp_path / "out.nii.gz"), "--factor", "1", "1.5", "1", *EAGER]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    header = nib.load(tmp_path / "out.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
    np.testing.assert_allclose(header.get_zooms(), (1, 1.2 / 1.5, 2), rtol=1e-6)
    done = CliRunner().invoke(main, ["verify", str(tmp_path / "out.nii.gz")])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("codes", [(4, 1), (0, 1), (4, 0)])
def test_results_are_verified(tmp_path: Path, codes: tuple[int, int]) -> None:
    path = scan(tmp_path / "scan.nii", codes)
    arguments = ["predict", str(path), "-o", str(tmp_path / "out.nii.gz"), "--factor", "2", "1", "1", *EAGER]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    for file in tmp_path.glob("out*.nii.gz"):
        check(file, ARRAY.shape, codes)
    done = CliRunner().invoke(main, ["verify", str(tmp_path / "out.nii.gz"), "--json"])
    assert json.loads(done.stdout)["passed"], done.stdout


def test_a_sheared_matrix_is_no_qform(tmp_path: Path) -> None:
    header = nib.load(write_volume(Volume(ARRAY, TEMPLATE), tmp_path / "a.nii")).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(header.get_sform(), TEMPLATE, atol=1e-5)
    np.testing.assert_allclose(header.get_zooms(), np.linalg.norm(TEMPLATE[:3, :3], axis=0), rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-3.2, 3.2) | st.sampled_from([0.0, np.pi / 2, np.pi, -np.pi])] * 3),
    spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    offset=st.tuples(*[st.floats(-300, 300)] * 3),
)
def test_any_qform_survives_two_files(tmp_path_factory, angles, spacing, flips, offset) -> None:
    """Half turns included, where a quaternion in float32 is least exact: written and read twice, nothing moves."""
    affine = np.eye(4)
    affine[:3, :3] = euler2mat(*angles) @ np.diag(np.multiply(spacing, flips))
    affine[:3, 3] = offset
    path = tmp_path_factory.getbasetemp() / "qform.nii"
    first = read_volume(write_volume(Volume(ARRAY, affine, forms=Forms(qform=affine, qform_code=1)), path))
    second = read_volume(write_volume(first, path))
    assert first.warnings == second.warnings == ()
    points = corners((256, 256, 256))
    # Three parts in float32 leave the fourth, near zero at a half turn, off by the root of their rounding: an angle.
    angle = 2 * np.sqrt(3 * 2.0**-24)
    moved = np.linalg.norm((first.affine - affine) @ points, axis=0)
    assert (moved <= angle * np.linalg.norm((affine @ points)[:3].T - affine[:3, 3], axis=1) + 1e-3).all()
    assert np.abs(np.linalg.solve(first.affine, second.affine @ points) - points).max() < 1e-3
    np.testing.assert_allclose(nib.load(path).get_qform(), second.affine, atol=angle * max(spacing) + 1e-4)


def test_formats_without_codes(tmp_path: Path) -> None:
    """Where the file states an orientation it is the scanner's; a default of ours is not called that."""
    affine = np.diag([-1.0, -1.2, 2.0, 1.0])
    nib.freesurfer.MGHImage(ARRAY, affine).to_filename(tmp_path / "a.mgh")
    data = bytearray((tmp_path / "a.mgh").read_bytes())
    data[28:30] = b"\0\0"  # goodRASFlag
    (tmp_path / "b.mgh").write_bytes(data)
    image = sitk.GetImageFromArray(ARRAY.transpose(2, 1, 0))
    sitk.WriteImage(image, str(tmp_path / "c.nrrd"))
    text = (tmp_path / "c.nrrd").read_bytes()
    space = b"space: left-posterior-superior"
    (tmp_path / "d.nrrd").write_bytes(text.replace(space, b"space: 3D-right-handed"))
    (tmp_path / "e.nrrd").write_bytes(text.replace(space, b"space: scanner-xyz"))
    sitk.WriteImage(image, str(tmp_path / "f.mha"))
    expected = {"a.mgh": 1, "b.mgh": 2, "c.nrrd": 1, "d.nrrd": 2, "e.nrrd": 2, "f.mha": 1}
    for name, code in expected.items():
        volume = read_image(tmp_path / name)
        header = nib.load(write_volume(volume, tmp_path / "out.nii")).header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (code, code), name
        np.testing.assert_allclose(header.get_sform(), volume.affine, atol=1e-5)
        np.testing.assert_allclose(header.get_qform(), volume.affine, atol=1e-4)


def test_forms_in_other_units(tmp_path: Path) -> None:
    data = bytearray(scan(tmp_path / "a.nii", (4, 1)).read_bytes())
    for begin, count in ((280, 12), (268, 3), (80, 3)):  # srow, qoffset, pixdim
        values = np.frombuffer(bytes(data[begin : begin + 4 * count]), "<f4") / 1000
        struct.pack_into(f"<{count}f", data, begin, *values)
    data[123] = 1  # metres
    (tmp_path / "m.nii").write_bytes(data)
    check(write_volume(read_volume(tmp_path / "m.nii"), tmp_path / "out.nii"), ARRAY.shape, (4, 1))


def test_an_axis_too_long_for_nifti_1(tmp_path: Path) -> None:
    array = np.arange(40_000, dtype=np.float32).reshape(40_000, 1, 1)
    path = write_volume(Volume(array, np.eye(4)), tmp_path / "long.nii")
    np.testing.assert_array_equal(read_volume(path).array, array)
    assert os.path.getsize(path) == 544 + 160_000
