"""The panel's cuts, scales and file, checked in numbers on phantoms and on a real head."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from PIL import Image

from mdcsrn.errors import DataError, GeometryError, MissingDependencyError, OutputError
from mdcsrn.io import read_volume
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.metrics import head_mask, psnr
from mdcsrn.report import panel, panel_array
from mdcsrn.report.views import PLANES, make_scene


def marked_head() -> tuple[np.ndarray, dict[str, tuple[int, int, int]]]:
    """A head in R-A-S order with one bright spot to the right, one in front, one on top."""
    volume = np.zeros((24, 30, 26), np.float32)
    volume[4:20, 4:26, 4:22] = 50
    spots = {"right": (18, 15, 13), "anterior": (12, 24, 13), "superior": (12, 15, 20)}
    for spot in spots.values():
        volume[spot] = 100
    return volume, spots


@settings(max_examples=30, deadline=None)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_every_orientation_shows_the_same_head(order: list[int], flips: tuple[bool, bool, bool]) -> None:
    """Stored in any axis order and direction, right is right, anterior is up, superior is up."""
    volume, _ = marked_head()
    spacing = np.array([1.0, 1.5, 2.0])
    stored = volume.transpose(order)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, world in enumerate(order):
        affine[world, axis] = -spacing[world] if flips[axis] else spacing[world]
    stored = stored[tuple(slice(None, None, -1 if flip else None) for flip in flips)]
    scene = make_scene({"hr": torch.from_numpy(np.ascontiguousarray(stored))}, "hr", affine)
    assert np.array_equal(scene.volumes["hr"], volume)
    assert scene.spacing == pytest.approx((1.0, 1.5, 2.0))


def test_cuts_have_right_on_the_right_and_superior_on_top() -> None:
    volume, spots = marked_head()
    scene = make_scene({"hr": volume}, "hr")
    assert all(abs(c - m) <= 1 for c, m in zip(scene.centre, (12, 15, 13), strict=True))
    axial, coronal, sagittal = (scene.cut("hr", plane) for plane in PLANES)
    (x0, x1), (y0, y1), (z0, z1) = scene.box
    shapes = [(y1 - y0, x1 - x0), (z1 - z0, x1 - x0), (z1 - z0, y1 - y0)]
    assert [axial.shape, coronal.shape, sagittal.shape] == shapes
    at = dict(zip("xyz", scene.centre, strict=True))
    for name, spot in spots.items():  # each spot on its plane's cut, where the letters say
        x, y, z = spot
        if z == at["z"]:
            assert axial[y1 - 1 - y, x - x0] == 100, name
        if y == at["y"]:
            assert coronal[z1 - 1 - z, x - x0] == 100, name
        if x == at["x"]:
            assert sagittal[z1 - 1 - z, y - y0] == 100, name
    assert (axial == 100).sum() + (coronal == 100).sum() + (sagittal == 100).sum() > 0


def test_with_a_neck_the_axial_plane_is_in_the_brain() -> None:
    volume = np.zeros((40, 40, 60), np.float32)
    volume[5:35, 5:35, 2:58] = 100
    scene = make_scene({"hr": volume}, "hr", np.diag([4.0, 4.0, 4.0, 1.0]))  # 224 mm from top to bottom
    top = scene.box[2][1] - 1
    assert (top - scene.centre[2]) * 4 == pytest.approx(75, abs=4)
    assert make_scene({"hr": volume}, "hr").centre[2] == pytest.approx(29.5, abs=1), "a small field: its middle"


def test_array_scales_are_what_it_says() -> None:
    truth = torch.from_numpy(marked_head()[0])
    truth[:10] *= 0.5  # grey and white matter
    low = truth + 5 * head_mask(truth)
    picture = panel_array(low, truth, truth)
    assert picture.dtype == np.uint8
    cell = picture.shape[1] // 5
    lr, sr, hr, lr_error, sr_error = (picture[:, i * cell : (i + 1) * cell] for i in range(5))
    assert np.array_equal(sr, hr)
    assert sr_error.max() == 0
    assert (lr_error == 255).sum() == (hr > 0).sum(), "a constant error is the end of its scale, in the head alone"
    assert lr.max() == hr.max() == 255
    assert set(np.unique(hr)) == {0, round(255 * 25 / np.percentile(truth.numpy(), 99.9)), 255}
    half = panel_array(low, truth + 2.5 * head_mask(truth), truth)
    assert half[:, 4 * cell :].max() == 128, "both errors on one scale"


def test_array_pixels_are_square_in_millimetres() -> None:
    truth = torch.from_numpy(marked_head()[0])[None]
    thick = MetaTensor(truth, affine=torch.diag(torch.tensor([1.0, 1.0, 3.0, 1.0], dtype=torch.float64)))
    plain, stretched = panel_array(truth, truth, truth), panel_array(thick, thick, thick)
    (_, _), (y0, y1), (z0, z1) = make_scene({"hr": truth}, "hr").box
    assert plain.shape[0] == (y1 - y0) + 2 * (z1 - z0) + 12
    assert stretched.shape[0] == (y1 - y0) + 3 * 2 * (z1 - z0) + 12


def test_panel_of_a_real_head(tmp_path: Path, shared_data: Path) -> None:
    volume = read_volume(shared_data / "t1w" / "test" / "ds002748-63_T1w.nii.gz")
    truth = torch.from_numpy(volume.array)
    low = degrade(truth, DegradationSpec(reduction=(1, 2, 2)))
    better = low + 0.3 * (truth - low)
    panel(tmp_path / "new" / "panel.png", low, better, truth, volume.affine, title="ds002748-63")
    picture = np.asarray(Image.open(tmp_path / "new" / "panel.png").convert("RGB")).astype(int)
    height, width, _ = picture.shape
    assert width > 1500
    assert height > 1200
    grey = picture[:, : int(width * 0.6)]
    coloured = picture[: int(height * 0.9), int(width * 0.62) :]
    spread = grey.max(axis=2) - grey.min(axis=2)
    assert (spread > 40).mean() < 0.02, "pictures are grey but for the marks"
    lr_error, sr_error = np.array_split(coloured.sum(axis=2), 2, axis=1)
    assert sr_error.mean() < 0.9 * lr_error.mean(), "the smaller error is the darker one"
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["panel.png"]


def test_titles_state_the_figures_of_the_metrics(tmp_path: Path) -> None:
    truth = torch.from_numpy(marked_head()[0])
    low = truth + 3
    panel(tmp_path / "p.svg", low, truth + 1, truth, title="subject 7", zoom=False)
    text = (tmp_path / "p.svg").read_text()
    decibel = psnr(low, truth, float(np.percentile(truth.numpy(), 99.9)), head_mask(truth))
    # SVG keeps each text as a comment beside its outlines
    for phrase in (f"PSNR {decibel:.2f} dB", "subject 7", "SR", "% of the data range", "voxel 1.00 × 1.00 × 1.00 mm"):
        assert phrase in text


def test_bad_input_is_refused_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = torch.from_numpy(marked_head()[0])
    with pytest.raises(GeometryError):
        panel(tmp_path / "a.png", truth[1:], truth, truth)
    with pytest.raises(GeometryError):
        panel_array(truth[None, None], truth, truth)
    with pytest.raises(DataError):
        panel(tmp_path / "a.png", truth, truth, torch.zeros_like(truth))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        panel(tmp_path / "file" / "a.png", truth, truth, truth)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match="matplotlib"):
        panel(tmp_path / "a.png", truth, truth, truth)
    assert panel_array(truth, truth, truth).size > 0, "the array needs no matplotlib"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
