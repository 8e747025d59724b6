"""Which series is worth restoring: rules as data, in the shape of the SDK's selection rules, with exact meanings.

    {"selections": [{"name": "3D MR", "conditions": {"MRAcquisitionType": "^3D$", "Slices": [16, ">="]}}]}

A condition names an attribute and what is wanted of it:

==========================  ============================================================================
``"text"``                  a regular expression, found in one of the attribute's values, in any case
``5``                       a number, equal
``[2, 5]``                  a number from 2 to 5
``[16, ">="]``              a number compared: ``>``, ``>=``, ``<``, ``<=``, ``!=``
``["ORIGINAL", "!DERIVED"]``  words among the attribute's values, and (with ``!``) words that are not
==========================  ============================================================================

Attributes are keywords of DICOM, looked up in the functional groups of enhanced images too, and two that are
computed: ``Slices`` (images in the stack) and ``Contrast`` (BIDS suffix, such as T1w). A missing attribute meets no
condition but one that only excludes words. The SDK's own matching takes an excluded word for found where it is part of
another one, and writes every value that it looks at, names included, to the log.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword

from mdcsrn.errors import ConfigError

SLICES, CONTRAST = "Slices", "Contrast"
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "!=": operator.ne,
}
Values = tuple[str | float, ...]


@dataclass(frozen=True)
class Rule:
    """One way to be worth restoring.

    Attributes:
        name: what the log calls it.
        conditions: attribute to what is wanted; all must hold.
    """

    name: str
    conditions: Mapping[str, Any]

    def unmet(self, look_up: Callable[[str], Values]) -> str:
        """The first attribute whose condition does not hold; empty where all hold.

        Args:
            look_up: values of an attribute, none where it is missing.
        """
        for attribute, wanted in self.conditions.items():
            if not holds(wanted, look_up(attribute)):
                return attribute
        return ""


def holds(wanted: Any, values: Values) -> bool:
    """Whether an attribute's values are what a condition wants (see the module for its forms)."""
    if isinstance(wanted, str):
        return any(re.search(wanted, str(value), re.IGNORECASE) for value in values)
    if isinstance(wanted, int | float):
        return any(number == wanted for number in _numbers(values))
    if isinstance(wanted[0], int | float):
        if isinstance(wanted[1], str):
            return any(COMPARISONS[wanted[1]](number, wanted[0]) for number in _numbers(values))
        return any(wanted[0] <= number <= wanted[1] for number in _numbers(values))
    there = {str(value).strip().upper() for value in values}
    return all((word[1:].upper() not in there) if word.startswith("!") else (word.upper() in there) for word in wanted)


def read_rules(path: Path) -> str:
    """Text of a rules file, checked.

    Raises:
        ConfigError: it cannot be read, or is no set of rules.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the selection rules {path}", got=type(error).__name__) from error
    parse_rules(text, str(path))
    return text


def parse_rules(text: str, name: str = "the selection rules") -> tuple[Rule, ...]:
    """Rules from their JSON text.

    Raises:
        ConfigError: not JSON, no selections, an unknown attribute, or a condition of another form.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not JSON", got=str(error).splitlines()[0]) from error
    selections = content.get("selections") if isinstance(content, dict) else None
    if not isinstance(selections, list) or not selections:
        raise ConfigError(f"{name}: no rules", allowed='{"selections": [{"name": ..., "conditions": {...}}, ...]}')
    return tuple(_rule(entry, name) for entry in selections)


def _rule(entry: Any, name: str) -> Rule:
    sound = isinstance(entry, dict) and set(entry) == {"name", "conditions"}
    if not sound or not isinstance(entry["name"], str) or not entry["name"].strip():
        raise ConfigError(f"{name}: a rule has a name and conditions", got=json.dumps(entry)[:200])
    conditions = entry["conditions"]
    if not isinstance(conditions, dict) or not conditions:
        raise ConfigError(f"{name}: the rule {entry['name']} has no conditions", allowed="at least one")
    for attribute, wanted in conditions.items():
        if attribute not in (SLICES, CONTRAST) and tag_for_keyword(attribute) is None:
            raise ConfigError(
                f"{name}: unknown attribute", got=attribute, allowed=f"a keyword of DICOM, {SLICES} or {CONTRAST}"
            )
        if not _is_condition(wanted):
            raise ConfigError(
                f"{name}: a condition on {attribute} that means nothing",
                got=json.dumps(wanted),
                allowed='"regular expression", 5, [2, 5], [16, ">="], ["WORD", "!WORD"]',
            )
    return Rule(entry["name"].strip(), conditions)


def _is_condition(wanted: Any) -> bool:
    if isinstance(wanted, str):
        try:
            re.compile(wanted)
        except re.error:
            return False
        return bool(wanted)
    if _is_number(wanted):
        return True
    if not isinstance(wanted, list) or not wanted:
        return False
    if _is_number(wanted[0]):
        return len(wanted) == 2 and (_is_number(wanted[1]) or wanted[1] in tuple(COMPARISONS))
    return all(isinstance(word, str) and word.removeprefix("!") for word in wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(values: Sequence[str | float]) -> list[float]:
    numbers = []
    for value in values:
        try:
            numbers.append(float(value))
        except ValueError:
            continue  # a word is no number, so it meets no condition on numbers
    return numbers
