"""Learning rates: the last convolution of a generator may go slower than the rest; a rate that is halved regularly."""

from __future__ import annotations

from typing import Any

from torch import nn

from mdcsrn.errors import ConfigError

LAST = "recon"


def parameter_groups(network: nn.Module, rate: float, last: float = 1.0) -> list[dict[str, Any]]:
    """Parameters for an optimiser, the reconstruction in a group of its own.

    Adam moves every weight by about its rate, however small the gradient. The reconstruction sums hundreds of features,
    so that at a rate of 1e-3 one step already changes the output by about as much as the whole residual that is to be
    learned (0.03 of the intensity scale), and the first thousand steps are spent on that noise. A tenth of the rate
    there takes it away.

    Args:
        network: a generator whose last convolution is named ``recon``.
        rate: learning rate, > 0.
        last: share of it for the last convolution, (0, 1].

    Returns:
        Groups with ``params`` and ``lr``; one group where `last` is 1.

    Raises:
        ConfigError: a value is out of range, or the network has no such convolution.
    """
    if rate <= 0 or not 0 < last <= 1:
        raise ConfigError("a learning rate > 0 and a share of it in (0, 1]", got=(rate, last))
    if last == 1:
        return [{"params": list(network.parameters()), "lr": rate}]
    slow = [value for name, value in network.named_parameters() if name.split(".")[0] == LAST]
    fast = [value for name, value in network.named_parameters() if name.split(".")[0] != LAST]
    if not slow:
        raise ConfigError(
            "a rate of its own for the last convolution", got=type(network).__name__, allowed=f"a layer named {LAST}"
        )
    return [{"params": fast, "lr": rate}, {"params": slow, "lr": rate * last}]


class HalvingRate:
    """Learning-rate factor for torch's LambdaLR: 1/2 to the power of the whole periods passed.

    Its attribute is a plain number, so a checkpoint can hold it.

    Args:
        every: steps of a period, >= 1.

    Raises:
        ConfigError: a shorter period.

    Examples:
        >>> rate = HalvingRate(every=10_000)
        >>> rate(9_999), rate(10_000), rate(25_000)
        (1.0, 0.5, 0.25)
    """

    def __init__(self, every: int = 10_000) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ConfigError(
                "steps between two halvings of the learning rate", got=every, allowed="a whole number >= 1"
            )
        self.every = every

    def __call__(self, number: int) -> float:
        """Factor at step `number`, from 0."""
        return 0.5 ** (number // self.every)
