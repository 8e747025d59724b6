"""Judge arguments given to callables of the allow-list: rules by argument name, however they are passed.

A rule holds for the name wherever it stands, since a key of another file (``loader#reader``, ``+loader``) can put it
into any component: as keyword of a component, as key of a dictionary, and in an expression by keyword or position.
"""

from __future__ import annotations

import ast
import inspect
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mdcsrn.bundle.allowlist import PLAIN_KEYWORDS, signature
from mdcsrn.bundle.reading import is_reference, parse

Definitions = Mapping[str, Sequence[Any]]  # identifier of the top -> every value that a file gives it
Problem = tuple[str, str]  # rule, reason
READERS = {"ITKReader", "NibabelReader", "NrrdReader", "PILReader", "PydicomReader", "mdcsrn.io.reader.NiftiReader"}
WRITERS = {
    "ITKWriter", "NibabelWriter", "PILWriter", "mdcsrn.io.result_writer.ResultWriter",
    "mdcsrn.io.writer.AtomicNibabelWriter",
}  # fmt: skip
_MAX_VALUES = 64  # values that a reference may have, over all files


@dataclass(frozen=True)
class Rule:
    """What an argument of one name may be.

    Attributes:
        name: of the rule that another value breaks.
        allows: judges a plain value.
        words: what is allowed.
    """

    name: str
    allows: Callable[[Any], bool]
    words: str


def _inside(value: Any) -> bool:
    """A relative path that stays in the bundle."""
    if value is None:
        return True
    if not isinstance(value, str) or not re.fullmatch(r"[\w\-./ ]*", value, re.ASCII) or value.startswith("/"):
        return False
    return posixpath.normpath(value or ".").split("/")[0] != ".."


def _matching(pattern: str) -> Callable[[Any], bool]:
    return lambda value: value is None or (isinstance(value, str) and re.fullmatch(pattern, value) is not None)


_IMAGE = Rule("path", _matching(r"\.?(nii(\.gz)?|nrrd|png)|"), "a suffix of images")
_NAME = Rule("path", _matching(r"[\w\-]*"), "letters, digits, _ and -")
_CHECKPOINT = Rule("path", _matching(r"[\w\-]+(\.pt)?"), "a name that ends in .pt")
_PLACE = Rule("path", _inside, "a relative path that stays in the bundle")
_OFF = Rule("download", lambda value: value is None or value is False, "false")
_NONE = Rule("argument", lambda value: value is None or value == {}, "nothing")
RULES = {
    # MONAI looks the name up anywhere in Python and calls what it finds.
    "reader": Rule("located", lambda value: value is None or value in READERS, ", ".join(sorted(READERS))),
    "writer": Rule("located", lambda value: value is None or value in WRITERS, ", ".join(sorted(WRITERS))),
    "merger_cls": Rule("located", lambda value: value is None, "nothing"),
    "weights_only": Rule("unsafe-load", lambda value: value is True, "true"),
    "allow_pickle": Rule("unsafe-load", lambda value: value is False, "false"),
    "pickle_module": Rule("unsafe-load", lambda value: value is None, "nothing"),
    **dict.fromkeys(("pretrained", "use_pretrained", "download", "trust_repo", "pretrained_url"), _OFF),
    **dict.fromkeys(("output_dir", "save_dir", "log_dir", "cache_dir", "folder", "dataset_dir"), _PLACE),
    # MONAI writes an image to where it lies relative to this, counted from output_dir: above it, if need be.
    "data_root_dir": Rule("argument", lambda value: value in (None, ""), "nothing, or $scans.root(@input)"),
    **dict.fromkeys(("output_ext", "output_format", "extension"), _IMAGE),
    **dict.fromkeys(("output_postfix", "postfix", "file_prefix"), _NAME),
    **dict.fromkeys(("final_filename", "key_metric_filename"), _CHECKPOINT),
}


def rule_of(name: str) -> Rule | None:
    """The rule for an argument; None: it may be anything that the rest of the screen lets through."""
    return _NONE if name.endswith("kwargs") else RULES.get(name)


def argument_problem(name: str, value: Any, definitions: Definitions) -> Problem | None:
    """Why an argument may not have a value, which is one of a file or a node of an expression."""
    rule = rule_of(name)
    if rule is None:
        return None
    values = fold(value, definitions)
    if values is None:
        return "argument", f"{name} is not plain; allowed: {rule.words}"
    wrong = next((one for one in values if not rule.allows(one)), rule)
    return None if wrong is rule else (rule.name, f"{name} is {str(wrong)[:60]!r}; allowed: {rule.words}")


def call_problems(
    full: str, by_position: Sequence[Any], by_name: Mapping[str, Any], definitions: Definitions
) -> Iterator[Problem]:
    """What is wrong with the arguments of an allowed callable; those that are left out have their defaults judged.

    Args:
        full: one of :data:`mdcsrn.bundle.allowlist.CALLABLES`.
        by_position: values of a file or nodes of an expression.
        by_name: likewise.
        definitions: of the whole bundle.
    """
    try:
        known = signature(full)
    except Exception as error:  # a package that is missing or broken raises whatever it likes
        yield "argument", f"{full} cannot be looked at here: {str(error)[:80]}"
        return
    if known is None:
        unknown = set(by_name) - PLAIN_KEYWORDS
        yield from (("argument", f"{full} with an argument {name}") for name in sorted(unknown))
        return
    order, defaults = known
    if len(by_position) > len(order):
        yield "argument", f"{full} with more arguments by position than it names"
    given = {**dict(zip(order, by_position, strict=False)), **by_name}
    yield from (("argument", f"{full} names no argument {name}") for name in given if name not in defaults)
    for name, default in defaults.items():
        if name in given:
            problem = argument_problem(name, given[name], definitions)
        elif default is inspect.Parameter.empty:
            continue
        else:
            problem = argument_problem(name, default, {})
        if problem is not None:
            yield problem[0], f"{full}: {problem[1]}"


def fold(value: Any, definitions: Definitions, depth: int = 0) -> list[Any] | None:
    """All plain values that an argument can have, following references and joining paths; None: that is not known."""
    if depth > 9:
        return None
    if isinstance(value, str) and value.startswith("$"):
        tree = parse(value)
        return None if tree is None else fold(tree, definitions, depth)
    if isinstance(value, ast.Constant):
        return [value.value]
    if isinstance(value, str) and value.startswith("%"):
        return None
    if isinstance(value, str) and value.startswith("@"):
        return _definitions(value[1:], definitions, depth)
    if not isinstance(value, ast.AST):
        return [value] if value is None or isinstance(value, str | bool | int | float) or value == {} else None
    if is_reference(value):
        return _definitions(value.slice.value, definitions, depth)  # type: ignore[attr-defined]
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return _joined([value.left, value.right], "".join, definitions, depth)
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "scans.root" and len(value.args) == 1:
        return fold(value.args[0], definitions, depth)  # the folder that it is given, or nothing
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "os.path.join" and not value.keywords:
        return _joined(value.args, lambda parts: posixpath.join(*parts), definitions, depth)
    return None


def _definitions(name: str, definitions: Definitions, depth: int) -> list[Any] | None:
    """Values of a reference to the top; deeper ones can be replaced with what lies above them."""
    found: list[Any] = []
    for value in definitions.get(name, ()):
        values = fold(value, definitions, depth + 1)
        if values is None:
            return None
        found += values
    return found if 0 < len(found) <= _MAX_VALUES else None


def _joined(
    nodes: Sequence[ast.expr], join: Callable[[list[str]], str], definitions: Definitions, depth: int
) -> list[Any] | None:
    found: list[list[str]] = [[]]
    for node in nodes:
        values = fold(node, definitions, depth + 1)
        if values is None or not all(isinstance(value, str) for value in values):
            return None
        found = [[*parts, value] for parts in found for value in values]
        if len(found) > _MAX_VALUES:
            return None
    return [join(parts) for parts in found if parts]
