"""Pages of pictures and of a few slices: what there is to see is shown upright and once, and nothing else."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mdcsrn.io import Volume
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.report.array import panel_array
from mdcsrn.report.evaluation import page_of_evaluation
from mdcsrn.report.html import render, write_page
from mdcsrn.report.page import Page
from mdcsrn.report.views import scene_of, upright


def planes(count: int, head: np.ndarray) -> np.ndarray:
    """Neighbouring planes of a phantom, with a bright mark at the upper left and a dim one at the lower right."""
    array = np.ascontiguousarray(head.transpose(2, 1, 0)[20 : 20 + count])
    array[:, 12:16, 12:16], array[:, -16:-12, -16:-12] = 1500, 60
    return array


def page_of(array: np.ndarray, picture: bool) -> Page:
    low = degrade(torch.from_numpy(array), DegradationSpec(reduction=(1, 2, 2))).numpy()
    affine = np.diag([1.0, 0.5, 0.5, 1.0])
    return Page(
        title="slice", before=low, after=array, affine=upright(affine) if picture else affine, shares=(1.0, 0.5, 0.5),
        maps={"invention": np.abs(array - low)}, picture=picture,
    )  # fmt: skip


def figures(text: str) -> list[tuple[str, bytes]]:
    found = re.findall(r'src="data:image/([a-z+]+);base64,([^"]+)"', text)
    return [(kind, base64.b64decode(data)) for kind, data in found]


def test_a_picture_is_cut_as_it_is_stored(phantom: np.ndarray) -> None:
    array = planes(1, phantom)
    scene = scene_of({"a": array}, upright(np.diag([1.0, 0.5, 0.25, 1.0])), np.ones(array.shape, bool), 1.0, True)
    (plane,) = scene.planes
    np.testing.assert_array_equal(scene.cut("a", plane), array[0])
    assert scene.pixel(plane) == (0.5, 0.25)


@pytest.mark.parametrize(("count", "picture", "charts"), [(1, True, 2), (1, False, 2), (2, False, 3), (4, False, 3)])
def test_curves_of_axes_with_several_samples_alone(phantom: np.ndarray, count: int, picture: bool, charts: int) -> None:
    text = render(page_of(planes(count, phantom), picture))
    drawn = [data.decode() for kind, data in figures(text) if kind == "svg+xml"]
    assert [len(re.findall(r'id="axes_\d+"', svg)) for svg in drawn] == [charts] * 4 + [1]
    assert ("rows, bottom to top" in drawn[1]) == picture
    assert ("L left, R right" in text) != picture


def test_evaluations_and_boards_of_one_plane(phantom: np.ndarray, tmp_path: Path) -> None:
    array = planes(1, phantom)
    truth = Volume(array, np.diag([1.0, 0.5, 0.5, 1.0]), path=tmp_path / "a.png")
    low = degrade(torch.from_numpy(array), DegradationSpec(reduction=(1, 2, 2))).numpy()
    page = page_of_evaluation("one", truth, low)
    assert page.picture
    text = render(page)
    assert "PSNR per slice, in the head" in text
    _, height, width = array.shape
    board = panel_array(low, low, array)
    assert board.shape[0] <= width + 8, "one row of cells"
    assert Image.open(io.BytesIO(next(data for kind, data in figures(text) if kind == "png"))).width > 500


@pytest.mark.parametrize("count", [1, 2])
def test_the_viewer_shows_the_picture_upright(browser, phantom: np.ndarray, tmp_path: Path, count: int) -> None:
    page = page_of(planes(count, phantom), picture=count == 1)
    write_page(tmp_path / "page.html", dataclasses.replace(page, title=f"{count} planes"))
    assert browser.open(tmp_path / "page.html") == "ready"
    browser.settled()
    browser.choose("viewer-swipe", 0)
    shown = browser.stage().max(axis=2)
    marks = browser.run("return document.querySelectorAll('#viewer-stage canvas').length")
    assert marks == 2
    assert (shown > 60).mean() > 0.05
    assert browser.console() == []
    if count == 1:
        rows, columns = np.nonzero(shown > 250)
        middle = [n / 2 for n in shown.shape]
        corner = shown[: int(middle[0]), : int(middle[1])]
        assert (corner > 250).sum() > 0.8 * len(rows), "the bright mark is at the upper left"
        browser.choose("viewer-swipe", 50)
        line = browser.run("return document.getElementById('viewer-lines').getAttribute('d')")
        assert line.count("M") == 1
