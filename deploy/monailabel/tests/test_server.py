"""Starting: this machine alone, a token, no foreign pages, settings that are wrong, and what torchvision needs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import APP, BUNDLE, EAGER, Server, Start

TOKEN = "correct-horse-battery-staple"


def serve(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(APP / "serve.py"), *arguments]
    settings = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_other_machines_are_not_let_in_without_a_token(host: str, tmp_path: Path) -> None:
    done = serve("--studies", str(tmp_path), "--host", host)
    assert done.returncode == 2
    assert "--token-file" in done.stderr


def test_an_empty_token_is_none(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" \n")
    done = serve("--studies", str(tmp_path), "--token-file", str(tmp_path / "token"))
    assert done.returncode == 2
    assert "missing or empty" in done.stderr


def test_it_listens_to_this_machine_alone(server: Server) -> None:
    listening = []
    for line in (
        Path("/proc/net/tcp").read_text().splitlines()[1:] + Path("/proc/net/tcp6").read_text().splitlines()[1:]
    ):
        address, state = line.split()[1], line.split()[3]
        host, port = address.split(":")
        if int(port, 16) == server.port and state == "0A":
            listening.append(host)
    assert listening == ["0100007F"], "127.0.0.1, as the kernel writes it"


def test_a_foreign_page_is_refused(server: Server) -> None:
    status, answer = server.ask("/info/", headers={"Origin": "https://elsewhere.example"})
    assert (status, "another origin" in answer["detail"]) == (403, True)
    for origin in ("http://localhost:3000", server.url):
        assert server.ask("/info/", headers={"Origin": origin})[0] == 200


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("models", "nowhere", "no such model"), ("bundels", BUNDLE, "unknown --conf")],
)
def test_a_wrong_setting_ends_the_start(start: Start, name: str, value: str, words: str, tmp_path: Path) -> None:
    with start(tmp_path / "home", tmp_path / "studies", "--conf", name, value) as running:
        assert running.process.wait(300) != 0
        assert words in running.text()
        assert "Traceback" not in running.text().split(words)[0]


@pytest.fixture(scope="module")
def guarded(start: Start, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a token, one model and a page that may ask."""
    home = tmp_path_factory.mktemp("guarded")
    (home / "token").write_text(TOKEN + "\n")
    arguments = ("--token-file", str(home / "token"), "--conf", "models", "model")
    allowed = {"MDCSRN_LABEL_ORIGINS": "https://viewer.example"}
    with start(home, scans, *arguments, environment=allowed) as running:
        yield running.ready()


@pytest.mark.parametrize("path", ["/info/", "/datastore/", "/logs/", "/openapi.json", "/"])
def test_nothing_is_told_without_the_token(guarded: Server, path: str) -> None:
    for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        status, answer = guarded.ask(path, headers=header)
        assert status == 401
        assert "Bearer TOKEN" in answer["detail"]
    assert guarded.ask(path, headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200


def test_monai_labels_own_client_bears_the_token(guarded: Server, tmp_path: Path) -> None:
    client = guarded.client(tmp_path)
    with pytest.raises(Exception, match="401"):
        client.infer(f"{BUNDLE}_finer_grid", "sub-a_T1w", {**EAGER, "factor": "1 1 1.1"})
    client.update_auth({"token_type": "Bearer", "access_token": TOKEN})
    file, facts = client.infer(f"{BUNDLE}_finer_grid", "sub-a_T1w", {**EAGER, "factor": "1 1 1.1"})
    assert Path(file).stat().st_size > 10_000
    assert facts["decision"].startswith("refine")


def test_a_listed_page_may_ask_with_the_token(guarded: Server) -> None:
    page = {"Origin": "https://viewer.example"}
    question = {**page, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    assert guarded.ask("/info/", "OPTIONS", headers=question)[0] == 200
    assert guarded.ask("/info/", headers=page)[0] == 401
    assert guarded.ask("/info/", headers={**page, "Authorization": f"Bearer {TOKEN}"})[0] == 200


def test_a_port_that_is_taken_is_an_error(start: Start, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = serve("--studies", str(tmp_path), "--app", str(tmp_path), "--port", port, "--uvicorn_app", "none:app")
    assert done.returncode != 0


def test_torchvision_imports_with_the_declaration(tmp_path: Path) -> None:
    program = "import torch, torchvision; print(torch.ops.torchvision.nms, torchvision.__version__)"
    settings = {**os.environ, "PYTHONPATH": str(APP)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("torchvision.nms 0.28")
    program = "import sys, mdcsrn; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=settings)
    assert done.stdout == "False\n", "nothing is imported before it is needed"
