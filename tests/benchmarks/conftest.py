"""The benchmarks' own folder on the path, and a cohort so small that a test can train and judge on it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

SHAPE = (32, 36, 30)
NOISE = 4.0
SECTIONS = {"training": ("aa-01", "aa-02"), "validation": ("aa-03",), "test": ("aa-04", "bb-01", "cc")}


def phantom(seed: int) -> np.ndarray:
    """An ellipsoid of random texture in air, with noise."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    texture = gaussian_filter(random.normal(size=SHAPE), 1.2)
    head = (grid**2).sum(0) < 0.8**2
    return (head * (500 + 200 * texture / texture.std()) + random.normal(0, NOISE, SHAPE)).clip(0).astype(np.float32)


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datalist of six phantoms of three series, one of them in training."""
    folder = tmp_path_factory.mktemp("cohort")
    content: dict[str, list] = {}
    for section, names in SECTIONS.items():
        for name in names:
            image = nibabel.Nifti1Image(phantom(len(content) * 10 + int(name[-1], 36)), np.eye(4))
            nibabel.save(image, folder / f"{name}_T1w.nii.gz")
            content.setdefault(section, []).append({"image": f"{name}_T1w.nii.gz", "subject": name})
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder / "datalist.json"


@pytest.fixture
def noisy_phantom() -> tuple[np.ndarray, float]:
    """A volume of that cohort, and the standard deviation of its noise."""
    return phantom(5), NOISE
