"""Weight normalisation of convolutions: each filter is a direction times a length g, learned apart.

T. Salimans, D. P. Kingma: Weight Normalization, NeurIPS 2016 (arXiv 1602.07868); here PyTorch's own parametrization.
Once trained, direction and length are multiplied once and for all (:func:`fold_weight_norm`): the same network with
plain weights, as it is exported, timed and published.
"""

from __future__ import annotations

from operator import attrgetter

import torch
from torch import nn
from torch.nn.utils import parametrizations

Convolution = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d


def start_filters(conv: Convolution, length: float | None, weight_norm: bool) -> nn.Module:
    """Give each filter of a convolution a norm, zero its bias, and normalise its weights if asked.

    Args:
        conv: initialised; changed in place.
        length: norm g of each filter, >= 0; None: as it is. Of 0 the direction is kept where there is weight
            normalisation.
        weight_norm: learn length and direction apart.

    Returns:
        The same convolution.
    """
    with torch.no_grad():
        if conv.bias is not None:
            conv.bias.zero_()
        if weight_norm:
            conv = parametrizations.weight_norm(conv)
            if length is not None:
                conv.get_parameter("parametrizations.weight.original0").fill_(length)
        elif length is not None:
            norm = conv.weight.flatten(1).norm(dim=1)
            conv.weight.mul_((length / norm).view(-1, *[1] * (conv.weight.ndim - 1)))
    return conv


def fold_weight_norm(network: nn.Module) -> nn.Module:
    """The same network with plain weights: what is exported, timed and published.

    Args:
        network: with or without weight normalisation; it stays as it is.

    Returns:
        A copy without it, whose `architecture` says so; the network itself where there is none.

    >>> from mdcsrn.networks import WDSR
    >>> network = WDSR(scale=2, width=4, expansion=2, blocks=1)
    >>> folded = fold_weight_norm(network)
    >>> network.weight_norm, folded.weight_norm, network.training == folded.training
    (True, False, True)
    """
    if not getattr(network, "weight_norm", False):
        return network
    arguments = {**network.architecture, "weight_norm": False}  # type: ignore[dict-item]
    some = next(network.parameters())
    folded = type(network)(**arguments).to(some.device, some.dtype).train(network.training)
    # Not remove_parametrizations of a copy, which shares the class that the original has its weight from.
    folded.load_state_dict({name: attrgetter(name)(network).detach() for name in folded.state_dict()})
    return folded.requires_grad_(some.requires_grad)
