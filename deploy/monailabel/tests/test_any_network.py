"""Networks that nothing in the package knows are offered by their traits, and give what `predict` gives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mdcsrn.errors import GeometryError
from mdcsrn.files import sha256
from mdcsrn.inference import RunSettings, Task, predict
from mdcsrn.inference.planning.models import find_model
from mdcsrn.io import read_volume
from mdcsrn.networks import save_weights
from mdcsrn.networks.catalog import NETWORKS

from .conftest import APP, EAGER, ROOT

sys.path.insert(0, str(APP))
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import toy_network

from lib.infer import SuperResolution
from lib.infer_tasks import trained


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Path]:
    """Weights of a network on the result's grid, and of one that doubles the acquired planes."""
    torch.manual_seed(0)
    before = dict(NETWORKS)
    NETWORKS.update(Toy=toy_network.Toy, Doubling=toy_network.Doubling)
    for name in ("Toy", "Doubling"):
        save_weights(tmp_path / "models" / f"{name.lower()}.pt", NETWORKS[name]())
    yield tmp_path / "models"
    NETWORKS.clear()
    NETWORKS.update(before)


def tasks(models: Path, results: Path) -> dict[str, SuperResolution]:
    results.mkdir()
    return {offer.name: SuperResolution(offer, results) for offer in trained(models)}


def test_they_are_offered_on_the_grids_that_they_make(models: Path, tmp_path: Path) -> None:
    offered = tasks(models, tmp_path / "results")
    assert list(offered) == ["doubling_finer_grid", "toy_same_grid", "toy_finer_grid"]
    config = offered["doubling_finer_grid"].info()["config"]
    assert config["factor"] == "1 2 2"
    assert "spacing" not in config
    assert offered["toy_finer_grid"].info()["config"]["factor"] == "2 2 2"


@pytest.mark.parametrize(
    ("name", "factor"), [("toy_finer_grid", (1.0, 1.0, 2.0)), ("doubling_finer_grid", (1.0, 2.0, 2.0))]
)
def test_they_give_what_predict_gives(
    models: Path, scans: Path, tmp_path: Path, name: str, factor: tuple[float, float, float]
) -> None:
    scan = scans / "sub-a_T1w.nii.gz"
    request = EAGER | {"image": str(scan)} | ({"factor": list(factor)} if name.startswith("toy") else {})
    file, answer = tasks(models, tmp_path / "results")[name](request)
    weights = models / f"{name.split('_')[0]}.pt"
    expected = predict(read_volume(scan), Task("factor", factor), RunSettings(**EAGER), model=find_model(model=weights))
    np.testing.assert_array_equal(np.asarray(nib.load(file).dataobj), expected.volume.array)
    np.testing.assert_allclose(nib.load(file).affine, expected.volume.affine, atol=1e-6)
    assert answer["record"]["inference"]["weights"]["sha256"] == sha256(weights)


def test_another_factor_is_refused_by_name(models: Path, scans: Path, tmp_path: Path) -> None:
    task = tasks(models, tmp_path / "results")["doubling_finer_grid"]
    with pytest.raises(GeometryError, match=r"refines the acquired matrix by \(1, 2, 2\)"):
        task(EAGER | {"image": str(scans / "sub-a_T1w.nii.gz"), "factor": "2 2 2"})
