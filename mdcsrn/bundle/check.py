"""Check a bundle: its structure, what its configs could do, and for our own bundles what the network does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mdcsrn.bundle.archive import LEFTOVERS, open_contents
from mdcsrn.bundle.finding import Finding
from mdcsrn.bundle.static_scan import screen
from mdcsrn.bundle.zoo_rules import CONFIG_FORMS, SCHEMA, schema_bytes, structure
from mdcsrn.errors import ConfigError
from mdcsrn.fetched import check_fetched
from mdcsrn.resources import bundle_folder, shipped_bundles

# What ci/verify_bundle.py of the model zoo gives to both of MONAI's commands, beside the configuration: nothing else.
_ZOO_FILES = (
    *("--net_id", "network_def", "--meta_file", "models/bundle/configs/metadata.json"),
    *("--bundle_root", "models/bundle"),
)
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
        Broken rules and what is not judged; empty for a bundle that passes.

    Raises:
        DataError: neither a folder nor a zip file; or a file in it was not fetched (Git LFS, git-annex).
    """
    contents = open_contents(source, frozenset(LEFTOVERS) if is_shipped(source) else frozenset())
    for name in contents.files if Path(source).is_dir() else ():
        check_fetched(Path(source) / name)  # a pointer to weights is no hostile file of weights
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
    """Run MONAI's ``verify_net_in_out`` and ``ckpt_export`` on a bundle as the model zoo does.

    **This evaluates its configuration.**

    Args:
        home: folder of a bundle that is trusted and that :func:`check` finds nothing in.

    Returns:
        ``network``: it does not give what the metadata say; ``export``: MONAI cannot make TorchScript of its weights,
        which is asked of a bundle with ``.pt`` files.

    Raises:
        ConfigError: MONAI cannot be started.
    """
    config = next(name for form in CONFIG_FORMS if (home / (name := f"configs/inference{form}")).is_file())
    weights = sorted((home / "models").glob("*.pt"), key=lambda path: path.name != "model.pt")
    with tempfile.TemporaryDirectory(prefix="mdcsrn-") as place:
        # The bundle by the path that it has in a checkout of the zoo: MONAI changes characters of others.
        bundle = Path(place) / "models" / "bundle"
        bundle.parent.mkdir()
        bundle.symlink_to(home.resolve(), target_is_directory=True)
        files = [*_ZOO_FILES, "--config_file", f"models/bundle/{config}"]
        problem = _monai(["verify_net_in_out", *files], Path(place))
        if problem is not None:
            return [Finding("network", f"{config}: network_def", problem)]
        if not weights:
            return []
        words = ["--filepath", "verify_model.ts", "--ckpt_file", f"models/bundle/models/{weights[0].name}"]
        problem = _monai(["ckpt_export", *files, *words], Path(place))
    return [] if problem is None else [Finding("export", f"models/{weights[0].name}", problem)]


def _monai(words: Sequence[str], folder: Path) -> str | None:
    """Why a command of ``python -m monai.bundle`` failed in a folder; None: it did not."""
    environment = os.environ | dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE)
    command = [sys.executable, "-c", MONAI, *words]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError("cannot start MONAI", got=str(error)) from error
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1][:300] if lines else "it failed"
