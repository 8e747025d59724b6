"""The four bundles of sibling networks, with tiny knobs: train, resume, evaluate, run, export, pack, as users do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import skimage.io
import torch
from click.testing import CliRunner
from ignite.engine import Events
from monai.bundle import ConfigWorkflow, ckpt_export, verify_net_in_out
from PIL import Image

from mdcsrn.bundle.check import check
from mdcsrn.bundle.pack import pack
from mdcsrn.cli.main import main
from mdcsrn.engines.checkpoint import latest_training
from mdcsrn.errors import root_error
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.losses.vgg19 import LAYERS
from mdcsrn.networks import load_weights, publish_weights, save_weights
from mdcsrn.networks.tensor_files import read

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
# Small networks, and a schedule of 4 steps, half of them adversarial where there is such a phase.
SMALL: dict[str, dict[str, Any]] = {
    "edsr_x2": {"network_def#width": 4, "network_def#blocks": 1, "voxel_steps": 4},
    "wdsr_x4": {"network_def#width": 4, "network_def#blocks": 1, "voxel_steps": 4},
    "srgan_x3": {
        "network_def#width": 4, "network_def#blocks": 1, "critic#width": 2, "voxel_steps": 2, "adversarial_steps": 1,
    },
    "srrescycgan_fastmri": {
        "network_def#width": 4, "network_def#blocks": 1, "back#width": 4, "back#blocks": 1, "critic_hr#width": 2,
        "critic_lr#width": 2, "critic_layers": 3, "voxel_steps": 1, "cycle_steps": 3, "halve_every": 2,
        "perceptual_weight": 0.0,
    },
}  # fmt: skip
PARTS = {
    "srgan_x3": {"generator", "critic"},
    "srrescycgan_fastmri": {"generator_hr", "generator_lr", "critic_hr", "critic_lr"},
}
COMMON: dict[str, Any] = {
    "patch_size": 36, "batch_size": 2, "patches_per_volume": 2, "volumes_per_group": 2, "num_workers": 0,
    "epoch_length": 2, "checkpoint_every": 1, "log_every": 1, "precision": "float32",
}  # fmt: skip
SCALES = {"edsr_x2": 2, "wdsr_x4": 4, "srgan_x3": 3, "srrescycgan_fastmri": 4}


@pytest.fixture(params=sorted(SMALL))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def in_its_folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, in_the_bundle: None) -> None:
    if "name" in request.fixturenames:
        monkeypatch.chdir(BUNDLES / request.getfixturevalue("name"))


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A datalist of four smooth volumes, odd sizes included, and one of low-resolution scans of others."""
    folder, random = tmp_path_factory.mktemp("planes"), np.random.default_rng(0)
    spec = DegradationSpec(reduction=(2, 2, 2))

    def made(number: int, shape: tuple[int, ...], people: str) -> dict[str, str]:
        noise = torch.from_numpy(random.random(shape, dtype=np.float32))
        file = f"{people}-{number}_T1w.nii.gz"
        nib.save(nib.Nifti1Image(degrade(noise, spec).numpy(), np.eye(4)), folder / file)
        return {"image": file, "subject": f"{people}-{number}"}

    high = [made(number, (40, 41, 44), "sub") for number in range(2)]
    sections = {"training": high, "validation": [made(2, (3, 39, 40), "sub")], "test": [made(3, (3, 41, 38), "sub")]}
    (folder / "datalist.json").write_text(json.dumps(sections))
    (folder / "low.json").write_text(json.dumps({"training": [made(0, (12, 12, 11), "other")]}))
    return folder


def train(planes: Path, output: Path, name: str, overlays: tuple[str, ...] = (), **knobs: Any) -> ConfigWorkflow:
    """The workflow of `python -m monai.bundle run training`, ready to run."""
    given = {**COMMON, **SMALL[name], "datalist": str(planes / "datalist.json"), "output_dir": str(output), **knobs}
    files = [f"configs/{config}.yaml" for config in ("train", *overlays)]
    workflow = ConfigWorkflow(files, "train", run_id="training", logging_file=False, **given)
    workflow.initialize()
    return workflow


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def state_of(output: Path) -> dict[str, Any]:
    _, state = latest_training(output / "checkpoints") or pytest.fail("no checkpoint")
    return state


def test_training_stopped_at_a_step_resumes_bitwise(name: str, planes: Path, tmp_path: Path) -> None:
    """A run of four steps against one that is broken off in its third, in phase 2, and begun anew."""
    train(planes, tmp_path / "whole", name).run()
    broken = train(planes, tmp_path / "broken", name)
    trainer = broken.parser.get_parsed_content("train#trainer")

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    trainer.add_event_handler(Events.ITERATION_STARTED(once=3), stop)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    assert state_of(tmp_path / "broken")["iteration"] < 4
    train(planes, tmp_path / "broken", name).run()
    one, other = state_of(tmp_path / "whole"), state_of(tmp_path / "broken")
    assert one["iteration"] == 4
    assert set(one["parts"]) == PARTS.get(name, {"generator"})
    assert same(one["parts"], other["parts"])
    assert same(one["averages"], other["averages"])
    stems = ("model", "model_best", *(() if name == "srrescycgan_fastmri" else ("model_l1",)))
    for file in (f"{stem}{form}" for stem in stems for form in (".pt", ".safetensors")):
        assert same(read(tmp_path / "whole" / file), read(tmp_path / "broken" / file)), file
    moved = load_weights(tmp_path / "whole" / "model.pt")
    assert max(float(value.abs().max()) for key, value in moved.named_parameters() if "tail" in key) > 0


@pytest.mark.parametrize("name", sorted(SMALL))
def test_thick_slices_along_the_last_axis_train(name: str, planes: Path, tmp_path: Path) -> None:
    """Eight slices whose planes alone are as large as a patch: every batch is of patches of those."""
    folder, random = tmp_path / "thick", np.random.default_rng(4)
    folder.mkdir()
    entries = json.loads((planes / "datalist.json").read_text())
    nib.save(nib.Nifti1Image(random.random((40, 44, 8), np.float32), np.diag([1.0, 1, 5, 1])), folder / "a_T1w.nii.gz")
    listed = {key: [{**e, "image": str(planes / e["image"])} for e in value] for key, value in entries.items()}
    (folder / "datalist.json").write_text(
        json.dumps({**listed, "training": [{"image": "a_T1w.nii.gz", "subject": "a"}]})
    )
    workflow = train(planes, tmp_path / "out", name, datalist=str(folder / "datalist.json"))
    patches = workflow.parser.get_parsed_content("train#dataset")
    assert {tuple(patches[number]["label"].shape) for number in range(8)} == {(1, 1, 36, 36)}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``published(name)``: a copy of a bundle with small random weights in its ``models/``."""
    made: dict[str, Path] = {}

    def copy(name: str) -> Path:
        if name not in made:
            home = tmp_path_factory.mktemp("published") / name
            shutil.copytree(BUNDLES / name, home, ignore=shutil.ignore_patterns("runs", "models", "eval"))
            for document in ("README.md", "data_license.txt"):  # written with the weights that they are about
                (home / "docs").mkdir(exist_ok=True)
                if not (home / "docs" / document).is_file():
                    (home / "docs" / document).write_text("of no weights yet")
            workflow = ConfigWorkflow(
                [str(home / "configs" / "train.yaml")], "train", run_id="training", logging_file=False,
                **{key: value for key, value in SMALL[name].items() if key.startswith("network_def")},
            )  # fmt: skip
            torch.manual_seed(0)
            network = workflow.parser.get_parsed_content("network_def")
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.add_(0.02 * torch.randn(parameter.shape))
            facts = {"datalist": "0" * 64, "seed": 0, "step": 4, "phase": "voxel"}
            save_weights(home.parent / "small.pt", network, facts)
            publish_weights(home.parent / "small.pt", home / "models", "model")
            made[name] = home
        return made[name]

    return copy


def test_evaluating_and_run(name: str, planes: Path, published: Callable[[str], Path], tmp_path: Path) -> None:
    """Figures beside the baselines'; and a file on a grid that is finer by the bundle's factor, its mean kept."""
    home, scale = published(name), SCALES[name]
    given = {"bundle_root": str(home), "output_dir": str(tmp_path / "evaluate"), "precision": "float32"}
    evaluating = ConfigWorkflow(
        [str(home / "configs" / "evaluate.yaml")], "eval", run_id="evaluating", logging_file=False,
        datalist=str(planes / "datalist.json"), **given,
    )  # fmt: skip
    evaluating.initialize()
    evaluating.run()
    rows = (tmp_path / "evaluate" / "per_subject.csv").read_text()
    assert all(word in rows for word in ("sub-3", "zero-filled", "nearest"))
    low = nib.Nifti1Image(np.random.default_rng(1).random((3, 11, 12), dtype=np.float32) + 1, np.diag([2, 3, 3, 1]))
    nib.save(low, tmp_path / "scan.nii.gz")
    given |= {"output_dir": str(tmp_path / "run"), "input": str(tmp_path / "scan.nii.gz"), "progress": False}
    inference = ConfigWorkflow(
        [str(home / "configs" / "inference.yaml")], "infer", run_id="run", logging_file=False, **given
    )
    inference.initialize()
    inference.run()
    (result,) = (nib.load(path) for path in (tmp_path / "run").rglob("*_sr.nii.gz"))
    assert result.shape == (3, 11 * scale, 12 * scale)
    np.testing.assert_allclose(np.diag(result.affine)[:3], [2, 3 / scale, 3 / scale], rtol=1e-6)
    assert result.get_fdata().mean() == pytest.approx(low.get_fdata().mean(), rel=1e-4)  # consistency keeps it


def test_pictures_are_run_as_predict_does(published: Callable[[str], Path], tmp_path: Path) -> None:
    """Of 8 and 16 bit, PNG and JPEG, in class folders: equal names, bits and pixels.

    Of odd sizes: an even one has a Nyquist sample, half of which the configured degradation leaves to the network.
    """
    home, random = published("edsr_x2"), np.random.default_rng(3)
    source = tmp_path / "all"
    for file, peak in (("T1w/a.png", 255), ("T2w/a.png", 65535), ("T2w/deep/b.jpg", 255)):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        pixels = (random.random((21, 25)) * peak).astype(np.uint16 if peak > 255 else np.uint8)
        Image.fromarray(pixels).save(source / file)
    inference = ConfigWorkflow(
        [str(home / "configs" / "inference.yaml")], "infer", run_id="run", logging_file=False, bundle_root=str(home),
        output_dir=str(tmp_path / "run"), input=str(source), precision="float32", progress=False,
    )  # fmt: skip
    inference.initialize()
    inference.run()
    words = ["predict", str(source), "--bundle", str(home), "-o", str(tmp_path / "predict"), "--precision", "float32"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    files = sorted(path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*.*"))
    assert files == ["T1w/a_sr.png", "T2w/a_sr.png", "T2w/deep/b_sr.png"]
    for file in files:
        found, expected = (skimage.io.imread(tmp_path / by / file) for by in ("run", "predict"))
        assert (found.shape, found.dtype) == ((42, 50), np.uint16 if file == "T2w/a_sr.png" else np.uint8)
        assert expected.dtype == found.dtype
        assert int(np.abs(found.astype(int) - expected.astype(int)).max()) <= 1, "a value of about .5 may go either way"
        assert found.std() > 0


def test_the_model_zoo_and_the_package_take_it(
    name: str, published: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ci/verify_bundle.py's own calls, from the folder of the bundles; then our check and pack."""
    home, scale = published(name), SCALES[name]
    monkeypatch.chdir(home.parent)
    files = {"config_file": f"{name}/configs/inference.yaml", "meta_file": f"{name}/configs/metadata.json"}
    verify_net_in_out(net_id="network_def", extra_forward_args={}, bundle_root=name, **files)
    ckpt_export(
        net_id="network_def", filepath=str(tmp_path / "model.ts"), ckpt_file=f"{name}/models/model.pt",
        bundle_root=name, use_trace=False, **files,
    )  # fmt: skip
    x = torch.rand(1, 1, 2, 9, 7)
    with torch.no_grad():
        expected = load_weights(home / "models" / "model.pt")(x)
        found = torch.jit.load(str(tmp_path / "model.ts")).eval()(x)
    assert found.shape == (1, 1, 2, 9 * scale, 7 * scale)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert check(home) == []
    assert pack(home, tmp_path / f"{name}.zip").stat().st_size > 0
    nib.save(nib.Nifti1Image(np.random.default_rng(2).random((12, 11, 9), np.float32), np.eye(4)), "scan_T1w.nii.gz")
    words = ["predict", "scan_T1w.nii.gz", "--bundle", str(home), "-o", str(tmp_path / "fine.nii.gz")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert sorted(np.array(nib.load(tmp_path / "fine.nii.gz").shape) // (12, 11, 9)) == [1, scale, scale]


@pytest.mark.parametrize("scale", [2, 4])
def test_the_factor_of_srgan_is_a_knob(scale: int, planes: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(BUNDLES / "srgan_x3")
    train(planes, tmp_path, "srgan_x3", scale=scale).run()
    assert load_weights(tmp_path / "model.pt").traits.scale == (1, scale, scale)


@pytest.fixture(scope="module")
def vgg19(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random VGG19 weights."""
    random = torch.Generator().manual_seed(0)
    state = {}
    for place, before, after in LAYERS.values():
        state[f"features.{place}.weight"] = torch.randn(after, before, 3, 3, generator=random) * (2 / 9 / before) ** 0.5
        state[f"features.{place}.bias"] = torch.zeros(after)
    path = tmp_path_factory.mktemp("vgg19") / "vgg19.pt"
    torch.save(state, path)
    return path


@pytest.mark.parametrize("name", sorted(PARTS))
def test_the_perceptual_loss_needs_a_file_and_uses_it(name: str, planes: Path, vgg19: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        train(planes, tmp_path / "none", name, perceptual_weight=1.0).run()
    error = root_error(caught.value)
    assert "no VGG19 weights for the perceptual loss" in str(error)
    assert "set perceptual_weight to 0" in str(error)
    with_it = train(planes, tmp_path / "with", name, perceptual_weight=1.0, vgg19=str(vgg19))
    trainer = with_it.parser.get_parsed_content("train#trainer")
    seen: list[float] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.output.get("perceptual_loss", 0.0))
    )
    with_it.run()
    if name == "srrescycgan_fastmri":
        assert [value > 0 for value in seen] == [False, True, True, True]  # the voxel phase has none
    else:
        assert trainer.voxel_loss.perceptual is not None


def test_unpaired_lists(planes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Low-resolution scans of others as they are; someone of both lists is refused by name."""
    name = "srrescycgan_fastmri"
    monkeypatch.chdir(BUNDLES / name)
    workflow = train(planes, tmp_path / "out", name, ("unpaired",), low_datalist=str(planes / "low.json"))
    trainer = workflow.parser.get_parsed_content("train#trainer")
    shapes: list[tuple[Any, ...]] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: shapes.append(
            (*engine.state.batch["image"].shape[-2:], *engine.state.batch["label"].shape[-2:],
             bool(engine.state.batch["paired"].any()))
        ),
    )  # fmt: skip
    workflow.run()
    assert shapes == [(9, 9, 36, 36, False)] * 4
    with pytest.raises(Exception, match=r".") as caught:
        train(planes, tmp_path / "both", name, ("unpaired",), low_datalist=str(planes / "datalist.json"))
    assert "sub-0" in str(root_error(caught.value))


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(SMALL))
def test_two_processes_share_a_batch(name: str, planes: Path, tmp_path: Path) -> None:
    """With the overlay, under torchrun: one writer; without batch statistics, the gradients of one process.

    The adversarial phase is run too; its first steps amplify rounding, and so only the voxel phase is compared.
    """
    voxel = {"cycle_steps": 0, "voxel_steps": 2} if name == "srrescycgan_fastmri" else {}
    for processes, overlay in ((1, []), (2, ["configs/multi_gpu_train.yaml"])):
        knobs = {**COMMON, **SMALL[name], **voxel, "datalist": planes / "datalist.json"}
        knobs["output_dir"] = tmp_path / str(processes)
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"] if overlay else []
        words = [sys.executable, *launcher, "-m", "monai.bundle", "run", "training"]
        words += ["--config_file", str(["configs/train.yaml", *overlay])]
        words += [word for key, value in knobs.items() for word in (f"--{key}", str(value))]
        environment = os.environ | {"PYTHONPATH": str(BUNDLES.parent), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert len(list((tmp_path / str(processes) / "tensorboard").iterdir())) == 1
    one, two = (state_of(tmp_path / str(processes)) for processes in (1, 2))
    assert one["iteration"] == two["iteration"]
    assert one["parts"].keys() == two["parts"].keys()
    if name != "srgan_x3":  # batch normalisation sees half a batch in each process
        part = "generator_hr" if name == "srrescycgan_fastmri" else "generator"
        first, second = (
            torch.cat([state["exp_avg"].flatten() for state in run["parts"][part]["optimizer"]["state"].values()])
            for run in (one, two)
        )
        assert float((first - second).norm()) < 0.02 * float(first.norm())
