"""Run the examples in the docstrings of the public modules, and ask for one in each public object."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch

PACKAGES = ("mdcsrn.kspace", "mdcsrn.losses", "mdcsrn.metrics", "mdcsrn.networks", "mdcsrn.transforms")
ENGINES = ("mdcsrn.engines.rates", "mdcsrn.engines.schedule", "mdcsrn.engines.step_random")
MODULES = (*ENGINES, "mdcsrn.inference.pipeline")
# Every function and class of `__all__` has an example; other packages may have fewer.
COMPLETE = ("mdcsrn.metrics", "mdcsrn.networks", "mdcsrn.transforms")


def modules() -> list[str]:
    """The modules of the public packages, and what is public elsewhere."""
    inner = [
        f"{package}.{module.name}"
        for package in PACKAGES
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__)
    ]
    return [*PACKAGES, *inner, *MODULES]


def public() -> list[tuple[str, str]]:
    """(module, name) of each object that must have an example."""
    exported = [(package, name) for package in COMPLETE for name in importlib.import_module(package).__all__]
    return [*exported, ("mdcsrn.inference", "predict")]


@pytest.mark.parametrize("name", modules())
def test_examples_do_what_they_show(name: str) -> None:
    torch.manual_seed(0)
    shown: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name)):
        runner.run(example, out=shown.append)
    assert runner.failures == 0, "".join(shown)


@pytest.mark.parametrize(("module", "name"), public())
def test_each_public_object_has_an_example(module: str, name: str) -> None:
    value = getattr(importlib.import_module(module), name)
    examples = doctest.DocTestParser().get_examples(value.__doc__ or "")
    assert any(example.want for example in examples), f"no >>> example with a result in {module}.{name}"
    assert value.__module__ in modules(), f"the example of {module}.{name} is not run"
