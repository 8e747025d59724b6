"""What a sidecar says of the acquired matrix is evidence for an empty band, and the spectrum has to agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from mdcsrn.inference.planning.evidence import expected_samples
from mdcsrn.inference.planning.task import Task, make_plan
from mdcsrn.io import Volume
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.sidecar import scan_facts
from mdcsrn.kspace import detect_band

SHAPE = (24, 64, 96)
SIEMENS = {"MRAcquisitionType": "3D", "Interpolation2D": True, "PhaseEncodingDirection": "j-", "ReconMatrixPE": 64}


def facts_of(tmp_path: Path, **sidecar: object) -> ScanFacts:
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)), tmp_path / "scan.nii")
    (tmp_path / "scan.json").write_text(json.dumps(sidecar))
    facts, problems = scan_facts(tmp_path / "scan.nii")
    assert not problems
    return facts


@pytest.mark.parametrize(
    ("sidecar", "expected"),
    [
        ({"AcquisitionMatrixPE": 32, **SIEMENS}, (None, 32, None)),
        (SIEMENS, (None, 32, None)),  # interpolated, and not from how many: by two
        ({**SIEMENS, "Interpolation2D": False}, (None, None, None)),
        ({**SIEMENS, "AcquisitionMatrixPE": 64}, (None, 32, None)),
        ({**SIEMENS, "AcquisitionMatrixPE": 96, "ReconMatrixPE": 192}, (None, 32, None)),  # cropped since
        ({**SIEMENS, "PercentSampling": 80, "Interpolation2D": False}, (None, 51, None)),
        ({**SIEMENS, "PercentSampling": 50}, (None, 16, None)),
        ({"AcquisitionMatrixPE": 48, "ReconMatrixPE": 96}, (None, None, 48)),  # the axis by its size
        ({"AcquisitionMatrixPE": 48, "ReconMatrixPE": 77}, (None, None, None)),
        ({"Interpolation2D": True, "MRAcquisitionType": "2D", "InPlanePhaseEncodingDirectionDICOM": "COL",
          "BaseResolution": 16}, (16, 32, None)),
        ({"AcquisitionMatrixPE": 12, "MRAcquisitionType": "2D", "InPlanePhaseEncodingDirectionDICOM": "ROW"},
         (12, None, None)),
        ({"AcquisitionMatrixPE": 32, "MRAcquisitionType": "3D", "InPlanePhaseEncodingDirectionDICOM": "ROW"},
         (None, None, None)),  # a turned 3D volume: the axis is not known
        ({"AcquisitionMatrixPE": "32", "ReconMatrixPE": True, "PhaseEncodingAxis": 7, "Interpolation2D": "yes",
          "BaseResolution": -5, "PercentSampling": float("nan")}, (None, None, None)),
    ],
)  # fmt: skip
def test_what_dcm2niix_says(tmp_path: Path, sidecar: dict, expected: tuple) -> None:
    assert expected_samples(facts_of(tmp_path, **sidecar), SHAPE) == expected


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    rng = np.random.default_rng(0)
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    texture = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 0.6)
    return ((np.sqrt(sum(g**2 for g in grid)) < 0.8) * (800 + 400 * texture)).astype(np.float32)


def interpolated(head: np.ndarray, low_pass: Callable, reduction: float, noise: float) -> Volume:
    """Axis 1 (64 voxels) zero-filled; noise in the band beyond, as rounding and the magnitude leave it."""
    filled = low_pass(head, (1, reduction, 1)) if reduction > 1 else head
    return Volume(filled + np.random.default_rng(1).normal(0, noise, SHAPE).astype(np.float32), np.eye(4))


def test_evidence_and_an_edge_in_its_place_make_an_empty_band(
    head: np.ndarray, numpy_low_pass: Callable, tmp_path: Path
) -> None:
    volume = interpolated(head, numpy_low_pass, 2, 60)
    assert not detect_band(torch.from_numpy(volume.array))[1].empty  # too low an edge for a short axis by itself
    plan = make_plan(volume, facts_of(tmp_path, AcquisitionMatrixPE=32, **SIEMENS), Task())
    assert plan.bands[1].empty
    assert abs(plan.bands[1].samples - 32) <= 2
    assert "axis 1: the sidecar says that about 32 of 64 samples were acquired, and the spectrum agrees" in plan.reasons
    assert plan.kind == "same-grid"


@pytest.mark.parametrize("lines", [20, 44])
def test_an_edge_elsewhere_is_no_agreement(
    head: np.ndarray, numpy_low_pass: Callable, tmp_path: Path, lines: int
) -> None:
    facts = facts_of(tmp_path, AcquisitionMatrixPE=lines, **SIEMENS)
    low = make_plan(interpolated(head, numpy_low_pass, 2, 60), facts, Task())
    assert not low.bands[1].empty
    clear = make_plan(interpolated(head, numpy_low_pass, 2, 1), facts, Task())
    assert abs(clear.bands[1].samples - 32) <= 2  # measured, whatever the sidecar says
    assert any("axis 1" in reason and reason.endswith("the spectrum counts") for reason in clear.reasons)


def test_a_full_band_stays_measured_whatever_the_sidecar_says(
    head: np.ndarray, numpy_low_pass: Callable, tmp_path: Path
) -> None:
    for lines in range(14, 60, 3):
        facts = facts_of(tmp_path, AcquisitionMatrixPE=lines, **SIEMENS)
        plan = make_plan(interpolated(head, numpy_low_pass, 1, 5), facts, Task())
        assert plan.kind == "nothing", lines
        assert any(reason.endswith("all count as measured") for reason in plan.reasons)


def test_no_real_scan_gains_an_edge_from_a_false_sidecar(shared_data: Path, tmp_path: Path) -> None:
    """Axes that were acquired in full, cut to 64 voxels, where apodisation is steep: said to be interpolated by two."""
    from mdcsrn.io import read_volume

    false = judged = 0
    for path in sorted((shared_data / "t1w" / "train").glob("*.nii.gz"))[::5]:
        array = read_volume(path).array
        if any(band.empty for band in detect_band(torch.from_numpy(array))):
            continue
        for axis, n in enumerate(array.shape):
            piece = np.take(array, range(n // 2 - 32, n // 2 + 32), axis)
            said = [32 if other == axis else None for other in range(3)]
            judged += 1
            false += detect_band(torch.from_numpy(piece), said)[axis].empty
    assert judged >= 12
    assert false == 0
