"""Masks, segmentations and label maps are no scans, by name or by their voxels; no scan is taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from mdcsrn.data.label_maps import label_by_content, label_by_name
from mdcsrn.data.made import made_of_others
from mdcsrn.data.scan_report import inspect_image
from mdcsrn.io import Volume, read_volume, write_volume


@pytest.mark.parametrize(
    "name",
    [
        "sub-01/anat/sub-01_desc-brain_mask.nii.gz", "sub-01/anat/sub-01_dseg.nii.gz", "x_label-GM_probseg.nii",
        "labelsTr/BRATS_001.nii.gz", "derivatives/a/sub-01_desc-preproc_T1w.nii", "BraTS20_Training_001_seg.nii.gz",
        "P01/aparc+aseg.nii.gz", "P01/aparc.a2009s+aseg.nii", "P01/brainmask.nii", "T1_brain_pve_0.nii.gz",
        "P01/lesion_mask.nii", "P01/T1_lesion.nii", "IXI002-Guys-0828-T1-seg.nii", "P01/segmentations/x.nii",
        "P01_ground_truth.nii.gz", "Masks/P01.nii", "P01_labels.nii", "P01/Segmentation.nii", "P01_ROI.nii",
        "P01/mri/wm.nii", "P01/wmh.nii.gz", "P01/T1.anat/T1_to_MNI_nonlin_field.nii.gz", "P01/T1_fast_bias.nii",
    ],
)  # fmt: skip
def test_names_of_label_maps(name: str) -> None:
    assert label_by_name(Path(name)) is not None


@pytest.mark.parametrize(
    "name",
    [
        "sub-01/anat/sub-01_T1w.nii.gz", "sub-01_label-x_T1w.nii", "sub-01_desc-brain_T1w.nii.gz", "P01/T1.nii",
        "imagesTr/BRATS_001_0000.nii.gz", "masked_study_P1/T1.nii", "P01/T1_brain.nii", "segal_T1.nii", "labelle.nii",
        "wmh_P01_T1.nii", "low_field_P01.nii",
    ],
)  # fmt: skip
def test_names_of_scans(name: str) -> None:
    assert label_by_name(Path(name)) is None


def head(levels: int) -> np.ndarray:
    """A head of smooth tissue with noise in `levels` whole numbers."""
    rng = np.random.default_rng(0)
    radius = np.sqrt(sum(g**2 for g in np.meshgrid(*[np.linspace(-1, 1, 40)] * 3)))
    tissue = ndimage.gaussian_filter(rng.standard_normal((40, 40, 40)), 3)
    bright = (radius < 0.8) * (0.6 + 2 * tissue) + 0.03 * np.abs(rng.standard_normal((40, 40, 40)))
    return np.rint(np.clip(bright / bright.max(), 0, 1) * (levels - 1)).astype(np.float32)


def parcels(count: int) -> np.ndarray:
    """A label map of `count` compact areas around random seeds."""
    rng = np.random.default_rng(1)
    seeds = np.zeros((40, 40, 40), int)
    seeds.flat[rng.choice(seeds.size, count, replace=False)] = np.arange(1, count + 1)
    indices = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    return seeds[tuple(indices)].astype(np.float32)


def test_voxels_tell() -> None:
    assert label_by_content((head(256) > 100).astype(np.float32)) == "2 different whole numbers"
    assert label_by_content(parcels(4) * 1000) == "4 different whole numbers"
    assert label_by_content(parcels(100)) == "areas of 100 whole numbers"
    for scan in (head(256), head(128), head(4096), head(256) / 3):
        assert label_by_content(scan) is None


def test_no_real_scan_is_taken_for_a_label_map(shared_data: Path) -> None:
    scans = sorted((shared_data / "t1w").rglob("*.nii.gz"))[::6] + sorted((shared_data / "thick").glob("*.nii.gz"))
    assert {path.name: label_by_content(read_volume(path).array) for path in scans} == {p.name: None for p in scans}


@pytest.mark.parametrize(
    ("scan", "made"),
    [
        ("sub1.nii", ["msub1.nii", "c1sub1.nii", "wc2sub1.nii", "y_sub1.nii", "iy_sub1.nii", "s8wsub1.nii"]),
        ("P1/anat.nii", ["P1/mri/mwp1anat.nii", "P1/mri/p0anat.nii", "P1/manat.nii"]),
        ("sub-01/anat/sub-01_T1w.nii.gz", ["sub-01/anat/c1sub-01_T1w.nii", "sub-02/anat/wmsub-02_T1w.nii"]),
    ],
)
def test_what_spm_made_of_a_scan_is_none(scan: str, made: list[str]) -> None:
    others = ["P1/brain.nii", "P1/T1.nii", "P2/anat.nii", "mary.nii", "run_sub-01_T1w.nii", "m01.nii", "01.nii"]
    assert {path.as_posix() for path in made_of_others([Path(n) for n in [scan, *made, *others]])} == set(made)


@pytest.mark.parametrize("suffix", ["T1map", "R2starmap", "MTsat", "TB1map"])
def test_a_map_by_its_suffix_is_no_scan(suffix: str, tmp_path: Path) -> None:
    volume = Volume(head(256) / 3, np.eye(4))
    path = write_volume(volume, tmp_path / f"sub-01_{suffix}.nii.gz")
    assert inspect_image(path, check_band=False).label is not None
    assert inspect_image(write_volume(volume, tmp_path / "sub-01_T1w.nii.gz"), check_band=False).label is None
