"""No command opens a socket or leaves a file in the home folder: seen from outside, without a network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = {"openvino": "openvino", "onnxruntime": "onnxruntime", "eager": "torch"}

RUN = """
import torch
from mdcsrn.inference.backends import backend
network = torch.nn.Conv3d(1, 1, 3, padding=1).eval()
example = (torch.zeros(1, 1, 8, 8, 8),)
print(backend({name!r}).compile(network, example, "float32", 1, small=example)(example)[0].shape)
"""


def test_the_watch_sees_a_socket_and_a_name_that_is_looked_up(watched: Callable) -> None:
    code = "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"
    assert any("INET" in line or "socket.__new__" in line for line in watched("-c", code).sockets)
    code = "import socket\ntry: socket.getaddrinfo('example.org', 80)\nexcept OSError: pass"
    assert any("getaddrinfo" in line for line in watched("-c", code).sockets)


def test_the_watch_sees_what_is_left_at_home(watched: Callable) -> None:
    code = "import pathlib; (pathlib.Path.home() / 'left').write_text('')"
    assert watched("-c", code).files == ["left"]


@pytest.mark.parametrize("name", list(BACKENDS))
def test_backends(name: str, watched: Callable) -> None:
    pytest.importorskip(BACKENDS[name])
    done = watched("-c", RUN.format(name=name))
    assert done.code == 0, done.text
    assert "[1, 1, 8, 8, 8]" in done.text
    assert (done.sockets, done.files) == ([], [])


@pytest.mark.parametrize("name", ["openvino", "nncf", "onnxruntime"])
def test_imports_after_mdcsrn(name: str, watched: Callable) -> None:
    pytest.importorskip(name)
    done = watched("-c", f"import mdcsrn, {name}")
    assert done.code == 0, done.text
    assert (done.sockets, done.files) == ([], [])


def test_consent_makes_no_difference(watched: Callable) -> None:
    pytest.importorskip("openvino")
    agreed = "folder = pathlib.Path.home() / 'intel'; folder.mkdir(); (folder / 'openvino_telemetry').write_text('1')"
    done = watched("-c", f"import pathlib; {agreed}; import mdcsrn, openvino")
    assert done.code == 0, done.text
    assert (done.sockets, done.files) == ([], ["intel/openvino_telemetry"])


def test_predict_and_report(watched: Callable, scan: Path, weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("matplotlib")
    out, page = tmp_path / "out.nii.gz", tmp_path / "page.html"
    shared = ["--factor", 1, 1, 2, "--model", weights, "--backend", "openvino"]
    done = watched("-m", "mdcsrn", "predict", scan, "-o", out, "--report", page, *shared)
    assert done.code == 0, done.text
    assert page.is_file()
    assert (done.sockets, done.files) == ([], [])
    assert json.loads(out.with_name("out.json").read_text())  # the record was written
    done = watched("-m", "mdcsrn", "report", out, "-o", tmp_path / "again.html")
    assert done.code == 0, done.text
    assert (done.sockets, done.files) == ([], [])


def test_bids(watched: Callable, scan: Path, weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bids" / "sub-01" / "anat"
    folder.mkdir(parents=True)
    shutil.copy(scan, folder)
    (tmp_path / "bids" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    words = ["bids", tmp_path / "bids", tmp_path / "out", "participant", "--factor", 1, 1, 2, "--model", weights]
    done = watched("-m", "mdcsrn", *words)
    assert done.code == 0, done.text
    assert list((tmp_path / "out").rglob("*_T1w.nii.gz"))
    assert (done.sockets, done.files) == ([], [])


@pytest.mark.long
@pytest.mark.parametrize("form", [["openvino", "model.xml", "--precision", "int8"], ["onnx", "model.onnx"]])
def test_exports(form: list[str], watched: Callable, tmp_path: Path) -> None:
    for name in ("openvino", "nncf", "onnxruntime", "nilearn"):
        pytest.importorskip(name)
    words = ["bundle", "export", "mdcsrn_wgan_gp", "--format", form[0], "-o", tmp_path / form[1], *form[2:]]
    done = watched("-m", "mdcsrn", *words)
    assert done.code == 0, done.text
    assert (done.sockets, done.files) == ([], [])


@pytest.mark.long
def test_bundle_check_runs_monai_without_a_trace(watched: Callable) -> None:
    done = watched("-m", "mdcsrn", "bundle", "check", "mdcsrn_wgan_gp")
    assert done.code == 0, done.text
    assert "its network too" in done.text
    assert (done.sockets, done.files) == ([], [])


@pytest.mark.long
@pytest.mark.parametrize("backend", ["compile", "int8"])
def test_slow_backends(backend: str, watched: Callable, scan: Path, weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    how = ["--backend", "openvino", "--precision", "int8"] if backend == "int8" else ["--backend", backend]
    out = tmp_path / "out.nii.gz"
    done = watched("-m", "mdcsrn", "predict", scan, "-o", out, "--factor", 1, 1, 2, "--model", weights, *how)
    assert done.code == 0, done.text
    assert (done.sockets, done.files) == ([], [])


def test_bundle_run(watched: Callable, scan: Path, weights: Path, tmp_path: Path) -> None:
    """MONAI is imported before anything of ours: urllib3's test for IPv6 and matplotlib's fonts are its own."""
    settings = ["--input", scan, "--output_dir", tmp_path / "out", "--checkpoint", weights]
    config = ["--config_file", "configs/inference.yaml"]
    done = watched("-m", "monai.bundle", "run", *config, *settings, cwd=ROOT / "bundles" / "mdcsrn_wgan_gp")
    assert done.code == 0, done.text
    assert list((tmp_path / "out").rglob("*_sr.nii.gz"))
    strange = [line for line in done.sockets if "INET6" not in line and not line.startswith("socket.__new__")]
    assert strange == []
    assert len(done.sockets) <= 3, done.sockets  # one socket, bound to this machine's own address, and Python's event
    assert not any(line.startswith(("connect", "send")) for line in done.sockets)
    assert [name for name in done.files if not name.startswith(".cache/matplotlib/")] == []
