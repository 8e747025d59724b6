"""Functions that a bundle's configs call before anything else: check settings, show errors plainly."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from mdcsrn.command_line import (
    COMMAND_LINE,
    checked_text,
    config_files,
    is_for_monai,
    options,
    survives,
    text_knobs,
)
from mdcsrn.errors import ConfigError, root_error
from mdcsrn.files import read_mapping
from mdcsrn.stopping import install

# Options of `python -m monai.bundle run` itself; everything else on its command line overrides the config.
RUNNER_OPTIONS = {
    *("run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"),
    *("workflow_name", "workflow_type"),
}


def check_command_line(arguments: Sequence[str] | None = None) -> None:
    """Refuse settings that the first config file does not know, and take file names as they were typed.

    MONAI merges overlays and command-line overrides without a check, so that a misspelt knob would silently do
    nothing; and it changes what it reads (see :mod:`mdcsrn.command_line`). Errors of this project are shown without a
    traceback. Outside ``python -m monai.bundle`` this does nothing.

    Args:
        arguments: command line; None: this process's own.

    Raises:
        ConfigError: a key of an overlay file or of the command line is not in the first config file; or a knob for a
            text has another value, or one that cannot be handed on.
    """
    # MONAI evaluates the call with the values that it has resolved so far as a global: what is put there is what
    # every reference to it becomes, unchanged.
    resolved = sys._getframe(1).f_globals.get("__local_refs")
    if arguments is None:
        if "monai" not in Path(sys.argv[0]).parts or "bundle" not in Path(sys.argv[0]).parts:
            return
        sys.excepthook = show_plainly
        install()
        arguments = sys.argv[1:]
    texts = read_settings(arguments)
    if resolved is not None:
        resolved.update(texts)
        return
    for key, text in texts.items():
        if not survives(text):
            raise ConfigError(f"{key}: this MONAI changes such a text", got=text, remedy="use a plainer name")


def read_settings(arguments: Sequence[str]) -> dict[str, str]:
    """Check all settings of a command line and of its files.

    Returns:
        Knobs that take a text with the text as it stands in the last place that sets them; without those that are for
        MONAI to resolve (references, expressions).

    Raises:
        ConfigError: see :func:`check_command_line`.
    """
    overrides = options(arguments)
    defaults = overrides.pop("args_file", None)
    given = read_mapping(defaults) if defaults else {}
    names = _config_files(overrides.get("config_file") or given.get("config_file"))
    if not names:
        return {}
    known = read_mapping(names[0])
    first, knobs = dict(known), text_knobs(known)
    places: list[tuple[str, Mapping[str, Any]]] = [(f"the config file {names[0]}", first)]
    for name in names[1:]:
        places.append((f"the config file {name}", read_mapping(name)))
        for key, value in places[-1][1].items():
            _require(key, known, places[-1][0])
            _replace(known, key, value)
    places += [(str(defaults), given), (COMMAND_LINE, overrides)]
    texts: dict[str, str | None] = {}
    for where, settings in places:
        for key in knobs & settings.keys():
            text = checked_text(key, settings[key], first[key], where)
            texts[key] = None if text is None or is_for_monai(text, known, where) else text
    for where, settings in places[-2:]:
        for key in settings.keys() - RUNNER_OPTIONS:
            _require(key, known, where)
    return {key: text for key, text in texts.items() if text is not None}


def _config_files(value: Any) -> list[str]:
    return config_files(value) if isinstance(value, str) else [str(name) for name in value or ()]


def show_plainly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Exception hook: an error of this project is one line, whatever wrapped it; others keep their traceback."""
    ours = root_error(error)
    if ours is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"error: {ours}", file=sys.stderr)


def _parts(key: str) -> list[str]:
    return key.lstrip("+~").replace("::", "#").split("#")


def _replace(known: Any, key: str, value: Any) -> None:
    """Put an overlay's value where MONAI will merge it, so that settings after it are looked for in it."""
    *path, last = _parts(key)
    level = known
    for part in path:
        if isinstance(level, str):  # a reference: what it names is not looked into
            return
        level = level[int(part)] if isinstance(level, list) else level[part]
    if isinstance(level, list):
        level[int(last)] = value
    elif isinstance(level, dict) and not key.startswith(("+", "~")):
        level[last] = value


def _require(key: str, known: Mapping[str, Any], where: str) -> None:
    """Walk ``a#b::c`` through the config; a list index must exist, a referenced value cannot be looked into."""
    level: Any = known
    for part in _parts(key):
        if isinstance(level, Mapping) and part in level:
            level = level[part]
        elif isinstance(level, Sequence) and not isinstance(level, str) and part.isdigit() and int(part) < len(level):
            level = level[int(part)]
        elif isinstance(level, str) and level[:1] in "@$%":
            return
        else:
            close = difflib.get_close_matches(part, [str(name) for name in level] if isinstance(level, Mapping) else [])
            remedy = f"did you mean {', '.join(close)}?" if close else "see the knobs at the top of the config file"
            raise ConfigError(f"unknown setting in {where}", got=key, remedy=remedy)
