"""Networks whose weights and statistics hide nothing, for the tests of the inference core."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from mdcsrn.networks import MDCSRN


@pytest.fixture(scope="session")
def random_network() -> Callable[..., MDCSRN]:
    """`random_network(blocks, units, growth, residual, space_to_depth, seed)`, in evaluation mode."""

    def make(
        blocks: int = 2,
        units: int = 2,
        growth: int = 2,
        residual: bool = True,
        space_to_depth: Sequence[int] | None = None,
        seed: int = 0,
    ) -> MDCSRN:
        network = MDCSRN(blocks, units, growth, residual, space_to_depth)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if name.endswith(("running_var", "norm.weight")):
                    value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
                elif value.is_floating_point():  # running means and biases too; a residual network's recon was zero
                    fan = max(value[0].numel(), 1)
                    value.copy_(torch.randn(value.shape, generator=generator) * (2 / fan) ** 0.5)
        return network.eval().requires_grad_(False)

    return make
