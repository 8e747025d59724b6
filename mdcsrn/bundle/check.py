"""Everything that is checked of a bundle: its structure, what it could do, and for our own what its network does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mdcsrn.bundle.contents import LEFTOVERS, open_contents
from mdcsrn.bundle.finding import Finding
from mdcsrn.bundle.screen import screen
from mdcsrn.bundle.structure import CONFIG_FORMS, SCHEMA, schema_bytes, structure
from mdcsrn.errors import ConfigError
from mdcsrn.resources import bundle_folder, shipped_bundles

NOWHERE = "http://127.0.0.1:9"  # an address that refuses every connection: nothing is fetched
# `python -m monai.bundle`, after the measures of mdcsrn.offline.
MONAI = "import mdcsrn, runpy; runpy.run_module('monai.bundle', run_name='__main__', alter_sys=True)"


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
    """Run MONAI's ``verify_net_in_out`` and ``ckpt_export`` on a bundle: **this evaluates its configuration**.

    Args:
        home: folder of a bundle that is trusted and that :func:`check` finds nothing in.

    Returns:
        ``network``: it does not give what the metadata say; ``export``: MONAI cannot make TorchScript of its weights,
        which is asked of a bundle with ``.pt`` files.

    Raises:
        ConfigError: MONAI cannot be started.
    """
    config = next(name for form in CONFIG_FORMS if (home / (name := f"configs/inference{form}")).is_file())
    files = ["--meta_file", "configs/metadata.json", "--config_file", config]
    shapes = ["verify_net_in_out", "network_def", "--device", "cpu", *files, "--n", "2", "--any", "16"]
    problem = _monai(shapes, home)
    if problem is not None:
        return [Finding("network", f"{config}: network_def", problem)]
    weights = sorted((home / "models").glob("*.pt"), key=lambda path: path.name != "model.pt")
    if not weights:
        return []
    with tempfile.TemporaryDirectory(prefix="mdcsrn-") as place:
        key = ["--key_in_ckpt", "model"] if _is_nested(weights[0]) else []
        words = [
            "ckpt_export",
            "network_def",
            "--filepath",
            f"{place}/model.ts",
            "--ckpt_file",
            str(weights[0].resolve()),
        ]
        problem = _monai([*words, *files, *key], home)
    return [] if problem is None else [Finding("export", f"models/{weights[0].name}", problem)]


def _is_nested(weights: Path) -> bool:
    """True where the state lies under the key ``model``, as MONAI's and our checkpoints have it."""
    import torch

    content = torch.load(weights, map_location="cpu", weights_only=True)
    return isinstance(content, dict) and isinstance(content.get("model"), dict)


def _monai(words: Sequence[str], home: Path) -> str | None:
    """Why a command of ``python -m monai.bundle`` failed in a bundle's folder; None: it did not."""
    environment = os.environ | dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE)
    command = [sys.executable, "-c", MONAI, *words]
    try:
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError("cannot start MONAI", got=str(error)) from error
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1][:300] if lines else "it failed"
