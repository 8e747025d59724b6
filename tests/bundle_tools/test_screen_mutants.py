"""Our own configurations with something planted in every place: all of it is found, and what passes is what it seems.

What is planted is hostile by itself (:mod:`test_screen_attacks` shows it in MONAI), so each one that is not found is a
hole. What is damaged at random may pass only where it is harmless, which other readers or Python itself decide. Each
test counts what was found and what passed, so that it fails with a screen that finds nothing or refuses everything.
"""

from __future__ import annotations

import contextlib
import copy
import io
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import monai
import numpy as np
import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from mdcsrn.bundle.check import check
from mdcsrn.bundle.expressions import GLOBALS, Scope, expression_problems
from mdcsrn.bundle.pickles import weights_problem
from mdcsrn.bundle.safe_yaml import load_plain
from mdcsrn.bundle.static_scan import configurations, logging_problems
from mdcsrn.errors import MdcsrnError
from mdcsrn.ziplayout import layout_problem

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "mdcsrn_wgan_gp"
CONFIGS = sorted(path.name for path in (BUNDLE / "configs").glob("*.yaml"))
VALUES: list[Any] = [
    "$torch.os.system('true')",
    "$monai.transforms.LoadImage('os.system')",
    "$monai.data.ImageDataset(['a'], None, None, None, None, None, True, False, np.float32, 'torch.os.system')",
    "$monai.networks.nets.EfficientNetBN('efficientnet-b0')",
    "$torch.load('a.pt', weights_only=False)",
    "$from os import system",
    {"_target_": "os.system", "command": "true"},
    {"_target_": "LoadImage", "reader": "os.system"},
    {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0"},
    {"_target_": "SaveImage", "output_dir": "../.."},
    {"weights_only": False},
    "%../other.yaml#a",
    "torch.os.system",
]
KEYS: dict[str, Any] = {
    "reader": "os.system",
    "writer": "os.system",
    "weights_only": False,
    "pretrained": True,
    "output_dir": "/etc",
    "_mode_": "callable",
    "_debug_": True,
    "_requires_": "$torch.os.system('true')",
    "_desc_": "$torch.os.system('true')",
    "<<": {"_target_": "os.system"},
}


def load(name: str) -> Any:
    return yaml.safe_load((BUNDLE / "configs" / name).read_text())


def places(value: Any, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every value of a configuration."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*way, key)
        yield from places(inner, (*way, key))


def planted(config: Any, way: tuple[str | int, ...], value: Any) -> Any:
    changed = copy.deepcopy(config)
    level = changed
    for key in way[:-1]:
        level = level[key]
    level[way[-1]] = value
    return changed


def found(config: Any, way: tuple[str | int, ...]) -> bool:
    """True where a finding stands at the place of what was planted, inside of it, or at the component around it."""
    where = "a.yaml: " + "#".join(map(str, way))
    around = where.rpartition("#")[0] or where
    return any(
        finding.where == around or finding.where == where or finding.where.startswith(f"{where}#")
        for finding in configurations({"a.yaml": config})
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_every_planted_value_is_found(name: str) -> None:
    config = load(name)
    assert list(configurations({"a.yaml": config, "train.yaml": load("train.yaml")})) == []
    ways = list(places(config))
    assert len(ways) > 10
    lines = [
        (way, value)
        for number, way in enumerate(ways)
        for value in (VALUES[number % len(VALUES)], VALUES[(number // len(VALUES)) % len(VALUES)])
        if not (way[-1] == "_target_" and isinstance(value, dict))
    ]
    caught = [(way, value) for way, value in lines if found(planted(config, way, value), way)]
    assert [line for line in lines if line not in caught] == []
    assert Counter(str(value) for _, value in caught) == Counter(str(value) for _, value in lines)
    assert len(caught) > 20


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_every_kind_is_found_in_every_place(value: Any) -> None:
    config = load("inference.yaml")
    ways = list(places(config))
    assert sum(found(planted(config, way, value), way) for way in ways) == len(ways) > 90


@pytest.mark.parametrize("name", ["inference.yaml", "train.yaml", "evaluate.yaml", "specialist.yaml"])
def test_every_planted_argument_is_found(name: str) -> None:
    """Into each component, and by a long key of another file for each component that has none above it in a list."""
    config = load(name)
    components = [way for way in places(config) if isinstance(at(config, way), dict) and "_target_" in at(config, way)]
    assert len(components) > 5
    caught: Counter[str] = Counter()
    for way in components:
        for key, value in KEYS.items():
            assert found(planted(config, (*way, key), value), (*way, key)), (way, key)
            overlay = {"#".join(map(str, (*way, key))): value}
            merged = {"+" + "#".join(map(str, way)): {key: value}}
            for file in (overlay, merged):
                findings = list(configurations({"a.yaml": config, "b.yaml": file}))
                assert any(finding.where.startswith("b.yaml: ") for finding in findings), (way, key, file)
                caught[key] += 1
    assert caught == dict.fromkeys(KEYS, 2 * len(components))


def at(config: Any, way: tuple[str | int, ...]) -> Any:
    for key in way:
        config = config[key]
    return config


# A place in a file as a share of its length, and what is put there instead of one byte.
mutations = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=3)), min_size=1, max_size=8)


def mutated(content: bytes, changes: list[tuple[float, bytes]]) -> bytes:
    for place, new in changes:
        index = int(place * len(content))
        content = content[:index] + new + content[index + 1 :]
    return content


def with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): with_text_keys(inner) for key, inner in value.items()}
    return [with_text_keys(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["inference.yaml", "metadata.json", "train.yaml"])
def test_a_damaged_configuration_is_read_as_monai_reads_it(shipped: Path, tmp_path: Path, name: str) -> None:
    whole, count = (shipped / "configs" / name).read_bytes(), Counter[str]()

    @settings(max_examples=100, deadline=None)
    @given(changes=mutations)
    @example(changes=[])
    @example(changes=[(0.5, b"\0")])
    def judge(changes: list[tuple[float, bytes]]) -> None:
        content = mutated(whole, changes)
        try:
            value = load_plain(name, content)
        except MdcsrnError:
            count["refused"] += 1
            return
        (tmp_path / name).write_bytes(content)
        try:
            known = ConfigParser.load_config_file(tmp_path / name)
        except Exception:  # MONAI does not read it at all
            return
        count["compared"] += 1
        assert str(value) == str(with_text_keys(known)) or [f for f in configurations({name: value}) if f.rule == "key"]

    judge()
    assert count["refused"]
    assert count["compared"]


HOSTILE_LOGGING = {
    "args": ("(__import__('os').system('true'),)", "(open('a', 'w'),)", "(sys.stdout, [print()])"),
    "kwargs": ("{'stream': print()}", "{**globals()}"),
    "class": ("logging.FileHandler", "handlers.SocketHandler", "os.system"),
}


def test_every_hostile_line_of_a_logging_setup_is_found(shipped: Path) -> None:
    """At the head of each section, instead of its own line of that key."""
    content = (shipped / "configs/logging.conf").read_text()
    assert logging_problems("a.conf", content.encode()) == []
    sections = [line for line in content.splitlines() if line.startswith("[")]
    caught: Counter[str] = Counter()
    for key, values in HOSTILE_LOGGING.items():
        for value in values:
            for section in sections:
                head, _, body = content.partition(section)
                own, bracket, others = body.partition("\n[")
                kept = [line for line in own.splitlines() if not line.startswith(f"{key}=")]
                text = "\n".join([head + section, f"{key}={value}", *kept]) + bracket + others
                places = {finding.where for finding in logging_problems("a.conf", text.encode())}
                caught[key] += places == {f"a.conf: {section.strip('[]')}#{key}"}
    assert len(sections) == 6
    assert caught == {"args": 3 * 6, "kwargs": 2 * 6, "class": 3 * 6}


def test_damaged_logging(shipped: Path) -> None:
    """No damage raises, and what is evaluated is one of the few texts that are allowed."""
    whole, count = (shipped / "configs/logging.conf").read_bytes(), Counter[str]()

    @settings(max_examples=60, deadline=None)
    @given(changes=mutations)
    @example(changes=[])
    @example(changes=[(0.5, b"\xff")])
    def judge(changes: list[tuple[float, bytes]]) -> None:
        content = mutated(whole, changes)
        if logging_problems("a.conf", content):
            count["refused"] += 1
            return
        for line in content.decode().splitlines():
            key, _, value = line.partition("=")
            count[key.strip()] += 1
            assert key.strip() != "args" or value.strip() in ("(sys.stdout,)", "(sys.stdout)", "()"), line

    judge()
    assert count["refused"]
    assert count["args"]


def test_damaged_weights_are_refused_or_the_same(template: Path, tmp_path: Path) -> None:
    whole, count = (template / "models/model.pt").read_bytes(), Counter[str]()
    before = torch.load(template / "models/model.pt", weights_only=True)

    @settings(max_examples=100, deadline=None)
    @given(changes=mutations)
    @example(changes=[])
    @example(changes=[(0.5, b"")])
    def judge(changes: list[tuple[float, bytes]]) -> None:
        damaged = mutated(whole, changes)
        if layout_problem(io.BytesIO(damaged), of_torch=True) or weights_problem("model.pt", damaged):
            count["refused"] += 1
            return
        (tmp_path / "a.pt").write_bytes(damaged)
        assert str(torch.load(tmp_path / "a.pt", weights_only=True)) == str(before)
        count["the same"] += 1

    judge()
    assert count["refused"]
    assert count["the same"]


def test_a_damaged_zip_does_not_pass_with_other_files(template: Path, tmp_path: Path) -> None:
    target, count = tmp_path / "a.zip", Counter[bool]()
    files = {path.relative_to(template).as_posix(): path.read_bytes() for path in sorted(template.rglob("*.*"))}
    files["LICENSE"] = (template / "LICENSE").read_bytes()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    whole = target.read_bytes()

    @settings(max_examples=40, deadline=None)
    @given(changes=mutations)
    @example(changes=[])
    @example(changes=[(0.5, b"")])
    def judge(changes: list[tuple[float, bytes]]) -> None:
        target.write_bytes(mutated(whole, changes))
        findings = None
        with contextlib.suppress(MdcsrnError):
            findings = check(target)
        count[findings == []] += 1
        if findings == []:
            with zipfile.ZipFile(target) as archive:
                assert {name: archive.read(name) for name in archive.namelist()} == files

    judge()
    assert count[True]
    assert count[False]


# Attribute access, calls, references and words in any order.
pieces = st.sampled_from(
    [
        *("torch", "np", "monai", "os", "eval", "open", "x", "@a", "@a#b", ".", ".to", ".load", ".os", ".system"),
        *("(", ")", "[", "]", "'true'", "1", " ", ",", "+", "*", "lambda:", "for", "in", "if", "else", ".__class__"),
        *(".nn", ".Linear", ".device", "getattr", "@a.run()", "torch.device('cpu')", "len(@a)", "[1]", "(@a)", "x"),
        *("monai.transforms.LoadImage(", "'os.system'", "torch.os.system('true')", "sum(x for x in [1])", "-", "not "),
    ]
)
EVENTS: list[str] = []
WATCHED = (
    "os.system",
    "subprocess.Popen",
    "os.posix_spawn",
    "socket.connect",
    "socket.getaddrinfo",
    "shutil.",
    "os.remove",
)
_HOOK: list[bool] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _HOOK and event.startswith(WATCHED):
        EVENTS.append(event)


sys.addaudithook(_watch)


class Harmless:
    """What a reference may stand for: whatever is asked of it, it does nothing."""

    def run(self) -> int:
        return 1

    def to(self, device: object) -> Harmless:
        return self

    def __call__(self, other: object) -> Harmless:
        return self


def events(text: str) -> list[str]:
    """What Python's audit events show of the evaluation of an expression, references replaced as MONAI does it."""
    EVENTS.clear()
    references = {"a": Harmless(), "a::b": [1, 2], "": 1}
    source = text.replace("#", "::").replace("@a::b", "__local_refs['a::b']").replace("@a", "__local_refs['a']")
    _HOOK.append(True)
    try:
        with contextlib.suppress(Exception):
            eval(source, {"torch": torch, "np": np, "numpy": np, "monai": monai, "__local_refs": references})
    finally:
        _HOOK.clear()
    return list(EVENTS)


@pytest.mark.parametrize("text", ["torch.os.system('true')", "[torch.os.system('true') for x in @a#b]"])
def test_what_acts_is_seen_and_is_found(text: str) -> None:
    assert events(text) == ["os.system"] * (2 if "#" in text else 1)
    assert expression_problems("$" + text, Scope(GLOBALS, {}))


def test_an_expression_that_passes_does_nothing_when_it_is_evaluated() -> None:
    """Python's own audit events are the judge."""
    count: Counter[str] = Counter()

    @settings(max_examples=2000, deadline=None)
    @given(text=st.lists(pieces, min_size=1, max_size=8).map("".join))
    @example(text="torch.device('cpu')")
    @example(text="len(@a#b)")
    def judge(text: str) -> None:
        if expression_problems("$" + text, Scope(GLOBALS, {})):
            count["refused"] += 1
            return
        count["evaluated"] += 1
        assert events(text) == []

    judge()
    assert count["refused"] > 100
    assert count["evaluated"] >= 2
