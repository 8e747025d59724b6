"""Words of a record that leave the machine with a DICOM series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mdcsrn.inference import RunSettings, Task, predict
from mdcsrn.inference.planning.models import find_model
from mdcsrn.io.volume import Volume
from mdcsrn.networks import MDCSRN, save_weights
from mdcsrn.record.sidecar import derivation


def test_a_derived_series_says_whether_anything_was_done(random_network: Callable[..., MDCSRN], tmp_path: Path) -> None:
    save_weights(tmp_path / "w.pt", random_network(1, 1))
    model = find_model(model=tmp_path / "w.pt")
    noise = np.random.default_rng(0).normal(100, 10, (24, 24, 24)).astype(np.float32)  # no empty band anywhere
    volume = Volume(noise, np.eye(4))
    done = predict(volume, Task("factor", factor=(1, 1, 1.5)), RunSettings(backend="eager", region="all"), model=model)
    words = derivation(done, model.sha256)
    assert words == f"super-resolved with mdcsrn, weights {model.sha256[:12]}; not for diagnosis"
    nothing = predict(volume, settings=RunSettings(backend="eager"), model=model)
    assert nothing.plan.kind == "nothing"
    words = derivation(nothing, model.sha256)
    assert "unchanged" in words
    assert "super-resolved" not in words
    assert len(words) <= 1024
