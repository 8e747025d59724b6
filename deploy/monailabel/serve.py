"""Starts MONAI Label with this app: on this machine alone, offline, with a token where one is set."""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lib.environment import TEMPORARY, TOKEN_FILE

HERE = Path(__file__).resolve().parent
READABLE = ["*.nii.gz", "*.nii", "*.nrrd", "*.mha", "*.mgz"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Replace this process by MONAI Label's server; arguments that are not known here are handed on to it."""
    parser = argparse.ArgumentParser(
        prog="serve.py", description=__doc__, epilog="Further options go to MONAI Label.", allow_abbrev=False
    )
    parser.add_argument("--studies", required=True, help="folder of scans, or the address of a DICOMweb server")
    parser.add_argument("--app", default=str(HERE), help="folder of the app, where models and logs are kept")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--token-file", help="file with the token that every request must bear")
    parser.add_argument("--open", action="store_true", help="listen to other machines without a token: do not")
    known, others = parser.parse_known_args(arguments)
    token = known.token_file or os.environ.get(TOKEN_FILE, "")
    problem = refusal(known.host, token, known.open)
    if problem:
        parser.error(problem)
    # Scans on their way in and out lie in a folder that nobody else can enter, and that goes with the server.
    temporary = tempfile.mkdtemp(prefix="mdcsrn-label-")
    settings = environment(os.environ, Path(known.app).resolve(), token, temporary)
    command = [
        *(sys.executable, "-m", "monailabel.main", "start_server", "--app", known.app, "--studies", known.studies),
        *("--host", known.host, "--port", str(known.port), "--uvicorn_app", "lib.server:app", *others),
    ]
    sys.stdout.flush()
    os.execve(sys.executable, command, settings)


def refusal(host: str, token_file: str, is_open: bool) -> str:
    """Why the server is not started; empty where nothing speaks against it."""
    if token_file and not (Path(token_file).is_file() and Path(token_file).read_text(encoding="utf-8").strip()):
        return f"the token file {token_file} is missing or empty"
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if local or token_file or is_open:
        return ""
    return (
        f"{host} lets other machines in, and MONAI Label asks nobody who he is: "
        "give --token-file (see README.md), or --open if something before it does the asking"
    )


def environment(given: Mapping[str, str], app: Path, token_file: str, temporary: str) -> dict[str, str]:
    """Environment of the server; what the user has set himself stays."""
    paths = [str(app), *([str(HERE)] if app != HERE else []), given.get("PYTHONPATH", "")]
    own = {
        "MONAI_LABEL_DATASTORE_FILE_EXT": json.dumps(READABLE),
        "MONAI_LABEL_TRACKING_ENABLED": "false",
        "MONAI_ZOO_SOURCE": "ngc",  # else the list of the model zoo is fetched
        **dict(given),
        "TMPDIR": temporary,
        TEMPORARY: temporary,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),  # sitecustomize.py, for this and its children
    }
    return {**own, TOKEN_FILE: str(Path(token_file).resolve())} if token_file else own


if __name__ == "__main__":
    main()
