"""The bundle as MONAI reads it: its folder, small volumes, small weights, and its configs with overrides."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from mdcsrn.engines import save_weights
from mdcsrn.networks import MDCSRN

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "mdcsrn_wgan_gp"
SMALL = {"network_def#blocks": 1, "network_def#units": 1, "network_def#growth": 2}


@pytest.fixture(scope="session")
def bundle() -> Path:
    return BUNDLE


@pytest.fixture(scope="session")
def small() -> dict[str, int]:
    """Overrides that make the network of a config small."""
    return dict(SMALL)


@pytest.fixture(autouse=True)
def in_the_bundle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(BUNDLE)
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    set_determinism(None)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small volumes, one in each section."""
    folder, random = tmp_path_factory.mktemp("study"), np.random.default_rng(0)
    sections = {}
    for index, section in enumerate(("training", "validation", "test")):
        name = f"sub-{index}_T1w.nii.gz"
        nib.save(nib.Nifti1Image(random.random((20, 18, 17), dtype=np.float32), np.eye(4)), folder / name)
        sections[section] = [{"image": name, "subject": f"sub-{index}"}]
    (folder / "datalist.json").write_text(json.dumps(sections))
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.manual_seed(0)
    network = MDCSRN(blocks=1, units=1, growth=2)
    torch.nn.init.normal_(network.recon.weight)
    save_weights(path, network)
    return path


@pytest.fixture
def overrides(study: Path, weights: Path, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """What makes a config small, and write into a temporary folder."""

    def of(config: str) -> dict[str, Any]:
        common = {**SMALL, "output_dir": str(tmp_path / "out")}
        if config == "train":
            knobs = {"patch_size": 16, "batch_size": 1, "patches_per_volume": 1, "volumes_per_group": 1}
            return {**common, **knobs, "datalist": str(study / "datalist.json"), "num_workers": 0}
        if config == "evaluate":
            return {**common, "datalist": str(study / "datalist.json"), "checkpoint": str(weights)}
        return {**common, "input": str(study / "sub-2_T1w.nii.gz"), "checkpoint": str(weights)}

    return of


@pytest.fixture
def resolved(overrides: Callable[[str], dict[str, Any]]) -> Callable[..., ConfigParser]:
    """``resolved(config, fragments, **pairs)``: a config with overlays and overrides, made small."""

    def parse(config: str, fragments: Sequence[str] = (), pairs: dict[str, Any] | None = None) -> ConfigParser:
        parser = ConfigParser()
        parser.read_config([f"configs/{config}.yaml", *(f"../../{fragment}" for fragment in fragments)])
        parser.update(overrides(config) if pairs is None else pairs)
        parser.parse(True)
        return parser

    return parse
