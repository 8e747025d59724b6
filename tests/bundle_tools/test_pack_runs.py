"""A packed bundle runs with `python -m monai.bundle` where mdcsrn is installed as a wheel and there is no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mdcsrn.bundle.pack import pack

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.long


def run(command: list[str | Path], cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with the libraries (not the editable mdcsrn) of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(ROOT)], folder)
    (wheel,) = folder.glob("mdcsrn-*.whl")
    home = tmp_path_factory.mktemp("outside")
    venv.create(home, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    run([*pip, "--python", home / "bin" / "python", "install", "--no-deps", "--no-index", "--quiet", wheel], home)
    # A path line in a .pth file adds the folder without running the .pth files in it: the checkout stays unseen.
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    return home / "bin" / "python"


def test_inference_of_a_packed_bundle(python: Path, shipped: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(pack(shipped.name, tmp_path / "bundle.zip")) as archive:
        archive.extractall(tmp_path)
    home = tmp_path / shipped.name
    random = np.random.default_rng(0)
    spectrum = np.fft.fftn(random.random((24, 28, 26)))
    for axis in (1, 2):  # what a 2 x 2 shorter scan measures
        n = spectrum.shape[axis]
        kept = np.abs(np.fft.fftfreq(n, 1 / n)) < n / 4
        spectrum *= np.expand_dims(kept, [other for other in range(3) if other != axis])
    affine = np.diag([1.0, 1.1, 0.9, 1.0])
    nib.save(nib.Nifti1Image(np.fft.ifftn(spectrum).real.astype(np.float32), affine), tmp_path / "scan.nii.gz")

    location = run([python, "-c", "import mdcsrn; print(mdcsrn.__file__)"], home)
    assert ROOT not in Path(location).parents
    command = [python, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml"]
    run([*command, "--input", str(tmp_path / "scan.nii.gz"), "--output_dir", str(tmp_path / "out")], home)

    (made,) = (tmp_path / "out").rglob("scan_sr.nii.gz")
    result = nib.load(made)
    assert result.shape == (24, 28, 26)
    np.testing.assert_allclose(result.affine, affine, atol=1e-6)
    got = np.fft.fftn(result.get_fdata())
    measured = np.abs(spectrum) > 0
    assert (
        np.abs(got[measured] - spectrum[measured]).max() < 1e-4 * np.abs(spectrum).max()
    )  # nothing measured is altered
    assert np.abs(got[~measured]).max() > 1e-3 * np.abs(spectrum[measured]).mean()  # and something was added

    inside = f"from mdcsrn.bundle.check import check; assert check({str(home)!r}) == []"
    run([python, "-c", inside], home)
