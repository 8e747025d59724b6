"""MONAI's export to TorchScript: the eager result, by script and by trace, on sizes that are not the export's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ckpt_export

from mdcsrn.networks import MDCSRN, load_weights, save_weights

TRACE = {"use_trace": True, "input_shape": [1, 1, 16, 16, 16]}


def export(weights: Path, target: Path, **options: Any) -> torch.jit.ScriptModule:
    ckpt_export(
        "network_def", filepath=str(target), ckpt_file=str(weights), meta_file="configs/metadata.json",
        config_file="configs/inference.yaml", key_in_ckpt="model", **options,
    )  # fmt: skip
    return torch.jit.load(str(target)).eval()


@torch.no_grad()
def test_export_of_the_shipped_weights(bundle: Path, tmp_path: Path) -> None:
    checkpoint = bundle / "models" / "model.pt"
    scripted, network = export(checkpoint, tmp_path / "model.ts"), load_weights(checkpoint)
    for shape in ((20, 21, 22), (9, 30, 13)):
        x = torch.rand(1, 1, *shape)
        torch.testing.assert_close(scripted(x), network(x), rtol=1e-5, atol=1e-5)


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
