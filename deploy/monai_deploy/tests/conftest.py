"""Real and synthetic studies, and the app as a process."""

from __future__ import annotations

import copy
import importlib.util
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(Path(__file__).resolve().parent))
from deploy_studies import APP, crop, secret, write  # noqa: E402

sys.path.insert(0, str(APP))
from mdcsrn_deploy.start import prepare  # noqa: E402

prepare()


def _fixtures_of_dicom_tests() -> object:
    """The little series that the tests of mdcsrn.io.dicom are made with."""
    path = ROOT / "tests" / "io" / "dicom" / "conftest.py"
    spec = importlib.util.spec_from_file_location("dicom_fixtures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_dicom = _fixtures_of_dicom_tests()
make_slices, make_enhanced, save, stored = _dicom.make_slices, _dicom.make_enhanced, _dicom.save, _dicom.stored
mandatory = _dicom.mandatory

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The surroundings without settings of the user's own, so that the tests say what they set."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("MDCSRN_", "HOLOSCAN_"))}


@pytest.fixture(scope="session")
def app(environment: dict[str, str]) -> Run:
    """``app("-i", folder, ..., env={...}, folder=APP)``: the app as a user starts it."""

    def start(*arguments: object, env: dict[str, str] | None = None, folder: Path = APP, cwd: Path | None = None):
        return subprocess.run(
            [sys.executable, str(folder), *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd,
            env=environment | (env or {}), timeout=500,
        )  # fmt: skip

    return start


@pytest.fixture(scope="session")
def predict(environment: dict[str, str]) -> Run:
    """``predict(source, ...)``: the command ``mdcsrn predict`` of the same environment."""

    def start(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mdcsrn", "predict", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=500)

    return start


@pytest.fixture(scope="session")
def philips(shared_data: Path) -> list[pydicom.Dataset]:
    """The real MPRAGE: 170 images of 256 x 256, in the order of their numbers, with names that must not spread."""
    images = []
    with zipfile.ZipFile(shared_data / "dicom" / "philips_classic_mprage3d.zip") as archive:
        for name in archive.namelist():
            if not name.endswith("/"):
                images.append(secret(pydicom.dcmread(io.BytesIO(archive.read(name)), force=True)))
    return sorted(images, key=lambda ds: int(ds.InstanceNumber))


@pytest.fixture(scope="session")
def slab(philips: list[pydicom.Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 slices of 72 x 64 voxels from the middle of the real series."""
    images = crop(philips[70:94], slice(80, 152), slice(96, 160))
    return write(images, tmp_path_factory.mktemp("slab") / "study")


@pytest.fixture
def stack(make_slices: Callable[..., list[pydicom.Dataset]]) -> Callable[..., list[pydicom.Dataset]]:
    """``stack(slices, rows, columns, spacing, uid, number)``: a synthetic 3D T1w series, smooth but for its edge."""
    (pattern, *_) = make_slices()

    def make(
        slices: int = 16,
        rows: int = 40,
        columns: int = 36,
        spacing: tuple[float, float, float] = (1.25, 1.0, 1.5),
        uid: str = "1.2.826.0.1.3680043.8.498.7",
        number: int = 5,
    ) -> list[pydicom.Dataset]:
        z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (slices, rows, columns)), indexing="ij")
        head = (x**2 + y**2 + 0.6 * z**2 < 0.8) * (600 + 200 * np.sin(9 * x) * np.cos(8 * y + 3 * z))
        values = np.clip(head + np.random.default_rng(0).normal(20, 4, head.shape), 0, 4095).astype(np.uint16)
        made = []
        for k, plane in enumerate(values):
            ds = copy.deepcopy(pattern)
            ds.SeriesInstanceUID, ds.SOPInstanceUID = f"{uid}.{number}", f"{uid}.{number}.{k + 1}"
            ds.StudyInstanceUID, ds.FrameOfReferenceUID = f"{uid}.1000", f"{uid}.1001"
            ds.SeriesNumber, ds.InstanceNumber = number, k + 1
            ds.Rows, ds.Columns = rows, columns
            ds.PixelSpacing, ds.SliceThickness = [str(spacing[0]), str(spacing[1])], str(spacing[2])
            ds.ImagePositionPatient = ["-18", "-25", str(-12 + spacing[2] * k)]
            ds.PixelData = plane.tobytes()
            made.append(ds)
        return made

    return make
