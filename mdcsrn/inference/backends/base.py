"""Backend protocol: take a network in evaluation mode, return a callable for one shape and precision."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mdcsrn.errors import ConfigError

Tensors = tuple[Tensor, ...]
Runner = Callable[[Tensors], Tensors]
Calibrate = Callable[[nn.Module], Sequence[Tensors]]  # arguments of a network from real scans, all of one shape

# Fastest first; what a backend can do on this machine is a part of it.
PRECISIONS = ("int8", "bfloat16", "float16", "float32")


@dataclass(frozen=True)
class Job:
    """What a network is prepared for.

    Attributes:
        example: tensors of the shapes that will come; their values do not count.
        precision: one of :data:`PRECISIONS`.
        threads: of the processor; None: all that the process may use.
        small: the same arguments at a small size, run once to record the network's operations where the backend needs
            that; None records with `example`, at the cost of a whole pass.
    """

    example: Tensors
    precision: str
    threads: int | None = None
    small: Tensors | None = None


class Backend(ABC):
    """One way to run a network.

    A network takes tensors and returns one or a tuple. Where it returns more than one, all but the first are *states*:
    the network takes them back as its last arguments at the next call, and no one else looks at them. A backend may
    therefore hand them over in a type and place of its own.

    Attributes:
        name: as the command line and the records say it.
        device: where the result comes out.
    """

    name: str
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def available(self) -> str | None:
        """None where it can run here, else the reason, which names the package or the processor feature missing."""

    @abstractmethod
    def precisions(self) -> tuple[str, ...]:
        """Those that make sense on this processor, fastest first."""

    def keeps(self, precision: str) -> bool:
        """True where a runner depends on the network and its shapes alone and is worth keeping between volumes."""
        return False

    def compile(
        self,
        module: nn.Module,
        example: Tensors,
        precision: str,
        threads: int | None = None,
        small: Tensors | None = None,
    ) -> Runner:
        """Prepare a network for one set of shapes.

        Args:
            module: network in evaluation mode; it stays as it is.
            example: see :class:`Job`, as for the others.
            precision: one of :meth:`precisions`.
            threads: of the processor.
            small: arguments of a small size.

        Returns:
            Callable on tensors of those shapes. Its first result is float32 on `device`. Its results may live in
            buffers that the call after the next one writes again.

        Raises:
            ConfigError: the precision is not one of :meth:`precisions`, or was not kept.
        """
        if precision not in self.precisions():
            raise ConfigError(
                f"the backend {self.name} does not compute in {precision} here",
                got=precision,
                allowed=", ".join(self.precisions()),
            )
        return self._prepare(module, Job(example, precision, threads, small))

    @abstractmethod
    def _prepare(self, module: nn.Module, job: Job) -> Runner:
        """What :meth:`compile` gives, for a precision that is offered."""


def as_tuple(result: Tensor | Tensors) -> Tensors:
    """What a network returned, always as a tuple."""
    return (result,) if isinstance(result, Tensor) else tuple(result)


@contextlib.contextmanager
def threads_of(count: int | None) -> Iterator[None]:
    """Run torch with `count` threads; None leaves the number as it is."""
    before = torch.get_num_threads()
    if count is not None and count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
