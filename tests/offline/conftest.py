"""Commands in a fresh home, without a network, under a watch of the kernel's socket calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mdcsrn.engines import save_weights
from mdcsrn.networks import MDCSRN

ROOT = Path(__file__).resolve().parents[2]
SOCKET = re.compile(r"\b(?:socket|connect|bind|sendto|sendmsg)\(.*")
FAMILY = re.compile(r"\bAF_(?!UNIX\b|LOCAL\b|NETLINK\b)\w+")  # those of a network

# Loaded by every Python that the command starts: writes down what it does with sockets and with host names.
CONVERTED = re.compile(r"\.cache/mdcsrn/networks/[0-9a-f]{64}\.zip")
HOOK = """
import os, sys
NAMES = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")
def watch(event, arguments, log=os.environ["SOCKET_LOG"]):
    if event in NAMES or event == "socket.__new__" and arguments[1] not in (-1, 1, 16):  # 1: local, 16: the kernel
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f"{event} {arguments[1:]!r}\\n".encode())
        os.close(descriptor)
sys.addaudithook(watch)
"""


@dataclass(frozen=True)
class Watched:
    """A command that has ended: its exit code and output, what it did with networks, what it left at home."""

    code: int
    text: str
    sockets: list[str]
    files: list[str]


def _works(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def without_network() -> list[str]:
    """Words before a command that take it into a network namespace without interfaces, or a skip."""
    for words in (["unshare", "-n", "--"], ["unshare", "-rn", "--"]):
        if _works(words):
            return words
    pytest.skip("this system lets nobody leave the network behind (unshare -n, unshare -rn)")


@pytest.fixture
def watched(without_network: list[str], tmp_path: Path) -> Callable[..., Watched]:
    """``watched(words)``: a Python with these arguments, without a network, in a fresh home, under a watch.

    ``strace`` sees what native libraries do; where it is missing or forbidden, only Python's own events are seen.
    """

    def run(*words: object, cwd: Path = tmp_path) -> Watched:
        hooks, home = tmp_path / "hooks", tmp_path / "home"
        trace, log = tmp_path / "trace", tmp_path / "events"
        for folder in (hooks, home):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        for file in (trace, log):
            file.unlink(missing_ok=True)
        (hooks / "sitecustomize.py").write_text(HOOK)
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "LD_LIBRARY_PATH") if key in os.environ}
        own = {"HOME": str(home), "PYTHONPATH": os.pathsep.join([str(hooks), str(ROOT)]), "SOCKET_LOG": str(log)}
        tracer = ["strace", "-f", "-qq", "-e", "trace=network", "-o", str(trace)]
        command = [*without_network, *(tracer if _works(tracer) else []), sys.executable, *map(str, words)]
        environment = {**kept, **own, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        return Watched(done.returncode, done.stdout + done.stderr, _sockets(trace, log), _files(home))

    return run


def _sockets(trace: Path, log: Path) -> list[str]:
    """Calls that concern a network: those of the kernel, and what Python announces."""
    lines = trace.read_text(errors="replace").splitlines() if trace.is_file() else []
    calls = [call[0] for line in lines if (call := SOCKET.search(line)) and FAMILY.search(call[0])]
    return calls + (log.read_text().splitlines() if log.is_file() else [])


def _files(home: Path) -> list[str]:
    """What is left there, the converted networks of docs/predict.md aside."""
    files = (str(path.relative_to(home)) for path in home.rglob("*") if not path.is_dir())
    return sorted(file for file in files if not CONVERTED.fullmatch(file))


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small head, as NIfTI."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (28, 30, 26)], indexing="ij")
    head = 900 * (sum(axis**2 for axis in axes) < 0.7) * (1 + 0.1 * np.random.default_rng(0).random((28, 30, 26)))
    path = tmp_path_factory.mktemp("scan") / "sub-01_T1w.nii.gz"
    nib.save(nib.Nifti1Image(head.astype(np.float32), np.diag([1.0, 1.0, 1.0, 1.0])), path)
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of a few weights."""
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    save_weights(path, MDCSRN(blocks=1, units=2, growth=4).eval())
    return path
