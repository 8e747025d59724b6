"""Small scans and weights, and commands in processes of their own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mdcsrn.networks import MDCSRN, save_weights

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent  # where the console commands of this environment lie
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def scan_values() -> np.ndarray:
    """A textured ball whose last two axes a scanner zero-filled by 2, by NumPy alone."""
    shape = (20, 28, 26)
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    ball = np.sqrt(sum(g**2 for g in grid)) < 0.8
    values = ball * (800 + 200 * np.random.default_rng(0).standard_normal(shape))
    spectrum = np.fft.fftn(values)
    for axis in (1, 2):
        n = shape[axis]
        kept = np.abs(np.fft.fftfreq(n, 1 / n)) < n / 4
        spectrum *= np.expand_dims(kept, [other for other in range(3) if other != axis])
    return np.fft.ifftn(spectrum).real.astype(np.float32)


@pytest.fixture
def scan(tmp_path: Path, scan_values: np.ndarray) -> Path:
    path = tmp_path / "in put" / "scan.nii.gz"  # a space: command lines must quote
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(scan_values, np.diag([1.0, 1.1, 0.9, 1.0])), path)
    return path


@pytest.fixture
def dataset(tmp_path: Path, scan_values: np.ndarray) -> Path:
    root = tmp_path / "raw"
    for name in ("01", "02"):
        folder = root / f"sub-{name}" / "anat"
        folder.mkdir(parents=True)
        nib.save(nib.Nifti1Image(scan_values, np.eye(4)), folder / f"sub-{name}_T1w.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.10.0"}')
    return root


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = MDCSRN(blocks=1, units=2, growth=4)
    torch.nn.init.normal_(network.recon.weight, std=0.1)
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    save_weights(path, network.eval())
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What a tool writes into its user's folder stays here."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def run(home: Path) -> Run:
    """``run(words, cwd=..., environment=...)`` with this environment's commands first on the path."""

    def start(
        words: list[object], cwd: Path = ROOT, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        own = {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", **(environment or {})}
        return subprocess.run(
            [str(word) for word in words],
            cwd=cwd,
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            check=False,
        )

    return start


@pytest.fixture(scope="session")
def stages() -> dict[str, list[list[str]]]:
    """Instructions of each stage of the Dockerfile, as lists of words; comments are left out and long lines joined."""
    text = (ROOT / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    joined = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[list[str]]] = {}
    stage = ""
    for line in filter(None, map(str.strip, joined.splitlines())):
        words = line.split()
        stage = words[-1] if words[0] == "FROM" else stage
        found.setdefault(stage, []).append(words)
    return found


@pytest.fixture(scope="session")
def image_environment(stages: dict[str, list[list[str]]]) -> dict[str, str]:
    """What ``ENV`` sets in the image, as it stands."""
    pairs = [pair for words in stages["runtime"] if words[0] == "ENV" for pair in shlex.split(" ".join(words[1:]))]
    return dict(pair.split("=", 1) for pair in pairs)
