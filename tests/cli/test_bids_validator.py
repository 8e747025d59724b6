"""Derivatives of ``mdcsrn bids`` before the official BIDS validator: no error and no warning."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

SHAPE = (20, 24, 22)
FINER = ("--factor", 1, 1, 1.5)


@pytest.fixture(scope="session")
def complaints() -> Callable[[Path], list[str]]:
    """What the validator has to say of a dataset, warnings included, one line each."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("bids-validator-deno", path=places)
    if program is None:
        pytest.skip("no bids-validator-deno here: pip install 'bids-validator-deno==3.0.2'")

    def judge(root: Path) -> list[str]:
        done = subprocess.run([program, str(root), "--format", "json"], capture_output=True, text=True, check=False)
        found = json.loads(done.stdout)
        assert found["summary"]["totalFiles"] > 1, done.stdout
        return [
            " ".join(str(issue.get(key, "")) for key in ("severity", "code", "subCode", "location"))
            for issue in found["issues"]["issues"]
        ]

    return judge


def make(save_image: Callable, root: Path, names: list[str], **description: object) -> Path:
    """A dataset of small noise images with T1w metadata at its root, as scanners and dcm2niix give it."""
    for seed, name in enumerate(names):
        array = np.random.default_rng(seed).uniform(1, 100, SHAPE).astype(np.float32)
        save_image(array, root / f"{name}.nii.gz", np.diag([1.0, 1.1, 1.2, 1.0]))
    about = {"Name": "study", "BIDSVersion": "1.8.0", **description}
    (root / "dataset_description.json").write_text(json.dumps(about))
    metadata = {
        "MagneticFieldStrength": 3, "EchoTime": 0.00293, "RepetitionTime": 2.3, "FlipAngle": 9, "InversionTime": 0.9,
        "Manufacturer": "Siemens", "ManufacturersModelName": "Prisma", "MRAcquisitionType": "3D", "MTState": True,
        "PartialFourier": 0.75, "ParallelAcquisitionTechnique": "GRAPPA", "SpoilingState": True,
        "ScanningSequence": "GR\\\\IR", "PatientName": "Doe^Jane", "ConversionSoftware": "dcm2niix",
    }  # fmt: skip
    (root / "T1w.json").write_text(json.dumps(metadata))
    return root


def test_the_judge_sees_what_is_wrong(complaints: Callable, save_image: Callable, tmp_path: Path) -> None:
    root = make(save_image, tmp_path / "d", ["sub-01/anat/sub-01_desc-x_T1w"], DatasetType="derivative")
    assert any("SIDECAR_KEY_REQUIRED SkullStripped" in line for line in complaints(root))


def test_everything_at_once(mdcsrn: Callable, complaints: Callable, save_image: Callable, tmp_path: Path) -> None:
    names = [
        "sub-01/anat/sub-01_T1w",
        "sub-02/ses-a/anat/sub-02_ses-a_acq-hi_run-2_T1w",
    ]
    raw = make(save_image, tmp_path / "raw", names, Authors=["A. Doe"], License="CC0", EthicsApprovals=["1"])
    masks, out = tmp_path / "masks", tmp_path / "out"
    for name in names:
        save_image(np.ones(SHAPE, np.uint8), masks / f"{name}.nii.gz", np.diag([1.0, 1.1, 1.2, 1.0]))
    done = mdcsrn("bids", raw, out, "participant", *FINER, "--uncertainty", "--mask", masks, "--report", out)
    assert done.exit_code == 0, done.output
    assert complaints(out) == []
    anat = out / "sub-02" / "ses-a" / "anat"
    for role in ("sr", "srspread", "srmean", "srinvention"):
        said = json.loads((anat / f"sub-02_ses-a_acq-hi_run-2_desc-{role}_T1w.json").read_text())
        kept = (said["MagneticFieldStrength"], said["EchoTime"], said["Manufacturer"], said["FlipAngle"])
        assert kept == (3, 0.00293, "Siemens", 9)  # from the sidecar at the root of the source
        assert "Doe" not in json.dumps(said)
    assert not list(anat.glob("*.html"))
    assert len(list(out.glob("*.html"))) == len(names)
    for image in out.rglob("*_desc-sr_*.nii.gz"):
        assert mdcsrn("verify", image).exit_code == 0
    (anat / "sub-02_ses-a_acq-hi_run-2_desc-srspread_T1w.json").unlink()
    again = mdcsrn("bids", raw, out, "participant", *FINER, "--uncertainty", "--mask", masks, "--report", out,
                   "--resume")  # fmt: skip
    assert again.stdout.splitlines()[-1] == "1 done, 1 skipped"
    assert complaints(out) == []


def test_pages_in_a_folder_of_the_dataset(
    mdcsrn: Callable, complaints: Callable, save_image: Callable, tmp_path: Path
) -> None:
    raw, out = make(save_image, tmp_path / "raw", ["sub-01/anat/sub-01_T1w"]), tmp_path / "out"
    for pages in (out / "pages" / "html", out / "sub-01", tmp_path / "elsewhere"):
        done = mdcsrn("bids", raw, out, "participant", *FINER, "--report", pages)
        assert done.exit_code == 0, done.output
        assert list(pages.glob("*.html"))
        assert complaints(out) == []


def test_derivatives_of_derivatives(
    mdcsrn: Callable, complaints: Callable, save_image: Callable, tmp_path: Path
) -> None:
    stems = [
        "sub-01_T1w", "sub-01_desc-preproc_T1w", "sub-01_desc-brain_T1w", "sub-01_desc-sr_T1w",
        "sub-01_space-MNI152NLin2009cAsym_res-2_desc-preproc_T1w", "sub-01_space-own_desc-preproc_T1w",
        "sub-01_cohort-1_T1w",
    ]  # fmt: skip
    source = make(save_image, tmp_path / "in", [f"sub-01/anat/{stem}" for stem in stems], DatasetType="derivative")
    (source / "sub-01" / "anat" / "sub-01_space-own_desc-preproc_T1w.json").write_text(
        json.dumps({"SpatialReference": "bids::sub-01/anat/sub-01_T1w.nii.gz", "SkullStripped": False})
    )
    out = source / "derivatives" / "mdcsrn"
    done = mdcsrn("bids", source, out, "participant", *FINER)
    assert done.exit_code == 0, done.output
    assert len(list(out.rglob("*.nii.gz"))) == len(stems)
    assert complaints(out) == []


def test_images_for_which_bids_has_no_derivative_names(
    mdcsrn: Callable, complaints: Callable, save_image: Callable, tmp_path: Path
) -> None:
    stems = {
        "MEGRE": "sub-01_echo-1_MEGRE", "MP2RAGE": "sub-01_inv-1_part-mag_MP2RAGE", "UNIT1": "sub-01_UNIT1",
        "MTS": "sub-01_flip-1_mt-on_MTS", "inplaneT2": "sub-01_inplaneT2", "PDw": "sub-01_PDw",
        "FLAIR": "sub-01_ce-gd_run-01_FLAIR",
        "T2starw": "sub-01_echo-1_part-mag_T2starw",
    }  # fmt: skip
    raw = make(save_image, tmp_path / "raw", [f"sub-01/anat/{stem}" for stem in stems.values()])
    out = tmp_path / "out"
    words = [word for suffix in stems for word in ("--suffix", suffix)]
    done = mdcsrn("bids", raw, out, "participant", *FINER, *words)
    assert done.exit_code == 0, done.output
    assert len(list(out.rglob("*_desc-sr_*.nii.gz"))) == len(stems)
    assert complaints(out) == []
