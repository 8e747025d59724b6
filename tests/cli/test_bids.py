"""``mdcsrn bids``: a dataset in, a derived dataset out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def dataset(tmp_path: Path, interpolated: np.ndarray, save_image: Callable) -> Path:
    root = tmp_path / "raw"
    save_image(interpolated, root / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    save_image(interpolated, root / "sub-01" / "anat" / "sub-01_T2w.nii.gz")
    save_image(interpolated, root / "sub-02" / "ses-a" / "anat" / "sub-02_ses-a_acq-x_T1w.nii.gz")
    save_image(interpolated, root / "sub-02" / "ses-b" / "anat" / "sub-02_ses-b_T1w.nii.gz")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.10.0"}))
    (root / "T1w.json").write_text(json.dumps({"MRAcquisitionType": "3D", "SkullStripped": False}))
    return root


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_derivatives(mdcsrn: Callable, dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = mdcsrn("bids", dataset, out, "participant", "--suffix", "T1w")
    assert done.exit_code == 0, done.output
    stems = [
        "sub-01/anat/sub-01_desc-sr_T1w",
        "sub-02/ses-a/anat/sub-02_ses-a_acq-x_desc-sr_T1w",
        "sub-02/ses-b/anat/sub-02_ses-b_desc-sr_T1w",
    ]
    listed = [f"{stem}.{ending}" for stem in stems for ending in ("json", "nii.gz")]
    root = [".bidsignore", "README.md", "dataset_description.json", "descriptions.json", "descriptions.tsv"]
    assert names(out) == sorted([*root, *listed])
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    record = json.loads((out / f"{stems[0]}.json").read_text())
    assert record["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]
    assert record["SpatialReference"] == "orig"
    assert record["SkullStripped"] is False  # from the sidecar at the root
    assert record["acquisition"]["contrast"] == "T1w"
    verified = mdcsrn("verify", out / f"{stems[0]}.nii.gz")
    assert verified.exit_code == 0, verified.output
    again = mdcsrn("bids", dataset, out, "participant", "--suffix", "T1w", "--resume")
    assert again.stdout.splitlines()[-1] == "3 skipped"


def test_labels_and_maps_have_names_of_bids(mdcsrn: Callable, dataset: Path, tmp_path: Path) -> None:
    out, masks = tmp_path / "out", tmp_path / "masks"
    source = nib.load(dataset / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    (masks / "sub-01" / "anat").mkdir(parents=True)
    labels = nib.Nifti1Image((source.get_fdata() > 400).astype(np.uint8), source.affine)
    nib.save(labels, masks / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    words = ("--participant-label", "sub-01", "--suffix", "T1w", "--mask", masks, "--uncertainty")
    done = mdcsrn("bids", dataset, out, "participant", *words)
    assert done.exit_code == 0, done.output
    listed = [name for name in names(out / "sub-01" / "anat") if name.endswith(".nii.gz")]
    endings = ("sr_T1w", "srspread_T1w", "srinvention_T1w", "srT1w_dseg")
    assert set(listed) >= {f"sub-01_desc-{ending}.nii.gz" for ending in endings}
    for ending in endings:
        assert json.loads((out / "sub-01" / "anat" / f"sub-01_desc-{ending}.json").read_text())["SpatialReference"]
    assert mdcsrn("verify", out / "sub-01" / "anat" / "sub-01_desc-sr_T1w.nii.gz").exit_code == 0


@pytest.mark.parametrize(
    ("words", "count"),
    [(("--participant-label", "02"), 2), (("--participant-label", "02", "--session-label", "b"), 1), ((), 4)],
)
def test_who_is_chosen(mdcsrn: Callable, dataset: Path, tmp_path: Path, words: tuple, count: int) -> None:
    done = mdcsrn("bids", dataset, tmp_path / "out", "participant", "--dry-run", "--json", *words)
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)) == count
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("participant", "--participant-label", "07"), 3, "sub-07"),
        (("participant", "--suffix", "bold"), 3, "no anatomical image"),
        (("participant", "--dicom-out", "x"), 4, "--dicom-out"),
        (("participant", "--factor", 0.1, 1, 1), 4, "factor"),
        (("participant", "--model", "absent.pt"), 5, "absent.pt"),
        (("group",), 2, "participant"),
    ],
)
def test_what_cannot_be_done(
    mdcsrn: Callable, dataset: Path, tmp_path: Path, words: tuple, code: int, text: str
) -> None:
    done = mdcsrn("bids", dataset, tmp_path / "out", *words)
    assert (done.exit_code, text in done.stderr) == (code, True), done.output
    assert not (tmp_path / "out").exists()


def test_a_bad_name_is_listed_and_the_rest_is_done(mdcsrn: Callable, dataset: Path, tmp_path: Path) -> None:
    anat = dataset / "sub-01" / "anat"
    (anat / "sub-01_T2w.nii.gz").rename(anat / "sub-01_run-1_acq-x_T2w.nii.gz")
    done = mdcsrn("bids", dataset, tmp_path / "out", "participant", "--participant-label", "01")
    assert done.exit_code == 3
    assert "out of order" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 done, 1 failed"


def test_images_that_differ_in_desc_alone_have_results_of_their_own(
    mdcsrn: Callable, dataset: Path, tmp_path: Path
) -> None:
    anat, out = dataset / "sub-01" / "anat", tmp_path / "out"
    for desc in ("preproc", "brain"):
        (anat / f"sub-01_desc-{desc}_T1w.nii.gz").write_bytes((anat / "sub-01_T1w.nii.gz").read_bytes())
    words = ("--participant-label", "01", "--suffix", "T1w")
    done = mdcsrn("bids", dataset, out, "participant", *words, "--json")
    assert done.exit_code == 0, done.output
    stems = ["sub-01_desc-brainSr_T1w", "sub-01_desc-preprocSr_T1w", "sub-01_desc-sr_T1w"]
    outputs = [Path(case["output"]).name for case in json.loads(done.stdout)]
    assert sorted(outputs) == [f"{stem}.nii.gz" for stem in stems]
    assert names(out / "sub-01") == sorted(f"anat/{stem}.{ending}" for stem in stems for ending in ("json", "nii.gz"))
    for stem in stems:
        assert mdcsrn("verify", out / "sub-01" / "anat" / f"{stem}.nii.gz").exit_code == 0


def test_help_fits_a_screen(mdcsrn: Callable) -> None:
    shown = mdcsrn("bids", "--help")
    assert shown.exit_code == 0
    assert len(shown.output.splitlines()) <= 45
