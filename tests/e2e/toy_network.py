"""Two networks of twenty lines in the catalogue; then the module that the arguments name runs as with ``python -m``."""

import runpy
import sys

from torch import Tensor, nn
from torch.nn import functional

from mdcsrn.networks import PlaneWise, Traits
from mdcsrn.networks.catalog import NETWORKS


class Toy(nn.Module):
    """Two convolutions that add a change to the zero-filled volume."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.width = width
        self.first, self.recon = nn.Conv3d(1, width, 3, padding=1), nn.Conv3d(width, 1, 3, padding=1)

    @property
    def traits(self) -> Traits:
        return Traits(margin=(2, 2, 2), bytes_per_voxel=16 * self.width, residual=True)

    @property
    def architecture(self) -> dict[str, object]:
        return {"width": self.width}

    def forward(self, x: Tensor) -> Tensor:
        return x + self.recon(functional.relu(self.first(x)))


class Doubling(nn.Module):
    """A 2D network that reads acquired planes and doubles both of their axes, with instance normalisation."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.width = width
        plane = [nn.Conv2d(1, 4 * width, 3, padding=1), nn.InstanceNorm2d(4 * width), nn.PixelShuffle(2)]
        self.planes = PlaneWise(nn.Sequential(*plane, nn.Conv2d(width, 1, 3, padding=1)))

    @property
    def traits(self) -> Traits:
        return Traits(scale=(1, 2, 2), input_grid="acquired", margin=(0, None, None), bytes_per_voxel=64 * self.width)

    @property
    def architecture(self) -> dict[str, object]:
        return {"width": self.width}

    def forward(self, x: Tensor) -> Tensor:
        return self.planes(x)


NETWORKS.update(Toy=Toy, Doubling=Doubling)

if __name__ == "__main__":
    NETWORKS.pop("Toy")
    NETWORKS.pop("Doubling")
    import toy_network  # noqa: F401 - under its own name, so that configs find the same classes

    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
