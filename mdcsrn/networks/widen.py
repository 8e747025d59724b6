"""Widen a generator without changing what it computes, so that training resumes instead of starting anew.

The idea is Net2Net's (T. Chen, I. Goodfellow, J. Shlens, ICLR 2016, arXiv 1511.05641). Here the new features are as
freshly initialised ones are, and whatever reads them begins at zero: gradients reach the readers from the first step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mdcsrn.errors import ConfigError
from mdcsrn.networks.mdcsrn import MDCSRN


def widened(network: MDCSRN, growth: int) -> MDCSRN:
    """The same function with a larger growth rate.

    Args:
        network: weights to begin with.
        growth: growth rate of the result, at least the network's own. New features are drawn from torch's generator.

    Returns:
        A new network in evaluation mode; its output differs from the old one's by rounding alone.

    Raises:
        ConfigError: `growth` is smaller than the network's.

    >>> import torch
    >>> from mdcsrn.networks import MDCSRN
    >>> narrow = MDCSRN(blocks=1, units=2, growth=2, residual=False).eval()
    >>> wide, low = widened(narrow, growth=4), torch.rand(1, 1, 8, 8, 8)
    >>> wide.growth, torch.allclose(wide(low), narrow(low), atol=1e-4)
    (4, True)
    """
    if growth < network.growth:
        raise ConfigError("a network can be widened, not narrowed", got=growth, allowed=f">= {network.growth}")
    result = MDCSRN(**{**network.architecture, "growth": growth})  # type: ignore[arg-type]
    state, inputs = result.state_dict(), _inputs(network)
    for name, value in network.state_dict().items():
        layer = name.rpartition(".")[0].removesuffix(".norm").removesuffix(".conv")
        kept = _kept(inputs[layer], network.growth, growth) if layer in inputs else torch.arange(value.shape[1])
        if value.ndim == 5:  # a convolution's old outputs come first, and read old features alone
            state[name][: len(value)] = 0
            state[name][: len(value), kept] = value
        elif value.ndim == 1:
            state[name][kept] = value
        else:
            state[name].copy_(value)
    return result.eval()


def is_wider(network: MDCSRN, other: MDCSRN) -> bool:
    """True where `network` differs from `other` by a larger growth rate alone."""
    return network.growth > other.growth and network.architecture == {**other.architecture, "growth": network.growth}


def _inputs(network: MDCSRN) -> dict[str, tuple[int, ...]]:
    """What each layer but the first reads: the widths of what was concatenated, in growth rates."""
    block = (2, *[1] * network.units)
    found = {"recon": (2, *block * network.blocks)}
    for index in range(network.blocks):
        found |= {f"block{index}.denselayer{unit + 1}": block[: unit + 1] for unit in range(network.units)}
    return found | {f"comp{index}": (2, *block * (index + 1)) for index in range(network.blocks - 1)}


def _kept(parts: Sequence[int], old: int, new: int) -> Tensor:
    """Where the old channels of a concatenation lie in the wider one: first in each of its parts."""
    starts = [sum(parts[:index]) * new for index in range(len(parts))]
    return torch.cat([torch.arange(start, start + part * old) for start, part in zip(starts, parts, strict=True)])
