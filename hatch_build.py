"""Build hook: the wheel carries `bundles/` and `configs/` as package data; an editable install uses the checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("bundles", "configs")
# What runs leave in a checkout is no part of the package.
LEFTOVER_FOLDERS = {"eval", "runs", "__pycache__"}
LEFTOVER_FILES = "checkpoint*.pt"


def package_data(root: Path) -> dict[str, str]:
    """Map each file to ship, an absolute path, to its place in the wheel."""
    files = {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and not LEFTOVER_FOLDERS.intersection(inside.parts) and not path.match(LEFTOVER_FILES):
                files[str(path)] = f"mdcsrn/_data/{inside.as_posix()}"
    return files


class PackageData(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"].update(package_data(Path(self.root)))
