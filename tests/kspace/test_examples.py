"""Every public name of k-space shows its use in an example, and the examples hold."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from mdcsrn import kspace

MODULES = [f"mdcsrn.kspace.{module.name}" for module in pkgutil.iter_modules(kspace.__path__)]


@pytest.mark.parametrize("name", [name for name in kspace.__all__ if callable(getattr(kspace, name))])
def test_every_public_name_has_an_example(name):
    assert ">>> " in getattr(kspace, name).__doc__


@pytest.mark.parametrize("module", MODULES)
def test_examples_hold(module):
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0
