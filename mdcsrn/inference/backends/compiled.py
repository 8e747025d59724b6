"""Run a network through ``torch.compile``, as generated C++ with its weights frozen into it."""

from __future__ import annotations

import copy
import os
import shutil

import torch
from torch import nn

from mdcsrn.inference.backends.base import Backend, Job, Runner, Tensors, as_tuple, threads_of
from mdcsrn.inference.backends.eager import channels_last, last
from mdcsrn.networks.precision import autocast
from mdcsrn.processor import has_bfloat16


class CompileBackend(Backend):
    """Inductor with frozen weights for one fixed set of shapes.

    Compiling takes from half a minute to minutes, more than it saves on one volume: it is for whoever asks for it.
    """

    name = "compile"

    def available(self) -> str | None:
        """A C++ compiler is needed: the one that ``CXX`` names, else g++ or clang++."""
        named = os.environ.get("CXX")
        if any(shutil.which(compiler) for compiler in ([named] if named else ["g++", "clang++"])):
            return None
        return f"no C++ compiler {named or 'g++ or clang++'}, which torch.compile needs"

    def precisions(self) -> tuple[str, ...]:
        """As the eager backend."""
        return ("bfloat16", "float32") if has_bfloat16() else ("float32",)

    def keeps(self, precision: str) -> bool:
        """Always: compiling takes longer than running."""
        return True

    def _prepare(self, module: nn.Module, job: Job) -> Runner:
        # The compiling happens here, in one first pass.
        network = channels_last(copy.deepcopy(module))
        compiled = torch.compile(network, dynamic=False, options={"freezing": True})

        # no_grad: freezing asks for it, and it must be the same in every call or the network is compiled again.
        @torch.no_grad()
        def run(inputs: Tensors) -> Tensors:
            with threads_of(job.threads), autocast("cpu", job.precision):
                result = as_tuple(compiled(*map(last, inputs)))
            return (result[0].float(), *result[1:])

        run(tuple(torch.zeros_like(tensor) for tensor in job.example))
        return run
