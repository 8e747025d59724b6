"""Read ``$`` texts as MONAI does: replace references, then parse with Python's own parser; nothing is evaluated."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any, TypeGuard

MAX_CHARACTERS = 500  # characters
REFERENCES = "__local_refs"  # MONAI's own word
_REFERENCE = re.compile(r"@\w*(?:::\w*)*")


def parse(text: str) -> ast.expr | None:
    """The syntax tree of an expression, with its ``$``, in which ``@a#b`` is ``__local_refs['a::b']``.

    Returns:
        None: it is too long, not of ASCII (Python reads some letters as others), or none.
    """
    source = _REFERENCE.sub(lambda match: f"{REFERENCES}['{match[0][1:]}']", text[1:].replace("#", "::"))
    return (
        _tree(source, "eval").body if len(text) <= MAX_CHARACTERS and text.isascii() and _tree(source, "eval") else None
    )


def is_import(text: str) -> bool:
    """True where MONAI would import something: it looks at the first statement of the text alone."""
    tree = _tree(text[1:], "exec") if "import" in text else None
    return tree is not None and bool(tree.body) and isinstance(tree.body[0], ast.Import | ast.ImportFrom)


def imported(text: str) -> tuple[str, str] | None:
    """Alias and module of ``$import mdcsrn.engines as engines``; None: not one import of one module.

    ``import a.b`` alone binds nothing that an expression could name: its alias is empty.
    """
    tree = _tree(text[1:], "exec")
    if tree is None or len(tree.body) != 1 or len(text) > MAX_CHARACTERS or not text.isascii():
        return None
    statement = tree.body[0]
    if not isinstance(statement, ast.Import | ast.ImportFrom) or len(statement.names) != 1:
        return None
    (name,) = statement.names
    if isinstance(statement, ast.ImportFrom):
        module = f"{statement.module}.{name.name}"
        return None if statement.level else (name.asname or name.name, module)
    return name.asname or ("" if "." in name.name else name.name), name.name


def is_reference(node: Any) -> TypeGuard[ast.Subscript]:
    """True for ``@name``."""
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == REFERENCES
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    )


def _tree(source: str, mode: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python would warn of is no matter of the user's
            return ast.parse(source, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
