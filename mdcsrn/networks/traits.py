"""State what a network says of itself: grids, channels, margin, memory. What it can do follows from these alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from mdcsrn.errors import ConfigError

InputGrid = Literal["result", "acquired"]
WHOLE = None  # margin of an axis whose every voxel an output voxel depends on (instance normalisation)


@dataclass(frozen=True)
class Traits:
    """What a super-resolution network says of itself.

    Attributes:
        scale: voxels of the result for each voxel of the input, per axis (D, H, W), whole numbers >= 1.
        input_grid: ``result`` where the network reads the zero-filled volume on the result's grid (`scale` is 1), or
            ``acquired`` where it reads the acquired matrix, whose sample j lies at index scale x j of the result
            (:func:`mdcsrn.kspace.decimate`).
        channels: of input and output.
        margin: voxels of the input to each side that an output voxel depends on, per axis; None: the whole axis.
        multiple: origins of tiles are multiples of this, voxels of the input, per axis.
        bytes_per_voxel: peak memory of a float32 forward without gradients, for each voxel of the input.
        residual: the network adds a change to its input, so that no change is no network.

    >>> Traits(scale=(1, 2, 2), input_grid="acquired", margin=(0, 5, 5)).scale
    (1, 2, 2)
    """

    scale: tuple[int, int, int] = (1, 1, 1)
    input_grid: InputGrid = "result"
    channels: int = 1
    margin: tuple[int | None, int | None, int | None] = (WHOLE, WHOLE, WHOLE)
    multiple: tuple[int, int, int] = (1, 1, 1)
    bytes_per_voxel: float = 512.0
    residual: bool = False

    @property
    def planewise(self) -> bool:
        """Each plane of the first axis is restored by itself, so that any axis of a volume may be the first."""
        return self.scale[0] == 1 and self.margin[0] == 0

    def __post_init__(self) -> None:
        if min(self.scale) < 1 or min(self.multiple) < 1 or self.channels < 1 or self.bytes_per_voxel <= 0:
            raise ConfigError(
                "traits of a network: scale, multiple, channels and bytes_per_voxel are positive", got=self
            )
        if self.input_grid == "result" and self.scale != (1, 1, 1):
            raise ConfigError(
                "a network that reads the result's grid has scale 1", got=self.scale, remedy='input_grid="acquired"'
            )
        if any(m is not None and m < 0 for m in self.margin):
            raise ConfigError("a margin is in voxels, or None for the whole axis", got=self.margin)


@runtime_checkable
class Restorer(Protocol):
    """A network of the catalogue that restores volumes: (N, C, D, H, W) -> (N, C, scale x (D, H, W)).

    >>> from mdcsrn.networks import MDCSRN, Critic
    >>> isinstance(MDCSRN(), Restorer), isinstance(Critic("light"), Restorer)
    (True, False)
    """

    @property
    def traits(self) -> Traits:
        """What it says of itself."""

    @property
    def architecture(self) -> dict[str, object]:
        """Constructor arguments as plain values, stored beside the weights."""

    def __call__(self, x: Tensor) -> Tensor:
        """Restore a batch."""


def traits_of(network: nn.Module) -> Traits:
    """The traits of a network.

    Raises:
        ConfigError: it does not state any; a critic, for instance, restores nothing.

    >>> from mdcsrn.networks import MDCSRN
    >>> traits_of(MDCSRN(blocks=1, units=2, growth=4)).margin
    (3, 3, 3)
    """
    if not isinstance(network, Restorer):
        raise ConfigError(
            "the network does not state its traits", got=type(network).__name__,
            remedy="give it a property `traits` (mdcsrn.networks.Traits)",
        )  # fmt: skip
    return network.traits
