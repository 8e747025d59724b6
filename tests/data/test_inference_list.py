"""The scans of an inference run: a file, a folder, or the embedded sample, degraded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mdcsrn.data.datalist import load_datalist
from mdcsrn.data.inference_list import root, scans
from mdcsrn.data.sample import sample_datalist
from mdcsrn.errors import ConfigError, DataError
from mdcsrn.io import read_volume
from mdcsrn.kspace import DegradationSpec, degrade

SPEC = {"reduction": [1, 2, 2], "window": "box"}


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_a_file_is_itself(tmp_path: Path) -> None:
    touch(tmp_path / "head.nii.gz")
    assert scans(tmp_path / "head.nii.gz", "", SPEC) == [{"image": str(tmp_path / "head.nii.gz")}]
    assert root(tmp_path / "head.nii.gz") == ""


def test_a_folder_is_all_of_its_scans_in_order(tmp_path: Path) -> None:
    names = ["b/T1w.nii.gz", "a/T1w.nii", "c.NII.GZ"]
    touch(*(tmp_path / name for name in names), tmp_path / ".hidden.nii.gz", tmp_path / "notes.txt")
    assert [entry["image"] for entry in scans(tmp_path, "", SPEC)] == sorted(str(tmp_path / name) for name in names)
    assert root(tmp_path) == str(tmp_path)
    assert root("") == ""


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such scan: .*none\.nii"):
        scans(tmp_path / "none.nii", "", SPEC)
    with pytest.raises(DataError, match=f"{tmp_path} holds no NIfTI"):
        scans(tmp_path, "", SPEC)


def test_two_scans_for_one_result_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "x" / "a.nii", tmp_path / "y" / "a.nii.gz")
    assert len(scans(tmp_path, "", SPEC)) == 2
    touch(tmp_path / "y" / "a.nii")
    with pytest.raises(DataError, match=r"y/a\.nii .*y/a\.nii\.gz|y/a\.nii and .*y/a\.nii\.gz"):
        scans(tmp_path, "", SPEC)


def test_nothing_given_is_the_degraded_sample(tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    made = [Path(entry["image"]) for entry in scans("", tmp_path, SPEC)]
    truths = [Path(entry["image"]) for entry in load_datalist(sample_datalist(tmp_path), "test")]
    assert [path.name for path in made] == [path.name for path in truths]
    for path, truth in zip(made, truths, strict=True):
        low, full = read_volume(path), read_volume(truth)
        expected = degrade(torch.from_numpy(full.array), DegradationSpec(reduction=(1, 2, 2)))
        np.testing.assert_array_equal(low.array, expected.numpy())
        np.testing.assert_allclose(low.affine, full.affine, rtol=0, atol=1e-5)
    times = [path.stat().st_mtime_ns for path in made]
    assert [Path(entry["image"]) for entry in scans("", tmp_path, SPEC)] == made
    assert [path.stat().st_mtime_ns for path in made] == times  # found again, not made again
    other = [Path(entry["image"]) for entry in scans("", tmp_path, {"reduction": [2, 2, 1]})]
    assert not set(other) & set(made)
    with pytest.raises(ConfigError, match="windw"):
        scans("", tmp_path, {"windw": "box"})
