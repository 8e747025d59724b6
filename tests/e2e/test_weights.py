"""The weights of the bundle on real people who were not trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mdcsrn.engines import load_weights
from mdcsrn.hashes import weight_files
from mdcsrn.inference import ExactTiledInferer
from mdcsrn.io import read_volume
from mdcsrn.kspace import DegradationSpec, certify, degrade, project
from mdcsrn.kspace.intensity import percentile
from mdcsrn.metrics import data_range, head_mask, psnr

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = weight_files(ROOT / "bundles" / "mdcsrn_wgan_gp" / "models")
WEIGHTS = [path for path in WEIGHTS if path.suffix == ".pt"]  # the other form holds the same


@pytest.mark.long
@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("reduction", [(2, 2, 1), (1, 2, 2), (1, 1, 4), (2, 2, 2), (1.5, 1, 3)], ids=str)
@pytest.mark.parametrize("subject", ["ds002748-63", "fnndsc-adi"])
def test_sr_beats_zero_filling(
    path: Path, reduction: tuple[float, float, float], subject: str, shared_data: Path
) -> None:
    reference = torch.from_numpy(read_volume(shared_data / "t1w" / "test" / f"{subject}_T1w.nii.gz").array)
    reference = reference[:, :, : min(96, reference.shape[2])]  # a slab: real content at a quarter of the work
    spec = DegradationSpec(reduction)
    low = degrade(reference, spec)
    scale = percentile(low, 99.9)
    network = load_weights(path)
    with torch.no_grad():
        raw = ExactTiledInferer(max_memory=3.0, precision="auto")((low / scale)[None, None], network)[0, 0] * scale
    restored = project(raw, low, spec)
    mask, peak = head_mask(reference), data_range(reference)
    assert psnr(restored, reference, peak, mask) > psnr(low, reference, peak, mask)
    # consistency is an orthogonal projection: over the whole volume it can only help
    assert torch.dist(restored, reference) <= torch.dist(raw, reference)
    assert certify(restored, low, spec).relative_error <= 1e-5
