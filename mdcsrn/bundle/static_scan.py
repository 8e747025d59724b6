"""Screen a foreign bundle: judge its configurations, logging set-up and weights without evaluating them."""

from __future__ import annotations

import configparser
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from mdcsrn.bundle.allowlist import target, word_problem
from mdcsrn.bundle.archive import CONFIGS, Contents
from mdcsrn.bundle.arguments import READERS, WRITERS, Problem, argument_problem, call_problems
from mdcsrn.bundle.expressions import Scope, expression_problems, scope_of
from mdcsrn.bundle.finding import Finding
from mdcsrn.bundle.pickles import weights_problem
from mdcsrn.bundle.safe_yaml import MAX_BYTES, load_plain
from mdcsrn.errors import MdcsrnError
from mdcsrn.ziplayout import layout_problem

_KEY = re.compile(r"[\w\-. ]+", re.ASCII)
_PATH = re.compile(r"\+?[\w\-. ]+((#|::)[\w\-. ]+)*", re.ASCII)
_MACRO = re.compile(r"%\w+((#|::)\w+)*", re.ASCII)
_RELATIVE = re.compile(r"[@%](#|::)")
_SPECIAL = {"_target_", "_requires_", "_disabled_", "_desc_", "_mode_"}
_LOGGING_CLASSES = {"StreamHandler", "NullHandler", "logging.StreamHandler", "logging.NullHandler", "Formatter"}


def screen(contents: Contents) -> list[Finding]:
    """Judge everything in a bundle that can make a process do something.

    Args:
        contents: see :func:`mdcsrn.bundle.archive.open_contents`.

    Returns:
        Broken rules and what is not judged, in the order of the files.
    """
    findings: list[Finding] = []
    parsed: dict[str, Any] = {}
    for name in sorted(contents.files):
        suffix = PurePosixPath(name).suffix.lower()
        try:
            if suffix in CONFIGS:
                content = contents.read(name, MAX_BYTES)
                parsed[name] = load_plain(name, content)
                if suffix != ".json" and not content.isascii():
                    # In Latin-1 a letter of UTF-8 can end the line, and a comment becomes configuration.
                    findings.append(Finding("encoding", name, "letters that systems read in different ways"))
            elif suffix == ".conf":
                findings += logging_problems(name, contents.read(name, MAX_BYTES))
            elif suffix in (".pt", ".pth", ".safetensors"):
                findings += _weights(name, contents.read(name))
        except MdcsrnError as error:
            findings.append(Finding("parse" if suffix in CONFIGS else "weights", name, str(error)))
    return [*findings, *configurations(parsed)]


def _weights(name: str, content: bytes) -> Iterator[Finding]:
    problem = weights_problem(name, content)
    if problem is None and not name.lower().endswith(".safetensors"):
        problem = layout_problem(io.BytesIO(content), of_torch=True)
    if problem is not None:
        yield Finding("weights", name, problem)


def configurations(parsed: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge configurations, all together: any of them can be laid over another.

    Args:
        parsed: file name -> its content as plain values.
    """
    definitions: dict[str, list[Any]] = {}
    for value in parsed.values():
        for key, inner in value.items() if isinstance(value, dict) else ():
            definitions.setdefault(key.removeprefix("+"), []).append(inner)
    scope = scope_of([text for value in parsed.values() for text in _texts(value)], definitions)
    for name, value in parsed.items():
        for place, (rule, text) in _walk(value, "", scope):
            yield Finding(rule, f"{name}: {place}", text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str) and value.startswith("$"):
        yield value


def _walk(value: Any, place: str, scope: Scope) -> Iterator[tuple[str, Problem]]:
    """Place, rule and reason of everything that is wrong in a configuration."""
    if isinstance(value, dict):
        yield from ((place, problem) for problem in _component(value, place, scope))
        for key, inner in value.items():
            here = f"{place}#{key}" if place else key
            yield from ((here[:120], problem) for problem in _key(key, inner, place))
            if (place or "#" in here or "::" in here) and target(value.get("_target_")) is None:
                # Elsewhere than in a component, whose arguments are judged with it: by name, it can be merged into one.
                problem = argument_problem(re.split(r"#|::", key)[-1].removeprefix("+"), inner, scope.definitions)
                yield from [(here[:120], problem)] if problem else []
            if key != "_target_":
                yield from _walk(inner, here, scope)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, f"{place}#{index}", scope)
    elif isinstance(value, str):
        yield from ((place, problem) for problem in _text(value, scope))


def _component(value: Mapping[str, Any], place: str, scope: Scope) -> Iterator[Problem]:
    """``_target_`` and its arguments."""
    if "_target_" not in value:
        return
    full = target(value["_target_"])
    if full is None:
        yield "target", f"_target_ {str(value['_target_'])[:80]!r} is not on the list of allowed names"
    elif not place:
        yield "target", "a _target_ of the whole file"
    else:
        arguments = {key: inner for key, inner in value.items() if key not in _SPECIAL}
        yield from call_problems(full, (), arguments, scope.definitions)


def _key(key: str, value: Any, place: str) -> Iterator[Problem]:
    """Keys that mean something to MONAI."""
    last = re.split(r"#|::", key.removeprefix("+"))[-1]
    merged = key.startswith("+") and isinstance(value, dict) and "_target_" in value
    if not (_KEY if place else _PATH).fullmatch(key):
        # The keys above a reference can become a part of it, and MONAI takes a path in a key for one.
        yield "key", "a key with characters that could become a part of an expression or of another place"
    elif merged or (last == "_target_" and last != key):
        yield "target", "a _target_ that is put into what another file says"
    elif last == "_mode_" and value != "default":
        yield "mode", f"_mode_ is default, not {str(value)[:40]!r}: others open a debugger, or hand a class over"
    elif last == "_debug_":
        yield "mode", "_debug_ opens a debugger"
    elif last.startswith("_") and last not in _SPECIAL:
        yield "key", f"{last} is no key that this screen knows"


def _text(text: str, scope: Scope) -> Iterator[Problem]:
    word = None if text in READERS | WRITERS else word_problem(text)
    if _RELATIVE.search(text):
        yield "macro", f"a relative reference: {text[:80]!r}"
    elif text.startswith("$"):
        yield from ((rule, f"{reason} in {text[:80]!r}") for rule, reason in expression_problems(text, scope))
    elif text.startswith("%") and not _MACRO.fullmatch(text):
        yield "macro", f"a macro that reads another file: {text[:80]!r}"
    elif word is not None:
        yield "word", word


def logging_problems(name: str, content: bytes) -> list[Finding]:
    """Judge a logging set-up: ``logging.config.fileConfig`` evaluates its ``class``, ``args`` and ``kwargs``."""
    parser = configparser.RawConfigParser()
    try:
        # As fileConfig reads a file: a carriage return ends a line, and with it a comment.
        parser.read_file(io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        return [Finding("logging", name, f"cannot be parsed: {' '.join(str(error).split())[:120]}")]
    found = []
    for section in [parser.default_section, *parser.sections()]:
        for key, value in parser[section].items():
            where = f"{name}: {section}#{key}"
            if key == "class" and value not in _LOGGING_CLASSES:
                found.append(Finding("logging", where, f"the class {value[:60]!r}; allowed: a stream"))
            elif key == "args" and not re.fullmatch(r"\(\s*(sys\.std(out|err)\s*,?)?\s*\)", value):
                found.append(Finding("logging", where, f"args are evaluated: {value[:60]!r}; allowed: (sys.stdout,)"))
            elif key == "kwargs" and not re.fullmatch(r"\{\s*\}", value):
                found.append(Finding("logging", where, f"kwargs are evaluated: {value[:60]!r}"))
    return found
