"""What tests of several kinds measure against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch

from mdcsrn.networks import MDCSRN


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Converted networks are kept for these tests alone; what the user keeps is neither read nor written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDCSRN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def numpy_low_pass() -> Callable[..., np.ndarray]:
    """``low_pass(volume, reduction)``: a box low-pass by NumPy alone; integer |k| < n / (2 r) is kept."""

    def low_pass(volume: np.ndarray, reduction: Sequence[float]) -> np.ndarray:
        spectrum = np.fft.fftn(volume.astype(np.float64))
        for axis, (n, r) in enumerate(zip(volume.shape, reduction, strict=True)):
            kept = np.abs(np.rint(np.fft.fftfreq(n, 1 / n))) < n / (2 * r) if r > 1 else np.ones(n, bool)
            spectrum *= np.expand_dims(kept, [other for other in range(3) if other != axis])
        return np.fft.ifftn(spectrum).real.astype(np.float32)

    return low_pass


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
