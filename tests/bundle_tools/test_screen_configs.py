"""What the screen says of single lines of a configuration: the rule by its name, the verdict, and what may pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mdcsrn.bundle.check import check
from mdcsrn.bundle.expressions import GLOBALS, Scope, expression_problems
from mdcsrn.bundle.finding import verdict
from mdcsrn.bundle.static_scan import configurations

# name -> (rule, what lies beside the rest of a configuration)
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "a callable that is not on the list": ("target", {"x": {"_target_": "monai.transforms.Lambda"}}),
    "a bare one": ("target", {"x": {"_target_": "Lambdad", "keys": "a", "func": "@device"}}),
    "one that looks a class up": ("target", {"x": {"_target_": "TorchVisiond", "keys": "a", "name": "ColorJitter"}}),
    "one that looks a reader up": ("target", {"x": {"_target_": "ImageDataset", "image_files": ["a"]}}),
    "one that looks a merger up": ("target", {"x": {"_target_": "PatchInferer", "merger_cls": "AvgMerger"}}),
    "one that looks an encoder up": ("target", {"x": {"_target_": "FlexibleUNet", "backbone": "a.b"}}),
    "one that fetches": ("target", {"x": {"_target_": "PerceptualLoss", "spatial_dims": 3}}),
    "one that calls home": ("target", {"x": {"_target_": "MLFlowHandler", "tracking_uri": "x"}}),
    "one that writes text into any file": ("target", {"x": {"_target_": "LogfileHandler", "output_dir": "eval"}}),
    "one that keeps pickles": ("target", {"x": {"_target_": "PersistentDataset", "data": [], "transform": None}}),
    "one of the bundle's own": ("target", {"x": {"_target_": "scripts.net.Network"}}),
    "one at another place of MONAI": ("target", {"x": {"_target_": "monai.transforms.io.array.LoadImage"}}),
    "a class of Python's": ("target", {"x": {"_target_": "pathlib.Path"}}),
    "no name": ("target", {"x": {"_target_": {"a": 1}}}),
    "a file that is a component": ("target", {"_target_": "LoadImage"}),
    "an allowed one, by a long key": ("target", {"x": {"model_name": "a"}, "x#_target_": "EfficientNetBN"}),
    "a component that is merged": ("target", {"+x": {"_target_": "LoadImage"}}),
    "an argument that is not named": ("argument", {"x": {"_target_": "LoadImage", "command": "a"}}),
    "an argument behind a dictionary": ("argument", {"x": {"_target_": "SupervisedEvaluator", "amp_kwargs": {"a": 1}}}),
    "a reader that is not plain": ("argument", {"x": {"_target_": "LoadImage", "reader": "$@a if @b else @c"}}),
    "a reader that is no expression": ("argument", {"x": {"_target_": "LoadImage", "reader": "$)("}}),
    "a reader that is a component": ("argument", {"x": {"_target_": "LoadImage", "reader": {"_target_": "LoadImage"}}}),
    "a reader that is nowhere": ("argument", {"x": {"_target_": "LoadImage", "reader": "@nowhere"}}),
    "a reader in a circle": ("argument", {"r": "@s", "s": "@r", "x": {"_target_": "LoadImage", "reader": "@r"}}),
    "a reader with pickles inside": ("located", {"x": {"_target_": "LoadImage", "reader": "NumpyReader"}}),
    "a reader by reference": ("located", {"r": "os.system", "x": {"_target_": "LoadImage", "reader": "@r"}}),
    "a reader, deep by a long key": ("located", {"train#load#transforms#0#reader": "os.system"}),
    "a reader in what another file merges": ("located", {"+train": {"load": {"reader": "os.system"}}}),
    "a writer": ("located", {"x": {"_target_": "SaveImage", "writer": "os.system"}}),
    "a merger": ("located", {"x#merger_cls": "os.system"}),
    "a name to be looked up": ("word", {"x": {"_target_": "Compose", "transforms": ["subprocess.call"]}}),
    "one of torch's": ("word", {"x": {"_target_": "UNet", "spatial_dims": 3, "act": "torch.os.system"}}),
    "pickles by switch": ("unsafe-load", {"x": {"a": {"weights_only": False}}}),
    "pickles by number": ("unsafe-load", {"x": {"a": {"weights_only": 0}}}),
    "pickles of arrays": ("unsafe-load", {"x": {"allow_pickle": True}}),
    "weights from elsewhere": ("download", {"x": {"_target_": "DenseNet121", "spatial_dims": 3, "in_channels": 1,
                                                  "out_channels": 1, "pretrained": True}}),
    "weights from elsewhere by default": ("download", {"x": {"_target_": "EfficientNetBN", "model_name": "a"}}),
    "an image outside": ("path", {"x": {"_target_": "SaveImage", "output_dir": "/tmp"}}),
    "an image at home": ("path", {"x": {"_target_": "SaveImage", "output_dir": "~"}}),
    "an image above": ("path", {"x": {"_target_": "SaveImage", "output_dir": "$@bundle_root + './..'"}}),
    "an image above, by where it lay": ("argument", {"x": {"_target_": "SaveImage", "data_root_dir": "/a/b/c/d"}}),
    "an image above, by a call": (
        "argument", {"y": "$import mdcsrn.data.inference_list as scans", "in": "/a/b/c",
                     "x": {"_target_": "SaveImage", "data_root_dir": "$scans.root(@in)"}}),
    "an image that is a program": ("path", {"x": {"_target_": "SaveImage", "output_ext": ".py"}}),
    "a checkpoint that is a program": (
        "path", {"x": {"_target_": "CheckpointSaver", "save_dir": "a", "save_dict": {}, "final_filename": "a.py"}}),
    "an event log outside": ("path", {"x": {"_target_": "TensorBoardStatsHandler", "log_dir": "/var/log"}}),
    "a debugger": ("mode", {"x": {"_target_": "Compose", "_mode_": "debug"}}),
    "a debugger by a long key": ("mode", {"x#_mode_": "debug"}),
    "a class as a value": ("mode", {"x": {"_target_": "LoadImage", "_mode_": "callable"}}),
    "a breakpoint": ("mode", {"x": {"_target_": "Compose", "_debug_": True}}),
    "a key of an older MONAI": ("key", {"x": {"_name_": "os.system"}}),
    "a long key inside": ("key", {"x": {"a#reader": "b"}}),
    "YAML's merge": ("key", {"x": {"<<": {"a": 1}}}),
    "a macro to the system": ("macro", {"x": "%/etc/config.yaml#a"}),
    "a macro out of the bundle": ("macro", {"x": "%../other/configs/a.json"}),
    "a macro of another file": ("macro", {"x": "%configs/train.yaml#a"}),
    "a macro of everything": ("macro", {"x": "%"}),
    "a relative reference": ("macro", {"x": {"y": "$@##z"}}),
    "a relative macro": ("macro", {"x": {"y": "%##z"}}),
    "an import of nothing": ("import", {"x": "$from torch import *"}),
    "an import from beside": ("import", {"x": "$from . import a"}),
    "an import of a class": ("import", {"x": "$from torch.optim import Adam"}),
    "an import of the bundle's own": ("import", {"x": "$import scripts.evil"}),
    "an import of MONAI's bundles": ("import", {"x": "$import monai.bundle as b"}),
    "an import under another's name": ("import", {"x": "$import os", "y": "$import glob as os"}),
    "what no list has": ("expression", {"x": "$torch.compile(@network)"}),
    "what is no expression": ("expression", {"x": "$)("}),
    "what is too long": ("expression", {"x": "$" + " + ".join(["1"] * 300)}),
    "an idiom that means another module": ("import", {"y": "$import mdcsrn.networks as torch"}),
    "setattr of something else": ("expression", {"x": "$setattr(torch.backends.cudnn, 'enabled', True)"}),
    "another process group": (
        "expression", {"y": "$import torch.distributed as dist",
                       "x": "$dist.init_process_group(backend='nccl', init_method='tcp://192.0.2.1:1')"}),
    "the environment": ("expression", {"y": "$import os", "x": "$os.environ['HOME']"}),
    "a home directory": ("expression", {"y": "$import os", "x": "$os.path.expanduser('~')"}),
    "a call of a reference with text": ("expression", {"x": "$@transform('a')"}),
    "a call of an item of a reference": ("expression", {"x": "$@transform['x'](@device)"}),
    "a power": ("expression", {"x": "$9 ** 9 ** 9"}),
    "a number that fills the memory": ("expression", {"x": "$[0] * 100000000000"}),
    "a format": ("expression", {"x": "$'{0.__class__}'.format(1)"}),
}  # fmt: skip
NOT_JUDGED = {"argument", "expression", "import", "key", "macro", "target", "word"}


@pytest.mark.parametrize("line", LINES)
def test_rule_and_verdict(line: str, foreign: Path) -> None:
    rule, lines = LINES[line]
    config = foreign / "configs" / "inference.yaml"
    config.write_text(config.read_text() + yaml.safe_dump(lines, sort_keys=False))
    findings = check(foreign)
    assert rule in {finding.rule for finding in findings}, findings
    assert all(finding.where.startswith("configs/inference.yaml") for finding in findings), findings
    assert verdict([finding for finding in findings if finding.rule == rule]) == (
        "not judged" if rule in NOT_JUDGED else "refused"
    )


@pytest.mark.parametrize(
    "text",
    [
        "x: !!python/object/apply:os.system [id]",
        "x: ! a",
        "x: &a [1]\ny: [*a, *a]",
        "run: []",
        "? {a: 1}\n: 2",
        "x: [1",
        "x: " + "[" * 100 + "]" * 100,
    ],
    ids=["a tag", "a bare tag", "an alias", "a key twice", "a key that is no text", "not YAML", "too deep"],
)
def test_what_is_not_parsed_is_refused(text: str, foreign: Path) -> None:
    config = foreign / "configs" / "inference.yaml"
    config.write_text(f"{config.read_text()}{text}\n")
    assert {finding.rule for finding in check(foreign)} == {"parse"}


def test_a_comment_that_is_configuration_elsewhere(foreign: Path) -> None:
    """Where files are read as Latin-1, the second byte of this letter ends the line."""
    config = foreign / "configs" / "inference.yaml"
    content = config.read_bytes() + "# \u00c5evil: $torch.os.system('id')\n".encode()
    config.write_bytes(content)
    assert "evil" not in yaml.safe_load(content.decode("utf-8"))
    assert "evil" in yaml.safe_load(content.decode("latin-1"))
    (finding,) = check(foreign)
    assert (finding.rule, finding.verdict) == ("encoding", "not judged")


def test_what_another_file_says_counts(foreign: Path) -> None:
    """A reference has the values of all files: any of them may be laid over another."""
    overlay = foreign / "configs" / "overlay.yaml"
    config = foreign / "configs" / "inference.yaml"
    config.write_text(config.read_text() + "out: eval\nx: {_target_: SaveImage, output_dir: '@out'}\n")
    overlay.write_text("out: runs\n")
    assert check(foreign) == []
    overlay.write_text("out: /etc\n")
    assert {finding.rule for finding in check(foreign)} == {"path"}


# Another bundle's inference, in the manner of the model zoo: paths joined, a checkpoint handler called by reference.
ZOO_LIKE = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": ".",
    "ckpt_path": "$@bundle_root + '/models/model.pt'",
    "output_dir": "$os.path.join(@bundle_root, 'eval')",
    "dataset_dir": "/workspace/data",
    "datalist": "$list(sorted(glob.glob(os.path.join(@dataset_dir, 'images', '*.nii.gz'))))",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2,
                    "channels": [16, 32], "strides": [2], "norm": "batch"},
    "network": "$@network_def.to(@device)",
    "preprocessing": {"_target_": "Compose", "transforms": [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    ]},
    "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
    "dataloader": {"_target_": "ThreadDataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96], "overlap": 0.5},
    "checkpointloader": {"_target_": "CheckpointLoader", "load_path": "@ckpt_path",
                         "load_dict": {"model": "@network"}, "map_location": "@device"},
    "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
                  "network": "@network", "inferer": "@inferer", "amp": True},
    "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
    "run": ["$@checkpointloader(@evaluator)", "$@evaluator.run()"],
}  # fmt: skip


def test_a_bundle_in_the_manner_of_the_zoo_passes(foreign: Path) -> None:
    (foreign / "configs" / "inference.yaml").unlink()
    (foreign / "configs" / "inference.json").write_text(json.dumps(ZOO_LIKE))
    assert check(foreign) == []


def test_the_shipped_bundle_passes(shipped: Path) -> None:
    assert check(shipped) == []


@pytest.mark.parametrize(
    "text",
    [
        "$1 + @conditional",
        "$@a#b#0.to(@device)",
        "$['one', 'pair', 'all'][sum(r > 1 for r in @degradation#reduction) - 1]",
        "$torch.optim.Adam(@net.parameters(), lr=1e-4)",
        "$torch.optim.Adam(@net.parameters(), 1e-4, (0.9, 0.99))",
        "$monai.handlers.from_engine(['pred', 'label'])",
        "$monai.transforms.LoadImaged('image', 'NibabelReader')",
        "$monai.transforms.LoadImaged(keys='image', reader=None)",
        "$monai.networks.nets.DenseNet121(3, 1, 2, pretrained=False)",
        "$monai.networks.nets.EfficientNetBN('efficientnet-b0', False)",
        "$monai.data.DataLoader(@dataset, batch_size=2, collate_fn=monai.data.list_data_collate)",
        "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
        "$np.float32",
        "$None if not @start else @start",
        "$import torch",
        "$import os",
        "$os.path.join(@bundle_root, 'eval')",
        "$not os.path.exists(@checkpoint)",
        "$[{'image': a, 'label': b} for a, b in zip(@images, @labels)]",
        "$@loader(@evaluator) if @load_pretrain else None",
        "$setattr(torch.backends.cudnn, 'benchmark', True)",
        "$dist.is_initialized() or dist.init_process_group(backend='nccl')",
        "$torch.device('cuda:' + os.environ['LOCAL_RANK'])",
        "$torch.cuda.set_device(@device)",
        "$@train#handlers[: -2 if dist.get_rank() > 0 else None]",
    ],
)
def test_ordinary_expressions_pass(text: str) -> None:
    aliases = {**GLOBALS, "glob": "glob", "os": "os", "dist": "torch.distributed"}
    assert expression_problems(text, Scope(aliases, {})) == []


@pytest.mark.parametrize(
    "lines",
    [
        {"x": {"_target_": "LoadImaged", "keys": "a", "reader": "ITKReader"}},
        {"x": {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "pretrained": False}},
        {"p": False, "x": {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "pretrained": "@p"}},
        {"b": ".", "x": {"_target_": "SaveImage", "output_dir": "$@b + '/eval'", "output_ext": ".nii"}},
        {"x": {"_target_": "DataLoader", "dataset": "@d", "collate_fn": "$monai.data.list_data_collate"}},
        {"x": {"_target_": "Compose", "_desc_": "reads a file", "_disabled_": True, "_requires_": "@init"}},
        {"train#dataloader#shuffle": False, "+imports": ["$import math"], "validate#handlers#1#_disabled_": True},
        {"x": "%train#postprocessing", "y": {"a": 0.5, "b": [1, "text", None]}},
        {"x": {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": "@o", "step_size": 10, "gamma": 0.1}},
        {"x": {"_target_": "CheckpointSaver", "save_dir": "$'.' + '/models'", "save_dict": {"model": "@network"},
               "key_metric_filename": "model.pt"}},
    ],
)  # fmt: skip
def test_ordinary_lines_pass(lines: dict[str, Any]) -> None:
    assert list(configurations({"a.yaml": lines})) == []
