"""Loader, selector and volume against NumPy and SimpleITK, beside the SDK's own and what these get wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from deploy_studies import SECRETS, secret
from mdcsrn_deploy.loader import StudyLoader
from mdcsrn_deploy.rules import parse_rules, read_rules
from mdcsrn_deploy.selector import SeriesSelector, choose
from mdcsrn_deploy.settings import HOME
from mdcsrn_deploy.volume import ScanImage, SeriesToVolume
from monai.deploy.core import Application
from monai.deploy.operators import DICOMDataLoaderOperator, DICOMSeriesSelectorOperator, DICOMSeriesToVolumeOperator

from mdcsrn.errors import ConfigError, DataError, GeometryError

Images = list[pydicom.Dataset]
RULES = read_rules(HOME / "rules.json")
ANY = json.dumps({"selections": [{"name": "any", "conditions": {"Modality": "MR"}}]})


@pytest.fixture(scope="module")
def fragment() -> Application:
    return Application()


@pytest.fixture
def load(fragment: Application) -> Callable[..., ScanImage]:
    """Folder to image, by our operators."""

    def run(folder: Path, rules: str = RULES) -> ScanImage:
        studies = StudyLoader(fragment, input_folder=folder).load_data_to_studies(folder)
        selected = choose(parse_rules(rules), studies)
        return SeriesToVolume(fragment).convert_to_image([selected])

    return run


def stock(fragment: Application, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (slice, row, column) and affine by the SDK's own operators."""
    studies = DICOMDataLoaderOperator(fragment, name="stock_loader").load_data_to_studies(folder)
    selected = DICOMSeriesSelectorOperator(fragment, name="stock_selector").filter(json.loads(ANY), studies)
    image = DICOMSeriesToVolumeOperator(fragment, name="stock_volume").convert_to_image(selected)
    return image.asnumpy(), np.array(image.metadata()["affine"])


def simpleitk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (slice, row, column) and RAS+ affine by SimpleITK."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), np.diag([-1, -1, 1, 1]) @ affine


def test_fractions_of_all_slices_are_kept(tmp_path: Path, fragment, load, stack, save) -> None:
    images = stack()
    slopes = np.array([1.0, *np.linspace(0.1, 0.9, len(images) - 1).round(3)])
    for ds, slope in zip(images, slopes, strict=True):
        ds.RescaleSlope, ds.RescaleIntercept = f"{slope:g}", "0"
    truth = np.stack([ds.pixel_array * slope for ds, slope in zip(images, slopes, strict=True)])
    folder = save(images, tmp_path / "study")
    ours = load(folder).asnumpy()
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, truth, rtol=1e-6)
    theirs, _ = stock(fragment, folder)
    assert theirs.dtype.kind == "u"  # that of slice 0
    assert np.abs(theirs - truth).max() > 0.5  # why there is an operator of ours


def test_geometry_is_simpleitks(tmp_path: Path, fragment, load, stack, save) -> None:
    folder = save(stack(rows=30, columns=44, spacing=(1.5, 0.75, 2.0)), tmp_path / "study")
    image, (voxels, affine) = load(folder), simpleitk(folder)
    np.testing.assert_array_equal(image.asnumpy(), voxels)
    np.testing.assert_allclose(image.metadata()["affine"], affine, atol=1e-9)
    assert image.metadata()["space"] == "RAS"
    assert image.metadata()["selection_name"] == "3D T1w"
    _, wrong = stock(fragment, folder)
    assert np.abs(wrong - affine).max() == pytest.approx(0.75)  # rows' spacing in the place of columns'


def test_the_order_of_files_means_nothing(tmp_path: Path, load, stack, save) -> None:
    images = stack()
    straight = load(save(images, tmp_path / "a")).asnumpy()
    np.testing.assert_array_equal(straight, np.stack([ds.pixel_array for ds in images]))
    for number, ds in enumerate(reversed(images)):
        ds.InstanceNumber = 100 - 3 * ((number * 7) % 16)
    np.testing.assert_array_equal(load(save(images[::-1], tmp_path / "b")).asnumpy(), straight)


def test_echoes_become_series_of_their_own(tmp_path: Path, fragment, stack, save) -> None:
    first, second = stack(), stack()
    for k, ds in enumerate(second):
        ds.EchoNumbers, ds.EchoTime, ds.SOPInstanceUID = 2, "9", f"{ds.SOPInstanceUID}.2"
        ds.InstanceNumber = len(first) + k + 1
        ds.PixelData = (ds.pixel_array // 2).tobytes()
    for ds in first:
        ds.EchoNumbers = 1
    folder = save([*first, *second], tmp_path / "study")
    (study,) = StudyLoader(fragment, input_folder=folder).load_data_to_studies(folder)
    assert [len(series.files.frames) for series in study.get_all_series()] == [16, 16]
    (theirs,) = DICOMDataLoaderOperator(fragment, name="stock").load_data_to_studies(folder)
    (series,) = theirs.get_all_series()
    assert len(series.get_sop_instances()) == 16  # half of the images is gone, without an error


def test_missing_slices_are_told(tmp_path: Path, fragment, load, stack, save) -> None:
    images = stack(slices=20)
    folder = save(images[:8] + images[9:], tmp_path / "study")
    with pytest.raises(GeometryError, match="slices are missing.*1 missing, after slice 8"):
        load(folder)
    assert stock(fragment, folder)[0].shape[0] == 19  # the SDK stretches the others over the gap


def test_series_of_another_loader_are_refused(tmp_path: Path, fragment, stack, save) -> None:
    folder = save(stack(), tmp_path / "study")
    studies = DICOMDataLoaderOperator(fragment, name="stock").load_data_to_studies(folder)
    selected = DICOMSeriesSelectorOperator(fragment, name="stock").filter(json.loads(ANY), studies)
    with pytest.raises(ConfigError, match="got: DICOMSeries.*StudyLoader"):
        SeriesToVolume(fragment).convert_to_image(selected)


def names(studies) -> list[str]:
    return [series.files.name for study in studies for series in study.get_all_series()]


def test_the_first_rule_wins_and_then_the_number_of_slices(tmp_path: Path, fragment, stack, save, caplog) -> None:
    flair = stack(slices=30, number=2)
    for ds in flair:
        ds.ScanningSequence, ds.RepetitionTime, ds.EchoTime, ds.InversionTime = "SE", "5000", "300", "1600"
    flat = stack(slices=24, number=3)
    for ds in flat:
        ds.MRAcquisitionType = "2D"
    images = [*flair, *flat, *stack(slices=16, number=7), *stack(slices=18, number=8), *stack(slices=5, number=9)]
    folder = save(images, tmp_path / "study")
    studies = StudyLoader(fragment, input_folder=folder).load_data_to_studies(folder)
    assert names(studies) == ["series002", "series003", "series007", "series008", "series009"]
    with caplog.at_level(logging.INFO):
        selected = choose(parse_rules(RULES), studies).selected_series[0]
    assert (selected.series.files.name, selected.selection_name) == ("series008", "3D T1w")
    assert "series008, 18 images: chosen, as 3D T1w" in caplog.text
    assert "series002, 30 images: not taken, though 3D MR" in caplog.text
    assert "series003, 24 images: not taken, though 2D multi-slice MR" in caplog.text
    assert "series009, 5 images: not suitable: Slices for 3D T1w" in caplog.text


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("ImageType", ["DERIVED", "SECONDARY", "MPR"], "ImageType"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "P", "ND"], "ImageType"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageType"),
        ("MRAcquisitionType", "", "MRAcquisitionType"),
    ],
)
def test_what_is_not_worth_restoring(tmp_path: Path, fragment, stack, save, keyword, value, reason) -> None:
    images = stack()
    for ds in images:
        setattr(ds, keyword, value)
    folder = save(images, tmp_path / "study")
    studies = StudyLoader(fragment, input_folder=folder).load_data_to_studies(folder)
    with pytest.raises(DataError, match=f"no series that is worth.*series005: not suitable: {reason} for 3D T1w"):
        choose(parse_rules(RULES), studies)


def test_a_series_that_cannot_be_read_is_named_with_its_reason(tmp_path: Path, fragment, stack, save) -> None:
    broken = stack(number=1)
    for ds in broken:
        ds.RescaleSlope, ds.RescaleIntercept = "0", "0"
    folder = save([*broken, *stack(number=2)], tmp_path / "study")
    studies = StudyLoader(fragment, input_folder=folder).load_data_to_studies(folder)
    assert choose(parse_rules(RULES), studies).selected_series[0].series.files.name == "series002"
    only = save(broken, tmp_path / "broken")
    studies = StudyLoader(fragment, input_folder=only).load_data_to_studies(only)
    with pytest.raises(DataError, match=r"series001: cannot be read \(.*damaged"):
        choose(parse_rules(RULES), studies)


def test_enhanced_images_are_judged_by_their_functional_groups(tmp_path: Path, load, make_enhanced, save) -> None:
    image = make_enhanced()
    image.MRAcquisitionType = "3D"
    folder = save([image], tmp_path / "study")
    with pytest.raises(DataError, match="series003: not suitable: Contrast for 3D T1w, Slices for 3D MR"):
        load(folder)
    thick = {"Modality": "^MR$", "SliceThickness": [1.5, 2.5], "Slices": [5, ">="]}  # the thickness is in a group
    rules = json.dumps({"selections": [{"name": "thick", "conditions": thick}]})
    voxels = load(folder, rules).asnumpy()
    truth = image.pixel_array * (0.5 + np.arange(5))[:, None, None] - np.arange(5)[:, None, None]
    np.testing.assert_allclose(voxels, truth, rtol=1e-6)


def test_no_value_of_a_tag_reaches_the_log(tmp_path: Path, fragment, stack, save, caplog) -> None:
    folder = save([secret(ds) for ds in stack()], tmp_path / "study")
    conditions = {"SeriesDescription": "quux", "StudyDescription": "zebediah", "ImageType": ["ORIGINAL"]}
    rules = {"selections": [{"name": "mine", "conditions": conditions}]}
    with caplog.at_level(logging.DEBUG):
        studies = StudyLoader(fragment, input_folder=folder).load_data_to_studies(folder)
        operator = SeriesSelector(fragment, rules=json.dumps(rules))
        selected = choose(operator.rules, studies)
        SeriesToVolume(fragment).convert_to_image([selected])
    assert selected.selected_series[0].selection_name == "mine"
    assert not [word for word in SECRETS if word in caplog.text]
    with caplog.at_level(logging.INFO):
        DICOMSeriesSelectorOperator(fragment, name="stock").filter(rules, studies)
    assert SECRETS[0] in caplog.text  # the SDK's own writes what it looks at
