"""Text files as Windows editors and old software write them, wherever one is read: the content is the same."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mdcsrn.data.datalist import load_datalist
from mdcsrn.data.hcp import read_subjects_file
from mdcsrn.data.split import read_subjects_table
from mdcsrn.files import read_mapping
from mdcsrn.hashes import read_hashes
from mdcsrn.io.bids import find_bids
from mdcsrn.io.formats import read_image
from mdcsrn.io.sidecar import read_metadata
from mdcsrn.io.sources import find_sources
from mdcsrn.record.sidecar import read_sidecar, seal

ENCODINGS = {
    "utf-8": lambda text: text.encode(),
    "utf-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16 be": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "latin-1": lambda text: text.encode("latin-1"),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "cr": lambda text: text.replace("\n", "\r").encode(),
}
every = pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)


def as_json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False)


@every
def test_sidecars_and_descriptions(tmp_path: Path, encode: Callable, save_nifti: Callable) -> None:
    (tmp_path / "dataset_description.json").write_bytes(encode(as_json({"Name": "Tübingen", "BIDSVersion": "1.8.0"})))
    (tmp_path / "sub-01/anat").mkdir(parents=True)
    image = save_nifti(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz")
    image.with_name("sub-01_T1w.json").write_bytes(encode(as_json({"MRAcquisitionType": "3D", "Site": "Köln"})))
    metadata, problems = read_metadata(image)
    assert (metadata["Site"], problems) == ("Köln", ())
    (found,) = find_bids(tmp_path)
    assert found.facts.acquisition == "3D"


@every
def test_records(tmp_path: Path, encode: Callable, save_nifti: Callable) -> None:
    content: dict[str, object] = {"software": "mdcsrn 0", "format": 1, "name": "Köln"}
    content["record_sha256"] = seal(content)
    save_nifti(tmp_path / "scan.nii.gz")
    save_nifti(tmp_path / "scan_sr.nii.gz")
    (tmp_path / "scan_sr.json").write_bytes(encode(as_json(content)))
    assert read_sidecar(tmp_path / "scan_sr.json")["name"] == "Köln"
    assert [path.name for path in find_sources(tmp_path).skipped] == ["scan_sr.nii.gz"]


@every
def test_lists(tmp_path: Path, encode: Callable, save_nifti: Callable) -> None:
    image = save_nifti(tmp_path / "a.nii.gz")
    (tmp_path / "list.json").write_bytes(encode(as_json({"training": [{"image": image.name, "subject": "Jürgen"}]})))
    assert load_datalist(tmp_path / "list.json", "training")[0]["subject"] == "Jürgen"
    (tmp_path / "table.tsv").write_bytes(encode("participant_id\tperson\nsub-01\tJürgen\nsub-02\tIda\n"))
    row = read_subjects_table(tmp_path / "table.tsv").find(Path("sub-01_T1w.nii.gz"), "01")
    assert row is not None
    assert row.person == "Jürgen"
    (tmp_path / "subjects.txt").write_bytes(encode("100307  # Köln\n100408\n"))
    assert read_subjects_file(tmp_path / "subjects.txt") == ["100307", "100408"]
    (tmp_path / "spec.yaml").write_bytes(encode("name: Köln\nvalues: [1, 2]\n"))
    assert read_mapping(tmp_path / "spec.yaml") == {"name": "Köln", "values": [1, 2]}
    (tmp_path / "sha256.txt").write_bytes(encode(f"{'0' * 64}  modèle.pt\n"))
    assert read_hashes(tmp_path) == {"modèle.pt": "0" * 64}


@pytest.mark.parametrize("ending", [".nhdr", ".mhd"])
@pytest.mark.parametrize("kind", ["utf-8 with a mark", "crlf"])
def test_detached_headers(tmp_path: Path, ending: str, kind: str, array: np.ndarray, write_as: Callable) -> None:
    path = write_as(tmp_path, ending)
    before = read_image(path)
    path.write_bytes(ENCODINGS[kind](path.read_text()))
    after = read_image(path)
    np.testing.assert_array_equal(after.array, array)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.path == path
