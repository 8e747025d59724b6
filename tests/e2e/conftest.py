"""Bundle commands as a user gives them, small heads to run them on, and small weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from mdcsrn.engines import save_weights
from mdcsrn.networks import MDCSRN

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "mdcsrn_wgan_gp"
SMALL = {"blocks": 1, "units": 2, "growth": 4}


@dataclass(frozen=True)
class Done:
    """A command that has ended: exit code, both streams, peak memory in GiB."""

    code: int
    out: str
    err: str
    gib: float

    @property
    def last_line(self) -> str:
        return (self.err.strip().splitlines() or [""])[-1]


Run = Callable[..., Done]


@pytest.fixture(scope="session")
def bundle() -> Path:
    return BUNDLE


@pytest.fixture(scope="session")
def run_bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """``run_bundle("run", "--config_file", ..., folder=...)``: ``python -m monai.bundle`` with these arguments."""
    streams = tmp_path_factory.mktemp("streams")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(Path(__file__).with_name("bundle_server.py"))]
    server = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(*arguments: object, folder: Path = BUNDLE, seconds: int = 300) -> Done:
        job = {
            "arguments": [str(argument) for argument in arguments], "folder": str(folder), "environment": {},
            "stdout": str(streams / "stdout"), "stderr": str(streams / "stderr"), "seconds": seconds,
        }  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        code, gib = json.loads(server.stdout.readline())
        return Done(code, (streams / "stdout").read_text(), (streams / "stderr").read_text(), gib)

    with server:
        yield run
        assert server.stdin is not None
        server.stdin.close()


def head(shape: Sequence[int], seed: int = 0, peak: float = 900.0) -> np.ndarray:
    """A head-like phantom: air, skull, textured brain, sharp ventricles; float32, 0 to about `peak`."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij")
    radius = np.sqrt(sum((g / r) ** 2 for g, r in zip(grid, (0.85, 0.9, 0.8), strict=True)))
    texture = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 1.2)
    brain = (radius < 0.85) * (0.6 + 0.8 * texture)
    skull = ((radius > 0.9) & (radius < 1.0)) * 0.9
    ventricle = np.sqrt(sum((g / r) ** 2 for g, r in zip(grid, (0.15, 0.3, 0.2), strict=True))) < 1
    image = np.where(ventricle, 0.15, brain + skull) + 0.004 * rng.standard_normal(shape)
    return (peak * np.abs(image)).astype(np.float32)


@pytest.fixture(scope="session")
def make_head() -> Callable[..., np.ndarray]:
    return head


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    """``save(array, path, affine)`` writes a NIfTI with nibabel alone."""

    def write(array: np.ndarray, path: Path, affine: np.ndarray | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
        return path

    return write


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network that changes its input."""
    torch.manual_seed(0)
    network = MDCSRN(**SMALL)  # type: ignore[arg-type]
    torch.nn.init.normal_(network.recon.weight, std=0.05)
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    save_weights(path, network)
    return path


@pytest.fixture(scope="session")
def small(weights: Path) -> list[str]:
    """The command line's part that takes these weights."""
    options = [f"--network_def#{key}={value}" for key, value in SMALL.items()]
    return ["--checkpoint", str(weights), *options]


@pytest.fixture
def infer(run_bundle: Run, small: list[str], tmp_path: Path) -> Run:
    """``infer(source, *options, output=...)``: the bundle's inference with the small weights."""

    def run(source: Path | str, *options: object, output: Path | None = None) -> Done:
        target = tmp_path / "out" if output is None else output
        config = ("run", "--config_file", "configs/inference.yaml")
        return run_bundle(*config, *small, f"--input={source}", f"--output_dir={target}", *options)

    return run


def files_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) if folder.exists() else []


@pytest.fixture(scope="session")
def files() -> Callable[[Path], list[str]]:
    """Paths of the files below a folder, relative to it; none where there is no folder."""
    return files_below
