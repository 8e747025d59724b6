"""The fixture that the tests of the package and of deploy/ share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real MRI (``MDCSRN_SHARED_DATA``, else ``../shared/data`` beside the checkout), or a skip."""
    folder = Path(os.environ.get("MDCSRN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "INDEX.tsv").is_file():
        pytest.skip(f"no real MRI at {folder}: set MDCSRN_SHARED_DATA to a folder with INDEX.tsv")
    return folder
