"""BIDS datasets: what is found, what is refused by name, which sidecar counts, and where a derivative belongs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import mdcsrn
from mdcsrn.errors import DataError, OutputError
from mdcsrn.io import Volume, write_volume
from mdcsrn.io.acquisition import ScanFacts
from mdcsrn.io.bids import BidsImage, find_bids, read_description
from mdcsrn.io.bids_dataset import write_companions, write_dataset_description
from mdcsrn.io.bids_derivative import derivative_path, describe, page_path
from mdcsrn.io.sidecar import dataset_root, parse_name, read_metadata, scan_facts
from mdcsrn.io.sources import Case, load_case

VOLUME = Volume(np.random.default_rng(0).random((5, 4, 3)).astype(np.float32), np.eye(4))


def touch(root: Path, *names: str) -> None:
    for name in names:
        write_volume(VOLUME, root / name)


def tell(root: Path, name: str, **metadata: object) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(metadata))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "study"
    tell(root, "dataset_description.json", Name="a", BIDSVersion="1.8.0", DatasetDOI="doi:10.0/x")
    touch(
        root,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-hi_run-2_T2w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_FLAIR.nii",
        "sub-02/ses-b/anat/sub-02_ses-b_part-phase_T2starw.nii",
        "sub-02/ses-b/anat/sub-02_ses-b_part-mag_T2starw.nii",
        "sub-02/ses-b/func/sub-02_ses-b_task-rest_bold.nii",
        "sub-03/anat/sub-03_inplaneT2.nii",
        "derivatives/other/sub-01/anat/sub-01_desc-x_T1w.nii",
    )
    return root


def found(root: Path, *arguments: object, **options: object) -> list[str]:
    return [image.path.name for image in find_bids(root, *arguments, **options)]  # type: ignore[arg-type]


def test_anatomical_magnitude_images_are_found(dataset: Path) -> None:
    images = find_bids(dataset)
    assert [image.name for image in images] == [
        "sub-01/anat/sub-01_T1w",
        "sub-01/anat/sub-01_acq-hi_run-2_T2w",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w",
        "sub-02/ses-b/anat/sub-02_ses-b_FLAIR",
        "sub-02/ses-b/anat/sub-02_ses-b_part-mag_T2starw",
    ]
    assert all(image.error is None for image in images)
    assert dict(images[1].entities) == {"sub": "01", "acq": "hi", "run": "2"}
    assert images[1].suffix == "T2w"
    assert images[1].uri == "bids:raw:sub-01/anat/sub-01_acq-hi_run-2_T2w.nii.gz"


def test_filters(dataset: Path) -> None:
    assert found(dataset, ["01"], suffixes=["T1w"]) == ["sub-01_T1w.nii.gz"]
    assert found(dataset, ["sub-02"], ["ses-a"]) == ["sub-02_ses-a_T1w.nii.gz"]
    assert found(dataset, [], ["a", "b"], ["T1w", "FLAIR"]) == ["sub-02_ses-a_T1w.nii.gz", "sub-02_ses-b_FLAIR.nii"]
    assert found(dataset, ["03"], suffixes=["inplaneT2"]) == ["sub-03_inplaneT2.nii"]
    assert found(dataset, ["02", "01"], suffixes=["T1w"]) == ["sub-01_T1w.nii.gz", "sub-02_ses-a_T1w.nii.gz"]


def test_what_is_missing_is_named(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no sub-07, sub-x.*sub-01, sub-02, sub-03"):
        find_bids(dataset, ["01", "07", "sub-x"])
    with pytest.raises(DataError, match=r"no ses-c.*ses-a, ses-b"):
        find_bids(dataset, [], ["c"])
    with pytest.raises(DataError, match=r"no anatomical image of sub-03.*T1w"):
        find_bids(dataset, ["03"])
    with pytest.raises(DataError, match=r"no such folder.*absent"):
        find_bids(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no BIDS dataset.*dataset_description.json.*mdcsrn predict"):
        find_bids(dataset / "sub-01")
    tell(tmp_path, "empty/dataset_description.json", Name="a")
    with pytest.raises(DataError, match="no sub- folder"):
        find_bids(tmp_path / "empty")
    (tmp_path / "empty/dataset_description.json").write_text("{")
    with pytest.raises(DataError, match="cannot read .*dataset_description"):
        find_bids(tmp_path / "empty")
    (tmp_path / "empty/dataset_description.json").write_text("[]")
    with pytest.raises(DataError, match="holds no mapping"):
        find_bids(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sub-02_T1w.nii", "its sub- is not that of its folder"),
        ("sub-01_ses-1_T1w.nii", "its ses- is not that of its folder"),
        ("sub-01_run-1_acq-x_T1w.nii", "out of order"),
        ("sub-01_foo-1_T1w.nii", "unknown entity foo-"),
        ("scan_T1w.nii", "its sub- is not that of its folder"),
        ("sub-01_acq-a-b_T1w.nii", "its sub- is not that of its folder"),
    ],
)
def test_invalid_names_are_refused_one_by_one(dataset: Path, name: str, words: str) -> None:
    touch(dataset, f"sub-01/anat/{name}")
    images = {image.path.name: image for image in find_bids(dataset, ["01"])}
    assert words in str(images.pop(name).error)
    assert [image.error for image in images.values()] == [None, None]


def test_one_image_in_two_files_is_refused_and_the_rest_is_kept(dataset: Path) -> None:
    touch(dataset, "sub-01/anat/sub-01_T1w.nii")
    images = find_bids(dataset, ["01"])
    assert [image.name.split("/")[-1] for image in images] == ["sub-01_T1w", "sub-01_acq-hi_run-2_T2w"]
    assert "sub-01_T1w.nii, sub-01_T1w.nii.gz" in str(images[0].error)
    assert images[1].error is None


def test_metadata_is_inherited(dataset: Path) -> None:
    tell(dataset, "T1w.json", MRAcquisitionType="2D", SliceThickness=5, SkullStripped=True)
    tell(dataset, "sub-02/sub-02_T1w.json", SliceThickness=4)
    tell(dataset, "sub-02/ses-a/anat/sub-02_ses-a_T1w.json", MRAcquisitionType="3D")
    tell(dataset, "sub-02/sub-02_ses-b_T1w.json", SliceThickness=1)  # another session
    tell(dataset, "sub-02/ses-a/sub-02_ses-a_acq-x_T1w.json", SliceThickness=2)  # an entity that the image has not
    tell(dataset, "T2w.json", SliceThickness=3)  # another suffix
    by_name = {image.path.name: image.facts for image in find_bids(dataset, suffixes=["T1w", "FLAIR"])}
    nested = by_name["sub-02_ses-a_T1w.nii.gz"]
    assert (nested.acquisition, nested.slice_thickness, nested.skull_stripped) == ("3D", 4.0, True)
    assert (nested.contrast, nested.origin) == ("T1w", "name")
    other = by_name["sub-01_T1w.nii.gz"]
    assert (other.acquisition, other.slice_thickness) == ("2D", 5.0)
    assert by_name["sub-02_ses-b_FLAIR.nii"].slice_thickness is None


def test_a_case_of_a_dataset_gets_the_same_facts(dataset: Path) -> None:
    tell(dataset, "T1w.json", MRAcquisitionType="3D", SkullStripped=False)
    (image,) = find_bids(dataset, ["01"], suffixes=["T1w"])
    scan = load_case(Case(image.name, "nifti", image.path))
    assert scan.facts == image.facts
    assert scan.facts.acquisition == "3D"
    assert dataset_root(image.path) == dataset


def test_outside_a_dataset_only_the_own_sidecar_counts(tmp_path: Path) -> None:
    touch(tmp_path, "a_T1w.nii", "b_T1w.nii")
    tell(tmp_path, "a_T1w.json", SliceThickness=2)
    tell(tmp_path, "T1w.json", SliceThickness=9)
    assert read_metadata(tmp_path / "a_T1w.nii") == ({"SliceThickness": 2}, ())
    assert scan_facts(tmp_path / "b_T1w.nii")[0].slice_thickness is None


def test_names_are_taken_apart() -> None:
    assert parse_name("x/sub-01_ses-2_T1w.nii.gz") == parse_name("sub-01_ses-2_T1w.json")
    assert dict(parse_name("sub-01_ses-2_T1w.nii.gz").entities) == {"sub": "01", "ses": "2"}
    assert parse_name("ds1-2_FLAIR.nii").suffix == "FLAIR"
    assert not parse_name("sub-01_sub-02_T1w.nii").entities
    assert parse_name("plain.nii").suffix == "plain"


def test_a_derivative_keeps_folders_and_entities(dataset: Path, tmp_path: Path) -> None:
    by_name = {image.path.name: image for image in find_bids(dataset)}
    out = tmp_path / "out"
    assert derivative_path(by_name["sub-01_T1w.nii.gz"], out) == out / "sub-01/anat/sub-01_desc-sr_T1w.nii.gz"
    assert (
        derivative_path(by_name["sub-02_ses-b_FLAIR.nii"], out, "spread")
        == out / "sub-02/ses-b/anat/sub-02_ses-b_desc-srspread_FLAIR.nii.gz"
    )
    touch(dataset, "sub-01/anat/sub-01_desc-old_T1w.nii.gz")
    again = next(image for image in find_bids(dataset, ["01"]) if image.entities.get("desc") == "old")
    assert derivative_path(again, out).name == "sub-01_desc-oldSr_T1w.nii.gz"
    assert derivative_path(again, out, "mask").name == "sub-01_desc-oldSrT1w_dseg.nii.gz"
    assert page_path(again, out) == out / "sub-01_desc-oldSr_T1w.html"
    with pytest.raises(OutputError, match="letters and digits"):
        derivative_path(again, out, "a_b")


labels = st.one_of(st.none(), st.sampled_from(["sr", "Sr", "srspread", "srT1w", "T1w", "aSr", "a", "srSr"]))
named = st.tuples(labels, st.sampled_from(["T1w", "T2w", "FLAIR", "PDw", "T2starw"]))


@given(st.sets(named, min_size=2, max_size=8))
def test_no_two_images_share_a_derivative(images: set[tuple[str | None, str]]) -> None:
    """Any labels of `desc`, those that our own results have among them; on disks without upper case too."""
    names = {f"sub-01{f'_desc-{desc}' if desc else ''}_{suffix}".casefold() for desc, suffix in images}
    assume(len(names) == len(images))  # another dataset is refused, see below
    places = []
    for desc, suffix in images:
        entities = {"sub": "01", **({"desc": desc} if desc else {})}
        image = BidsImage(Path(f"d/sub-01/anat/sub-01_{suffix}.nii"), entities, suffix, ScanFacts(), Path("d"))
        places += [derivative_path(image, "o", role) for role in ("", "spread", "mean", "invention", "mask")]
        places.append(page_path(image, Path("o")))
    assert len({str(place).casefold() for place in places}) == len(places)


def test_names_that_differ_in_case_alone_are_refused_and_the_rest_is_kept(dataset: Path) -> None:
    touch(dataset, "sub-01/anat/sub-01_desc-Brain_T1w.nii.gz", "sub-01/anat/sub-01_desc-brain_T1w.nii.gz")
    by_name = {image.path.name: image.error for image in find_bids(dataset, ["01"], suffixes=["T1w"])}
    refused = [name for name, error in by_name.items() if "upper and lower case" in str(error)]
    assert refused == ["sub-01_desc-Brain_T1w.nii.gz", "sub-01_desc-brain_T1w.nii.gz"]
    assert by_name["sub-01_T1w.nii.gz"] is None


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ("sub-02/\n", ["sub-01_T1w.nii.gz", "sub-01_acq-hi_run-2_T2w.nii.gz"]),
        ("# none\n\n*_acq-*\r\n**/ses-b/**\n!sub-02_ses-b_FLAIR.nii\n",
         ["sub-01_T1w.nii.gz", "sub-02_ses-a_T1w.nii.gz", "sub-02_ses-b_FLAIR.nii"]),
        ("!\n/sub-01/anat/*_T1w.nii.gz\n\ufeff",
         ["sub-01_acq-hi_run-2_T2w.nii.gz", "sub-02_ses-a_T1w.nii.gz", "sub-02_ses-b_FLAIR.nii",
          "sub-02_ses-b_part-mag_T2starw.nii"]),
    ],
)  # fmt: skip
def test_bidsignore_is_read_as_git_reads_its_own(dataset: Path, patterns: str, left: list[str]) -> None:
    (dataset / ".bidsignore").write_bytes(b"\xef\xbb\xbf" + patterns.encode())
    assert found(dataset) == left


def test_what_bidsignore_leaves_out_may_have_any_name_and_all_of_it_is_said(dataset: Path) -> None:
    touch(dataset, "sub-01/anat/sub-01_oops_T1w.nii.gz")
    (dataset / ".bidsignore").write_text("*_oops_*\n")
    assert [image.error for image in find_bids(dataset, ["01"])] == [None, None]
    (dataset / ".bidsignore").write_text("*.nii*\n")
    with pytest.raises(DataError, match=r"no anatomical image of sub-01 that its .bidsignore does not leave out"):
        find_bids(dataset, ["01"])


@pytest.mark.parametrize("name", ["cohort-2", "tracksys-a", "atlas-x", "scale-3", "atlas-x_seg-y_scale-2_res-1"])
def test_all_entities_of_the_schema_are_known(dataset: Path, name: str) -> None:
    touch(dataset, f"sub-01/anat/sub-01_{name}_T1w.nii.gz")
    (image,) = (image for image in find_bids(dataset, ["01"]) if name in image.name)
    assert image.error is None


def test_what_is_said_of_a_derivative(dataset: Path) -> None:
    tell(dataset, "T1w.json", EchoTime=0.003, FlipAngle=9, MTState="yes", PatientName="Doe", DeviceSerialNumber="7")
    tell(dataset, "sub-01/sub-01_T1w.json", EchoTime=0.004, RepetitionTime="2.3", ScanningSequence=["GR", "IR"])
    (image,) = find_bids(dataset, ["01"], suffixes=["T1w"])
    assert describe(image, "", (1, 1, 1)) == {
        "Sources": ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"], "SpatialReference": "orig", "SkullStripped": False,
        "EchoTime": 0.004, "FlipAngle": 9, "ScanningSequence": ["GR", "IR"],
    }  # fmt: skip
    assert set(describe(image, "mask", (1, 1, 1))) == {"Sources", "SpatialReference", "Description"}


@pytest.mark.parametrize(
    ("name", "stated", "fields"),
    [
        ("desc-brain", {}, {"SkullStripped": True, "SpatialReference": "orig"}),
        ("desc-brain", {"SkullStripped": False}, {"SkullStripped": False}),
        ("desc-preproc", {}, {"SkullStripped": False}),
        ("desc-better", {}, {"SkullStripped": False}),
        ("space-MNI152Lin", {}, {"SpatialReference": "MNI152Lin"}),
        ("space-own", {"SpatialReference": "bids::sub-01/x.nii"}, {"SpatialReference": "bids:raw:sub-01/x.nii"}),
        ("space-own", {"SpatialReference": {"V": "bids::v.nii"}}, {"SpatialReference": {"V": "bids:raw:v.nii"}}),
        ("res-2", {"Resolution": "2 mm"}, {"Resolution": "0.5 x 0.75 x 1 mm; the label is the source's"}),
    ],
)
def test_what_a_derivative_inherits(dataset: Path, name: str, stated: dict, fields: dict) -> None:
    touch(dataset, f"sub-01/anat/sub-01_{name}_T1w.nii.gz")
    tell(dataset, f"sub-01/anat/sub-01_{name}_T1w.json", **stated)
    (image,) = (image for image in find_bids(dataset, ["01"]) if name in image.name)
    said = describe(image, "", (0.5, 0.75, 1.0))
    assert {key: said[key] for key in fields} == fields


def test_the_root_of_a_derived_dataset_is_added_to_and_never_replaced(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tell(dataset, "dataset_description.json", Name="a", BIDSVersion="1.8.0", License="CC0", Funding="no list")
    (dataset / "CITATION.cff").write_text("authors:\n- family-names: Doe\n  given-names: A.\n- name: Lab\n")
    content = json.loads(write_dataset_description(out, dataset).read_text())
    assert content["Authors"] == ["A. Doe", "Lab", "The mdcsrn authors"]
    assert (content["License"], "Funding" in content) == ("CC0", False)
    (out / "README").write_text("mine")
    (out / ".bidsignore").write_text("mine\n")
    write_companions(out, find_bids(dataset, ["01"]), [""])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert "README.md" not in before
    write_companions(out, find_bids(dataset, ["01"]), [""])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    write_companions(out, find_bids(dataset, ["03"], suffixes=["inplaneT2"]), ["", "mask"])
    assert (out / "README").read_text() == "mine"
    assert (out / ".bidsignore").read_text().startswith("mine\n")
    rows = [line.split("\t")[0] for line in (out / "descriptions.tsv").read_text().splitlines()]
    assert rows == ["desc_id", "desc-sr", "desc-srinplaneT2"]


def test_the_derived_dataset_describes_itself(dataset: Path, tmp_path: Path) -> None:
    out = dataset / "derivatives/md csrn"
    file = write_dataset_description(out, dataset)
    content = json.loads(file.read_text())
    assert content["DatasetType"] == "derivative"
    assert content["GeneratedBy"][0]["Name"] == "mdcsrn"
    assert content["GeneratedBy"][0]["Version"] == mdcsrn.__version__
    assert content["SourceDatasets"] == [{"DOI": "doi:10.0/x"}]
    assert content["DatasetLinks"] == {"raw": "../.."}  # a BIDS URI of the source resolves to its file
    image = find_bids(dataset, ["01"])[0]
    _, link, inside = image.uri.split(":")
    assert (out / content["DatasetLinks"][link] / inside).resolve() == image.path.resolve()
    assert str(tmp_path) not in file.read_text()
    before = file.read_bytes()
    assert write_dataset_description(out, dataset).read_bytes() == before
    tell(dataset, "dataset_description.json", Name="a", BIDSVersion="1.8.0")
    assert json.loads(write_dataset_description(out, dataset).read_text())["SourceDatasets"] == [{"URL": "../.."}]


def test_another_dataset_is_never_overwritten(dataset: Path, tmp_path: Path) -> None:
    before = (dataset / "dataset_description.json").read_bytes()
    with pytest.raises(OutputError, match="the dataset itself"):
        write_dataset_description(dataset, dataset)
    for place in (dataset / "sub-01", dataset / "sub-01" / "anat" / "out"):
        with pytest.raises(OutputError, match="among the images"):
            write_dataset_description(place, dataset)
    other = tmp_path / "other"
    for content in ({"Name": "b"}, {"DatasetType": "derivative", "GeneratedBy": [{"Name": "fmriprep"}]}, {}):
        tell(other, "dataset_description.json", **content)
        with pytest.raises(OutputError, match="holds another dataset"):
            write_dataset_description(other, dataset)
        assert json.loads((other / "dataset_description.json").read_text()) == content
    assert (dataset / "dataset_description.json").read_bytes() == before
    assert read_description(dataset)["Name"] == "a"
