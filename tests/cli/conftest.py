"""Small scans whose outer k-space is empty, small weights, and the commands on them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result
from nibabel.eulerangles import euler2mat
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (20, 96, 84)  # shorter axes are not judged for an empty band
OBLIQUE = np.eye(4)  # left-handed, anisotropic
OBLIQUE[:3] = np.c_[euler2mat(0.2, -1.4, 0.4) @ np.diag([0.9, -1.1, 1.0]), (20, -12, -7)]


def with_small_model(arguments: Sequence[object], model: Path) -> list[str]:
    """Predictions use the small weights and plain torch where nothing else is said."""
    words = [str(argument) for argument in arguments]
    if words[0] in ("predict", "bids"):
        for option, value in (("--model", str(model)), ("--backend", "eager"), ("--precision", "float32")):
            words += [] if option in words else [option, value]
    return words


def phantom(shape: Sequence[int] = SHAPE, seed: int = 0) -> np.ndarray:
    """A head of about 1000 with fine texture, in noisy air, float32."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(sum(g**2 for g in grid))
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), 0.6)
    return ((radius < 0.8) * (800 + 400 * texture) + 5 * rng.standard_normal(shape)).astype(np.float32)


@pytest.fixture(scope="session")
def make_phantom() -> Callable[..., np.ndarray]:
    return phantom


@pytest.fixture(scope="session")
def save_image() -> Callable[..., Path]:
    """``save_image(array, path, affine)`` with nibabel alone."""

    def write(array: np.ndarray, path: Path, affine: np.ndarray = OBLIQUE) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), path)
        return path

    return write


@pytest.fixture(scope="session")
def interpolated(numpy_low_pass: Callable[..., np.ndarray]) -> np.ndarray:
    """A scan that the scanner zero-filled by 2 on its last two axes."""
    return numpy_low_pass(phantom(), (1, 2, 2))


@pytest.fixture
def scan(tmp_path: Path, interpolated: np.ndarray, save_image: Callable[..., Path]) -> Path:
    return save_image(interpolated, tmp_path / "in" / "scan.nii.gz")


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network that changes its input visibly."""
    import torch

    from mdcsrn.networks import MDCSRN
    from mdcsrn.networks.weights import save_weights

    torch.manual_seed(0)
    network = MDCSRN(blocks=1, units=2, growth=4)
    torch.nn.init.normal_(network.recon.weight, std=0.05)
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    save_weights(path, network)
    return path


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="session")
def files() -> Callable[[Path], list[str]]:
    """Paths of the files below a folder, relative to it."""
    return files_below


Command = Callable[..., Result]


@pytest.fixture
def mdcsrn(small_model: Path) -> Command:
    """``mdcsrn("predict", ...)`` within this process; predictions use the small weights and plain torch."""
    from mdcsrn.cli.main import main

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, with_small_model(arguments, small_model))

    return run


@pytest.fixture
def process(small_model: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same as a process of its own."""

    def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        words = with_small_model(arguments, small_model)
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.run(
            [sys.executable, "-m", "mdcsrn", *words], capture_output=True, text=True, cwd=cwd, env=environment,
            check=False,
        )  # fmt: skip

    return run
