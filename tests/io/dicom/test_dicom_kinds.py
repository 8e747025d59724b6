"""What the pixels are: magnitude or not, by every vendor's words; of a mixed series the magnitude images are taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from mdcsrn.errors import DataError, RefusedError
from mdcsrn.inference.planning.prepare import prepare
from mdcsrn.inference.planning.task import Task
from mdcsrn.io.dicom import find_series, read_series
from mdcsrn.io.image_type import REFUSED, kind_of_words
from mdcsrn.io.sources import find_cases, load_case
from mdcsrn.notices import refuse

Make = Callable[..., list[pydicom.Dataset]]
Save = Callable[..., Path]
FINER = Task("factor", factor=(1, 1, 1.5))
ORIGINAL = ["ORIGINAL", "PRIMARY"]
MAGNITUDES = {
    "Siemens": ["M", "ND", "NORM"],
    "Siemens XA": ["M", "NONE"],
    "GE": ["OTHER"],
    "Philips": ["M_FFE", "M", "FFE"],
    "Philips inversion": ["M_IR", "M", "IR"],
    "Philips enhanced": ["T1", "NONE"],
    "dcm2niix": ["M", "ND", "MAGNITUDE"],
    "water of a Dixon": ["M", "DIXON", "WATER"],
}
OTHERS = {
    "Siemens phase": (["P", "ND"], "phase"),
    "Siemens real": (["R", "ND"], "real part"),
    "Siemens imaginary": (["I", "ND"], "imaginary part"),
    "Philips phase": (["PHASE MAP", "P", "FFE"], "phase"),
    "Philips real": (["R_FFE", "R", "FFE"], "real part"),
    "Philips imaginary": (["I_FFE", "I", "FFE"], "imaginary part"),
    "Philips field map": (["B0 MAP", "B0", "UNSPECIFIED"], "field map"),
    "Philips velocity": (["VELOCITY MAP", "P", "PCA"], "velocity map"),
    "of the standard": (["PHASE_MAP"], "phase"),
    "real of the standard": (["REAL"], "real part"),
    "dcm2niix phase": (["M", "ND", "PHASE"], "phase"),
    "Bruker phase": (["PHASE_IMAGE"], "phase"),
    "Bruker imaginary": (["IMAGINARY_IMAGE"], "imaginary part"),
    "in two words": (["REAL PART"], "real part"),
}
WARNED = {
    "diffusion coefficient": ["ADC", "NONE"],
    "anisotropy": ["DIFFUSION", "FA", "ND"],
    "T1 map": ["T1 MAP", "ND"],
    "any map": ["SOME NEW MAP"],
    "blood flow": ["PERFUSION", "CBF"],
    "MP2RAGE": ["M", "ND", "UNI"],
    "corrected real": ["CR_IR", "CR", "IR"],
    "projection": ["PROJECTION IMAGE", "MIP"],
}


def _load(folder: Path):
    (case,) = find_cases(folder)
    return load_case(case)


def _edited(slices: list[pydicom.Dataset], **values: object) -> list[pydicom.Dataset]:
    for ds in slices:
        for keyword, value in values.items():
            setattr(ds, keyword, value)
    return slices


@pytest.mark.parametrize("vendor", MAGNITUDES)
def test_magnitudes_of_every_vendor_are_taken(tmp_path: Path, make_slices: Make, save: Save, vendor: str) -> None:
    scan = _load(save(_edited(make_slices(), ImageType=ORIGINAL + MAGNITUDES[vendor]), tmp_path / "a"))
    assert scan.facts.image_type in (None, "magnitude")
    assert scan.facts.contrast == "T1w"
    assert "not-a-magnitude-image" not in {n.name for n in prepare(scan.volume, FINER, facts=scan.facts).notices}


@pytest.mark.parametrize("case", OTHERS)
def test_phase_and_its_kind_are_refused_by_name(tmp_path: Path, make_slices: Make, save: Save, case: str) -> None:
    words, kind = OTHERS[case]
    scan = _load(save(_edited(make_slices(), ImageType=ORIGINAL + words), tmp_path / "a"))
    assert (scan.facts.image_type, scan.facts.contrast) == (kind, None)
    for task in (FINER, Task()):
        with pytest.raises(DataError, match=f"not a magnitude image.*{kind}.*remedy"):
            prepare(scan.volume, task, facts=scan.facts)


@pytest.mark.parametrize("case", WARNED)
def test_maps_and_ratios_are_named_and_refused_when_strict(
    tmp_path: Path, make_slices: Make, save: Save, case: str
) -> None:
    scan = _load(save(_edited(make_slices(), ImageType=ORIGINAL + WARNED[case]), tmp_path / "a"))
    notices = prepare(scan.volume, FINER, facts=scan.facts).notices
    assert "not-a-magnitude-image" in {notice.name for notice in notices}
    assert scan.facts.contrast != "T1w"
    with pytest.raises(RefusedError, match="not-a-magnitude-image"):
        refuse(notices)


def test_one_inversion_of_an_mp2rage_is_named(tmp_path: Path, make_slices: Make, save: Save) -> None:
    for name in ("t1_mp2rage_sag_p3_INV1", "MP2RAGE inv-2", "mp2rage_INV2"):
        scan = _load(save(_edited(make_slices(), SeriesDescription=name), tmp_path / name))
        names = {notice.name for notice in prepare(scan.volume, FINER, facts=scan.facts).notices}
        assert {"not-a-magnitude-image", "contrast-outside-trained-range"} <= names
    scan = _load(save(_edited(make_slices(), SeriesDescription="mprage_INVERSION 12"), tmp_path / "plain"))
    assert scan.facts.image_type == "magnitude"


@pytest.mark.parametrize(("number", "kind"), [(0, "magnitude"), (1, "phase"), (2, "real part"), (3, "imaginary part")])
def test_ge_says_it_in_a_private_tag(tmp_path: Path, make_slices: Make, save: Save, number: int, kind: str) -> None:
    slices = _edited(make_slices(), ImageType=[*ORIGINAL, "OTHER"], Manufacturer="GE MEDICAL SYSTEMS")
    for ds in slices:
        ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", number)
    assert _load(save(slices, tmp_path / "explicit")).facts.image_type == kind
    for ds in slices:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    assert _load(save(slices, tmp_path / "implicit")).facts.image_type == kind
    for ds in slices:
        ds[0x0043, 0x0010].value = "SOMEBODY ELSE"
    assert _load(save(slices, tmp_path / "other")).facts.image_type is None


def test_philips_says_it_in_a_private_tag(tmp_path: Path, make_slices: Make, save: Save) -> None:
    slices = _edited(make_slices(), ImageType=[*ORIGINAL, "OTHER"])
    for ds in slices:
        ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x11, "CS", "P")
    assert _load(save(slices, tmp_path / "a")).facts.image_type == "phase"


@pytest.mark.parametrize(
    ("component", "kind"),
    [("PHASE", "phase"), ("REAL", "real part"), ("IMAGINARY", "imaginary part"), ("MIXED", "complex parts, mixed")],
)
def test_enhanced_images_state_their_component(tmp_path: Path, make_enhanced, save: Save, component, kind) -> None:
    ds = make_enhanced()
    ds.ComplexImageComponent = component
    ds.ImageType = [*ORIGINAL, "T1", "NONE"]
    assert _load(save([ds], tmp_path / "a")).facts.image_type == kind
    ds.ComplexImageComponent, ds.ImageType = "MAGNITUDE", [*ORIGINAL, "VELOCITY", "NONE"]
    assert _load(save([ds], tmp_path / "b")).facts.image_type == "magnitude"


@pytest.mark.parametrize(
    ("unit", "kind"), [("rad", "phase"), ("milliradials", "phase"), ("Hz", "field map"), ("cm/s", "velocity map")]
)
def test_the_unit_tells_where_no_word_does(tmp_path: Path, make_slices: Make, save: Save, unit: str, kind: str) -> None:
    slices = _edited(make_slices(), RescaleType=unit, RescaleSlope="2", RescaleIntercept="-4096")
    for ds in slices:
        ds.ImageType = [*ORIGINAL, "OTHER"]
    assert _load(save(slices, tmp_path / "a")).facts.image_type == kind
    for ds in slices:
        ds.ImageType = [*ORIGINAL, "M", "ND"]
    assert _load(save(slices, tmp_path / "b")).facts.image_type == "magnitude"


def test_of_a_mixed_series_the_magnitude_images_are_taken(
    tmp_path: Path, make_slices: Make, save: Save, stored: np.ndarray
) -> None:
    for name, values in {
        "image type": {"ImageType": [*ORIGINAL, "P", "ND"]},
        "GE": {"add": (0x0043102F, "SS", 1)},
    }.items():
        phases = make_slices(seed=2)
        for k, ds in enumerate(phases, 6):
            ds.InstanceNumber = k
            if "add" in values:
                ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", 1)
            else:
                ds.ImageType = values["ImageType"]
        scan = _load(save(make_slices() + phases, tmp_path / name))
        np.testing.assert_array_equal(scan.volume.array, stored.T)
        assert scan.facts.image_type == "magnitude"
        assert any("left out of this series" in w and "5 images, phase" in w for w in scan.volume.warnings)
        assert scan.name == name


def test_frames_of_an_enhanced_image_are_told_apart(tmp_path: Path, make_enhanced, save: Save, stored) -> None:
    def mark(k: int, frame: pydicom.Dataset) -> None:
        item = pydicom.Dataset()
        item.FrameType, item.ComplexImageComponent = [*ORIGINAL, "T1", "NONE"], ("MAGNITUDE", "PHASE")[k // 5]
        frame.MRImageFrameTypeSequence = [item]
        frame.PixelValueTransformationSequence = []

    scan = _load(save([make_enhanced(mark, times=2)], tmp_path / "a"))
    np.testing.assert_array_equal(scan.volume.array, stored.T)
    assert scan.facts.image_type == "magnitude"


def test_a_series_of_phases_alone_is_still_a_case(tmp_path: Path, make_slices: Make, save: Save) -> None:
    phase = _edited(make_slices(), ImageType=[*ORIGINAL, "P"])
    (found,) = find_series(save(phase, tmp_path / "a"))
    assert read_series(found).facts.image_type == "phase"  # reading is harmless, restoring is not


NIFTI = {
    "sub-01_part-phase_T1w": ({}, "phase"),
    "sub-01_part-real_T1w": ({}, "real part"),
    "sub-01_part-imag_T1w": ({}, "imaginary part"),
    "sub-01_part-mag_T1w": ({}, "magnitude"),
    "sub-01_phasediff": ({}, "phase"),
    "sub-01_fieldmap": ({}, "field map"),
    "sub-01_inv-1_MP2RAGE": ({}, "one inversion of an MP2RAGE, uncombined"),
    "scan_T1w": ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND", "PHASE"]}, "phase"),
    "other_T1w": ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MAGNITUDE"]}, "magnitude"),
    "third_T1w": ({"ComplexImageComponent": "IMAGINARY"}, "imaginary part"),
    "fourth_T1w": ({"Units": "rad"}, "phase"),
    "fifth_T1w": ({"ImageType": 3, "ComplexImageComponent": [1], "Units": None}, None),
    "brain_real": ({}, None),
}


@pytest.mark.parametrize("name", NIFTI)
def test_nifti_files_say_it_by_name_or_sidecar(tmp_path: Path, name: str) -> None:
    metadata, kind = NIFTI[name]
    values = np.random.default_rng(0).normal(100, 20, (7, 6, 5)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    (tmp_path / f"{name}.json").write_text(json.dumps(metadata))
    (case,) = find_cases(tmp_path / f"{name}.nii.gz")
    scan = load_case(case)
    assert scan.facts.image_type == kind
    if kind in REFUSED:
        with pytest.raises(DataError, match="not a magnitude image"):
            prepare(scan.volume, FINER, facts=scan.facts)


def test_words_in_their_places_alone() -> None:
    assert kind_of_words(["P", "R"]) is None
    assert kind_of_words([]) is None
    assert kind_of_words(["DERIVED", "SECONDARY", "M", "ND", "P"]) == "magnitude"
