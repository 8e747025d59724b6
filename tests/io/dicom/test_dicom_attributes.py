"""Attributes of derived series: what the standard demands, what is left behind, what stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

Make = Callable[..., list[pydicom.Dataset]]
Save = Callable[..., Path]
Derive = Callable[[Path, Path], list[Path]]


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("bare", [False, True])
def test_the_standards_mandatory_attributes_are_there(
    tmp_path: Path, make_slices: Make, make_enhanced, save: Save, derive: Derive, mandatory, enhanced: bool, bare: bool
) -> None:
    datasets = [make_enhanced()] if enhanced else make_slices()
    if bare:  # a source that lacks what it should have
        for ds in datasets:
            for keyword in (
                "PatientName",
                "StudyID",
                "Manufacturer",
                "ScanningSequence",
                "EchoTime",
                "PatientPosition",
            ):
                if keyword in ds:
                    del ds[keyword]
    assert len(mandatory) > 35
    for path in derive(save(datasets, tmp_path / "in"), tmp_path / "out"):
        ds = pydicom.dcmread(path)
        for keyword, kind in mandatory:
            assert keyword in ds, keyword
            assert kind == "2" or ds[keyword].value not in (None, "", []), keyword


def test_what_is_optional_and_empty_is_left_behind(
    tmp_path: Path, make_slices: Make, save: Save, derive: Derive
) -> None:
    slices = make_slices()
    for ds in slices:
        ds.ProcedureCodeSequence, ds.Laterality, ds.StudyID = [], "", ""
        ds.StudyDescription, ds.BodyPartExamined = "", "BRAIN"
    ds = pydicom.dcmread(derive(save(slices, tmp_path / "in"), tmp_path / "out")[0])
    # A sequence has items, a head has no laterality; of type 2 are the ones that may be there and empty.
    assert not {"ProcedureCodeSequence", "Laterality", "StudyDescription"} & set(ds.dir())
    assert (ds.StudyID, ds.BodyPartExamined) == ("", "BRAIN")
    for ds in slices:
        del ds.BodyPartExamined
    ds = pydicom.dcmread(derive(save(slices, tmp_path / "in2"), tmp_path / "out2")[0])
    assert ds.Laterality == ""  # of type 2 where the body part is not known


@pytest.mark.parametrize(
    ("sequence", "time", "written", "kept"),
    [
        ("GR", "450", ["GR", "IR"], 450.0),
        (["GR", "IR"], "450", ["GR", "IR"], 450.0),
        ("IR", None, "IR", None),
        ("GR", "0", "GR", "absent"),
        ("GR", None, "GR", "absent"),
    ],
)
def test_an_inversion_time_goes_with_an_inversion(
    tmp_path: Path, make_slices: Make, save: Save, derive: Derive, sequence, time, written, kept
) -> None:
    slices = make_slices()
    for ds in slices:
        ds.ScanningSequence = sequence
        if time is not None:
            ds.InversionTime = time
    ds = pydicom.dcmread(derive(save(slices, tmp_path / "in"), tmp_path / "out")[0])
    assert ds.ScanningSequence == written
    assert ds.get("InversionTime", "absent") == kept


def test_values_in_no_form_of_the_standard_are_left_behind(
    tmp_path: Path, make_slices: Make, save: Save, derive: Derive
) -> None:
    slices = make_slices()
    with pydicom.config.disable_value_validation():
        for ds in slices:
            ds.PatientAge, ds.AcquisitionDate, ds.AcquisitionTime = "0Y", "2001.02.30", "120000"
            ds.PatientWeight = "70"
        folder = save(slices, tmp_path / "in")
    ds = pydicom.dcmread(derive(folder, tmp_path / "out")[0])
    assert not {"PatientAge", "AcquisitionDate"} & set(ds.dir())
    assert (ds.AcquisitionTime, ds.PatientWeight) == ("120000", 70)


def test_a_deidentified_source_stays_so(tmp_path: Path, make_slices: Make, save: Save, derive: Derive) -> None:
    slices = make_slices()
    for ds in slices:
        ds.PatientName, ds.PatientID, ds.StudyDate = "anon", "", ""
        ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "by hand"
        ds.add_new(0x00091010, "LO", "Quuxington private")
        del ds.PatientBirthDate, ds.SeriesDescription
    for path in derive(save(slices, tmp_path / "in"), tmp_path / "out"):
        content = path.read_bytes()
        assert b"Quux" not in content
        assert b"1901" not in content
        ds = pydicom.dcmread(path)
        assert (ds.PatientIdentityRemoved, ds.PatientBirthDate, ds.StudyDate) == ("YES", "", "")


def test_lossy_and_inverted_sources_say_so(tmp_path: Path, make_slices: Make, save: Save, derive: Derive) -> None:
    slices = make_slices()
    for ds in slices:
        ds.PhotometricInterpretation = "MONOCHROME1"
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", "9.5"
        ds.WindowCenter, ds.WindowWidth = "700", "1300"
    ds = pydicom.dcmread(derive(save(slices, tmp_path / "in"), tmp_path / "out")[0])
    assert (ds.LossyImageCompression, ds.LossyImageCompressionRatio) == ("01", 9.5)
    assert ds.PhotometricInterpretation == "MONOCHROME1"
    assert (ds.WindowCenter, ds.WindowWidth) == (700, 1300)
