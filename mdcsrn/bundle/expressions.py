"""The small grammar that ``$`` expressions of a foreign bundle must keep to; they are parsed and never evaluated.

References, literals, arithmetic, comparisons, conditions, simple comprehensions, and calls of names of the allow-list.
MONAI replaces ``@a#b`` in the text before Python sees it; the same is done here, so that both read one text.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from mdcsrn.bundle.names import (
    ATTRIBUTES,
    BUILTINS,
    LOCATED_ARGUMENTS,
    LOCATING,
    import_problem,
    name_problem,
    word_problem,
)

LONGEST = 500  # characters
REFERENCES = "__local_refs"  # MONAI's own word
MOST = 10**6  # a literal above it can only be meant to fill the memory
_REFERENCE = re.compile(r"@\w*(?:::\w*)*")
_NODES = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.keyword, ast.Attribute),
    *(ast.Name, ast.Load, ast.Store, ast.Subscript, ast.Slice, ast.Constant, ast.List, ast.Tuple, ast.Dict),
    *(ast.ListComp, ast.GeneratorExp, ast.comprehension),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.USub, ast.UAdd, ast.Not, ast.And, ast.Or),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot),
)
Aliases = Mapping[str, frozenset[str]]
# Expressions that many bundles have and that the grammar would refuse for one of their words: allowed to the letter.
IDIOMS = {
    ast.unparse(ast.parse(text))
    for text in (
        "setattr(torch.backends.cudnn, 'benchmark', True)",
        "dist.init_process_group(backend='nccl')",
        "dist.is_initialized() or dist.init_process_group(backend='nccl')",
        "torch.device('cuda:' + os.environ['LOCAL_RANK'])",
        """torch.device(f"cuda:{os.environ['LOCAL_RANK']}")""",
        "torch.device(f'cuda:{dist.get_rank()}')",
    )
}
_MEANT = {"torch": frozenset({"torch"}), "dist": frozenset({"torch.distributed"}), "os": frozenset({"os"})}
# What MONAI puts into every expression's reach.
GLOBALS: dict[str, frozenset[str]] = {
    "monai": frozenset({"monai"}),
    "torch": frozenset({"torch"}),
    "np": frozenset({"numpy"}),
    "numpy": frozenset({"numpy"}),
}


def _parse(source: str, mode: str) -> Any:
    """The syntax tree; what Python would warn of is no matter of the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source, mode=mode)


def imported(text: str) -> tuple[str, str] | None:
    """Alias and full name of an import expression such as ``$import mdcsrn.engines as engines``; None: it is none."""
    try:
        statements = _parse(text.removeprefix("$"), "exec").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if len(statements) != 1 or not isinstance(statements[0], ast.Import | ast.ImportFrom):
        return None
    statement = statements[0]
    if len(statement.names) != 1:
        return None
    name = statement.names[0]
    if isinstance(statement, ast.ImportFrom):
        if statement.level or statement.module is None:
            return None
        return name.asname or name.name, f"{statement.module}.{name.name}"
    return name.asname or name.name, name.name


def expression_problems(text: str, aliases: Aliases) -> list[str]:
    """What keeps an expression out of the grammar.

    Args:
        text: with its ``$``.
        aliases: names that imports of the bundle bind, each with all the modules that it may stand for.

    Returns:
        Reasons; empty for an expression that keeps to it.
    """
    if len(text) > LONGEST:
        return [f"an expression of {len(text)} characters; at most {LONGEST}"]
    found = imported(text)
    if found is not None:
        return _import_problems(*found)
    source = _REFERENCE.sub(lambda match: f"{REFERENCES}['{match[0][1:]}']", text[1:].replace("#", "::"))
    try:
        tree = _parse(source, "eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return [f"not an expression ({type(error).__name__})"]
    if ast.unparse(tree) in IDIOMS and all(aliases.get(name, meant) == meant for name, meant in _MEANT.items()):
        return []
    return sorted(set(_problems(tree, {**GLOBALS, **_joined(aliases)})))


def _joined(aliases: Aliases) -> dict[str, frozenset[str]]:
    """An import may not take a global's meaning away: the name then has both."""
    return {name: modules | GLOBALS.get(name, frozenset()) for name, modules in aliases.items()}


def _import_problems(alias: str, full: str) -> list[str]:
    problem = import_problem(full)
    if problem is not None and name_problem(full.split(".")) is None:
        problem = None  # `from torch.optim import Adam`
    if problem is None and (alias.startswith("_") or alias in BUILTINS):
        problem = f"an import under the name {alias}"
    return [] if problem is None else [problem]


def _problems(tree: ast.AST, aliases: Mapping[str, frozenset[str]]) -> Iterator[str]:
    variables = {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.comprehension)
        for name in ast.walk(node.target)
        if isinstance(name, ast.Name)
    }
    for name in sorted(variables):
        if name.startswith("_") or name in aliases or name in BUILTINS:
            yield f"a loop over the name {name}"
    inner: set[int] = set()  # nodes that a whole dotted name, judged as one, has used up
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            yield f"{type(node).__name__} is no part of the grammar"
        elif _is_reference(node):
            inner.add(id(node.slice))  # an identifier of the configuration is no word of Python's
        elif isinstance(node, ast.Constant) and id(node) not in inner:
            yield from _constant(node)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            yield from _repetition(node)
        elif isinstance(node, ast.Call):
            if _is_path(node.func, aliases):
                inner.update(id(argument) for argument in node.args)  # `eval` is a folder's name there
            yield from _call(node, aliases)
        elif isinstance(node, ast.comprehension) and (node.is_async or not _is_simple(node.target)):
            yield "a comprehension over something else than simple names"
        elif isinstance(node, ast.Attribute) and id(node) not in inner:
            inner.update(id(part) for part in _chain(node))
            yield from _attribute(node, aliases)
        elif isinstance(node, ast.Name) and id(node) not in inner and node.id not in variables:
            yield from _name(node, aliases)


def _is_reference(node: ast.AST) -> TypeGuard[ast.Subscript]:
    """``@name``, as MONAI writes it."""
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == REFERENCES


def _is_simple(target: ast.expr) -> bool:
    """``for i in ...`` or ``for i, j in ...``."""
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    return all(isinstance(name, ast.Name) for name in names)


def _is_path(function: ast.expr, aliases: Mapping[str, frozenset[str]]) -> bool:
    """``os.path.join`` and its like: text among its arguments is a part of a path, and no name of anything."""
    text = ast.unparse(function)
    return text.startswith("os.path.") and aliases.get("os") == frozenset({"os"})


def _chain(node: ast.expr) -> list[ast.expr]:
    """``a.b.c`` as its nodes, from the outside in; the last one is whatever the dots hang on."""
    nodes = [node]
    while isinstance(nodes[-1], ast.Attribute):
        nodes.append(nodes[-1].value)
    return nodes if isinstance(nodes[-1], ast.Name) else nodes[:-1]


def _attribute(node: ast.Attribute, aliases: Mapping[str, frozenset[str]]) -> Iterator[str]:
    nodes = _chain(node)
    names = [part.attr for part in nodes if isinstance(part, ast.Attribute)][::-1]
    root = nodes[-1]
    if isinstance(root, ast.Name) and root.id in aliases:
        for module in sorted(aliases[root.id]):
            problem = name_problem([*module.split("."), *names])
            if problem is not None:
                yield problem
            elif any(name.startswith(LOCATING) for name in names):
                yield f"{'.'.join(names)} in an expression: it looks its arguments up by name"
        return
    for name in names:
        if name not in ATTRIBUTES:
            yield f"the attribute {name}"
    if isinstance(root, ast.Name):
        yield from _name(root, aliases)


def _name(node: ast.Name, aliases: Mapping[str, frozenset[str]]) -> Iterator[str]:
    if node.id in aliases:
        for module in sorted(aliases[node.id]):
            problem = name_problem(module.split("."))
            if problem is not None:
                yield problem
    elif node.id not in BUILTINS and node.id != REFERENCES:
        yield f"the name {node.id}"


def _call(node: ast.Call, aliases: Mapping[str, frozenset[str]]) -> Iterator[str]:
    # What a reference stands for is made by the configuration itself, of names that are on the list.
    if not isinstance(node.func, ast.Name | ast.Attribute) and not _is_reference(node.func):
        yield "a call of something that has no name"
    elif isinstance(node.func, ast.Name) and node.func.id not in BUILTINS and node.func.id not in aliases:
        yield f"a call of {node.func.id}"
    for keyword in node.keywords:
        if keyword.arg is None:
            yield "arguments from a dictionary (**)"
        elif keyword.arg.startswith("_") or keyword.arg in LOCATED_ARGUMENTS:
            yield f"the argument {keyword.arg}"


def _constant(node: ast.Constant) -> Iterator[str]:
    value = node.value
    if isinstance(value, str):
        problem = word_problem(value)
        if problem is not None:
            yield problem
    elif isinstance(value, bytes | complex) or value is Ellipsis:
        yield f"a literal of type {type(value).__name__}"
    elif isinstance(value, int | float) and abs(value) > MOST:
        yield f"the number {value:.3g}"


def _repetition(node: ast.BinOp) -> Iterator[str]:
    """Products of products of literals fill the memory as well as one large literal does."""
    if isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Mult) and _is_sequence(node.left):
        yield "a sequence that is repeated twice"


def _is_sequence(node: ast.expr) -> bool:
    return any(
        isinstance(part, ast.List | ast.Tuple) or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in ast.walk(node)
    )
