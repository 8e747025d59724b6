"""Lets torchvision import beside a CPU build of torch that its compiled extension does not fit.

Python imports a module of this name at its start wherever it lies on the path; ``serve.py`` puts it there, and MONAI
Label hands the path on to its background tasks. torchvision from the package index carries an extension that is linked
against CUDA builds of torch. Beside another build the extension stays out without a word, and then torchvision's own
registrations fail with ``operator torchvision::nms does not exist`` (0.28 adds ``qnms``). MONAI Label imports
torchvision for a preview function alone, so declaring the operators, without a kernel, is enough; nothing here calls
them. Where the extension does load, nothing is done.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

WATCHED = "torchvision.extension"  # loads the compiled part; the registrations come after it
OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class _Declaring(Loader):
    """Runs a module as its own loader would, then declares the operators where the module did not."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in OPERATORS:
            if not hasattr(torch.ops.torchvision, name):
                library.define(name + SCHEMA)
        module._declared = library  # type: ignore[attr-defined]  # a declaration lives as long as its library


class _Finder(MetaPathFinder):
    """Finds the watched module alone."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != WATCHED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Declaring(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
