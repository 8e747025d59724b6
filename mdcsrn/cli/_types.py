"""Path types of options; an output path keeps the slash at its end, which says that it is a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from mdcsrn.jobs.naming import FolderPath


class OutputPath(click.Path):
    """A file or folder to write; it need not exist."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A path, or a :class:`mdcsrn.jobs.naming.FolderPath` for one that ends in a slash."""
        path = super().convert(value, param, ctx)
        return FolderPath(path) if os.fspath(value).endswith(os.sep) else path
