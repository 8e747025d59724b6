"""One version and one set of floors and pins, wherever they are written."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import mdcsrn

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUNDLES = sorted((ROOT / "bundles").iterdir())


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {
        normal(name): pin
        for name, _, pin in (line.partition("==") for line in lines if line and not line.startswith("#"))
    }


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert PROJECT["version"] == mdcsrn.__version__ == citation["version"] == released[0] == version("mdcsrn")


def test_licences_agree() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "Version 2.0" in licence
    assert PROJECT["license"] == "Apache-2.0"
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["license"] == "Apache-2.0"
    for bundle in BUNDLES:
        assert (bundle / "LICENSE").read_text() == licence


def test_every_pin_is_exact_and_names_no_local_build_or_index() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line


def test_every_direct_requirement_is_pinned_within_its_range() -> None:
    pinned = pins()
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    for text in PROJECT["dependencies"] + extras:
        requirement = Requirement(text)
        if requirement.name != "mdcsrn":
            assert requirement.specifier.contains(pinned[normal(requirement.name)]), text


def test_all_brings_every_other_extra_but_spandrel() -> None:
    """spandrel needs torchvision, whose build for CUDA does not import beside a CPU build of torch."""
    extras = PROJECT["optional-dependencies"]
    (everything,) = (Requirement(text) for text in extras["all"])
    assert everything.extras == set(extras) - {"all", "spandrel"}


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_bundle_names_the_pinned_versions(bundle: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    pinned = pins() | {"mdcsrn": mdcsrn.__version__}
    named = {
        "monai": metadata["monai_version"],
        "torch": metadata["pytorch_version"],
        "numpy": metadata["numpy_version"],
    }
    for name, stated in (named | metadata["required_packages_version"]).items():
        assert pinned[normal(name)] == stated, name
    assert metadata["version"] in metadata["changelog"]
