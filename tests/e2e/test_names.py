"""Any legal file name in the knobs of `python -m monai.bundle run`: used as it stands, in every config."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from mdcsrn.engines import save_weights
from mdcsrn.networks import MDCSRN

# One for each way in which a shell, Fire, MONAI or Python could take it for something else.
NAMES = ["study#1", "20250101", "None", "$HOME", "@home", "a, b", "{a: 1}", "größe 日本"]
MORE = [
    "a::b", "a@#b", "$5", "$sum(1", "a%20b", "1e5", "True", "[a]", "'a'", '"', "it's", "=a", "~a", "a\nb", "...",
    "-5", "lambda: 0",
]  # fmt: skip


def named(names: Sequence[str], more: Sequence[str] = ()) -> list[Any]:
    """Parameters: `more` of them in the long tests alone."""
    return [*names, *(pytest.param(name, marks=pytest.mark.long) for name in more)]


@pytest.fixture
def place(tmp_path: Path, small_weights: Path, make_head: Callable, save: Callable) -> Path:
    """A folder with a scan and small weights, to be worked in."""
    save(make_head((10, 12, 11)), tmp_path / "scan.nii.gz")
    shutil.copy(small_weights, tmp_path / "own.pt")
    return tmp_path


def results(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*_*.nii.gz"))


@pytest.mark.parametrize("name", named(NAMES[:3], NAMES[3:] + MORE))
def test_inference(name: str, place: Path, run_bundle: Callable, bundle: Path) -> None:
    """As input, as output, as postfix, as weights and as the bundle's own folder."""
    folder, weights = place / "out" / "of" / name, place / name
    weights.mkdir()
    shutil.copy(place / "own.pt", weights / "own.pt")
    shutil.copy(place / "scan.nii.gz", weights / "scan.nii.gz")
    common = ["run", "--config_file", bundle / "configs" / "inference.yaml", "--max_memory", "0.5", "--device", "cpu"]
    done = run_bundle(
        *common, f"--input={name}", f"--output_dir=out/of/{name}", f"--checkpoint={name}/own.pt", folder=place
    )
    assert done.code == 0, done.err
    assert results(place) == [f"out/of/{name}/scan_sr.nii.gz"]
    shutil.rmtree(place / "out")
    words = [f"--input={name}/scan.nii.gz", f"--output_postfix={name}", "--checkpoint", "own.pt"]
    (place / "bundle" / name).mkdir(parents=True)
    shutil.copytree(bundle / "models", place / "bundle" / name / "models")
    done = run_bundle(*common, *words, "--output_dir", f"{name}.out", f"--bundle_root=bundle/{name}", folder=place)
    assert done.code == 0, done.err
    assert results(place) == [f"{name}.out/scan_{name}.nii.gz"]
    assert not folder.exists()


@pytest.mark.parametrize("name", named(NAMES, MORE))
def test_a_place_by_its_name_alone(name: str, place: Path, run_bundle: Callable, bundle: Path) -> None:
    config = bundle / "configs" / "inference.yaml"
    done = run_bundle(
        "run", "--config_file", config, "--input", "scan.nii.gz", "--checkpoint", "own.pt", "--output_dir", name,
        folder=place,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert results(place) == [f"{name}/scan_sr.nii.gz"]
    assert sorted(path.name for path in place.iterdir()) == sorted([name, "own.pt", "scan.nii.gz"])


@pytest.mark.parametrize("name", named(["study#1", "20250101"], ["None", "$HOME", "{a: 1}"]))
def test_evaluation(name: str, place: Path, run_bundle: Callable, bundle: Path) -> None:
    (place / "list").mkdir()
    (place / "list" / name).write_text(json.dumps({"test": [{"image": str(place / "scan.nii.gz"), "subject": "a"}]}))
    done = run_bundle(
        "run", "evaluating", "--config_file", bundle / "configs" / "evaluate.yaml", f"--datalist=list/{name}",
        "--checkpoint", "own.pt", f"--output_dir={name}", folder=place,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert (place / name / "summary.json").is_file()


@pytest.mark.parametrize("name", named(["study#1"], ["20250101", "None", "@home", "[a]"]))
@pytest.mark.parametrize("overlay", ["", "finetune"])
def test_training(
    name: str, overlay: str, place: Path, run_bundle: Callable, bundle: Path, make_head: Callable, save: Callable
) -> None:
    sections = {key: [{"image": f"{key}.nii.gz", "subject": key}] for key in ("training", "validation")}
    for seed, key in enumerate(sections):
        save(make_head((10, 12, 11), seed=seed), place / f"{key}.nii.gz")
    (place / f"{name}.json").write_text(json.dumps(sections))
    shutil.copy(place / "own.pt", place / f"{name}.pt")
    files = [bundle / "configs" / f"{config}.yaml" for config in ("train", overlay) if config]
    knobs = {
        "voxel_steps": 2, "adversarial_steps": 0, "critic_warmup": 0, "epoch_length": 2, "batch_size": 1,
        "patch_size": 8,
        "patches_per_volume": 1, "volumes_per_group": 1, "num_workers": 0, "precision": "float32", "device": "cpu",
    }  # fmt: skip
    if not overlay:
        knobs |= {"network_def#blocks": 1, "network_def#units": 2, "network_def#growth": 4}
    done = run_bundle(
        "run", "training", "--config_file", str([str(file) for file in files]), f"--datalist={name}.json",
        f"--start={name}.pt", f"--cache_dir=cache/{name}", f"--output_dir={name}",
        *(f"--{key}={value}" for key, value in knobs.items()), folder=place,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert {path.name for path in (place / name).iterdir()} >= {"checkpoints", "model.pt", "model.safetensors"}
    assert (place / "cache" / name).is_dir()
    assert sorted(path.name for path in place.iterdir()) == sorted(
        [name, f"{name}.json", f"{name}.pt", "cache", "own.pt", "scan.nii.gz", "training.nii.gz", "validation.nii.gz"]
    )


@pytest.mark.parametrize(("name", "other"), [("%a", "./%a"), ("a@##b", None)])
def test_what_monai_reads_before_we_are_asked(
    name: str, other: str | None, place: Path, run_bundle: Callable, bundle: Path
) -> None:
    """It refuses such names itself, before any work; one that begins with % has another way to be written."""
    words = ["run", "--config_file", bundle / "configs" / "inference.yaml", "--input", "scan.nii.gz"]
    done = run_bundle(*words, "--checkpoint", "own.pt", "--output_dir", name, folder=place)
    assert done.code != 0
    assert sorted(path.name for path in place.iterdir()) == ["own.pt", "scan.nii.gz"]
    if other is not None:
        assert run_bundle(*words, "--checkpoint", "own.pt", "--output_dir", other, folder=place).code == 0
        assert results(place) == [f"{name}/scan_sr.nii.gz"]


def test_an_overlay_with_a_name(place: Path, run_bundle: Callable, bundle: Path) -> None:
    (place / "over.yaml").write_text("output_dir: 'study#1'\n")
    files = str([str(bundle / "configs" / "inference.yaml"), "over.yaml"])
    done = run_bundle("run", "--config_file", files, "--input", "scan.nii.gz", "--checkpoint", "own.pt", folder=place)
    assert done.code == 0, done.err
    assert results(place) == ["study#1/scan_sr.nii.gz"]


def test_an_expression_is_still_one(place: Path, run_bundle: Callable, bundle: Path) -> None:
    words = ["run", "--config_file", bundle / "configs" / "inference.yaml", "--input", "scan.nii.gz"]
    done = run_bundle(*words, "--checkpoint", "own.pt", "--output_dir", "$@output_postfix + 'x'", folder=place)
    assert done.code == 0, done.err
    assert results(place) == ["srx/scan_sr.nii.gz"]


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = MDCSRN(1, 2, 4)
    torch.nn.init.normal_(network.recon.weight, std=1e-3)
    path = tmp_path_factory.mktemp("small weights") / "own.pt"
    save_weights(path, network)
    return path


def test_a_plain_file_of_weights_needs_its_arguments(place: Path, run_bundle: Callable, bundle: Path) -> None:
    """A state dictionary that other software saved: refused by name, or completed by the config's knobs."""
    state = torch.load(place / "own.pt", weights_only=True)
    torch.save({key: value.clone() for key, value in state.items()}, place / "plain.pt")
    words = ["run", "--config_file", bundle / "configs" / "inference.yaml", "--input", "scan.nii.gz"]
    done = run_bundle(*words, "--checkpoint", "plain.pt", "--output_dir", "out", folder=place)
    assert done.code != 0
    assert done.last_line.startswith("error: plain.pt is a state dictionary that does not say residual")
    for file, target in (("plain.pt", "a"), ("own.pt", "b")):
        done = run_bundle(
            *words, "--checkpoint", file, "--output_dir", target, "--network_def#residual", "True", folder=place
        )  # fmt: skip
        assert done.code == 0, done.err
    one, other = (np.asarray(nib.load(place / t / "scan_sr.nii.gz").dataobj) for t in "ab")
    assert np.array_equal(one, other)
