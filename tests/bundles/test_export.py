"""MONAI's export to TorchScript: the eager result, by script and by trace, on sizes that are not the export's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ckpt_export, verify_net_in_out

from mdcsrn.networks import MDCSRN, load_weights, save_weights

TRACE = {"use_trace": True, "input_shape": [1, 1, 16, 16, 16]}


def export(weights: Path, target: Path, **options: Any) -> torch.jit.ScriptModule:
    ckpt_export(
        "network_def", filepath=str(target), ckpt_file=str(weights), meta_file="configs/metadata.json",
        config_file="configs/inference.yaml", **options,
    )  # fmt: skip
    return torch.jit.load(str(target)).eval()


@torch.no_grad()
def test_export_of_the_shipped_weights(bundle: Path, tmp_path: Path) -> None:
    checkpoint = bundle / "models" / "model.pt"
    scripted, network = export(checkpoint, tmp_path / "model.ts"), load_weights(checkpoint)
    for shape in ((20, 21, 22), (9, 30, 13)):
        x = torch.rand(1, 1, *shape)
        torch.testing.assert_close(scripted(x), network(x), rtol=1e-5, atol=1e-5)


def test_export_as_the_model_zoo_calls_it(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ci/verify_bundle.py: from the folder of the bundles, relative paths, the root overridden, no key."""
    monkeypatch.chdir(bundle.parent)
    name = bundle.name
    verify_net_in_out(
        net_id="network_def", config_file=f"{name}/configs/inference.yaml", meta_file=f"{name}/configs/metadata.json",
        extra_forward_args={}, bundle_root=name,
    )  # fmt: skip
    ckpt_export(
        net_id="network_def", filepath=str(tmp_path / "model.ts"), ckpt_file=f"{name}/models/model.pt",
        meta_file=f"{name}/configs/metadata.json", config_file=f"{name}/configs/inference.yaml", bundle_root=name,
        use_trace=False,
    )  # fmt: skip
    x = torch.rand(1, 1, 9, 8, 7)
    with torch.no_grad():
        expected = load_weights(bundle / "models" / "model.pt")(x)
        torch.testing.assert_close(torch.jit.load(str(tmp_path / "model.ts")).eval()(x), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, TRACE], ids=["script", "trace"])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"residual": False}, {"space_to_depth": (2, 2, 2)}, {"space_to_depth": (1, 2, 3), "residual": False}],
    ids=["residual", "published", "cells", "published cells"],
)
def test_export_of_any_weights(arguments: dict, options: dict, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = MDCSRN(blocks=2, units=2, growth=4, **arguments)
    torch.nn.init.normal_(network.recon.weight)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_()
    save_weights(tmp_path / "model.pt", network.eval())
    scripted = export(tmp_path / "model.pt", tmp_path / "model.ts", checkpoint=str(tmp_path / "model.pt"), **options)
    for shape in ((16, 16, 16), (11, 23, 9), (1, 2, 40)):
        for n in (1, 2):
            x = torch.rand(n, 1, *shape)
            expected = network(x)
            assert scripted(x).shape == expected.shape
            torch.testing.assert_close(scripted(x), expected, rtol=1e-5, atol=1e-5)
