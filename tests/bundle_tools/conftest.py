"""A small foreign bundle that passes, to be spoilt in one place by each test; and the shipped one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mdcsrn.hashes import write_hashes
from mdcsrn.networks import MDCSRN, save_weights

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "mdcsrn_wgan_gp"

INFERENCE = """\
imports:
- $import mdcsrn.networks as networks
bundle_root: .
device: "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')"
dataset_dir: "$@bundle_root + '/data'"
network_def: {_target_: mdcsrn.networks.load_generator, path: "$@bundle_root + '/models/model.pt'"}
network: $@network_def.to(@device)
transform: {_target_: Compose, transforms: [{_target_: LoadImaged, keys: image, reader: NibabelReader}]}
dataset: {_target_: Dataset, data: [], transform: '@transform'}
inferer: {_target_: SlidingWindowInferer, roi_size: [16, 16, 16]}
evaluator: {_target_: SupervisedEvaluator, device: '@device', val_data_loader: [], network: '@network'}
run: [$@evaluator.run()]
"""


@pytest.fixture(scope="session")
def shipped() -> Path:
    return BUNDLE


@pytest.fixture(scope="session")
def network() -> MDCSRN:
    """Small, of cells, with weights that are not zero."""
    torch.manual_seed(0)
    small = MDCSRN(blocks=2, units=2, growth=4, space_to_depth=(2, 2, 2))
    torch.nn.init.normal_(small.recon.weight, std=0.1)
    return small.eval()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, network: MDCSRN) -> Path:
    home = tmp_path_factory.mktemp("foreign") / "foreign"
    for folder in ("configs", "docs", "models"):
        (home / folder).mkdir(parents=True)
    shutil.copy(BUNDLE / "LICENSE", home)
    shutil.copy(BUNDLE / "configs" / "metadata.json", home / "configs")
    shutil.copy(BUNDLE / "configs" / "logging.conf", home / "configs")
    (home / "configs" / "inference.yaml").write_text(INFERENCE)
    (home / "docs" / "README.md").write_text("# A bundle\n")
    (home / "docs" / "data_license.txt").write_text("CC0\n")
    save_weights(home / "models" / "model.pt", network)
    write_hashes(home / "models")
    return home


@pytest.fixture
def foreign(template: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that passes."""
    return Path(shutil.copytree(template, tmp_path / "foreign"))


@pytest.fixture
def metadata(foreign: Path) -> Callable[..., None]:
    """``metadata(key=value)`` changes the metadata; None takes a key away."""

    def change(**values: object) -> None:
        path = foreign / "configs" / "metadata.json"
        content = json.loads(path.read_text()) | values
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return change


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((30, 28, 26), dtype=np.float32), np.eye(4)), path)
    return path


@pytest.fixture(scope="session")
def both(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The foreign bundle with a network without cells, as published, beside the one of cells."""
    template = Path(shutil.copytree(template, tmp_path_factory.mktemp("both") / "both"))
    torch.manual_seed(1)
    plain = MDCSRN(blocks=2, units=2, growth=4, residual=False)
    for module in plain.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.normal_(module.running_mean)
    save_weights(template / "models" / "plain.pt", plain)
    write_hashes(template / "models")
    return template
