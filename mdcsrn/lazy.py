"""Import names of a package on first use, so that a light part does not bring a heavy one along."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attributes(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's ``__getattr__`` (PEP 562); type checkers see the same names imported under ``TYPE_CHECKING``.

    Args:
        package: its ``__name__``.
        homes: for each name the module below the package that it comes from.

    Returns:
        Function of a name; it raises AttributeError for one that is not in `homes`.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return find
