"""Number, description and slope of derived series: distinct in a study, true to the source, one on request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcsrn.errors import ConfigError, OutputError
from mdcsrn.io.dicom import SeriesIdentity, find_series, labels_of, read_series, storage, write_series
from mdcsrn.io.dicom.naming import label_of
from mdcsrn.io.sources import find_cases
from mdcsrn.io.volume import Volume
from mdcsrn.jobs.options import Options
from mdcsrn.jobs.output_paths import jobs_of

Make = Callable[..., list[pydicom.Dataset]]
Save = Callable[..., Path]


def _source(folder: Path):
    (found,) = find_series(folder)
    return read_series(found)


def _first(folder: Path) -> pydicom.Dataset:
    return pydicom.dcmread(sorted(folder.iterdir())[0])


def test_the_description_is_the_sources_with_a_suffix() -> None:
    def made(text: str) -> str:
        return label_of(SeriesIdentity("1", "2", 3, text)).description

    assert made("t1_mprage") == "t1_mprage_SR"
    assert made("") == "super-resolution"
    assert made("x" * 64) == "x" * 61 + "_SR"
    assert made("脳" * 64) == "脳" * 61 + "_SR"  # characters count, not bytes
    assert made("x" * 60 + "e\u0301" + "yyy") == "x" * 60 + "_SR"  # no letter loses its accent


@given(
    st.lists(
        st.builds(
            SeriesIdentity,
            study=st.sampled_from(["1", "2"]),
            uid=st.sampled_from(["1", "2", "3"]),
            number=st.none() | st.sampled_from([0, 1, 3, 301, 302]) | st.integers(0, (1 << 31) - 1),
            description=st.sampled_from(["", "T1", "T1_SR"]) | st.text(max_size=80),
        ),
        max_size=12,
    ),
    st.none() | st.integers(0, (1 << 31) - 1),
    st.none() | st.just("mine") | st.just("m" * 64),
)
def test_labels_are_distinct_within_a_study(sources, number, description) -> None:
    labels = labels_of(sources, number, description)
    for study in {source.study for source in sources}:
        ours = [label for source, label in zip(sources, labels, strict=True) if source.study == study]
        assert len({label.number for label in ours}) == len(ours)
        assert len({label.description for label in ours}) == len(ours)
        if number is None:
            assert not {label.number for label in ours} & {s.number for s in sources if s.study == study}
        else:
            assert ours[0].number == number
    assert all(0 <= label.number < 1 << 31 and 1 <= len(label.description) <= 64 for label in labels)


@pytest.mark.parametrize(
    ("number", "text"), [(-1, None), (1 << 31, None), (None, ""), (None, "x" * 65), (None, "a\\b")]
)
def test_labels_that_dicom_does_not_allow(number, text) -> None:
    with pytest.raises(ConfigError, match="Series"):
        label_of(SeriesIdentity(), number, text)


def test_the_jobs_of_one_study_have_labels_of_their_own(tmp_path: Path, make_slices: Make, save: Save) -> None:
    echoes = make_slices() + make_slices(seed=2)
    for k, ds in enumerate(echoes):
        ds.InstanceNumber, ds.EchoNumbers = k + 1, k // 5 + 1
    save(echoes, tmp_path / "study" / "echoes")
    other = make_slices(uid="1.2.4", seed=3)
    for ds in other:
        ds.StudyInstanceUID, ds.SeriesNumber = echoes[0].StudyInstanceUID, 301  # what the first would get
    save(other, tmp_path / "study" / "other")
    options = Options(dicom_out=tmp_path / "out")
    jobs, _ = jobs_of(tmp_path / "study", find_cases(tmp_path / "study"), tmp_path / "nifti", options)
    labels = {job.name: job.label for job in jobs}
    assert sorted(label.number for label in labels.values()) == [302, 303, 30101]
    assert len({label.description for label in labels.values()}) == 3
    chosen = Options(dicom_out=tmp_path / "out", series_number=7, series_description="Schädel")
    jobs, _ = jobs_of(tmp_path / "study", find_cases(tmp_path / "study"), tmp_path / "nifti", chosen)
    assert [(job.label.number, job.label.description) for job in jobs] == [
        (7, "Schädel"), (8, "Schädel 2"), (9, "Schädel 3"),
    ]  # fmt: skip


def test_words_for_a_series_that_is_not_asked_for() -> None:
    for options in (Options(series_number=3), Options(dicom_slope="one"), Options(series_description="x")):
        with pytest.raises(ConfigError, match="--dicom-out"):
            options.task()


def test_characters_are_those_of_the_source(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    for ds in slices:
        ds.SpecificCharacterSet, ds.SeriesDescription = "ISO_IR 100", "Schädel"
    source = _source(save(slices, tmp_path / "in"))
    write_series(source.volume, source, tmp_path / "out", "a copy")
    assert _first(tmp_path / "out").SeriesDescription == "Schädel_SR"
    with pytest.raises(ConfigError, match="character set"):
        write_series(source.volume, source, tmp_path / "out2", "a copy", series_description="脳")
    for ds in slices:
        ds.SpecificCharacterSet, ds.SeriesDescription = ["", "ISO 2022 IR 87"], "脳" * 64
    source = _source(save(slices, tmp_path / "kanji"))
    write_series(source.volume, source, tmp_path / "out3", "a copy")
    assert _first(tmp_path / "out3").SeriesDescription == "脳" * 61 + "_SR"


def test_letters_beyond_ascii_come_with_a_character_set(tmp_path: Path, make_slices: Make, save: Save) -> None:
    source = _source(save(make_slices(), tmp_path / "in"))
    write_series(source.volume, source, tmp_path / "out", "a copy", series_description="Schädel 脳")
    first = _first(tmp_path / "out")
    assert (first.SeriesDescription, first.SpecificCharacterSet) == ("Schädel 脳", "ISO_IR 192")
    slices = make_slices()
    for ds in slices:
        ds.PatientName = "Müller"  # in a set that nobody names
    source = _source(save(slices, tmp_path / "unknown"))
    with pytest.raises(ConfigError, match="character set"):
        write_series(source.volume, source, tmp_path / "out2", "a copy", series_description="Schädel")


def test_files_in_several_character_sets_give_one(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = make_slices()
    for k, ds in enumerate(slices):
        ds.SpecificCharacterSet = ("ISO_IR 100", "ISO_IR 192")[k % 2]
        ds.PatientName, ds.SeriesDescription = "Müller^Jörg", "Schädel"
    source = _source(save(slices, tmp_path / "in"))
    write_series(source.volume, source, tmp_path / "out", "a copy")
    first = _first(tmp_path / "out")
    assert (first.SpecificCharacterSet, first.SeriesDescription) == ("ISO_IR 192", "Schädel_SR")
    assert str(first.PatientName) == "Müller^Jörg"


@pytest.mark.parametrize(("low", "high", "signed"), [(0, 4000, False), (-700, 4000, True), (0, 65535, False)])
def test_slope_one_is_what_a_simple_viewer_shows(
    tmp_path: Path, make_slices: Make, save: Save, low: float, high: float, signed: bool
) -> None:
    source = _source(save(make_slices(), tmp_path / "in"))
    values = np.random.default_rng(0).uniform(low, high, source.volume.shape).astype(np.float32)
    volume = Volume(values, source.volume.affine)
    write_series(volume, source, tmp_path / "out", "a copy", slope="one")
    for k, path in enumerate(sorted((tmp_path / "out").iterdir())):
        ds = pydicom.dcmread(path)
        assert (ds.RescaleSlope, ds.RescaleIntercept, ds.PixelRepresentation) == (1, 0, int(signed))
        np.testing.assert_array_equal(ds.pixel_array, np.rint(values[:, :, k].T))
    stored = storage(volume, "one")
    assert stored.largest_error == pytest.approx(np.abs(values - np.rint(values)).max())
    np.testing.assert_array_equal(_source(tmp_path / "out").volume.array, np.rint(values))


@pytest.mark.parametrize(("low", "high"), [(0, 70000), (-1, 40000), (-40000, 0)])
def test_values_beyond_16_bits_have_no_slope_of_one(low: float, high: float) -> None:
    volume = Volume(np.linspace(low, high, 60, dtype=np.float32).reshape(3, 4, 5), np.eye(4))
    with pytest.raises(OutputError, match="do not fit 16 bits.*--dicom-slope"):
        storage(volume, "one")
    assert storage(volume).largest_error < (high - low) / 131000
