"""Exact tiles of any network give what one pass gives, on the grid of the result."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.inference import ExactTiledInferer
from mdcsrn.inference.running.tiled import run_tiles, tiles_of
from mdcsrn.inference.running.tiled_runner import TiledRunner, input_of
from mdcsrn.kspace import grid_affine, resample_grid
from mdcsrn.networks import PlaneWise, Traits


class Refining(nn.Module):
    """Two planes' axes refined by 2 and 3 from the acquired matrix; margin 1, or the whole plane."""

    def __init__(self, whole: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, 6, 3, padding=1)]
        self.plane = nn.Sequential(*layers, *([nn.InstanceNorm2d(6)] if whole else []))
        self.whole = whole

    @property
    def traits(self) -> Traits:
        margin = None if self.whole else 1
        return Traits(scale=(1, 2, 3), input_grid="acquired", margin=(0, margin, margin), bytes_per_voxel=64)

    @property
    def architecture(self) -> dict[str, object]:
        return {"whole": self.whole}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = PlaneWise(self.plane)(x)
        n, _, d, h, w = features.shape
        return features.reshape(n, 2, 3, d, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, 1, d, 2 * h, 3 * w)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("core", [(1, 4, 5), (3, 7, 2), (9, 9, 9)])
def test_tiles_of_a_finer_grid(whole: bool, core: tuple[int, int, int]) -> None:
    network = Refining(whole).eval()
    volume = torch.rand(2, 1, 5, 9, 8)
    with torch.no_grad():
        tiles = tiles_of(volume.shape[-3:], network.traits.margin, core=core)
        if whole:
            assert all(tile.core[1:] == (slice(0, 9), slice(0, 8)) for tile in tiles), "a whole axis is not cut"
        torch.testing.assert_close(run_tiles(volume, network, tiles, (1, 2, 3)), network(volume))


def test_the_inferer_allocates_the_result_and_writes_its_affine() -> None:
    network, affine = Refining().eval(), torch.tensor(
        [[0.0, 1.2, 0, 5], [-1.1, 0, 0.2, -7], [0, 0.3, 2, 9], [0, 0, 0, 1]], dtype=torch.float64
    )  # fmt: skip
    given = MetaTensor(torch.rand(1, 1, 4, 6, 8), affine=affine)
    with torch.no_grad():
        result = ExactTiledInferer(core=(2, 3, 8))(given, network)
        torch.testing.assert_close(result.as_tensor(), network(given.as_tensor()))
    torch.testing.assert_close(result.affine, grid_affine(affine, (4, 6, 8), (4, 12, 24)))
    torch.testing.assert_close(given.affine, affine)


def test_the_runner_of_a_network_of_the_acquired_matrix() -> None:
    network = Refining().eval()
    low = resample_grid(torch.rand(4, 6, 8), (4, 12, 24))
    region = torch.zeros(low.shape, dtype=torch.bool)
    region[1:3, 2:7, 5:20] = True
    shares: list[float] = []
    runner = TiledRunner(network, precision="float32")
    result = runner.run(low, region, shares.append)
    with torch.no_grad():
        whole = network(input_of(low, network.traits)[None, None])[0, 0]
    torch.testing.assert_close(result[region], whole[region])
    assert torch.equal(result[~region], low[~region])
    assert shares[-1] == 1
    assert sorted(shares) == shares
    with pytest.raises(GeometryError, match=r"scale \(1, 2, 3\)"):
        runner.run(torch.rand(4, 5, 9), torch.ones(4, 5, 9, dtype=torch.bool))


def test_too_little_memory_and_other_backends_are_refused() -> None:
    low = torch.rand(4, 12, 24)
    with pytest.raises(ConfigError, match="too small for one tile"):
        TiledRunner(Refining(), max_memory=1e-3).run(low, torch.ones(low.shape, dtype=torch.bool))
    with pytest.raises(ConfigError, match="PyTorch alone"):
        TiledRunner(Refining(), backend="openvino")
