"""The steps of the image and its entry point in a plain environment: no network, no rights, code that stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "docker"
# A user that no file knows, who owns what we own and has no rights beyond that: bits of a file's mode hold for him.
NOBODY = ["unshare", "--user", "--map-user=10001", "--map-group=10001", "--net", "--"]

pytestmark = pytest.mark.long


def may_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NOBODY, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment as the image's, made by the image's own steps, that nobody can write to.

    The libraries, gigabytes, are those of this environment; the step that fetches them is left out.
    """
    if not may_unshare():
        pytest.skip("this system lets nobody leave the network behind (unshare --user --net)")
    place = tmp_path_factory.mktemp("image")
    home = place / "mdcsrn"
    venv.create(home, with_pip=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    # A path line in a .pth file adds the folder without running the .pth files in it: the checkout stays unseen.
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([*pip, "--wheel-dir", str(place / "wheel"), str(ROOT)], check=True, capture_output=True)
    subprocess.run([str(FOLDER / "install.sh"), "package", str(home), str(place / "wheel")], check=True)
    subprocess.run(["chmod", "-R", "a-w", str(home)], check=True)
    yield home
    subprocess.run(["chmod", "-R", "u+w", str(home)], check=True)


@pytest.fixture
def container(image: Path, image_environment: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """``container(words)``: what ``docker run --network none --user 10001 --read-only --tmpfs /tmp`` would do."""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    own = {
        key: value.replace("/tmp", str(scratch)).replace("/opt/mdcsrn", str(image)).replace("${PATH}", os.defpath)
        for key, value in image_environment.items()
    }

    def start(words: list[object], program: Path = FOLDER / "entrypoint.sh") -> subprocess.Popen[str]:
        (tmp_path / "work").mkdir(exist_ok=True)
        return subprocess.Popen(
            [*NOBODY, str(program), *map(str, words)], cwd=tmp_path / "work", env=own | {"TMPDIR": str(scratch)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


def finished(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate()
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    return out, err


def test_it_is_nobody_without_a_network_and_cannot_write_code(image: Path, container: Callable, tmp_path: Path) -> None:
    code = tmp_path / "look.py"
    code.write_text(
        "import mdcsrn, os, pwd, socket, sys\n"
        "print(os.getuid())\n"
        "try: socket.create_connection(('1.1.1.1', 443), 5)\n"
        "except OSError as error: print(error.errno)\n"
        "try: open(mdcsrn.__file__, 'a')\n"
        "except OSError as error: print(error.errno)\n"
        "try: print(pwd.getpwuid(os.getuid()).pw_name)\n"
        "except KeyError: print('unknown')\n"
        "print(mdcsrn.__file__)\n"
    )
    uid, network, write, name, place = finished(container([code], program=image / "bin" / "python"))[0].split()
    assert (uid, network, write, name) == ("10001", "101", "13", "unknown")  # ENETUNREACH, EACCES
    assert image in Path(place).parents


def test_the_last_step_of_the_build(image: Path, container: Callable) -> None:
    out, _ = finished(container(["verify", image], program=FOLDER / "install.sh"))
    assert "passes; its network too" in out


def test_the_last_step_refuses_an_image_without_weights(image: Path, container: Callable, tmp_path: Path) -> None:
    other = Path(shutil.copytree(image, tmp_path / "other", symlinks=True))
    subprocess.run(["chmod", "-R", "u+w", str(other)], check=True)
    command = other / "bin" / "mdcsrn"  # it names the interpreter of its environment
    command.write_text(command.read_text().replace(str(image), str(other)))
    (weights,) = other.rglob("bundles/mdcsrn_wgan_gp/models/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    _, err = finished(container(["verify", other], program=FOLDER / "install.sh"), code=1)
    assert "other weights than its hash list names" in err
    for file in weights.parent.iterdir():
        file.unlink()
    _, err = finished(container(["verify", other], program=FOLDER / "install.sh"), code=1)
    assert "no weights" in err


def test_a_dataset_in_the_form_of_bids_apps(container: Callable, dataset: Path, tmp_path: Path) -> None:
    """With the shipped weights and whatever backend this machine chooses, on a finer grid, with the page."""
    out = tmp_path / "derived"
    words = [dataset, out, "participant", "--participant-label", "01", "--factor", 1, 2, 2]
    finished(container([*words, "--report", tmp_path / "page"]))
    (made,) = out.rglob("*.nii.gz")
    assert made.relative_to(out) == Path("sub-01/anat/sub-01_desc-sr_T1w.nii.gz")
    result, source = nib.load(made), nib.load(dataset / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    assert result.shape == (20, 56, 52)
    measured = np.fft.fftn(source.get_fdata())[:, :7, :6]  # a corner of the passband, of positive frequencies
    got = np.fft.fftn(result.get_fdata())[:, :7, :6] / 4  # four times the samples, equal means
    # The centres of the two grids lie on one point: their spectra differ by a known phase of the even sizes at most.
    np.testing.assert_allclose(np.abs(got), np.abs(measured), rtol=1e-3, atol=1e-4 * np.abs(measured).max())
    assert json.loads(made.with_name("sub-01_desc-sr_T1w.json").read_text())["certificate"]
    assert [path.name for path in (tmp_path / "page").rglob("*.html")]
    finished(container(["verify", made]))


def test_one_scan_and_what_is_refused(container: Callable, scan: Path, small_model: Path, tmp_path: Path) -> None:
    words = ["predict", scan, "-o", tmp_path / "sr.nii.gz", "--factor", 1, 2, 2, "--model", small_model]
    finished(container([*words, "--backend", "eager", "--quiet"]))
    assert nib.load(tmp_path / "sr.nii.gz").shape == (20, 56, 52)
    _, err = finished(container(["/nowhere", tmp_path / "out", "participant"]), code=3)
    assert "/nowhere" in err
    assert finished(container(["--version"]))[0].startswith("mdcsrn, version")


def test_docker_stop_ends_it_with_one_line(container: Callable, tmp_path: Path, shipped_model: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(20):
        nib.save(nib.Nifti1Image(rng.random((40, 40, 40), np.float32), np.eye(4)), folder / f"scan{index:02}.nii.gz")
    words = ["predict", folder, "-o", tmp_path / "out", "--factor", 1, 2, 2, "--region", "all", "--backend", "eager"]
    process = container([*words, "--precision", "float32", "--model", shipped_model])
    while process.poll() is None and not list((tmp_path / "out").glob("*.json")):
        time.sleep(0.2)
    process.terminate()
    _, err = finished(process, code=143)
    assert "not done; run again with --resume" in err
    assert not [path.name for path in (tmp_path / "out").iterdir() if not path.name.endswith((".nii.gz", ".json"))]


@pytest.fixture
def shipped_model() -> Path:
    return ROOT / "bundles" / "mdcsrn_wgan_gp" / "models" / "model.safetensors"
