"""The demonstration cohort: reproducible, sharp, split by subject, made once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from mdcsrn.data import sample
from mdcsrn.data.datalist import load_datalist
from mdcsrn.errors import ConfigError, DataError, MissingDependencyError, OutputError
from mdcsrn.io import read_volume
from mdcsrn.kspace import detect_band


@pytest.fixture(scope="module")
def template() -> tuple:
    pytest.importorskip("nilearn")
    volume = sample.load_template()
    return volume, ndimage.spline_filter(volume.array, order=3, output=np.float32)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("nilearn")
    return sample.make_sample(tmp_path_factory.mktemp("sample") / "cohort", subjects=3, seed=5)


def test_three_subjects_are_one_of_each(cohort: Path) -> None:
    for section in ("training", "validation", "test"):
        (entry,) = load_datalist(cohort, section)
        volume = read_volume(entry["image"])
        assert volume.spacing == pytest.approx((2, 2, 2))
        assert volume.array.min() >= 0
        assert all(low <= n <= high for n, (low, high) in zip(volume.shape, sample.SIZES, strict=True))
        assert not any(band.empty for band in detect_band(torch.from_numpy(volume.array)))


def test_eight_subjects_split_six_one_one() -> None:
    from mdcsrn.data.split import FRACTIONS, assign

    parts = list(assign([f"{n:03d}" for n in range(1, 9)], FRACTIONS, 0).values())
    assert [parts.count(name) for name in FRACTIONS] == [6, 1, 1]


def test_a_subject_is_a_pure_function_of_seed_and_number(template: tuple, cohort: Path) -> None:
    recipe = sample.SampleRecipe(subjects=3, seed=5)
    third = sample.make_subject(*template, recipe, 3)
    stored = read_volume(cohort.parent / "sub-003_T1w.nii.gz")
    np.testing.assert_array_equal(np.rint(third.array), stored.array)
    np.testing.assert_allclose(third.affine, stored.affine, atol=1e-5)
    more = sample.SampleRecipe(subjects=99, seed=5)
    np.testing.assert_array_equal(sample.make_subject(*template, more, 3).array, third.array)
    other = sample.make_subject(*template, sample.SampleRecipe(subjects=3, seed=6), 3)
    assert other.shape != third.shape or np.abs(other.array - third.array).mean() > 10


def test_without_variation_a_subject_is_the_template(template: tuple) -> None:
    """The affine says where the samples are: the unwarped subject is the template, read at those places."""
    still = sample.SampleRecipe(scale=0, rotation=0, shear=0, elastic=0, contrast=0, bias=0, noise=0)
    subject = sample.make_subject(*template, still, 1)
    volume = template[0]
    index = np.indices(subject.shape).reshape(3, -1)
    to_template = np.linalg.inv(volume.affine) @ subject.affine
    where = to_template[:3, :3] @ index + to_template[:3, 3:]
    smooth = ndimage.gaussian_filter(volume.array, 1.5)
    ours = ndimage.gaussian_filter(subject.array / sample.WHITE, 0.75)
    distance = {}
    for shift in [(0, 0, 0), *(tuple(sign * row) for row in np.eye(3) / 2 for sign in (-1, 1))]:
        expected = ndimage.map_coordinates(smooth, where + np.array(shift)[:, None], order=1).reshape(subject.shape)
        distance[shift] = float(np.sqrt(np.mean((ours - expected) ** 2)))
    here = distance.pop((0, 0, 0))
    assert here < 0.005
    assert min(distance.values()) > 2 * here  # half a template voxel to any side is worse


def test_subjects_differ_and_the_warp_stays_a_brain(cohort: Path) -> None:
    volumes = [read_volume(path).array for path in sorted(cohort.parent.glob("*.nii.gz"))]
    litres = [float((array > 400).sum() * 8e-6) for array in volumes]
    assert all(1.2 < size < 2.6 for size in litres), litres
    assert len({round(size, 3) for size in litres}) == 3


def test_a_complete_folder_is_reused_and_a_damaged_one_mended(cohort: Path) -> None:
    image = cohort.parent / "sub-002_T1w.nii.gz"
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in cohort.parent.iterdir()}
    assert sample.make_sample(cohort.parent, subjects=3, seed=5) == cohort
    assert {path.name: path.stat().st_mtime_ns for path in cohort.parent.iterdir()} == {
        k: v[0] for k, v in before.items()
    }
    image.write_bytes(b"damaged")
    sample.make_sample(cohort.parent, subjects=3, seed=5)
    assert {path.name: path.read_bytes() for path in cohort.parent.iterdir()} == {k: v[1] for k, v in before.items()}


def test_another_sample_in_the_folder_is_not_replaced(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="other settings"):
        sample.make_sample(cohort.parent, subjects=4, seed=5)
    (tmp_path / sample.MANIFEST).write_text("{")
    with pytest.raises(DataError, match="delete this folder"):
        sample.make_sample(tmp_path, subjects=4)


def test_the_knob_of_a_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(json.dumps({"training": []}))
    assert sample.datalist_or_sample(str(tmp_path / "list.json")) == str(tmp_path / "list.json")
    assert sample.datalist_or_sample("list.json", tmp_path) == str(tmp_path / "list.json")
    monkeypatch.chdir(tmp_path)
    assert sample.datalist_or_sample("list.json", "elsewhere") == "list.json"
    made: list[Path] = []
    monkeypatch.setattr(sample, "make_sample", lambda folder, *rest: made.append(folder) or folder / "datalist.json")
    monkeypatch.delenv("MDCSRN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sample.datalist_or_sample("")
    sample.datalist_or_sample("", tmp_path / "data")
    assert [path.parent for path in made] == [tmp_path / "cache" / "mdcsrn", tmp_path / "data"]
    assert made[0].name == made[1].name == "sample-v1-8-seed0"


def test_settings_out_of_range() -> None:
    for settings in ({"subjects": 0}, {"subjects": 1000}, {"seed": -1}):
        with pytest.raises(ConfigError):
            sample.SampleRecipe(**settings)


def test_a_missing_template_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "TEMPLATE", "datasets/data/absent.nii.gz")
    with pytest.raises(MissingDependencyError, match=r"mdcsrn\[demo\]"):
        sample.load_template()
