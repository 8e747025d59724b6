"""The static screen of a foreign bundle: its configurations, logging set-up and weights are judged, never evaluated."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from mdcsrn.bundle.contents import Contents
from mdcsrn.bundle.expressions import expression_problems, imported
from mdcsrn.bundle.finding import Finding
from mdcsrn.bundle.loading import MOST_BYTES, load_plain
from mdcsrn.bundle.names import LOCATED_ARGUMENTS, located_problem, target_problem, word_problem
from mdcsrn.bundle.pickles import weights_problem
from mdcsrn.errors import MdcsrnError

CONFIGS = (".yaml", ".yml", ".json")
_KEY = re.compile(r"\$?[+~]?[\w\-./ ]+((#|::)[\w\-./ ]+)*")
_DOWNLOADS = re.compile(r"pretrained|pretrained_\w+|use_pretrained|\w*_?urls?|download|progress_download")
_UNSAFE = {
    "weights_only": True,
    "allow_pickle": False,
    "pickle_module": None,
    "trust_repo": None,
}  # key -> its safe value
_LOGGING_CLASSES = {"StreamHandler", "NullHandler", "logging.StreamHandler", "logging.NullHandler", "Formatter"}


def screen(contents: Contents) -> list[Finding]:
    """Judge everything in a bundle that can make a process do something.

    Args:
        contents: see :func:`mdcsrn.bundle.contents.open_contents`.

    Returns:
        Broken rules, in the order of the files.
    """
    findings: list[Finding] = []
    parsed: dict[str, Any] = {}
    for name in sorted(contents.files):
        suffix = PurePosixPath(name).suffix.lower()
        try:
            if suffix in CONFIGS:
                parsed[name] = load_plain(name, contents.read(name, MOST_BYTES))
            elif suffix == ".conf":
                findings += logging_problems(name, contents.read(name, MOST_BYTES))
            elif suffix in (".pt", ".pth", ".safetensors"):
                problem = weights_problem(name, contents.read(name))
                if problem is not None:
                    findings.append(Finding("weights", name, problem))
        except MdcsrnError as error:
            findings.append(Finding("parse" if suffix in CONFIGS else "weights", name, str(error)))
    aliases = _aliases(parsed)
    for name, value in parsed.items():
        findings += [Finding(rule, f"{name}: {place}", text) for rule, place, text in _walk(value, "", aliases)]
    return findings


def _aliases(parsed: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Names that any import of any file binds: overlays use those of the file that they lie on."""
    found: dict[str, frozenset[str]] = {}
    for value in parsed.values():
        for text in _texts(value):
            pair = imported(text) if text.startswith("$") and "import" in text else None
            if pair is not None:
                alias, module = pair
                if alias == module.split(".")[0] != module:
                    module = alias  # `import a.b` binds a
                found[alias] = found.get(alias, frozenset()) | {module}
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value


def _walk(value: Any, place: str, aliases: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, str, str]]:
    """Rule, place and reason of everything that is wrong in a configuration."""
    if isinstance(value, dict):
        for key, inner in value.items():
            here = f"{place}#{key}" if place else key
            if not _KEY.fullmatch(key):
                # A relative reference (@#x) is replaced by the keys above it, in the text that Python evaluates.
                yield "key", here[:120], "a key with characters that could become a part of an expression"
            yield from _special(re.split(r"#|::", key)[-1].lstrip("+~"), inner, here)
            yield from _walk(inner, here, aliases)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, f"{place}#{index}", aliases)
    elif isinstance(value, str):
        yield from ((rule, place, text) for rule, text in _text_problems(value, aliases))


def _special(key: str, value: Any, place: str) -> Iterator[tuple[str, str, str]]:
    """Keys that mean something to MONAI, or to what it calls."""
    if key == "_target_":
        problem = target_problem(value)
        if problem is not None:
            yield "target", place, problem
    elif key == "_mode_" and value != "default":
        # `callable` hands the class over, and an expression could call it with a reader that is looked up by its name.
        yield "mode", place, f"_mode_ is default, not {str(value)[:40]!r}: others open a debugger, or hand a class over"
    elif key == "_debug_":
        yield "mode", place, "_debug_ opens a debugger"
    elif key in LOCATED_ARGUMENTS:
        problem = located_problem(value)
        if problem is not None:
            yield "located", place, problem
    elif key in _UNSAFE and value is not _UNSAFE[key]:
        yield "unsafe-load", place, f"{key}: {str(value)[:40]} lets a file run code"
    elif (
        _DOWNLOADS.fullmatch(key) and value not in (False, None, "") and not place.startswith(("large_files", "schema"))
    ):
        yield "download", place, f"{key} fetches something from elsewhere"


def _text_problems(text: str, aliases: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, str]]:
    if text.startswith("$"):
        for problem in expression_problems(text, aliases):
            yield ("import" if problem.startswith("import of") else "expression"), f"{problem} in {text[:80]!r}"
    elif text.startswith("%"):
        if re.search(r"\.(json|ya?ml)", text, re.IGNORECASE) and re.search(r"^%\s*[/~\\]|\.\.|[\\:]/", text):
            yield "macro", f"a macro that reads a file outside of the bundle: {text[:80]!r}"
    else:
        word = word_problem(text)
        if word is not None:
            yield "word", word


def logging_problems(name: str, content: bytes) -> list[Finding]:
    """Judge a logging set-up: ``logging.config.fileConfig`` evaluates its ``class``, ``args`` and ``kwargs``."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(content.decode("utf-8"))
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
