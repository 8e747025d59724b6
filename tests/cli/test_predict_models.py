"""Which weights ``mdcsrn predict`` takes: a model of a bundle by name, a file in either form, and no others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mdcsrn.files import sha256
from mdcsrn.inference.planning.models import model_names
from mdcsrn.networks import MDCSRN, publish_weights, save_weights
from mdcsrn.resources import folder

RANGES = """
trained_range:
  model: {spacing: [0.1, 9], field_of_view: [1, 999], reduction: [1, 4]}
  gan: {spacing: [0.1, 9], field_of_view: [1, 999], reductions: [[1, 1, 2]], windows: [tukey]}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with two small models, each in both forms, and a range for each."""
    work = tmp_path_factory.mktemp("bundle")
    home = work / "two_models"
    source = folder("bundles") / "mdcsrn_wgan_gp" / "configs"
    (home / "configs").mkdir(parents=True)
    shutil.copy(source / "metadata.json", home / "configs")
    (home / "configs" / "trained_range.yaml").write_text(RANGES)
    for seed, name in enumerate(("model", "gan")):
        torch.manual_seed(seed)
        network = MDCSRN(blocks=1, units=2, growth=4, space_to_depth=(2, 2, 2))
        torch.nn.init.normal_(network.recon.weight, std=0.02)
        save_weights(work / "trained.pt", network)
        publish_weights(work / "trained.pt", home / "models", name)
    return home


def test_help_lists_the_models_of_the_default_bundle(mdcsrn: Callable) -> None:
    text = " ".join(mdcsrn("predict", "--help").output.split())
    assert f"Weights: a file, or one of the bundle's: {', '.join(model_names())}." in text


@pytest.mark.parametrize(
    ("name", "file"), [("model", "model.pt"), ("gan", "gan.pt"), ("gan.safetensors", "gan.safetensors")]
)
def test_a_model_by_its_name(name: str, file: str, bundle: Path, mdcsrn: Callable, scan: Path, tmp_path: Path) -> None:
    done = mdcsrn("predict", scan, "-o", tmp_path / "sr.nii.gz", "--bundle", bundle, "--model", name)
    assert done.exit_code == 0, done.output
    weights = json.loads((tmp_path / "sr.json").read_text())["inference"]["weights"]
    assert weights["file"] == file
    assert weights["sha256"] == sha256(bundle / "models" / file)
    assert weights["architecture"]["space_to_depth"] == [2, 2, 2]
    assert ("window-outside-trained-range" in done.output) == file.startswith("gan")


def test_both_forms_give_the_same_voxels_and_two_models_do_not(
    bundle: Path, mdcsrn: Callable, scan: Path, tmp_path: Path
) -> None:
    volumes = {}
    for file in ("gan.pt", "gan.safetensors", "model.pt"):
        output = tmp_path / f"{file}.nii.gz"
        done = mdcsrn("predict", scan, "-o", output, "--model", bundle / "models" / file)
        assert done.exit_code == 0, done.output
        volumes[file] = np.asanyarray(nib.load(output).dataobj)
    assert np.array_equal(volumes["gan.pt"], volumes["gan.safetensors"])
    assert not np.allclose(volumes["gan.pt"], volumes["model.pt"])


def test_a_name_that_is_not_there_lists_what_is(bundle: Path, mdcsrn: Callable, scan: Path, tmp_path: Path) -> None:
    done = mdcsrn("predict", scan, "-o", tmp_path / "sr.nii.gz", "--bundle", bundle, "--model", "best")
    assert done.exit_code == 5
    assert "no weights named best" in done.output
    assert "gan, model of two_models" in done.output


@pytest.mark.parametrize("form", [".pt", ".safetensors"])
@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_damaged_weights_are_refused_by_name(
    form: str, harm: str, bundle: Path, mdcsrn: Callable, scan: Path, files: Callable, tmp_path: Path
) -> None:
    path = tmp_path / f"mine{form}"
    content = bytearray((bundle / "models" / f"gan{form}").read_bytes())
    path.write_bytes(content[: len(content) // 2])
    if harm == "changed":  # one bit, in a bundle that lists the file's hash
        path = tmp_path / "bundle" / "models" / f"gan{form}"
        shutil.copytree(bundle, tmp_path / "bundle")
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    done = mdcsrn("predict", scan, "-o", tmp_path / "out" / "sr.nii.gz", "--model", path)
    assert done.exit_code == 5
    assert path.name in done.output
    assert files(tmp_path / "out") == []
