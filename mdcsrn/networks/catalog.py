"""Catalogue of networks by name: what a checkpoint stores beside its weights, and how it is built again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from mdcsrn.errors import CheckpointError
from mdcsrn.networks.critic import Critic
from mdcsrn.networks.edsr import EDSR
from mdcsrn.networks.mdcsrn import MDCSRN
from mdcsrn.networks.srgan import SRGANDiscriminator, SRGANGenerator
from mdcsrn.networks.srrescycgan import CycleGeneratorHR, CycleGeneratorLR
from mdcsrn.networks.srrescycgan_critics import CycleDiscriminatorHR, CycleDiscriminatorLR
from mdcsrn.networks.srresdnet import SRResDNet
from mdcsrn.networks.wdsr import WDSR

NETWORKS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        MDCSRN,
        Critic,
        EDSR,
        WDSR,
        SRGANGenerator,
        SRGANDiscriminator,
        CycleGeneratorHR,
        CycleGeneratorLR,
        CycleDiscriminatorHR,
        CycleDiscriminatorLR,
        SRResDNet,
    )
}


def architecture(network: nn.Module) -> dict[str, Any]:
    """Name and constructor arguments of a network, as plain values.

    Args:
        network: one of :data:`NETWORKS`.

    Returns:
        ``{"name": ..., "arguments": {...}}``; :func:`build_network` is the inverse.

    >>> from mdcsrn.networks import MDCSRN
    >>> architecture(MDCSRN(blocks=1, units=2, growth=4))["arguments"]
    {'blocks': 1, 'units': 2, 'growth': 4, 'residual': True, 'space_to_depth': None}
    """
    name = type(network).__name__
    if NETWORKS.get(name) is not type(network):
        raise CheckpointError("not a network of the catalogue", got=name, allowed=", ".join(NETWORKS))
    return {"name": name, "arguments": dict(network.architecture)}  # type: ignore[arg-type]


def build_network(description: Mapping[str, Any]) -> nn.Module:
    """Build a network, freshly initialised, from what :func:`architecture` returned.

    >>> build_network({"name": "MDCSRN", "arguments": {"blocks": 1, "units": 2}}).margin
    (3, 3, 3)
    """
    name = description.get("name")
    if name not in NETWORKS:
        raise CheckpointError("the checkpoint names an unknown network", got=name, allowed=", ".join(NETWORKS))
    try:
        return NETWORKS[name](**description["arguments"])
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"the checkpoint's arguments do not fit {name}", got=str(error)) from error
