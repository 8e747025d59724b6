"""Keep recorded and compiled forms of a network for later volumes.

A folder of scans asks for one network again and again. PyTorch frees nothing of a record that it has made, 6 MiB for
the shipped network, and compiling takes seconds: a network is recorded once, and compiled once for each set of shapes.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import nn

from mdcsrn.inference.backends.base import Backend, Runner, Tensors
from mdcsrn.processor import usable_threads

Value = TypeVar("Value")


class Shelf(Generic[Value]):
    """The values that were put down last, each for whoever takes it first: no two threads use one at a time.

    Args:
        most: how many are held.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: Hashable) -> Value | None:
        """The value of a key, which leaves the shelf; None where there is none."""
        with self._lock:
            return self._held.pop(key, None)

    def put(self, key: Hashable, value: Value) -> None:
        """Put a value down; the one that has lain longest goes where there are too many."""
        with self._lock:
            self._held[key] = value
            self._held.move_to_end(key)
            while len(self._held) > self.most:
                self._held.popitem(last=False)

    def clear(self) -> bool:
        """Drop all; True where there was any."""
        with self._lock:
            there = bool(self._held)
            self._held.clear()
            return there


MAKING = threading.Lock()  # held while a network is recorded, so that threads record it once between them
RUNNERS: Shelf[Runner] = Shelf(4)  # one for the probe of `pick`, and those of three planes


def identity(module: nn.Module) -> str | None:
    """What a network computes, as a key: its class and a hash of its parameters and buffers.

    Args:
        module: a network; where nothing else decides what it computes, its class says so with ``by_weights = True``.

    Returns:
        The key; None for a module that does not say so.
    """
    if not getattr(module, "by_weights", False):
        return None
    digest = hashlib.sha256(type(module).__qualname__.encode())
    for name, value in module.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def lent(
    backend: Backend,
    module: nn.Module,
    example: Tensors,
    precision: str,
    threads: int | None = None,
    small: Tensors | None = None,
) -> Iterator[Runner]:
    """A runner for as long as the context lasts: one that an earlier volume left behind, else a new one.

    Args:
        backend: see :meth:`mdcsrn.inference.backends.base.Backend.compile`, as for the others.
        module: network in evaluation mode.
        example: tensors of the shapes that will come.
        precision: one of the backend's.
        threads: of the processor.
        small: arguments of a small size.

    Yields:
        The runner; it is kept afterwards where the backend says so, unless the context ended in an error.
    """
    name = identity(module) if backend.keeps(precision) else None
    shapes = tuple(tuple(tensor.shape) for tensor in example)
    key = (backend.name, name, shapes, precision, threads or (usable_threads(), torch.get_num_threads()))
    runner = RUNNERS.take(key) if name is not None else None
    if runner is None:
        runner = backend.compile(module, example, precision, threads, small)
    yield runner
    if name is not None:
        rest = getattr(runner, "rest", None)  # frees its buffers; the next call takes them again
        if rest is not None:
            rest()
        RUNNERS.put(key, runner)
