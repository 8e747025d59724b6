"""The folder for what can be made again: ``$MDCSRN_CACHE``, ``$XDG_CACHE_HOME/mdcsrn`` or ``~/.cache/mdcsrn``."""

from __future__ import annotations

import os
from pathlib import Path

OFF = ("off", "0", "no")


def cache_folder() -> Path:
    """Where what the user asked for is kept: the demonstration cohort.

    Raises:
        RuntimeError: the user has no home.
    """
    given = os.environ.get("MDCSRN_CACHE", "")
    if given and given.lower() not in OFF:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mdcsrn"


def silent_cache() -> Path | None:
    """Where what nobody asked for is kept to save time; None where ``MDCSRN_CACHE=off``, or without a home.

    >>> import os
    >>> before = os.environ.pop("MDCSRN_CACHE", None)
    >>> os.environ["MDCSRN_CACHE"] = "off"
    >>> silent_cache() is None
    True
    >>> os.environ["MDCSRN_CACHE"] = before or ""
    """
    if os.environ.get("MDCSRN_CACHE", "").lower() in OFF:
        return None
    try:
        return cache_folder()
    except RuntimeError:
        return None
