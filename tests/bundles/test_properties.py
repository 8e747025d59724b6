"""The bundle's configs as MONAI reads them: its properties, the knobs' words, fragments, degradations, machines."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow

from mdcsrn.configs import check_command_line
from mdcsrn.kspace import DegradationSpec

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ("train", "evaluate", "inference")
FRAGMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").glob("*/*.yaml"))
OVERLAYS = (
    ("specialist",),
    ("specialist", "universal"),
    ("specialist", "universal", "adversarial"),
    ("finetune",),
    ("finetune", "multi_gpu_train"),
)


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


def test_every_overlay_is_in_a_chain() -> None:
    others = {f"{name}.yaml" for chain in OVERLAYS for name in chain} | {f"{name}.yaml" for name in CONFIGS}
    assert {path.name for path in Path("configs").glob("*.yaml")} == others | {"trained_range.yaml"}


@pytest.mark.parametrize("chain", OVERLAYS, ids="+".join)
def test_every_key_of_an_overlay_is_one_of_training(chain: tuple[str, ...]) -> None:
    check_command_line(["run", "--config_file", str([f"configs/{name}.yaml" for name in ("train", *chain)])])


@pytest.mark.parametrize("chain", [chain for chain in OVERLAYS if "multi_gpu_train" not in chain], ids="+".join)
def test_a_chain_of_overlays_makes_a_trainer(chain: tuple[str, ...], overrides: Callable) -> None:
    """With the network that the overlays name, on a few small volumes; nothing is trained."""
    parser = ConfigParser()
    parser.read_config([f"configs/{name}.yaml" for name in ("train", *chain)])
    keep = ("datalist", "output_dir", "patch_size", "batch_size", "patches_per_volume", "volumes_per_group")
    parser.update({key: value for key, value in overrides("train").items() if key in keep} | {"num_workers": 0})
    parser.parse(True)
    trainer = parser.get_parsed_content("train#trainer")
    assert (trainer.schedule.adversarial_steps > 0) == ("adversarial" in chain)
    assert trainer.generator.multiple == (2, 2, 2)
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    assert batch["image"].shape == batch["label"].shape == (1, 1, 16, 16, 16)
    assert not batch["image"].equal(batch["label"])


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
def test_a_degradation_reaches_the_transforms(config: str, fragment: str, resolved: Callable) -> None:
    expected = DegradationSpec.from_dict(yaml.safe_load((ROOT / fragment).read_text())["degradation"])
    parser = resolved(config, [fragment])
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
def test_a_machine_reaches_the_engine(fragment: str, overrides: Callable, small: dict[str, int]) -> None:
    values = yaml.safe_load((ROOT / fragment).read_text())
    parser = ConfigParser()
    parser.read_config(["configs/train.yaml", f"../../{fragment}"])
    keep = ("datalist", "output_dir", *small)
    parser.update({key: value for key, value in overrides("train").items() if key in keep})
    parser.update({"num_workers": 0, "patch_size": 16})
    parser.parse(True)
    trainer = parser.get_parsed_content("train#trainer")
    assert trainer.precision == "auto"  # whatever the processor: no fragment of a machine decides it
    for key in ("voxel_steps", "critic_warmup", "adversarial_steps", "critic_per_generator", "extra_critic_steps"):
        if key in values:
            assert getattr(trainer.schedule, key) == values[key]
    assert parser.get_parsed_content("train#dataloader").batch_sampler.batch_size == values["batch_size"]
