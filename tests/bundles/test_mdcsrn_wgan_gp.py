"""The bundle's configs as MONAI reads them: properties, fragments, knobs, and its own checks and export."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_net_in_out
from monai.utils import set_determinism

from mdcsrn.configs import check_command_line
from mdcsrn.engines import load_weights, save_weights
from mdcsrn.kspace import DegradationSpec
from mdcsrn.networks import MDCSRN

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "mdcsrn_wgan_gp"
CONFIGS = ("train", "evaluate", "inference")
FRAGMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").glob("*/*.yaml"))
SMALL = {"network_def#blocks": 1, "network_def#units": 1, "network_def#growth": 2}


@pytest.fixture(autouse=True)
def in_the_bundle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(BUNDLE)
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    set_determinism(None)


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


def resolved(config: str, fragments: list[str], pairs: dict[str, Any]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([f"configs/{config}.yaml", *(f"../../{fragment}" for fragment in fragments)])
    parser.update(pairs)
    parser.parse(True)
    return parser


@pytest.mark.parametrize(("config", "kind"), [("train", "train"), ("inference", "infer"), ("evaluate", "infer")])
def test_monai_finds_every_property(config: str, kind: str, overrides: Callable) -> None:
    workflow = ConfigWorkflow(f"configs/{config}.yaml", workflow_type=kind, **overrides(config))
    workflow.initialize()
    assert workflow.check_properties() == []
    for name in ("bundle_root", "device", "dataset_dir", "network_def", "evaluator"):
        assert getattr(workflow, name) is not None, name
    ids = "train#trainer train#dataset train#inferer" if kind == "train" else "inferer dataset"
    for name in ids.split():
        assert workflow.parser.get_parsed_content(name) is not None


def test_every_knob_has_its_word() -> None:
    """In the knobs' part of a config, single values are explained in a few words or by their name alone."""
    for config in CONFIGS:
        text = Path(f"configs/{config}.yaml").read_text()
        assert text.startswith("# ")
        knobs = text[text.index("bundle_root:") : text.index("\nnetwork_def:")]
        numbers = [line for line in knobs.splitlines() if re.match(r"\w+: \d", line)]
        assert numbers
        assert not [line for line in numbers if "#" not in line], config


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_every_key_of_a_fragment_is_a_training_knob(fragment: str) -> None:
    check_command_line(["run", "--config_file", f"['configs/train.yaml','../../{fragment}']"])


@pytest.mark.parametrize(
    ("config", "fragment"),
    [
        *[("evaluate", name) for name in FRAGMENTS if "/hardware/" not in name],
        *[("inference", name) for name in FRAGMENTS if "/degradation/" in name],
    ],
)
def test_fragments_that_other_configs_take(config: str, fragment: str) -> None:
    check_command_line(["run", "--config_file", f"['configs/{config}.yaml','../../{fragment}']"])


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("fragment", [name for name in FRAGMENTS if "/degradation/" in name])
def test_a_degradation_reaches_the_transforms(config: str, fragment: str, overrides: Callable) -> None:
    expected = DegradationSpec.from_dict(yaml.safe_load((ROOT / fragment).read_text())["degradation"])
    parser = resolved(config, [fragment], overrides(config))
    if config == "inference":
        assert parser.get_parsed_content("postprocessing").transforms[0].consistency.spec == expected
        return
    prefix = "validate#" if config == "train" else ""
    steps = parser.get_parsed_content(f"{prefix}dataset").transform.transforms
    assert expected in [getattr(getattr(step, "low_pass", None), "spec", None) for step in steps] + [
        getattr(step, "spec", None) for step in steps
    ]
    if config == "train":
        random = parser.get_parsed_content("train#degrade").transforms[0]
        assert max(expected.reduction) == parser.get_parsed_content("train_reduction")[1]
        assert random is not None


@pytest.mark.parametrize("fragment", [name for name in FRAGMENTS if "/hardware/" in name])
def test_a_machine_reaches_the_engine(fragment: str, overrides: Callable) -> None:
    values = yaml.safe_load((ROOT / fragment).read_text())
    parser = ConfigParser()
    parser.read_config(["configs/train.yaml", f"../../{fragment}"])
    keep = ("datalist", "output_dir", *SMALL)
    parser.update({key: value for key, value in overrides("train").items() if key in keep})
    parser.update({"num_workers": 0, "patch_size": 16})
    parser.parse(True)
    trainer = parser.get_parsed_content("train#trainer")
    assert trainer.precision == values["precision"]
    for key in ("voxel_steps", "critic_warmup", "adversarial_steps", "critic_per_generator", "extra_critic_steps"):
        if key in values:
            assert getattr(trainer.schedule, key) == values[key]
    assert parser.get_parsed_content("train#sampler").batch_size == values["batch_size"]


# Knob: another value, and where it must arrive, as an expression of the parser p.
KNOBS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "seed": (7, lambda p: (p("train#dataset").seed, p("train#trainer").seed)[0]),
    "train_reduction": ([1.5, 3.0], lambda p: list(p("train_reduction"))),
    "train_axes": ("all", lambda p: p("train_axes")),
    "train_windows": (["tukey"], lambda p: p("train_windows")),
    "train_noise": ([0.0, 0.05], lambda p: p("train_noise")),
    "patch_size": (17, lambda p: p("train#dataset").patch_size),
    "batch_size": (3, lambda p: p("train#sampler").batch_size),
    "patches_per_volume": (5, lambda p: p("train#dataset").patches_per_volume),
    "volumes_per_group": (2, lambda p: p("train#dataset").volumes_per_group),
    "streams": (2, lambda p: p("train#dataset").streams),
    "num_workers": (1, lambda p: p("train#dataloader").num_workers),
    "cache_rate": (0.0, lambda p: float(p("train#volumes").cache_num + p("validate#dataset").cache_num)),
    "voxel_steps": (11, lambda p: p("train#trainer").schedule.voxel_steps),
    "critic_warmup": (12, lambda p: p("train#trainer").schedule.critic_warmup),
    "adversarial_steps": (13, lambda p: p("train#trainer").schedule.adversarial_steps),
    "critic_per_generator": (4, lambda p: p("train#trainer").schedule.critic_per_generator),
    "extra_critic_steps": (15, lambda p: p("train#trainer").schedule.extra_critic_steps),
    "extra_every": (16, lambda p: p("train#trainer").schedule.extra_every),
    "voxel_rate": (0.003, lambda p: p("train#generator_optimizer").param_groups[0]["lr"]),
    "rate_warmup": (3, lambda p: p("train#generator_scheduler").lr_lambdas[0].warmup),
    "rate_final": (0.25, lambda p: p("train#generator_scheduler").lr_lambdas[0].final),
    "adversarial_rate": (
        2e-6,
        lambda p: round(p("train#generator_scheduler").lr_lambdas[0].ratio * p("voxel_rate"), 12),
    ),
    "critic_rate": (3e-6, lambda p: p("train#critic_optimizer").param_groups[0]["lr"]),
    "adversarial_weight": (0.02, lambda p: p("train#trainer").adversarial_weight),
    "penalty_weight": (5.0, lambda p: p("train#trainer").penalty_weight),
    "conditional": (True, lambda p: p("train#trainer").conditional),
    "critic_preset": ("pointwise", lambda p: p("critic").preset),
    "ema_decay": (0.9, lambda p: p("train#trainer").average.multi_avg_fn.decay),
    "precision": ("bfloat16", lambda p: p("train#trainer").precision),
    "max_gradient_norm": (None, lambda p: p("train#trainer").max_gradient_norm),
    "epoch_length": (21, lambda p: p("train#trainer").state.epoch_length),
    "checkpoint_every": (22, lambda p: p("train#checkpoints").every),
    "log_every": (23, lambda p: p("train#handlers")[2].every),
    "max_memory": (2.5, lambda p: p("validate#inferer").max_memory),
    "val_interval": (2, lambda p: p("train#handlers")[0].interval),
}
ELSEWHERE = {
    "bundle_root", "device", "dataset_dir", "datalist", "datalist_file", "output_dir", "degradation",
    "cache_dir", "imports", "network_def", "network", "average", "critic", "load", "train", "validate",
    "initialize", "run", "training", "finalize",
}  # fmt: skip


def test_every_training_knob_is_tried() -> None:
    known = set(yaml.safe_load(Path("configs/train.yaml").read_text()))
    assert known - ELSEWHERE == set(KNOBS)


@pytest.mark.parametrize("knob", KNOBS)
def test_a_training_knob_reaches_its_object(knob: str, overrides: Callable) -> None:
    value, arrive = KNOBS[knob]
    before = arrive(resolved("train", [], overrides("train")).get_parsed_content)
    # The original critics take 64-voxel patches alone; every other value is tried at the small size.
    extra = {"patch_size": 64} if knob == "critic_preset" else {}
    after = arrive(resolved("train", [], {**overrides("train"), **extra, knob: value}).get_parsed_content)
    plain = after[0] if knob == "patch_size" and isinstance(after, tuple) else after
    assert plain == value
    assert before != after


def test_volumes_are_cached_on_disk_when_asked(overrides: Callable, tmp_path: Path) -> None:
    parser = resolved("train", [], {**overrides("train"), "cache_dir": str(tmp_path / "cache")})
    for name in ("train#volumes", "validate#dataset"):
        assert len(parser.get_parsed_content(name)) == 1
        assert parser.get_parsed_content(name)[0]["image"].shape == (1, 20, 18, 17)
    assert list((tmp_path / "cache").rglob("*"))


def test_the_network_is_a_knob(overrides: Callable) -> None:
    parser = resolved("train", [], {**overrides("train"), "network_def#residual": False, "network_def#growth": 3})
    generator = parser.get_parsed_content("train#trainer").generator
    assert generator.architecture == {
        "blocks": 1, "units": 1, "growth": 3, "residual": False, "space_to_depth": None,
    }  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS)
def test_the_default_network_is_the_published_size(config: str) -> None:
    parser = ConfigParser()
    parser.read_config(f"configs/{config}.yaml")
    network = parser.get_parsed_content("network_def")
    assert sum(parameter.numel() for parameter in network.parameters()) == 411_648


@pytest.mark.parametrize("config", CONFIGS)
def test_verify_net_in_out(config: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        verify_net_in_out("network_def", meta_file="configs/metadata.json", config_file=f"configs/{config}.yaml", n=2)
    assert any("verified with no error" in message for message in caplog.messages)


def test_verify_net_in_out_sees_a_wrong_channel_count(tmp_path: Path) -> None:
    metadata = json.loads(Path("configs/metadata.json").read_text())
    metadata["network_data_format"]["outputs"]["pred"]["num_channels"] = 2
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="channel number"):
        verify_net_in_out(
            "network_def", meta_file=str(tmp_path / "metadata.json"), config_file="configs/inference.yaml"
        )


def export(checkpoint: Path, target: Path, **options: Any) -> torch.jit.ScriptModule:
    ckpt_export(
        "network_def", filepath=str(target), ckpt_file=str(checkpoint), meta_file="configs/metadata.json",
        config_file="configs/inference.yaml", key_in_ckpt="model", **options,
    )  # fmt: skip
    return torch.jit.load(str(target)).eval()


def test_the_shipped_weights_are_a_restorer() -> None:
    network = load_weights(BUNDLE / "models" / "model.pt")
    assert isinstance(network, MDCSRN)
    assert network.architecture == MDCSRN().architecture
    x = torch.rand(1, 1, 20, 20, 20)
    with torch.no_grad():
        assert 1e-4 < float((network(x) - x).abs().max()) < 1


@torch.no_grad()
def test_export_of_the_shipped_weights(tmp_path: Path) -> None:
    """TorchScript of the real network gives the eager result, on a size that is not the export's."""
    checkpoint = BUNDLE / "models" / "model.pt"
    scripted, network = export(checkpoint, tmp_path / "model.ts"), load_weights(checkpoint)
    for shape in ((20, 21, 22), (9, 30, 13)):
        x = torch.rand(1, 1, *shape)
        torch.testing.assert_close(scripted(x), network(x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{}, {"use_trace": True, "input_shape": [1, 1, 16, 16, 16]}], ids=["script", "trace"]
)
@pytest.mark.parametrize("residual", [True, False], ids=["residual", "published"])
def test_export_of_any_weights(residual: bool, options: dict, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = MDCSRN(blocks=2, units=2, growth=4, residual=residual)
    torch.nn.init.normal_(network.recon.weight)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_()
    save_weights(tmp_path / "model.pt", network.eval())
    arguments = {f"network_def#{key}": value for key, value in network.architecture.items()}
    scripted = export(tmp_path / "model.pt", tmp_path / "model.ts", **options, **arguments)
    for shape in ((16, 16, 16), (11, 23, 9)):
        x = torch.rand(1, 1, *shape)
        torch.testing.assert_close(scripted(x), network(x), rtol=1e-5, atol=1e-5)
