"""The bundle in MONAI Label's own `monaibundle` app, offline: its inference config on the scan's own grid."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mdcsrn.resources import bundle_folder

from .conftest import APP, BUNDLE, FILLED, Server

STOCK = Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle"


@pytest.fixture(scope="module")
def stock(scans: Path, tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("stock")
    shutil.copytree(STOCK, home / "app")
    ignored = shutil.ignore_patterns("runs", "eval", "__pycache__")
    shutil.copytree(bundle_folder(BUNDLE), home / "app" / "model" / BUNDLE, ignore=ignored)
    studies = shutil.copytree(scans, home / "studies")
    arguments = ["-m", "monailabel.main", "start_server", "--app", str(home / "app"), "--studies", str(studies)]
    arguments += ["--host", "127.0.0.1", "--conf", "models", BUNDLE, "--conf", "zoo_source", "ngc"]
    with Server(home, arguments, {"PYTHONPATH": str(APP)}) as running:
        yield running.ready()


def test_the_result_is_that_of_the_bundle(stock: Server, scans: Path, tmp_path: Path) -> None:
    models = stock.client(tmp_path).info()["models"]
    assert list(models) == [BUNDLE]
    assert models[BUNDLE]["config"]["model_filename"] == ["gan.pt", "model.pt"]
    # A request that names no file gets the shortest name in models/, gan.pt: the app's rule.
    request = {"device": "cpu", "model_filename": "model.pt"}
    file, _ = stock.client(tmp_path / "client").infer(BUNDLE, FILLED, request)
    home, scan = bundle_folder(BUNDLE), scans / f"{FILLED}.nii.gz"
    command = [
        *(sys.executable, "-m", "monai.bundle", "run", "--config_file", str(home / "configs" / "inference.yaml")),
        *(
            "--bundle_root",
            str(home),
            "--input",
            str(scans / f"{FILLED}.nii.gz"),
            "--output_dir",
            str(tmp_path / "out"),
        ),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    given, made = nib.load(scan), nib.load(file)
    expected = nib.load(next((tmp_path / "out").rglob("*.nii.gz")))
    assert made.shape == expected.shape == given.shape
    np.testing.assert_allclose(made.affine, given.affine, atol=1e-4)
    scale = np.abs(expected.get_fdata()).max()
    np.testing.assert_allclose(made.get_fdata(), expected.get_fdata(), atol=1e-5 * scale)
    assert np.abs(expected.get_fdata() - given.get_fdata()).max() > 1e-3 * scale, "the network has a say"
