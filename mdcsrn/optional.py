"""Check whether optional packages can be imported here, and name the command that installs each."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import shlex
from pathlib import Path

from mdcsrn.errors import MissingDependencyError

_CHECKOUT = Path(__file__).resolve().parent.parent


@functools.cache
def install_command(extra: str) -> str:
    """The pip command that adds an extra to this installation; it works from any folder.

    In a checkout it keeps the pinned versions; where the checkout is used without being installed, it installs it.

    Args:
        extra: of ``pyproject.toml``, such as ``report``.

    Returns:
        ``pip install 'mdcsrn[report]'`` for an installed wheel.
    """
    constraints = _CHECKOUT / "constraints.txt"
    checkout = (_CHECKOUT / "pyproject.toml").is_file() and constraints.is_file()
    pins = f" -c {shlex.quote(str(constraints))}" if checkout else ""
    if checkout and not _is_installed():
        return f"pip install -e {shlex.quote(f'{_CHECKOUT}[{extra}]')}{pins}"
    return f"pip install 'mdcsrn[{extra}]'{pins}"


def _is_installed() -> bool:
    try:
        importlib.metadata.distribution("mdcsrn")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def is_installed(module: str) -> bool:
    """True where a top-level package is there; it is not imported, so a broken one is not noticed."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # something in its way: an import hook, or a module without a specification
        return False


def is_importable(module: str) -> bool:
    """True where a package can be imported, which also tells a broken installation."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def need(purpose: str, extra: str, *modules: str) -> None:
    """Raise where a package that something needs cannot be imported.

    Args:
        purpose: what needs it, as the beginning of a sentence.
        extra: that installs it.
        modules: to be imported.

    Raises:
        MissingDependencyError: the packages and the command are named.
    """
    missing = dict.fromkeys(module.split(".")[0] for module in modules if not is_importable(module))
    if missing:
        raise MissingDependencyError(f"{purpose} needs {' and '.join(missing)}", remedy=install_command(extra))
