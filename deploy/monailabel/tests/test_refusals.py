"""What cannot be done is told in words, with a fitting status, and the server goes on."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from .conftest import BUNDLE, EAGER, FILLED, Server

SAME, FINER = f"{BUNDLE}_same_grid", f"{BUNDLE}_finer_grid"


@pytest.mark.parametrize(
    ("model", "image", "params", "status", "words"),
    [
        ("nowhere", FILLED, {}, 404, "no model nowhere"),
        (SAME, "nobody", {}, 404, "no image nobody"),
        (SAME, "/etc/hostname", {}, 404, "no image /etc/hostname"),
        (SAME, "../../etc/hostname", {}, 404, "no image"),
        (SAME, FILLED, {"factor": "1 1 2"}, 400, "unknown parameter 'factor'"),
        (FINER, FILLED, {"facktor": "1 1 2"}, 400, "did you mean factor?"),
        (FINER, FILLED, {"factor": "1 1 0.5"}, 400, ">= 1"),
        (FINER, FILLED, {"factor": "1 1"}, 400, "3 numbers"),
        (FINER, FILLED, {"factor": "1 1 nan"}, 400, "3 numbers"),
        (FINER, FILLED, {"factor": "1 1 1000"}, 400, "1 to 64"),
        (FINER, FILLED, {"factor": {"a": 1}}, 400, "parameter factor"),
        (FINER, FILLED, {"spacing": "0 0 0"}, 400, "spacing"),
        (FINER, FILLED, {"consistency": "perhaps"}, 400, "true or false"),
        (FINER, FILLED, {"region": "foot"}, 400, "head, all"),
        (FINER, FILLED, {"device": 7}, 400, "parameter device"),
        (FINER, FILLED, {"device": "tpu"}, 400, "unknown device"),
        (FINER, FILLED, {"backend": "abacus"}, 400, "parameter backend"),
        (FINER, FILLED, {"backend": "onnxruntime"}, 501, "cannot run here"),
        (FINER, FILLED, {"max_memory": -1}, 400, "max_memory"),
        (FINER, FILLED, {"result_extension": ".nrrd"}, 400, ".nii.gz, .nii"),
        (FINER, FILLED, {"result_dtype": "uint8"}, 400, "float32, keep"),
        (FINER, FILLED, {"strict": True}, 422, "field-of-view-outside-trained-range"),
        (FINER, FILLED, {"label_tag": "../../up", "save_label": True}, 400, "label_tag"),
        (FINER, FILLED, {"image": "/etc/hostname"}, 404, "no image"),
        (FINER, FILLED, {"image": ["x"]}, 404, "no image"),
    ],
)
def test_a_wrong_request(
    server: Server, model: str, image: str, params: dict[str, Any], status: int, words: str, tmp_path: Path
) -> None:
    client = server.client(tmp_path)
    with pytest.raises(Exception, match=f"Status: {status}") as caught:
        client.infer(model, image, {**EAGER, **params})
    assert words in caught.value.msg
    assert "Traceback" not in caught.value.msg


def broken_scans(folder: Path) -> dict[str, tuple[Path, str]]:
    """Scans that cannot be used, and what is said of them."""
    rng = np.random.default_rng(0)
    good = rng.normal(100, 10, (20, 20, 20)).astype(np.float32)
    holed = good.copy()
    holed[3:6] = np.nan
    arrays = {
        "four": (np.stack([good, good], axis=-1), "3D"),
        "nan": (holed, "NaN"),
        "zeros": (np.zeros_like(good), "nothing but zeros"),
    }
    made = {}
    for name, (array, words) in arrays.items():
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{name}.nii.gz")
        made[name] = (folder / f"{name}.nii.gz", words)
    whole = (folder / "four.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.nii").write_text("no image at all")
    (folder / "empty.nii.gz").write_bytes(b"")
    flat = bytearray(nib.Nifti1Image(good, np.eye(4)).to_bytes())
    flat[252:256] = (0).to_bytes(2, "little") + (1).to_bytes(2, "little")  # qform_code, sform_code
    flat[280:296] = bytes(16)  # srow_x
    (folder / "singular.nii").write_bytes(flat)
    made["cut"] = folder / "cut.nii.gz", "cut.nii.gz"
    made["text"], made["empty"] = (folder / "text.nii", "not a NIfTI file"), (folder / "empty.nii.gz", "")
    made["singular"] = folder / "singular.nii", "impossible voxel size"
    return made


@pytest.mark.parametrize("name", ["four", "nan", "zeros", "cut", "text", "empty", "singular"])
def test_a_scan_that_cannot_be_used(server: Server, name: str, tmp_path: Path) -> None:
    file, words = broken_scans(tmp_path)[name]
    status, answer = server.upload(FINER, file, dict(EAGER))
    assert status == 422, answer
    assert words == "cut.nii.gz" or words in answer["detail"]
    assert server.process.poll() is None


def test_dicom_is_refused_with_the_reason(server: Server, shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "dicom" / "philips_classic_mprage3d.zip") as series:
        name = next(name for name in series.namelist() if not name.endswith("/"))
        (tmp_path / "slice.dcm").write_bytes(series.read(name))
    status, answer = server.upload(FINER, tmp_path / "slice.dcm", dict(EAGER))
    assert (status, "newer pydicom" in answer["detail"]) == (501, True)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/datastore/image?image=..%2F..%2Foutside", "PUT"),
        ("/datastore/label?image=sub-a_T1w&tag=..%2F..%2Foutside", "PUT"),
        ("/datastore/label?image=sub-a_T1w&tag=..", "PUT"),
        ("/datastore/image?image=%5C%5Cshare", "GET"),
    ],
)
def test_the_data_store_writes_to_no_path(server: Server, path: str, method: str) -> None:
    status, answer = server.ask(path, method)
    assert (status, "no paths" in answer["detail"]) == (400, True)


def test_parameters_that_are_no_json(server: Server, study: Path) -> None:
    status, answer = server.upload(FINER, study / "sub-a_T1w.nii.gz", "{not json")
    assert (status, "no JSON" in answer["detail"]) == (400, True)


def test_the_background_refuses_unknown_models_at_once(server: Server) -> None:
    for path in ("/batch/infer/nowhere", "/train/nowhere"):
        status, answer = server.ask(path, "POST", {})
        assert (status, "no model nowhere" in answer["detail"]) == (404, True)


def test_the_server_is_still_well(server: Server, study: Path) -> None:
    status, content = server.upload(FINER, study / "sub-a_T1w.nii.gz", {**EAGER, "factor": "1 1 1.1"})
    assert status == 200, content
