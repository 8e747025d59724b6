"""Selection rules: every form of a condition against plain Python, and every way to write nonsense."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdcsrn_deploy.rules import Rule, holds, parse_rules, read_rules
from mdcsrn_deploy.settings import HOME

from mdcsrn.errors import ConfigError

words = st.text("ABCDEFM_", min_size=1, max_size=6)


@given(st.lists(words, min_size=1, max_size=5), st.lists(words, max_size=5))
def test_words_are_whole_and_in_any_case(wanted: list[str], there: list[str]) -> None:
    values = tuple(word.lower() for word in there)
    assert holds(wanted, values) == set(wanted).issubset(there)
    assert holds([f"!{word}" for word in wanted], values) == set(wanted).isdisjoint(there)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_numbers(value: float, a: float, b: float) -> None:
    text = (repr(value),)  # decimal strings of DICOM
    assert holds([a, b], text) == (a <= value <= b)
    assert holds([a, ">"], text) == (value > a)
    assert holds([a, ">="], text) == (value >= a)
    assert holds([a, "<"], text) == (value < a)
    assert holds([a, "<="], text) == (value <= a)
    assert holds([a, "!="], text) == (value != a)
    assert holds(a, text) == (value == a)


def test_texts_and_what_is_missing() -> None:
    assert holds("^t1", ("PDw", "T1w"))
    assert not holds("^1", ("T1w",))
    assert not holds("T1", ())
    assert not holds(5, ("five",))
    assert not holds([1, 5], ())
    assert not holds(["A"], ())
    assert holds(["!A"], ())


def test_a_rule_names_the_first_condition_that_fails() -> None:
    rule = Rule("r", {"Slices": [16, ">="], "Modality": "MR"})
    values = {"Slices": (20.0,), "Modality": ("CT",)}
    assert rule.unmet(lambda name: values.get(name, ())) == "Modality"
    values["Modality"] = ("MR",)
    assert rule.unmet(lambda name: values.get(name, ())) == ""


def test_the_shipped_rules_are_sound() -> None:
    rules = parse_rules(read_rules(HOME / "rules.json"))
    assert [rule.name for rule in rules] == ["3D T1w", "3D MR", "2D multi-slice MR"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no rules"),
        ('{"selections": []}', "no rules"),
        ('{"selections": [{"conditions": {"Modality": "MR"}}]}', "name and conditions"),
        ('{"selections": [{"name": "a", "conditions": {"Modality": "MR"}, "more": 1}]}', "name and conditions"),
        ('{"selections": [{"name": " ", "conditions": {"Modality": "MR"}}]}', "name and conditions"),
        ('{"selections": [{"name": "a", "conditions": {}}]}', "no conditions"),
    ],
)
def test_what_is_no_set_of_rules(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        parse_rules(text)


@pytest.mark.parametrize(
    "wanted",
    ["", "(", None, True, [], [1], [1, 2, 3], [1, "=>"], [1, True], ["A", 5], [""], ["!"], {"a": 1}, [[1]]],
    ids=json.dumps,
)
def test_conditions_that_mean_nothing(wanted: object) -> None:
    with pytest.raises(ConfigError, match="means nothing"):
        parse_rules(json.dumps({"selections": [{"name": "a", "conditions": {"Modality": wanted}}]}))


def test_an_attribute_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="unknown attribute.*Modalty"):
        parse_rules('{"selections": [{"name": "a", "conditions": {"Modalty": "MR"}}]}')


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_rules(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read"):
        read_rules(tmp_path / "bytes.json")
