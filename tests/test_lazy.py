"""Packages that import their names when asked: every public name is there, others are not, and light stays light."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

PACKAGES = ["mdcsrn.inference", "mdcsrn.metrics"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_no_other(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        found = getattr(module, name)
        assert found.__module__.startswith(f"{package}.")
        assert getattr(importlib.import_module(found.__module__), name) is found
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'absent'"):
        module.absent  # noqa: B018


def test_heavy_parts_come_with_the_names_that_need_them() -> None:
    code = "import sys; import mdcsrn.inference as i, mdcsrn.metrics as m; print('monai' in sys.modules);"
    code += "i.predict, i.ExactTiledInferer, m.HeadMaskPSNR; print('monai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
