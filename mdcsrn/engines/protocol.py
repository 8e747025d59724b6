"""Protocols between a trainer and what it attaches to itself: checkpoints and the stop after a signal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class Saver(Protocol):
    """Writes the state of a run."""

    def save(self, trainer: Any, validated: bool = True) -> None:
        """Write it now; `validated` is False at the end of an epoch whose validation is still due."""


class Resumable(Protocol):
    """A training engine whose state can be saved and taken back.

    Attributes:
        validation_due: the state that was loaded is of an epoch's end without its validation.
    """

    validation_due: bool

    @property
    def state(self) -> Any:
        """Ignite's state: iteration, epoch, device."""

    @property
    def data_loader(self) -> Any:
        """The loader of training batches."""

    @property
    def checkpoints(self) -> Saver | None:
        """What saves the run, where anything does."""

    def training_state(self) -> dict[str, Any]:
        """The whole state of the run."""

    def load_training_state(self, state: Mapping[str, Any], source: str) -> None:
        """Take back the state that a checkpoint holds."""

    def add_event_handler(self, event_name: Any, handler: Callable[..., Any], /) -> Any:
        """As Ignite's."""

    def fire_event(self, event_name: Any, /) -> None:
        """As Ignite's."""

    def terminate(self, skip_completed: bool = False) -> None:
        """As Ignite's."""
