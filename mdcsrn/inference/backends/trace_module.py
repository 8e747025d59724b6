"""Record a network as TorchScript, once at a small size, for the tools that read TorchScript."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import nn

from mdcsrn.inference.backends.base import Tensors


def trace_module(module: nn.Module, example: Tensors, small: Tensors | None) -> torch.jit.ScriptModule:
    """Record a network.

    Sizes are operations of the record rather than constants, so it holds for every size as long as the network takes no
    other path there; whoever compiles it compares the result with the network itself (:func:`pick`).

    Args:
        module: network in evaluation mode; it stays as it is.
        example: arguments at the real size.
        small: the same at a small size, which costs milliseconds; None records with `example`.
    """
    network = copy.deepcopy(module).cpu().float().eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks of the arguments are Python and stay out of the record; deprecations
        traced = torch.jit.trace(network, small or example, check_trace=False)
    assert isinstance(traced, torch.jit.ScriptModule)
    return traced
