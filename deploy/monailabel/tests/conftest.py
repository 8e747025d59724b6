"""The real server in a process of its own, on real scans cut small, and the command line as the reference."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monailabel.client import MONAILabelClient

APP = Path(__file__).resolve().parents[1]
ROOT = APP.parents[1]
WAIT = 300  # seconds at most for a start or a task; usual are ten
PEOPLE = {"sub-a_T1w": "ds002748-01", "sub-b_T1w": "ds002748-04", "sub-c_T1w": "ds000011-01"}
FILLED = "sub-filled_T1w"  # half of its last two axes is empty, as after zero-filling by a scanner
BUNDLE = "mdcsrn_wgan_gp"
EAGER = {"backend": "eager", "precision": "float32"}  # no backend has to be chosen: seconds a request


@pytest.fixture(scope="session")
def scans(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of three people, and one zero-filled; each about 40 voxels wide."""
    folder = tmp_path_factory.mktemp("scans")
    for name, source in PEOPLE.items():
        image = nib.load(shared_data / "t1w" / "train" / f"{source}_T1w.nii.gz")
        near = [slice(n // 2 - 18, n // 2 + 18 + axis) for axis, n in enumerate(image.shape)]  # odd sizes too
        nib.save(image.slicer[tuple(near)], folder / f"{name}.nii.gz")
    image = nib.load(shared_data / "t1w" / "train" / "ds000011-02_T1w.nii.gz")
    near = [slice(n // 2 - h, n // 2 + h) for n, h in zip(image.shape, (16, 32, 32), strict=True)]
    crop = image.slicer[tuple(near)]
    kspace = np.fft.fftn(crop.get_fdata())
    for axis in (1, 2):
        far = np.abs(np.fft.fftfreq(64, 1 / 64)) >= 16
        kspace[tuple(far if i == axis else slice(None) for i in range(3))] = 0
    nib.save(nib.Nifti1Image(np.fft.ifftn(kspace).real.astype(np.float32), crop.affine), folder / f"{FILLED}.nii.gz")
    return folder


class Server:
    """A server that is running; ``with`` ends it.

    The temporary folder is its own, so that what it leaves there can be counted.
    """

    def __init__(self, home: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.home, self.log, self.temporary = home, home / "server.log", home / "tmp"
        self.temporary.mkdir(exist_ok=True)
        settings = {**os.environ, "TMPDIR": str(self.temporary), "HOME": str(home), **(environment or {})}
        with self.log.open("ab") as log:
            command = [sys.executable, *arguments, "--port", str(self.port)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=settings, cwd=home)
        self.url = f"http://127.0.0.1:{self.port}"

    def ready(self) -> Server:
        end = time.monotonic() + WAIT
        while self.process.poll() is None and time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/logs/?lines=1&html=false", timeout=WAIT).close()
                return self
            except urllib.error.HTTPError:
                return self  # it answers
            except OSError:
                time.sleep(0.2)
        raise AssertionError(f"no server: {self.process.poll()}\n{self.text()[-3000:]}")

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def client(self, folder: Path) -> MONAILabelClient:
        folder.mkdir(exist_ok=True)
        return MONAILabelClient(self.url, tmpdir=str(folder))

    def ask(
        self, path: str, method: str = "GET", body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and JSON (or text) of a request with a JSON body."""
        data = None if body is None else json.dumps(body).encode()
        given = {**({} if data is None else {"content-type": "application/json"}), **(headers or {})}
        return _answer(urllib.request.Request(self.url + path, data, given, method=method))

    def upload(self, model: str, file: Path, params: object = None, output: str = "image") -> tuple[int, Any]:
        """Status and bytes (or JSON) of an inference on a file that is sent along."""
        text = params if isinstance(params, str) else json.dumps(params or {})
        mark = "--mark-of-the-test"
        head = f'{mark}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{text}\r\n'
        head += f'{mark}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n\r\n'
        body = head.encode() + file.read_bytes() + f"\r\n{mark}--\r\n".encode()
        kind = {"content-type": f"multipart/form-data; boundary={mark[2:]}"}
        url = f"{self.url}/infer/{model}?output={output}"
        return _answer(urllib.request.Request(url, body, kind, method="POST"))

    def task(self, kind: str, start: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Start a task in the background, wait for its end, and give its last state."""
        status, begun = self.ask(start, "POST", body)
        assert status == 200, begun
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            _, state = self.ask(kind)
            if state["id"] == begun["id"] and state["status"] not in ("SUBMITTED", "RUNNING"):
                return state
            time.sleep(0.3)
        raise AssertionError(f"no end of {start}: {state}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def _answer(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=WAIT) as reply:
            status, kind, content = reply.status, reply.headers.get_content_type(), reply.read()
    except urllib.error.HTTPError as error:
        status, kind, content = error.code, error.headers.get_content_type(), error.read()
    return status, json.loads(content) if kind == "application/json" else content


Start = Callable[..., Server]


@pytest.fixture(scope="session")
def start() -> Start:
    """Starts a server of this app: ``start(home, studies, *arguments)``; the app is copied to ``home/app``."""

    def begin(home: Path, studies: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Server:
        app = home / "app"
        if not app.exists():
            app.mkdir(parents=True)
            shutil.copy(APP / "main.py", app)
            shutil.copytree(APP / "lib", app / "lib", ignore=shutil.ignore_patterns("__pycache__"))
        command = [str(APP / "serve.py"), "--app", str(app), "--studies", str(studies), *arguments]
        return Server(home, command, environment)

    return begin


@pytest.fixture(scope="session")
def study(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study folder of the shared server."""
    folder = tmp_path_factory.mktemp("study")
    return Path(shutil.copytree(scans, folder, dirs_exist_ok=True))


@pytest.fixture(scope="session")
def server(start: Start, study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the default settings."""
    with start(tmp_path_factory.mktemp("server"), study) as running:
        yield running.ready()


@pytest.fixture(scope="session")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``mdcsrn predict`` in a process of its own: ``predict(scan, *options)`` gives the file that it wrote."""

    def run(scan: Path, *options: str) -> Path:
        output = Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp())) / "out.nii.gz"
        command = [sys.executable, "-m", "mdcsrn", "predict", str(scan), "-o", str(output), "--quiet", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return output

    return run
