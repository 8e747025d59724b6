"""The lines of docs/bundle.md that load an export, as they stand there: each in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mdcsrn.bundle.export import LIMIT, export
from mdcsrn.bundle.export_formats import FORMS
from mdcsrn.networks import load_weights

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| (tensor|array) \| `(import [^`]+)` \|$", re.MULTILINE)
ROWS = {row[0]: row[1:] for row in ROW.findall(TEXT)}


def test_every_form_and_precision_is_documented() -> None:
    assert set(ROWS) == set(FORMS)
    for name, (files, precisions, _, _) in ROWS.items():
        assert files.startswith(f"`{FORMS[name].suffix}`")
        assert tuple(re.sub(r"\([^)]*\)", "", precisions).replace(" ", "").split(",")) == FORMS[name].precisions


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name == "pt2")) for name in FORMS])
def test_the_line_loads_what_the_network_is(name: str, both: Path, scan: Path, tmp_path: Path) -> None:
    target = tmp_path / f"a file{FORMS[name].suffix}"
    export(both, name, target, volume=scan)
    _, _, kind, line = ROWS[name]
    image = np.random.default_rng(0).random((1, 1, 12, 17, 9), dtype=np.float32)
    np.save(tmp_path / "image.npy", image)
    code = ["import numpy", "image = numpy.load('image.npy')"]
    if kind == "tensor":
        code += ["import torch", "image = torch.from_numpy(image)", "torch.set_grad_enabled(False)"]
    code += [line.replace("FILE", repr(target.name)), "numpy.save('pred.npy', numpy.asarray(pred))"]
    if name != "safetensors":  # the others are said to need no mdcsrn
        code.insert(0, "import sys; sys.modules['mdcsrn'] = None")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = load_weights(both / "models" / "model.pt")(torch.from_numpy(image)).numpy()
    assert np.abs(np.load(tmp_path / "pred.npy") - expected).max() <= LIMIT * np.abs(expected).max()
