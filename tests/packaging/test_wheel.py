"""The wheel, installed outside the checkout, finds its bundles and presets and degrades a volume."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.long


def run(command: list[str | Path], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(folder),
    ]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (built,) = folder.glob("mdcsrn-*.whl")
    return built


@pytest.fixture(scope="module")
def outside(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel, and with the libraries (not the editable mdcsrn) of this one."""
    folder = tmp_path_factory.mktemp("outside")
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    run([*pip, "install", "--no-deps", "--no-index", "--quiet", str(wheel)], folder)
    # A path line in a .pth file adds the folder without running the .pth files in it: the checkout stays unseen.
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    return folder / "bin"


def test_the_wheel_holds_bundles_and_configs_and_nothing_else(wheel: Path) -> None:
    tracked = run(["git", "ls-files", "bundles", "configs"], ROOT)
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"mdcsrn/_data/{name}" for name in tracked.split()} <= names
    assert all(name.startswith(("mdcsrn/", "mdcsrn-")) for name in names)
    assert not [name for name in names if "/runs/" in name or "/eval/" in name or "__pycache__" in name]


def test_it_is_the_wheel_that_is_imported(outside: Path, tmp_path: Path) -> None:
    location = Path(run([outside / "python", "-c", "import mdcsrn; print(mdcsrn.__file__)"], tmp_path))
    assert outside.parent in location.parents


def test_degrade_works_from_the_wheel(outside: Path, tmp_path: Path) -> None:
    volume = np.random.default_rng(0).random((16, 20, 18), dtype=np.float32)
    affine = np.diag([1.0, 1.2, 0.9, 1.0])
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "in.nii.gz")
    run([outside / "mdcsrn", "degrade", "in.nii.gz", "-o", "out.nii.gz", "--spec", "hcp_2x2"], tmp_path)

    written = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    # The written rule, applied by NumPy alone: |k| < n / 4 on the last two axes.
    spectrum = np.fft.fftn(volume.astype(np.float64))
    for axis in (1, 2):
        n = volume.shape[axis]
        kept = np.abs(np.fft.fftfreq(n, 1 / n)) < n / 4
        spectrum *= np.expand_dims(kept, tuple(a for a in range(3) if a != axis))
    np.testing.assert_allclose(written.get_fdata(), np.fft.ifftn(spectrum).real, atol=1e-5)


def test_bundles_and_presets_are_found(outside: Path, tmp_path: Path) -> None:
    code = (
        "from mdcsrn.resources import config, folder; print(folder('bundles')); print(config('hcp_2x2', 'degradation'))"
    )
    bundles, preset = (Path(line) for line in run([outside / "python", "-c", code], tmp_path).splitlines())
    assert outside.parent in bundles.parents
    assert (bundles / "mdcsrn_wgan_gp" / "configs" / "metadata.json").is_file()
    assert outside.parent in preset.parents
