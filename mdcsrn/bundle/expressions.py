"""Parse and judge ``$`` expressions of a foreign bundle by a small grammar; they are never evaluated.

Literals, references, arithmetic, comparisons, conditions, simple comprehensions, a few methods of references, and calls
of the allow-list, whose arguments are judged as those of a component are. A callable that is not called is no value:
whoever had it could call it with other arguments.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mdcsrn.bundle.allowlist import CALLABLES, VALUES, is_module, word_problem
from mdcsrn.bundle.arguments import Definitions, Problem, call_problems
from mdcsrn.bundle.reading import REFERENCES, imported, is_import, is_reference, parse

MAX_LITERAL = 10**6  # a literal above it can only be meant to fill the memory
GLOBALS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}  # MONAI puts them into reach
_FUNCTIONS = (
    *(abs, all, any, bool, dict, enumerate, float, int, len, list, max, min, range, reversed, round, set, sorted, str),
    *(sum, tuple, zip),
)
BUILTINS = frozenset(function.__name__ for function in _FUNCTIONS)
METHODS = {"to": 1, "run": 0, "parameters": 0, "epochs": 1, "eval": 0}  # of references and results -> arguments
ATTRIBUTES = frozenset({"module", "dataset", "batch_sampler"})  # of an average and of a loader
# Whole expressions that many bundles have and that the grammar would refuse for one of their words.
IDIOMS = {
    ast.unparse(ast.parse(text))
    for text in (
        "setattr(torch.backends.cudnn, 'benchmark', True)",
        "dist.init_process_group(backend='nccl')",
        "dist.is_initialized() or dist.init_process_group(backend='nccl')",
        "torch.device('cuda:' + os.environ['LOCAL_RANK'])",
        "torch.device(f'cuda:{dist.get_rank()}')",
    )
}
_MEANT = {"torch": "torch", "dist": "torch.distributed", "os": "os"}
_REFUSED = (ast.Pow, ast.LShift)  # they fill the memory
_PASSED_THROUGH = (
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.List, ast.Tuple, ast.Subscript, ast.Slice),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context),
)


@dataclass(frozen=True)
class Scope:
    """What the names in an expression stand for.

    Attributes:
        aliases: of all imports of the bundle, each with its module.
        definitions: identifiers of the top, each with all values that files give it.
        imports: texts of imports that are no part of the list, with what is wrong.
        variables: of the comprehensions around.
    """

    aliases: Mapping[str, str]
    definitions: Definitions
    imports: Mapping[str, Problem] = field(default_factory=dict)
    variables: frozenset[str] = frozenset()

    def within(self, variables: frozenset[str]) -> Scope:
        """The same in a comprehension."""
        return replace(self, variables=variables)


def expression_problems(text: str, scope: Scope) -> list[Problem]:
    """What keeps an expression out of the grammar: rule and reason; empty for one that keeps to it.

    Args:
        text: with its ``$``.
        scope: of the whole bundle.
    """
    if is_import(text):
        return [scope.imports[text]] if text in scope.imports else []
    tree = parse(text)
    if tree is None:
        return [("expression", "not an expression of at most 500 ASCII characters")]
    if ast.unparse(tree) in IDIOMS and all(scope.aliases.get(name, meant) == meant for name, meant in _MEANT.items()):
        return []
    return sorted(set(_problems(tree, scope)))


def scope_of(texts: Iterable[str], definitions: Definitions) -> Scope:
    """The scope of all files together: overlays use the imports of the file that they lie on.

    Args:
        texts: every ``$`` text of the bundle.
        definitions: see :class:`Scope`.
    """
    aliases, wrong = dict(GLOBALS), {}
    for text in filter(is_import, texts):
        alias, module = imported(text) or ("", "")
        if not is_module(module):
            wrong[text] = ("import", "not an import of one module of the list of allowed modules")
        elif alias and (alias in BUILTINS or alias.startswith("_") or aliases.setdefault(alias, module) != module):
            wrong[text] = ("import", f"an import under the name {alias}, which stands for something else")
    return Scope(aliases, definitions, wrong)


def _problems(node: ast.AST, scope: Scope) -> Iterator[Problem]:
    if is_reference(node):
        return
    if isinstance(node, ast.Constant):
        yield from _constant(node)
    elif isinstance(node, ast.Call):
        yield from _call(node, scope)
    elif isinstance(node, ast.Name | ast.Attribute):
        yield from _value(node, scope)
    elif isinstance(node, ast.ListComp | ast.GeneratorExp):
        yield from _comprehension(node, scope)
    elif isinstance(node, ast.Dict) and None not in node.keys:
        yield from _all([*node.keys, *node.values], scope)
    elif isinstance(node, _PASSED_THROUGH) and not isinstance(node, _REFUSED):
        yield from _all(ast.iter_child_nodes(node), scope)
    else:
        yield "expression", f"{type(node).__name__} is no part of the grammar"


def _all(nodes: Iterable[ast.AST | None], scope: Scope) -> Iterator[Problem]:
    for node in nodes:
        if node is not None:
            yield from _problems(node, scope)


def _constant(node: ast.Constant) -> Iterator[Problem]:
    value = node.value
    problem = word_problem(value) if isinstance(value, str) else None
    if problem is not None:
        yield "word", problem
    elif value is not None and not isinstance(value, str | bool | int | float):
        yield "expression", f"a literal of type {type(value).__name__}"
    elif isinstance(value, int | float) and abs(value) > MAX_LITERAL:
        yield "expression", f"the number {value:.3g}"


def _dotted(node: ast.AST, scope: Scope) -> str | None:
    """The full name of ``alias.a.b``; None: it does not begin with the alias of a module."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id in scope.variables or node.id not in scope.aliases:
        return None
    return ".".join([scope.aliases[node.id], *reversed(parts)])


def _value(node: ast.Name | ast.Attribute, scope: Scope) -> Iterator[Problem]:
    """A name that is not called."""
    full = _dotted(node, scope)
    if full is not None:
        if full not in VALUES:
            why = "is called or not there at all" if full in CALLABLES else "is not on the list of allowed names"
            yield "expression", f"{full} {why}"
    elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES and is_reference(node.value):
        return
    elif isinstance(node, ast.Attribute) or node.id not in scope.variables:
        yield "expression", f"{ast.unparse(node)[:60]} is not on the list of allowed names"


def _call(node: ast.Call, scope: Scope) -> Iterator[Problem]:
    names = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    yield from _all([*node.args, *(keyword.value for keyword in node.keywords)], scope)  # a Starred is refused there
    if len(names) < len(node.keywords):
        yield "expression", "arguments from a dictionary (**)"
    full = _dotted(node.func, scope)
    function = node.func
    if full is not None:
        if full in CALLABLES:
            yield from call_problems(full, node.args, names, scope.definitions)
        else:
            yield "expression", f"{full} is not on the list of allowed names"
    elif isinstance(function, ast.Name) and function.id in BUILTINS - scope.variables and not names:
        return
    elif isinstance(function, ast.Attribute) and not names and METHODS.get(function.attr) == len(node.args):
        if not is_reference(function.value) and not isinstance(function.value, ast.Call):
            yield "expression", f"the method {function.attr} of something else than a reference"
        yield from _problems(function.value, scope)
    elif not (is_reference(function) and not names and len(node.args) == 1 and is_reference(node.args[0])):
        yield "expression", f"a call of {ast.unparse(function)[:60]}".replace(REFERENCES, "@")


def _comprehension(node: ast.ListComp | ast.GeneratorExp, scope: Scope) -> Iterator[Problem]:
    variables = scope.variables
    for part in node.generators:
        targets = part.target.elts if isinstance(part.target, ast.Tuple) else [part.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        taken = {name for name in names if name.startswith("_") or name in BUILTINS or name in scope.aliases}
        if len(names) < len(targets) or taken or part.is_async:
            yield "expression", "a comprehension over something else than new names"
        yield from _problems(part.iter, scope.within(variables))
        variables |= frozenset(names)
        yield from _all(part.ifs, scope.within(variables))
    yield from _problems(node.elt, scope.within(variables))
