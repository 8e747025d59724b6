"""Random draws of a network within a training step (dropout): a function of seed, step and process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from mdcsrn.engines import distributed


@contextlib.contextmanager
def random_of_step(seed: int, iteration: int, device: torch.device) -> Iterator[None]:
    """Set torch's random state for one step, and put the former one back after it.

    A checkpoint then needs no random state: a resumed run drops what an uninterrupted one would have dropped.

    Args:
        seed: of the run.
        iteration: number of the step.
        device: where the networks are.

    Examples:
        >>> def drawn(iteration):
        ...     with random_of_step(0, iteration, torch.device("cpu")):
        ...         return torch.rand(1).item()
        >>> drawn(5) == drawn(5), drawn(5) == drawn(6)
        (True, False)
    """
    value = int(np.random.SeedSequence([seed, iteration, distributed.rank()]).generate_state(1, np.uint64)[0])
    on_cpu = device.type == "cpu"
    with torch.random.fork_rng([] if on_cpu else [device]):
        if on_cpu:
            torch.default_generator.manual_seed(value)  # torch.manual_seed would seed accelerators that play no part
        else:
            torch.manual_seed(value)
        yield
