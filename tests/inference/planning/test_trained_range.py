"""What lies outside the training is named with its value and the range; the shipped range is that of the data."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigParser

from mdcsrn.errors import ConfigError
from mdcsrn.hashes import weight_files
from mdcsrn.inference.planning.task import Task, make_plan
from mdcsrn.inference.planning.trained_range import TrainedRange, load_trained_range, outside
from mdcsrn.io import Volume
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.resources import folder

SHIPPED = folder("bundles") / "mdcsrn_wgan_gp" / "configs" / "trained_range.yaml"
T1W = ScanFacts(contrast="T1w", acquisition="3D", origin="name")
TRAINED = TrainedRange((0.9, 1.6), (20.0, 80.0), ((1.0, 2.0, 2.0),))


UNIVERSAL = TrainedRange(
    (0.1, 9), (1, 999), reduction=(1, 4), windows=("box", "tukey", "hamming", "gaussian"), noise=(0.0, 0.03)
)


def names(spacing=(1.0, 2.0, 2.0), shape=(40, 20, 20), factor=(1, 2, 2), facts=T1W, trained=TRAINED, **told):
    array = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    plan = make_plan(Volume(array, np.diag([*spacing, 1.0])), facts, Task("factor", factor=factor))
    return {notice.name: notice.text for notice in outside(plan, facts, trained, **told)}


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


@pytest.mark.parametrize(
    "factor", [(1, 1, 2), (2, 2, 2), (1, 1.5, 2.5), (1, 1, 4), (4, 4, 4), (1.2, 1, 3.7), (1, 4.15, 1)]
)
def test_a_range_of_reductions_holds_on_every_axis(factor) -> None:
    assert names(factor=factor, trained=UNIVERSAL) == {}


@pytest.mark.parametrize("factor", [(1, 1, 5), (1, 4.5, 2), (6, 1, 1)])
def test_above_a_range_of_reductions(factor) -> None:
    found = names(factor=factor, trained=UNIVERSAL)
    assert list(found) == ["reduction-outside-trained-range"]
    text = found["reduction-outside-trained-range"]
    assert " x ".join(f"{round(n * f) / n:.3g}" for n, f in zip((40, 20, 20), factor, strict=True)) in text
    assert "trained: 1 to 4 on each of any axes" in text


def test_below_a_range_of_reductions() -> None:
    trained = TrainedRange((0.1, 9), (1, 999), reduction=(2, 4))
    assert names(factor=(1, 2, 3), trained=trained) == {}, "an axis that is not reduced needs no training"
    assert list(names(factor=(1, 1.5, 3), trained=trained)) == ["reduction-outside-trained-range"]


def test_triples_and_a_range_together() -> None:
    trained = TrainedRange((0.1, 9), (1, 999), ((1, 5, 5),), reduction=(1, 2))
    assert names(factor=(5, 1, 5), trained=trained) == {}
    assert names(factor=(1.5, 2, 1), trained=trained) == {}
    text = names(factor=(1, 1, 5), trained=trained)["reduction-outside-trained-range"]
    assert text.endswith("trained: 1 x 5 x 5, on any axes or 1 to 2 on each of any axes")


def test_one_axis_alone_may_have_a_range_of_its_own() -> None:
    trained = TrainedRange((0.1, 9), (1, 999), reduction=(1, 2), single_reduction=(1.5, 5))
    for factor in ((1, 1, 5), (4, 1, 1), (1, 3, 1), (2, 2, 2)):
        assert names(factor=factor, trained=trained) == {}, factor
    for factor in ((1, 2, 5), (4, 1.2, 1), (1, 1, 5.5)):
        found = names(factor=factor, trained=trained)
        assert list(found) == ["reduction-outside-trained-range"], factor
        assert found["reduction-outside-trained-range"].endswith("1 to 2 on each of any axes or 1.5 to 5 on one axis")


def test_window() -> None:
    apodised = TrainedRange((0.1, 9), (1, 999), ((1, 2, 2),), windows=("tukey", "gaussian"))
    expected = {"window-outside-trained-range": "k-space window of the scan: box; trained: tukey, gaussian"}
    assert names(trained=apodised) == expected, "a box, unless told"
    assert names(trained=apodised, window="tukey") == {}
    assert list(names(trained=TRAINED, window="hamming")) == ["window-outside-trained-range"]
    assert names(trained=UNIVERSAL, window="hamming") == {}


def test_noise() -> None:
    assert names(trained=UNIVERSAL) == {}, "not known, not warned of"
    for noise in (0.0, 0.02, 0.03):
        assert names(trained=UNIVERSAL, noise=noise) == {}
    found = names(trained=UNIVERSAL, noise=0.05)
    assert found == {
        "noise-outside-trained-range": "noise in k-space: 0.05 of the 99.9th percentile; trained: 0 to 0.03"
    }
    assert list(names(noise=0.01)) == ["noise-outside-trained-range"]


def test_contrast() -> None:
    found = names(facts=ScanFacts(contrast="FLAIR", acquisition="3D", origin="dicom"))
    assert found == {"contrast-outside-trained-range": "contrast FLAIR (from the dicom); trained: T1w"}
    unknown = names(facts=ScanFacts(acquisition="3D"))
    assert list(unknown) == ["contrast-unknown"]


def test_thick_slices() -> None:
    trained = TrainedRange((0.1, 9), (1, 999), ((1, 1, 4),))
    found = names((1, 1, 4), (40, 40, 10), (1, 1, 4), ScanFacts(contrast="T1w"), trained)
    assert list(found) == ["thick-slices"]
    assert "4 mm apart on axis 2; trained: 3D" in found["thick-slices"]
    simulated = TrainedRange((0.1, 9), (1, 999), ((1, 1, 4),), acquisitions=("3D", "simulated 2D"))
    found = names((1, 1, 4), (40, 40, 10), (1, 1, 4), ScanFacts(contrast="T1w"), simulated)
    assert found["thick-slices"].endswith("trained: 3D, simulated 2D")
    both = TrainedRange((0.1, 9), (1, 999), ((1, 1, 4),), acquisitions=("3D", "2D"))
    assert names((1, 1, 4), (40, 40, 10), (1, 1, 4), ScanFacts(contrast="T1w"), both) == {}


def test_without_a_record_only_that_is_said_and_without_work_nothing() -> None:
    assert list(names(trained=None)) == ["trained-range-unknown"]
    assert names(factor=(1, 1, 1), facts=ScanFacts()) == {}


def shipped() -> list[str]:
    return sorted({path.stem for path in weight_files(SHIPPED.parents[1] / "models")})


def test_every_shipped_model_has_a_range() -> None:
    assert "model" in shipped()
    for name in shipped():
        assert load_trained_range(SHIPPED, name) is not None, name


def test_shipped_range_is_that_of_the_training(shared_data: Path) -> None:
    """Spacing: from the finest volume to the coarsest one at the largest factor of the random resolution."""
    trained = load_trained_range(SHIPPED)
    parser = ConfigParser()
    parser.read_config([str(SHIPPED.parent / f"{name}.yaml") for name in ("train", "specialist", "universal")])
    steps = parser["train#degrade#transforms"]
    (factor,) = (step["factor"] for step in steps if step["_target_"].endswith("RandResolutiond"))
    (choice,) = (step["transforms"] for step in steps if step["_target_"] == "OneOf")
    drawn = [
        {key: parser.get(value[1:]) if str(value)[:1] == "@" else value for key, value in step.items()}
        for step in choice
    ]
    with open(shared_data / "INDEX.tsv", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["file"].startswith("t1w/train/")]
    assert len(rows) == 29
    edges = np.array([[float(v) for v in row["voxel_mm"].split("x")] for row in rows])
    sizes = np.array([[int(v) for v in row["shape"].split("x")] for row in rows])
    np.testing.assert_allclose(trained.spacing, (edges.min(), edges.max() * factor[1]), atol=1e-3)
    np.testing.assert_allclose(trained.field_of_view, ((edges * sizes).min(), (edges * sizes).max()), atol=0.1)
    assert {row["modality"] for row in rows} == set(trained.contrasts)
    single = [step for step in drawn if step.get("axes") == "one" or step["_target_"].endswith("RandThickSlicesd")]
    several = [value for step in drawn if step not in single for value in step["reduction"]]
    assert trained.reduction == (min(several), max(several))
    alone = [value for step in single for value in step["reduction"]]
    assert trained.single_reduction == (min(alone), max(alone))
    assert ("simulated 2D" in trained.acquisitions) == any("RandThickSlices" in step["_target_"] for step in drawn)
    assert set(trained.windows) == {window for step in drawn for window in step.get("windows", ["box"])}
    noise = [value for step in drawn for value in step.get("noise", [0.0])]
    assert trained.noise == (min(noise), max(noise))


def test_plain_values_give_the_same_range() -> None:
    for trained in (load_trained_range(SHIPPED), UNIVERSAL, TRAINED):
        assert TrainedRange.from_dict(json.loads(json.dumps(trained.to_dict()))) == trained


def test_a_file_with_one_range_for_all_models(tmp_path: Path) -> None:
    path = tmp_path / "trained_range.yaml"
    values = "{spacing: [1, 2], field_of_view: [100, 200], reductions: [[1, 2, 2]], window: box, noise: 0.0}"
    path.write_text(f"trained_range: {values}")
    expected = TrainedRange((1, 2), (100, 200), ((1, 2, 2),))
    assert load_trained_range(path) == load_trained_range(path, "gan") == expected


def test_a_file_with_a_range_for_each_model(tmp_path: Path) -> None:
    path = tmp_path / "trained_range.yaml"
    path.write_text(
        "trained_range:\n"
        "  model: &model {spacing: [1, 2], field_of_view: [100, 200], reduction: [1, 4], windows: [box, tukey]}\n"
        "  gan: {<<: *model, noise: [0, 0.03]}\n"
    )
    model = TrainedRange((1, 2), (100, 200), reduction=(1, 4), windows=("box", "tukey"))
    assert load_trained_range(path) == model
    assert load_trained_range(path, "gan") == replace(model, noise=(0, 0.03))
    assert load_trained_range(path, "other") is None


@pytest.mark.parametrize(
    "text",
    [
        "trained_range: {spacing: [1, 2]}",
        "trained_range: {spacing: [1], field_of_view: [1, 2], reductions: []}",
        "trained_range: {spacing: [1, x], field_of_view: [1, 2], reductions: []}",
        "trained_range: {spacing: [1, 2], field_of_view: [1, 2], reductions: 3}",
        "trained_range: {spacing: [1, 2], field_of_view: [1, 2], reductions: [], colour: red}",
        "trained_range: {spacing: [1, 2], field_of_view: [1, 2]}",
        "trained_range: {spacing: [1, 2], field_of_view: [1, 2], reductions: []}",
        "trained_range: {spacing: [1, 2], field_of_view: [1, 2], reductions: [[1, 2]]}",
        "trained_range: {spacing: [1, 2], field_of_view: [1, 2], reduction: [4, 1]}",
        "trained_range: {spacing: [1, 2], field_of_view: [1, 2], reduction: [1]}",
        "trained_range: {spacing: [1, 2], field_of_view: [1, 2], reduction: [1, 4], noise: [0, much]}",
        "trained_range: {model: {spacing: [1, 2]}}",
        "trained_range: {model: {spacing: [1, 2], field_of_view: [1, 2], reduction: [1, 4]}, colour: red}",
        "trained_range: {}",
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
