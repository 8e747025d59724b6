"""Attacks in the configuration of a bundle: each is refused by the name of its rule, and nothing of it is evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from mdcsrn.bundle.check import check
from mdcsrn.bundle.expressions import expression_problems

TOUCH = "touch {marker}"

# name -> (rule, lines that are appended to configs/inference.yaml)
ATTACKS = {
    "import by hand": ("expression", 'x: "$__import__(\'os\').system(\'{touch}\')"'),
    "eval": ("expression", "x: \"$eval('1')\""),
    "exec": ("expression", "x: \"$exec('import os')\""),
    "open": ("expression", "x: \"$open('{marker}', 'w')\""),
    "getattr": ("expression", "x: \"$getattr(torch, 'os').system('{touch}')\""),
    "setattr": ("expression", "x: \"$setattr(torch, 'load', print)\""),
    "import sys": ("import", "x: $import sys"),
    "import os's own functions": ("expression", "x: $from os import path, system"),
    "import subprocess": ("import", "x: $import subprocess as s"),
    "import from": ("import", "x: $from os import system"),
    "import the bundle's own code": ("import", "x: $import scripts.evil"),
    "import monai.bundle": ("import", "x: $import monai.bundle as b"),
    "import pickle under a known name": ("import", "x: $import pickle as torch"),
    "import and more": ("expression", "x: \"$import torch; torch.os.system('{touch}')\""),
    "os through torch": ("expression", "x: \"$torch.os.system('{touch}')\""),
    "os through numpy": ("expression", "x: \"$np.lib.npyio.os.system('{touch}')\""),
    "sys through monai": ("expression", "x: \"$monai.transforms.io.array.sys.exit()\""),
    "os through mdcsrn": ("expression", "x: \"$mdcsrn.files.os.remove('{marker}')\""),
    "torch.load": ("expression", "x: \"$torch.load('models/model.pt', weights_only=False)\""),
    "torch.hub": ("expression", "x: \"$torch.hub.load('a/b', 'c')\""),
    "torch.jit.load": ("expression", "x: \"$torch.jit.load('models/model.pt')\""),
    "torch.save": ("expression", "x: \"$torch.save(1, '{marker}')\""),
    "np.load": ("expression", "x: \"$np.load('a.npy', allow_pickle=True)\""),
    "monai.bundle.run": ("expression", "x: \"$monai.bundle.run(config_file='x.json')\""),
    "monai.bundle.load": ("expression", "x: \"$monai.bundle.load('name')\""),
    "run_cmd": ("expression", "x: \"$monai.utils.run_cmd(['id'])\""),
    "optional_import": ("expression", "x: \"$monai.utils.optional_import('os')\""),
    "download": ("expression", "x: \"$monai.apps.download_url('https://example.org', '{marker}')\""),
    "dunder attributes": ("expression", 'x: "$().__class__.__base__.__subclasses__()"'),
    "dunder of a reference": ("expression", 'x: "$@device.__reduce__()"'),
    "globals of a function": ("expression", 'x: "$@network.forward.__globals__"'),
    "frame of a generator": ("expression", 'x: "$(i for i in [1]).gi_frame.f_builtins"'),
    "os through its path": ("expression", "x: \"$os.path.os.system('{touch}')\""),
    "os.system, os imported for its path": ("expression", "imports_: $import os\nx: \"$os.system('{touch}')\""),
    "the environment": ("expression", "imports_: $import os\nx: \"$@dataset_dir + os.environ['HOME']\""),
    "a home directory": ("expression", "imports_: $import os\nx: \"$os.path.expanduser('~')\""),
    "setattr under another name": (
        "expression", "y: $import mdcsrn.networks as torch\nx: \"$setattr(torch.backends.cudnn, 'benchmark', True)\""
    ),
    "setattr of something else": ("expression", "x: \"$setattr(torch.backends.cudnn, 'enabled', True)\""),
    "another process group": (
        "expression", "imports_: $import torch.distributed as dist\n"
        "x: \"$dist.init_process_group(backend='nccl', init_method='tcp://192.0.2.1:1')\""
    ),
    "call of an item of a reference": ("expression", "x: \"$@transform['x']('exec')\""),
    "a reader for a reference": ("expression", "x: \"$@transform('a', reader='exec')\""),
    "lambda": ("expression", 'x: "$(lambda: 1)()"'),
    "walrus": ("expression", 'x: "$[y := 1]"'),
    "call of a call": ("expression", "x: \"$torch.nn.Linear(1, 1)(torch.zeros(1))\""),
    "call of an item": ("expression", "x: \"$[torch.device][0]('cpu')\""),
    "format string": ("expression", "x: \"$'{0.__class__}'.format(1)\""),
    "f-string": ("expression", "x: '$f\"{1}\"'"),
    "arguments from a dictionary": ("expression", "x: \"$torch.zeros(**@device)\""),
    "a loop that hides a name": ("expression", "x: \"$[torch for torch in [1]]\""),
    "a number that fills the memory": ("expression", "x: \"$[0] * 100000000000\""),
    "a power": ("expression", "x: \"$9 ** 9 ** 9\""),
    "itemgetter's brother": ("expression", "x: \"$operator.attrgetter('__class__')\""),
    "writing through a value": ("expression", "x: \"$@dataset_dir.write_text('x')\""),
    "reader by position": ("expression", "x: \"$monai.transforms.LoadImage('exec', False)\""),
    "no expression": ("expression", "x: \"$)(\""),
    "target: os.system": ("target", "x: {_target_: os.system, command: '{touch}'}"),
    "target: subprocess.Popen": ("target", "x: {_target_: subprocess.Popen, args: [id]}"),
    "target: builtins.eval": ("target", "x: {_target_: builtins.eval}"),
    "target: eval": ("target", "x: {_target_: eval}"),
    "target: run_cmd": ("target", "x: {_target_: run_cmd}"),
    "target: torch.load": ("target", "x: {_target_: torch.load, f: models/model.pt, weights_only: true}"),
    "target: torch.hub.load": ("target", "x: {_target_: torch.hub.load}"),
    "target: pickle": ("target", "x: {_target_: pickle.loads}"),
    "target: monai.bundle.run": ("target", "x: {_target_: monai.bundle.run}"),
    "target: ConfigParser": ("target", "x: {_target_: ConfigParser}"),
    "target: Lambdad": ("target", "x: {_target_: Lambdad, keys: a, func: '@device'}"),
    "target: monai.transforms.Lambda": ("target", "x: {_target_: monai.transforms.Lambda}"),
    "target: TorchVisiond": ("target", "x: {_target_: TorchVisiond, keys: a, name: Lambda}"),
    "target: PerceptualLoss": ("target", "x: {_target_: PerceptualLoss, spatial_dims: 3}"),
    "target: MLFlowHandler": ("target", "x: {_target_: MLFlowHandler, tracking_uri: x}"),
    "target: an expression": ("target", "x: {_target_: $torch.device}"),
    "target: a reference": ("target", "x: {_target_: '@device'}"),
    "target: module of the bundle": ("target", "x: {_target_: scripts.evil.Run}"),
    "target by a long key": ("target", "network_def#_target_: os.system"),
    "reader: subprocess.Popen": (
        "located", "x: {_target_: LoadImaged, keys: a, reader: subprocess.Popen, args: '{touch}', shell: true}"
    ),
    "reader: exec": ("located", "x: {_target_: LoadImage, reader: exec}"),
    "reader: by reference": ("located", "x: {_target_: LoadImage, reader: '@y'}"),
    "reader: pickles": ("located", "x: {_target_: LoadImage, reader: NumpyReader}"),
    "writer: os.system": ("located", "x: {_target_: SaveImage, writer: os.system}"),
    "merger: os.system": ("located", "x: {_target_: PatchInferer, merger_cls: os.system}"),
    "a name to be looked up": ("word", "x: {_target_: Compose, transforms: [subprocess.call]}"),
    "debugger": ("mode", "x: {_target_: Compose, _mode_: debug}"),
    "class as a value": ("mode", "x: {_target_: LoadImage, _mode_: callable}"),
    "breakpoint": ("mode", "x: {_target_: Compose, _debug_: true}"),
    "requirement that runs": ("expression", "x: {_target_: Compose, _requires_: \"$torch.os.system('{touch}')\"}"),
    "switch that runs": ("expression", "x: {_target_: Compose, _disabled_: \"$torch.os.system('{touch}')\"}"),
    "unsafe load": ("unsafe-load", "x: {_target_: PersistentDataset, weights_only: false}"),
    "pickles of arrays": ("unsafe-load", "x: {_target_: Dataset, allow_pickle: true}"),
    "weights from elsewhere": ("download", "x: {_target_: DenseNet121, pretrained: true}"),
    "macro to the system": ("macro", "x: '%/etc/config.yaml#a'"),
    "macro out of the bundle": ("macro", "x: '%../other/configs/a.json'"),
    "macro behind a separator": ("macro", "x: '%a#/../../b.yaml'"),
    "key that becomes an expression": ("key", "\"a + torch.os.system('x') + @y\": {{z: '$@##q'}}"),
    "YAML tag": ("parse", "x: !!python/object/apply:os.system ['{touch}']"),
    "YAML alias": ("parse", "x: &a [1]\ny: [*a, *a]"),
    "a key twice": ("parse", "run: []"),
    "not YAML": ("parse", "x: [1"),
    "too deep": ("parse", "x: " + "[" * 100 + "]" * 100),
}  # fmt: skip


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


def spoil(home: Path, lines: str) -> Path:
    """Append an attack; the file that it would make is returned."""
    marker = home.parent / "marker"
    text = lines.replace("{touch}", TOUCH.format(marker=marker)).replace("{marker}", str(marker))
    config = home / "configs" / "inference.yaml"
    config.write_text(config.read_text() + text.replace("{{", "{").replace("}}", "}") + "\n")
    return marker


def test_the_bundle_that_is_spoilt_passes(foreign: Path) -> None:
    assert check(foreign) == []


def test_the_shipped_bundle_passes(shipped: Path) -> None:
    assert check(shipped) == []


def test_there_are_forty_at_least() -> None:
    assert len(ATTACKS) >= 40


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack(attack: str, foreign: Path) -> None:
    rule, lines = ATTACKS[attack]
    marker = spoil(foreign, lines)
    findings = check(foreign)
    assert rule in {finding.rule for finding in findings}, findings
    assert all(finding.where.startswith("configs/inference.yaml") for finding in findings), findings
    assert not marker.exists()


REAL = ("import by hand", "os through torch", "target: os.system", "reader: subprocess.Popen", "requirement that runs")


@pytest.mark.parametrize("attack", REAL)
def test_what_is_refused_does_run_in_monai(attack: str, foreign: Path) -> None:
    """Without the screen these make the marker: what is refused is no invention."""
    marker = spoil(foreign, ATTACKS[attack][1])
    parser = ConfigParser()
    parser.read_config(foreign / "configs" / "inference.yaml")
    try:
        parser.get_parsed_content("x")
    except Exception as error:  # MONAI goes on with what the command returned
        assert "not found" not in str(error)
    for _ in range(100):  # Popen does not wait
        if marker.exists():
            break
        import time

        time.sleep(0.05)
    assert marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "$1 + @conditional",
        "$@a#b#0.to(@device)",
        "$@##up + '/x'",
        "$['one', 'pair', 'all'][sum(r > 1 for r in @degradation#reduction) - 1]",
        "$torch.optim.Adam(@net.parameters(), lr=1e-4)",
        "$monai.handlers.from_engine(['pred', 'label'])",
        "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
        "$np.float32",
        "$None if not @start else @start",
        "$import torch",
        "$from torch.optim import Adam",
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
    aliases = {"glob": {"glob"}, "os": {"os"}, "dist": {"torch.distributed"}}
    assert expression_problems(text, {name: frozenset(modules) for name, modules in aliases.items()}) == []
