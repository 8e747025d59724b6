"""Everything that is checked of a bundle: its structure, what it could do, and for our own what its network does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mdcsrn.bundle.contents import LEFTOVERS, open_contents
from mdcsrn.bundle.finding import Finding
from mdcsrn.bundle.screen import screen
from mdcsrn.bundle.structure import SCHEMA, schema_bytes, structure
from mdcsrn.errors import ConfigError
from mdcsrn.resources import bundle_folder, shipped_bundles

NOWHERE = "http://127.0.0.1:9"  # an address that refuses every connection: nothing is fetched


def find_source(bundle: str | os.PathLike[str]) -> Path:
    """A folder or file as it is; else the folder of the shipped bundle of that name.

    Raises:
        ConfigError: neither.
    """
    return Path(bundle) if Path(bundle).exists() else bundle_folder(bundle)


def check(source: str | os.PathLike[str]) -> list[Finding]:
    """Check a bundle without evaluating or importing anything of it.

    Args:
        source: its folder, or a zip file of it.

    Returns:
        Broken rules; empty where there is none.

    Raises:
        DataError: neither a folder nor a zip file.
    """
    contents = open_contents(source, frozenset(LEFTOVERS) if is_shipped(source) else frozenset())
    judged = dict(contents.files)
    if SCHEMA in judged and contents.read(SCHEMA) == schema_bytes():
        del contents.files[SCHEMA]  # our own copy: its patterns are no configuration
    findings = [*contents.findings, *screen(contents)]
    contents.files = judged
    return [*findings, *structure(contents)]


def is_shipped(source: str | os.PathLike[str]) -> bool:
    """True for the folder of a bundle that came with the package."""
    return Path(source).resolve() in {home.resolve() for home in shipped_bundles()}


def check_network(home: Path) -> list[Finding]:
    """Run MONAI's ``verify_net_in_out`` on a bundle: **this evaluates its configuration**, so only on a trusted one.

    Args:
        home: folder of the bundle.

    Raises:
        ConfigError: MONAI cannot be started.
    """
    command = [sys.executable, "-m", "monai.bundle", "verify_net_in_out", "network_def", "--device", "cpu"]
    command += [
        "--meta_file",
        "configs/metadata.json",
        "--config_file",
        "configs/inference.yaml",
        "--n",
        "2",
        "--any",
        "16",
    ]
    environment = os.environ | dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE)
    try:
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError("cannot start MONAI", got=str(error)) from error
    if done.returncode == 0:
        return []
    lines = (done.stderr or done.stdout).strip().splitlines()
    return [Finding("network", "configs/inference.yaml: network_def", lines[-1][:300] if lines else "it failed")]
