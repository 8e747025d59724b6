"""Recover the command line of ``python -m monai.bundle`` as it was typed, unchanged by Fire and MONAI.

Fire reads `20250101` as a number, `None` as nothing, `a,b` as two words and drops what follows a `#`; MONAI reads `#`
as a step into the configuration, and `@`, `$` and `%` in front as its own signs. For a file name all of that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mdcsrn.errors import ConfigError

COMMAND_LINE = "the command line"
# A knob takes text where its default is text, or a place below the bundle's folder.
_BELOW_ROOT = re.compile(r"\$@bundle_root \+ '[^']*'")
_REFERENCE = re.compile(r"@(\w+)")


def options(arguments: Sequence[str]) -> dict[str, str | None]:
    """``--key value`` and ``--key=value`` as Fire pairs them; None: a key without a value.

    Args:
        arguments: command line without the program.

    Raises:
        ConfigError: a ``-`` by itself, which ends what Fire hands over.
    """
    words = list(arguments)
    if "--" in words:  # Fire's own options follow the last one
        words = words[: len(words) - 1 - words[::-1].index("--")]
    if "-" in words:
        raise ConfigError(
            "a - by itself ends the options", got=" ".join(words), remedy="write ./- for a file of that name"
        )
    found: dict[str, str | None] = {}
    skip = False
    for place, word in enumerate(words):
        if skip or not _is_option(word):
            skip = False
            continue
        key, equals, value = word.lstrip("-").partition("=")
        key = key.replace("-", "_")
        if equals:
            found[key] = value
        elif place + 1 < len(words) and not _is_option(words[place + 1]):
            found[key] = words[place + 1]
            skip = True
        else:
            found[key.removeprefix("no")] = None
    found.pop("", None)  # two hyphens without a name: Fire reports them
    return found


def _is_option(word: str) -> bool:
    return re.match(r"--|-[a-zA-Z]", word) is not None


def config_files(text: str) -> list[str]:
    """The files of ``--config_file``, as Fire and MONAI read it: one, a list in brackets, or several with commas."""
    from fire.parser import DefaultParseValue  # type: ignore[import-untyped]

    value = DefaultParseValue(text)
    if isinstance(value, (list, tuple)):
        return [str(name) for name in value]
    if Path(text).is_file():
        return [text]
    return [name.strip(" '\"") for name in text.strip("[]() ").split(",") if name.strip()]


def text_knobs(config: Mapping[str, Any]) -> frozenset[str]:
    """Knobs that take a text, a file name most often.

    Args:
        config: the first config file.
    """
    return frozenset(
        key
        for key, value in config.items()
        if isinstance(value, str) and (value[:1] not in ("$", "@", "%") or _BELOW_ROOT.fullmatch(value))
    )


def is_for_monai(text: str, known: Mapping[str, Any], where: str) -> bool:
    """True where a text is a reference or an expression for MONAI, and no name of a file.

    It is one where it refers to an entry of the configuration (``@start``, ``$@bundle_root + '/runs/b'``), or is a
    macro (``%start``), which MONAI has replaced by the time. In a file every text that begins with ``$`` is one.
    """
    if text.startswith("$"):
        return where != COMMAND_LINE or any(name in known for name in _REFERENCE.findall(text))
    whole = re.fullmatch(r"@(\w+)((#|::)\w+)*", text)
    return text.startswith("%") or (whole is not None and whole[1] in known)


def survives(text: str) -> bool:
    """True where neither Fire nor MONAI would make something else of a text."""
    from fire.parser import DefaultParseValue

    return DefaultParseValue(text) == text and not re.search(r"#|::|^[@$%]", text)


def checked_text(key: str, value: Any, default: Any, where: str) -> str | None:
    """A text for a knob; None where the knob is to have no value (``null`` in a file).

    Args:
        key: name of the knob.
        value: as it stands in a file or on the command line; there None: nothing follows the key.
        default: of the first config file: what is empty there may be empty.
        where: where it stands, for messages.

    Raises:
        ConfigError: no text, or an empty one.
    """
    if value is None and where != COMMAND_LINE:
        return None
    if value is None:
        remedy = f"for a name that begins with a minus sign: --{key}=./-name"
        raise ConfigError(f"--{key} has no value", allowed="a text", remedy=remedy)
    if not isinstance(value, str):
        raise ConfigError(f"{key} in {where} is a text", got=repr(value), remedy=f'write it in quotes: {key}: "..."')
    if not value and default:
        raise ConfigError(f"{key} in {where} is empty", allowed="a text", remedy="leave it out for its default")
    return value
