"""Weight files of real picture architectures, at random and saved here, as baselines; and what is refused."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from torch import nn

from mdcsrn.cli.evaluate import command
from mdcsrn.errors import CheckpointError, ConfigError
from mdcsrn.evaluation import ComparisonTable, check_baselines, compare, upsample
from mdcsrn.evaluation.picture_files import describe
from mdcsrn.evaluation.picture_models import load_picture_model, pixel_grid
from mdcsrn.io import Volume, write_volume
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.kspace.intensity import intensity_scale
from mdcsrn.optional import is_installed

pytestmark = pytest.mark.skipif(
    not (is_installed("spandrel") and is_installed("torchvision")), reason="the extra `spandrel` is not installed"
)

NAMES = ["ESRGAN", "one channel", "Real-ESRGAN", "SwinIR", "HAT", "DAT", "RCAN", "denoiser"]
SCALES = dict(zip(NAMES, (4, 4, 2, 2, 2, 2, 2, 1), strict=True))


def build(name: str) -> nn.Module:
    """A small network of the architecture, at random."""
    from spandrel.architectures import DAT, ESRGAN, HAT, RCAN, SwinIR

    torch.manual_seed(NAMES.index(name))
    dense = {"num_filters": 8, "num_blocks": 1}
    swin: dict[str, Any] = {"img_size": 16, "window_size": 8, "embed_dim": 12, "depths": [2], "num_heads": [2]}
    makers: dict[str, Callable[[], nn.Module]] = {
        "ESRGAN": lambda: ESRGAN.ESRGAN(in_nc=3, out_nc=3, scale=4, **dense),
        "one channel": lambda: ESRGAN.ESRGAN(in_nc=1, out_nc=1, scale=4, **dense),
        "Real-ESRGAN": lambda: ESRGAN.ESRGAN(in_nc=12, out_nc=3, scale=4, shuffle_factor=2, **dense),
        "SwinIR": lambda: SwinIR.SwinIR(**swin, mlp_ratio=2, upscale=2, upsampler="pixelshuffle"),
        "HAT": lambda: HAT.HAT(**{**swin, "embed_dim": 60}, squeeze_factor=30, upscale=2, upsampler="pixelshuffle"),
        "DAT": lambda: DAT.DAT(img_size=16, split_size=[4, 8], embed_dim=32, depth=[2], num_heads=[2], upscale=2),
        "RCAN": lambda: RCAN.RCAN(scale=2, n_feats=16, n_resgroups=1, n_resblocks=2, reduction=4),
        "denoiser": lambda: SwinIR.SwinIR(**swin, mlp_ratio=2, upscale=1, upsampler=""),
    }
    return makers[name]().eval()


@pytest.fixture(scope="module", autouse=True)
def _spandrel(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import spandrel as the package does, also beside a torch that torchvision was not built for."""
    with pytest.raises(CheckpointError):
        describe(tmp_path_factory.mktemp("none") / "none.pth")


def saved(name: str, folder: Path) -> Path:
    path = folder / f"{name}.pth"
    torch.save({"params": build(name).state_dict()}, path)
    return path


def volume(shape: tuple[int, int, int]) -> torch.Tensor:
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    return 900 * torch.exp(-4 * sum(a**2 for a in axes)) * (1 + 0.3 * torch.sin(9 * axes[1] + 7 * axes[2]))


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_file_is_called_as_its_network_would_be(name: str, tmp_path: Path) -> None:
    """The size wants padding for windows of 8; the first plane is compared with the network called by hand."""
    path, scale = saved(name, tmp_path), SCALES[name]
    truth = volume((2, 23 * scale, 21 * scale))
    low = degrade(truth, DegradationSpec(reduction=(1, scale, scale), grid="acquired"))
    found = upsample(low, truth.shape, f"spandrel:{path}")
    assert found.shape == truth.shape
    unit = float(intensity_scale(low))
    rows, columns = (torch.from_numpy(pixel_grid(low.shape[a], truth.shape[a], scale)).float() for a in (1, 2))
    placed = (rows @ low[0] @ columns.T / unit).numpy()
    channels = 1 if name == "one channel" else 3
    multiple = load_picture_model(path).multiple
    width = [(0, -(-n // multiple) * multiple - n) for n in placed.shape]
    picture = torch.from_numpy(np.pad(placed, width, mode="reflect"))[None, None].repeat(1, channels, 1, 1)
    with torch.inference_mode():
        expected = build(name)(picture)[0].mean(0)[: truth.shape[1], : truth.shape[2]] * unit
    assert float(expected.std()) > 0
    assert torch.allclose(found[0], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_every_form_of_a_file_gives_the_same(tmp_path: Path) -> None:
    state = build("RCAN").state_dict()
    torch.save(state, tmp_path / "new.pth")
    torch.save({"params_ema": state}, tmp_path / "nested.pt")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "safe.safetensors")
    low = degrade(volume((2, 20, 24)), DegradationSpec(reduction=(1, 2, 2), grid="acquired"))
    found = [upsample(low, (2, 20, 24), f"spandrel:{path}") for path in sorted(tmp_path.iterdir())]
    assert len(found) == 4
    assert all(torch.equal(found[0], other) for other in found[1:])


class Harmful:
    """Runs something when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run(tmp_path: Path, zipped: bool) -> None:
    torch.save({"a": torch.ones(3), "b": Harmful(tmp_path / "ran")}, tmp_path / "x.pth",
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    with pytest.raises(CheckpointError, match="something else than tensors"):
        check_baselines([f"spandrel:{tmp_path / 'x.pth'}"])
    assert not (tmp_path / "ran").exists()


def test_a_stated_size_is_not_believed(tmp_path: Path) -> None:
    """The older form states how long each tensor is, apart from its values."""
    torch.save({"a": torch.ones(3_000_000)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(whole[:2000])
    with pytest.raises(CheckpointError, match="3000000 values in a file of 2000 bytes"):
        load_picture_model(tmp_path / "x.pth")


@pytest.mark.parametrize("write", [
    lambda path: path.write_text("<!DOCTYPE html>"),
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(pickle.dumps([1, 2])),
    lambda path: torch.save({"layer.weight": torch.ones(2, 2)}, path),
    lambda path: torch.save([torch.ones(2)], path, _use_new_zipfile_serialization=False),
    lambda path: torch.save({key: value[..., :1] for key, value in build("RCAN").state_dict().items()}, path),
], ids=["page", "empty", "pickle", "unknown", "list", "cut"])  # fmt: skip
def test_other_files_are_one_clear_line(tmp_path: Path, write: Callable[[Path], object]) -> None:
    write(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth") as caught:
        load_picture_model(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_lists_are_checked_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"denoiser\.pth \(SwinIR\) does not refine a grid.*scale 1"):
        ComparisonTable(tmp_path, baselines=[f"spandrel:{saved('denoiser', tmp_path)}"])
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        check_baselines(["spandrel:none.pth"])
    first = saved("RCAN", tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match=r"two baselines of one name.*RCAN\.pth"):
        check_baselines([f"spandrel:{first}", f"spandrel:{saved('RCAN', tmp_path / 'other')}"])
    with pytest.raises(ConfigError, match="spandrel:FILE"):
        check_baselines(["bicubic"])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments])


def test_evaluate_with_baselines(tmp_path: Path) -> None:
    truth = volume((10, 24, 22))
    spec = DegradationSpec(reduction=(1, 2, 2))
    low = degrade(truth, spec)
    write_volume(Volume(truth.numpy(), np.eye(4)), tmp_path / "r.nii")
    write_volume(Volume(low.numpy(), np.eye(4)), tmp_path / "p.nii")
    (tmp_path / "spec.yaml").write_text("degradation: {reduction: [1, 2, 2]}\n")
    model = f"spandrel:{saved('RCAN', tmp_path)}"
    files = ("--prediction", tmp_path / "p.nii", "--reference", tmp_path / "r.nii")
    done = run(*files, "--spec", tmp_path / "spec.yaml", "--baseline", "zero-filled", "--baseline", model,
               "--json", tmp_path / "f.json")  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "f.json").read_text())["rows"]
    assert [row["method"] for row in rows[::2]] == ["prediction", "zero-filled", "spandrel:RCAN.pth"]
    assert str(tmp_path) not in (tmp_path / "f.json").read_text()
    acquired = degrade(truth, DegradationSpec(reduction=(1, 2, 2), grid="acquired"))
    expected = compare(truth, {"x": upsample(acquired, truth.shape, model)}, spec)
    assert rows[4]["psnr"] == pytest.approx(expected[0].values["psnr"], abs=1e-3)
    assert rows[2]["psnr"] == pytest.approx(rows[0]["psnr"], abs=1e-2), "both are the zero-filled volume"
    assert "--baseline needs --spec" in run(*files, "--baseline", model).output
    assert isinstance(run(*files, "--spec", "hcp_2x2", "--baseline", "bicubic").exception, ConfigError)


def test_a_table_takes_both_grids(tmp_path: Path) -> None:
    """The evaluator's image is the zero-filled volume or the acquired one; the model is fed the same."""
    truth = volume((10, 24, 22))
    spec = DegradationSpec(reduction=(1, 2, 2))
    names = ["zero-filled", f"spandrel:{saved('RCAN', tmp_path)}"]
    figures = []
    for grid in ("reference", "acquired"):
        image = degrade(truth, DegradationSpec(reduction=(1, 2, 2), grid=grid))
        table = ComparisonTable(tmp_path / grid, spec, names)
        engine = type("Engine", (), {"state": type("State", (), {})()})()
        engine.state.output = [{"image": image[None], "label": truth[None], "pred": truth[None] + 1}]
        table.iteration_completed(engine)
        table.completed(engine)
        with (tmp_path / grid / "per_subject.csv").open() as file:
            found = {row["method"]: float(row["psnr"]) for row in csv.DictReader(file) if row["region"] == "head"}
        figures.append(found["spandrel:RCAN.pth"])
    assert figures[0] == pytest.approx(figures[1], abs=0.02)
