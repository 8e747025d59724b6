"""What lies outside the training is named with its value and the range; the shipped range is that of the data."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mdcsrn.errors import ConfigError
from mdcsrn.inference.task import Task, make_plan
from mdcsrn.inference.trained_range import TrainedRange, load_trained_range, outside
from mdcsrn.io import Volume
from mdcsrn.io.scan import ScanFacts
from mdcsrn.resources import folder

SHIPPED = folder("bundles") / "mdcsrn_wgan_gp" / "configs" / "trained_range.yaml"
T1W = ScanFacts(contrast="T1w", acquisition="3D", origin="name")
TRAINED = TrainedRange((0.9, 1.6), (20.0, 80.0), ((1.0, 2.0, 2.0),))


def names(spacing=(1.0, 2.0, 2.0), shape=(40, 20, 20), factor=(1, 2, 2), facts=T1W, trained=TRAINED):
    array = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    plan = make_plan(Volume(array, np.diag([*spacing, 1.0])), facts, Task("factor", factor=factor))
    return {notice.name: notice.text for notice in outside(plan, facts, trained)}


def test_inside_there_is_nothing_to_say() -> None:
    assert names() == {}
    assert names(spacing=(2.0, 1.0, 2.0), shape=(20, 40, 20), factor=(2, 1, 2)) == {}  # any pair of axes


def test_spacing_names_axis_value_and_range() -> None:
    found = names(spacing=(1.0, 1.4, 2.0), shape=(40, 30, 20))
    assert list(found) == ["spacing-outside-trained-range"]
    text = found["spacing-outside-trained-range"]
    assert "0.7 mm on axis 1" in text
    assert "0.9 to 1.6 mm" in text
    assert "axis 0" not in text
    assert "axis 2" not in text


def test_a_rounded_header_is_not_outside() -> None:
    assert names(spacing=(0.899, 2.0, 2.0)) == {}


def test_field_of_view() -> None:
    found = names(shape=(90, 20, 8))
    assert list(found) == ["field-of-view-outside-trained-range"]
    text = found["field-of-view-outside-trained-range"]
    assert "90 mm on axis 0" in text
    assert "16 mm on axis 2" in text
    assert "20 to 80 mm" in text


@pytest.mark.parametrize("factor", [(1, 1, 2), (2, 2, 2), (1, 1.5, 2), (1, 1, 4)])
def test_reduction(factor) -> None:
    found = names(factor=factor, trained=TrainedRange((0.1, 9), (1, 999), ((1, 2, 2),)))
    assert list(found) == ["reduction-outside-trained-range"]
    assert " x ".join(f"{f:g}" for f in factor) in found["reduction-outside-trained-range"]
    assert "1 x 2 x 2" in found["reduction-outside-trained-range"]


def test_contrast() -> None:
    found = names(facts=ScanFacts(contrast="FLAIR", acquisition="3D", origin="dicom"))
    assert found == {"contrast-outside-trained-range": "contrast FLAIR (from the dicom); trained: T1w"}
    unknown = names(facts=ScanFacts(acquisition="3D"))
    assert list(unknown) == ["contrast-unknown"]


def test_thick_slices() -> None:
    trained = TrainedRange((0.1, 9), (1, 999), ((1, 1, 4),))
    found = names((1, 1, 4), (40, 40, 10), (1, 1, 4), ScanFacts(contrast="T1w"), trained)
    assert list(found) == ["thick-slices"]
    assert "4 mm apart on axis 2" in found["thick-slices"]
    both = TrainedRange((0.1, 9), (1, 999), ((1, 1, 4),), acquisitions=("3D", "2D"))
    assert names((1, 1, 4), (40, 40, 10), (1, 1, 4), ScanFacts(contrast="T1w"), both) == {}


def test_without_a_record_only_that_is_said_and_without_work_nothing() -> None:
    assert list(names(trained=None)) == ["trained-range-unknown"]
    assert names(factor=(1, 1, 1), facts=ScanFacts()) == {}


def test_shipped_range_is_that_of_the_training_data(shared_data: Path) -> None:
    trained = load_trained_range(SHIPPED)
    with open(shared_data / "INDEX.tsv", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["file"].startswith("t1w/train/")]
    assert len(rows) == 29
    edges = np.array([[float(v) for v in row["voxel_mm"].split("x")] for row in rows])
    sizes = np.array([[int(v) for v in row["shape"].split("x")] for row in rows])
    np.testing.assert_allclose(trained.spacing, (edges.min(), edges.max()), atol=1e-3)
    np.testing.assert_allclose(trained.field_of_view, ((edges * sizes).min(), (edges * sizes).max()), atol=0.1)
    assert {row["modality"] for row in rows} == set(trained.contrasts)


def test_plain_values_give_the_same_range() -> None:
    trained = load_trained_range(SHIPPED)
    assert TrainedRange.from_dict(json.loads(json.dumps(trained.to_dict()))) == trained


@pytest.mark.parametrize(
    "text",
    [
        "trained_range: {spacing: [1, 2]}",
        "trained_range: {spacing: [1], field_of_view: [1, 2], reductions: []}",
        "trained_range: {spacing: [1, x], field_of_view: [1, 2], reductions: []}",
        "trained_range: {spacing: [1, 2], field_of_view: [1, 2], reductions: 3}",
        "trained_range: {spacing: [1, 2], field_of_view: [1, 2], reductions: [], colour: red}",
        "other: 1",
        "trained_range: 3",
    ],
)
def test_files_that_are_no_range_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trained_range.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_trained_range(path)
    with pytest.raises(ConfigError):
        load_trained_range(tmp_path / "nowhere.yaml")
