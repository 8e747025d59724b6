"""Decide whether a result path that the user gave means a file or a folder."""

from __future__ import annotations

import os
from pathlib import Path

from mdcsrn.errors import OutputError

PAGE_ENDINGS = (".html", ".htm")


class FolderPath(type(Path())):  # type: ignore[misc]  # Path itself cannot be subclassed before Python 3.12
    """A path that the user ended with a slash: a folder, whatever its name looks like."""


def names_volume(output: Path) -> bool:
    """True where ``-o`` is meant as a file, by the suffix of a format that is written.

    An existing folder, a slash at the end or any other name is a folder.

    Raises:
        OutputError: an existing file, or the ending of an image, that is no such name.
    """
    from mdcsrn.io.formats import is_image_name, not_writable
    from mdcsrn.io.names import is_writable_name

    if isinstance(output, FolderPath) or os.path.isdir(output):
        return False
    if is_writable_name(output):
        return True
    if os.path.isfile(output) or is_image_name(output):
        raise not_writable(output, folder=True)
    return False


def names_page(report: Path) -> bool:
    """The same of ``--report``, where .html takes the place of the image formats.

    Raises:
        OutputError: an existing file, or the ending of an image, that is not an HTML name.
    """
    from mdcsrn.io.formats import is_image_name

    if isinstance(report, FolderPath) or os.path.isdir(report):
        return False
    if report.name.lower().endswith(PAGE_ENDINGS):
        return True
    if os.path.isfile(report) or is_image_name(report):
        raise OutputError(f"cannot write {report}: not an HTML name", allowed=".html, or a folder")
    return False


def page_folder(report: Path) -> Path:
    """``--report`` of several cases: a folder.

    Raises:
        OutputError: it names one file.
    """
    if names_page(report):
        raise OutputError(f"several cases cannot go into one page: {report}", remedy="give --report FOLDER")
    return Path(report)


def page_file(report: Path, name: str) -> Path:
    """``--report`` of one case: the file that it names, or the page `name` in the folder that it names."""
    return Path(report) if names_page(report) else Path(report) / name
