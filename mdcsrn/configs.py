"""What a bundle's configs call before anything else: unknown settings are refused, errors are shown plainly."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from mdcsrn.errors import ConfigError, root_error
from mdcsrn.files import read_mapping
from mdcsrn.stopping import install

# Options of `python -m monai.bundle run` itself; everything else on its command line overrides the config.
RUNNER_OPTIONS = {
    *("run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"),
    *("workflow_name", "workflow_type"),
}


def check_command_line(arguments: Sequence[str] | None = None) -> None:
    """Refuse settings that the first config file does not know; show errors and interruptions without a traceback.

    MONAI merges overlays and command-line overrides without a check, so that a misspelt knob would silently do
    nothing. Outside ``python -m monai.bundle`` this does nothing.

    Args:
        arguments: command line; None: this process's own.

    Raises:
        ConfigError: a key of an overlay file or of the command line is not in the first config file.
    """
    if arguments is None:
        if "monai" not in Path(sys.argv[0]).parts or "bundle" not in Path(sys.argv[0]).parts:
            return
        sys.excepthook = show_plainly
        install()
        arguments = sys.argv[1:]
    overrides = _options(arguments)
    files = _config_files(overrides.pop("config_file", ""))
    if not files:
        return
    known = read_mapping(files[0])
    for overlay in files[1:]:
        for key, value in read_mapping(overlay).items():
            _require(key, known, f"the config file {overlay}")
            _replace(known, key, value)
    for key in overrides:
        if key not in RUNNER_OPTIONS:
            _require(key, known, "the command line")


def show_plainly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Exception hook: an error of this project is one line, whatever wrapped it; others keep their traceback."""
    ours = root_error(error)
    if ours is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"error: {ours}", file=sys.stderr)


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """``--key value`` and ``--key=value`` pairs."""
    found: dict[str, str] = {}
    for place, word in enumerate(arguments):
        if word.startswith("--"):
            key, _, value = word[2:].partition("=")
            following = arguments[place + 1] if place + 1 < len(arguments) else ""
            found[key] = value or following
    return found


def _config_files(text: str) -> list[str]:
    return [name.strip(" '\"") for name in text.strip("[]() ").split(",") if name.strip()]


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
