"""The static files of every bundle: metadata against the shipped schema without a network, logging, licences."""

from __future__ import annotations

import json
import logging.config
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mdcsrn.bundle.zoo_rules import SCHEMA_FILE, schema_bytes
from mdcsrn.hashes import weight_files

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = sorted((ROOT / "bundles").iterdir())
# An address that refuses every connection stands for "no network".
OFFLINE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")

pytestmark = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)


def content(bundle: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((bundle / "configs" / name).read_text()))


def verify(bundle: Path, metadata: Path, schema: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monai.bundle", "verify_metadata"]
    command += ["--meta_file", str(metadata), "--filepath", str(schema)]
    return subprocess.run(command, cwd=bundle, env=os.environ | OFFLINE, capture_output=True, text=True, check=False)


def test_verify_metadata_passes_offline(bundle: Path) -> None:
    done = verify(bundle, Path("configs/metadata.json"), SCHEMA_FILE)
    assert done.returncode == 0, done.stderr
    assert "metadata is verified with no error" in done.stdout + done.stderr


def test_verify_metadata_refuses_a_missing_field(bundle: Path, tmp_path: Path) -> None:
    metadata = content(bundle, "metadata.json")
    del metadata["network_data_format"]
    broken = tmp_path / "metadata.json"
    broken.write_text(json.dumps(metadata))
    done = verify(bundle, broken, SCHEMA_FILE)
    assert done.returncode != 0
    assert "network_data_format" in done.stderr


def test_the_schema_is_sound_and_asks_for_every_required_field(bundle: Path) -> None:
    schema, metadata = json.loads(schema_bytes()), content(bundle, "metadata.json")
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(metadata)
    fields = "schema version monai_version pytorch_version numpy_version required_packages_version task description"
    for field in [*fields.split(), "authors", "copyright", "network_data_format"]:
        assert not validator.is_valid({key: value for key, value in metadata.items() if key != field}), field


@pytest.mark.parametrize("field", ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"])
def test_the_schema_asks_for_every_field_of_a_tensor(bundle: Path, field: str) -> None:
    metadata = content(bundle, "metadata.json")
    del metadata["network_data_format"]["outputs"]["pred"][field]
    assert not jsonschema.Draft202012Validator(json.loads(schema_bytes())).is_valid(metadata)


def test_logging_uses_the_standard_library_alone(bundle: Path) -> None:
    conf = bundle / "configs" / "logging.conf"
    for name in re.findall(r"^class=(.*)$", conf.read_text(), flags=re.MULTILINE):
        assert hasattr(logging, name) or name.startswith("logging."), name
    code = f"import logging.config as c; c.fileConfig({str(conf)!r}); import logging; logging.info('it speaks')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("root - INFO - it speaks")


def test_the_data_licence_counts_what_the_index_lists(bundle: Path, shared_data: Path) -> None:
    if not weight_files(bundle / "models"):
        pytest.skip("no weights, and so no data behind them")
    lines = [line.split("\t") for line in (shared_data / "INDEX.tsv").read_text().splitlines()]
    header, rows = lines[0], [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    assert {"source", "licence", "split"} <= set(header)
    stated = (bundle / "docs" / "data_license.txt").read_text()
    for row in rows:
        if row["file"].startswith("t1w/"):
            assert row["source"].split(":")[0].replace("@", " at ") in stated, row["source"]
    for subset, count in (("train", 22), ("val", 3), ("test", 3)):
        subjects = sorted(
            row["subject"][-2:] for row in rows if row["split"] == subset and "ds002748-" in row["subject"]
        )
        assert len(subjects) == count
        assert " ".join(subjects) in stated
