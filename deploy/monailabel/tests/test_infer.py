"""One scan at a time: what the server gives is, byte for byte, what `mdcsrn predict` writes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mdcsrn.files import sha256
from mdcsrn.inference.planning.models import find_model, model_names
from mdcsrn.resources import shipped_bundles

from .conftest import BUNDLE, EAGER, FILLED, Server

SAME, FINER = f"{BUNDLE}_same_grid", f"{BUNDLE}_finer_grid"
AS_EAGER = ("--backend", "eager", "--precision", "float32")
Predict = Callable[..., Path]


def test_every_model_of_every_bundle_is_offered_on_the_grids_that_it_makes(server: Server, tmp_path: Path) -> None:
    info = server.client(tmp_path).info()
    expected = set()
    for home in shipped_bundles():
        for place, model in enumerate(model_names(home)):
            stem = home.name if place == 0 else f"{home.name}_{model}"
            own_factor = find_model(home, model).network.traits.input_grid == "acquired"
            expected |= {f"{stem}_finer_grid"} if own_factor else {f"{stem}_same_grid", f"{stem}_finer_grid"}
    assert expected <= set(info["models"])
    assert {SAME, FINER} <= expected
    for name in expected:
        assert info["models"][name]["type"] == "others", "no viewer may take the result for a mask"
        assert ("factor" in info["models"][name]["config"]) == name.endswith("_finer_grid")


def test_the_same_grid_is_filled_as_by_the_command_line(
    server: Server, study: Path, predict: Predict, tmp_path: Path
) -> None:
    file, facts = server.client(tmp_path / "client").infer(SAME, FILLED, dict(EAGER))
    expected = predict(study / f"{FILLED}.nii.gz", "--same-grid", *AS_EAGER)
    assert Path(file).read_bytes() == expected.read_bytes()
    assert facts["decision"].startswith("fill the empty outer band of axes 1, 2")
    assert facts["record"]["certificate"]["after_rounding"]["relative_error"] < 1e-5
    given, made = nib.load(study / f"{FILLED}.nii.gz"), nib.load(file)
    np.testing.assert_array_equal(made.affine, given.affine)
    assert made.get_data_dtype() == np.float32
    assert np.abs(made.get_fdata() - given.get_fdata()).max() > 1, "the network has a say"


@pytest.mark.parametrize(
    ("params", "options"),
    [
        ({"factor": "1 1 2"}, ("--factor", "1", "1", "2")),
        ({"factor": [1, 1.5, 1], "result_dtype": "keep"}, ("--factor", "1", "1.5", "1", "--dtype", "keep")),
        ({"spacing": "0.9"}, ("--to-spacing", "0.9", "0.9", "0.9")),
        ({"factor": "1 1 1.3", "consistency": False, "region": "all"},
         ("--factor", "1", "1", "1.3", "--no-consistency", "--region", "all")),
    ],
    ids=["factor", "integers", "spacing", "network-alone"],
)  # fmt: skip
def test_a_finer_grid_is_that_of_the_command_line(
    server: Server, study: Path, predict: Predict, params: dict, options: tuple[str, ...]
) -> None:
    scan = study / "sub-a_T1w.nii.gz"
    status, content = server.upload(FINER, scan, {**EAGER, **params})
    assert status == 200, content
    assert content == predict(scan, *options, *AS_EAGER).read_bytes()


def test_the_backend_of_the_command_line_is_chosen_here_too(server: Server, study: Path, predict: Predict) -> None:
    scan = study / "sub-b_T1w.nii.gz"
    status, content = server.upload(FINER, scan, {"factor": "1 1 1.25"})
    assert status == 200, content
    assert content == predict(scan, "--factor", "1", "1", "1.25").read_bytes()


def test_a_whole_head(server: Server, shared_data: Path, predict: Predict) -> None:
    scan = shared_data / "t1w" / "test" / "ds002748-63_T1w.nii.gz"
    status, content = server.upload(FINER, scan, {"factor": "1 1 1.5"})
    assert status == 200, content
    assert content == predict(scan, "--factor", "1", "1", "1.5").read_bytes()


def test_what_was_measured_is_kept(server: Server, study: Path, tmp_path: Path) -> None:
    scan = study / "sub-c_T1w.nii.gz"
    status, content = server.upload(FINER, scan, {**EAGER, "factor": "1 2 1", "result_extension": ".nii"})
    assert status == 200, content
    (tmp_path / "out.nii").write_bytes(content)
    low, high = nib.load(scan).get_fdata(), nib.load(tmp_path / "out.nii").get_fdata()
    n, m = low.shape[1], high.shape[1]
    assert m == 2 * n
    before, after = (np.fft.fft(np.fft.ifftshift(values, 1), axis=1) / values.shape[1] for values in (low, high))
    kept = list(range(-((n - 1) // 2), (n - 1) // 2 + 1))
    error = np.linalg.norm(before[:, kept] - after[:, kept]) / np.linalg.norm(before[:, kept])
    assert error < 1e-5
    assert np.linalg.norm(after[:, n // 2 + 1 : m - n // 2]) > 1e-3 * np.linalg.norm(after), "and something is added"


def test_a_client_that_shares_the_temporary_folder_keeps_its_result(server: Server) -> None:
    (own,) = server.temporary.glob("mdcsrn-label-*")
    file, _ = server.client(own).infer(FINER, "sub-a_T1w", {**EAGER, "factor": "1 1 1.1"})
    time.sleep(0.5)  # the server removes its own copy after the answer
    assert nib.load(file).shape[2] == round(38 * 1.1)
    Path(file).unlink()


def test_eight_at_once_are_each_as_alone(server: Server, study: Path) -> None:
    names = ["sub-a_T1w", "sub-b_T1w", "sub-c_T1w", FILLED] * 2
    factors = [f"1 1 {1 + i / 10}" for i in range(4)] * 2
    asked = list(zip(names, factors, strict=True))

    def one(name: str, factor: str) -> bytes:
        status, content = server.upload(FINER, study / f"{name}.nii.gz", {**EAGER, "factor": factor})
        assert status == 200, content
        return content

    alone = [one(*each) for each in asked[:4]]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: one(*each), asked))
    assert together == alone * 2
    assert len(set(alone)) == 4


def test_a_session_is_a_scan_that_is_sent_once(server: Server, study: Path, tmp_path: Path) -> None:
    client = server.client(tmp_path)
    session = client.create_session(str(study / "sub-a_T1w.nii.gz"))["session_id"]
    file, _ = client.infer(FINER, "", {**EAGER, "factor": "1 1 1.2"}, session_id=session)
    status, content = server.upload(FINER, study / "sub-a_T1w.nii.gz", {**EAGER, "factor": "1 1 1.2"})
    assert status == 200
    assert Path(file).read_bytes() == content


def test_nothing_is_left_behind(server: Server, study: Path, tmp_path: Path) -> None:
    status, _ = server.upload(FINER, study / "sub-a_T1w.nii.gz", {**EAGER, "factor": "1 1 1.1"})
    assert status == 200
    time.sleep(0.5)
    (tmp_path / "bad.nii.gz").write_bytes(b"not a scan")
    assert server.upload(FINER, tmp_path / "bad.nii.gz", dict(EAGER))[0] == 422
    left = [file.name for file in server.temporary.rglob("*") if file.is_file() and ".nii" in file.name]
    assert not left


def test_weights_cannot_be_changed_through_the_server(server: Server, tmp_path: Path) -> None:
    before = sha256(find_model().path)
    for method in ("GET", "DELETE"):
        status, _ = server.ask(f"/model/{SAME}", method)
        assert status == 404
    fake = tmp_path / "model.pt"
    fake.write_bytes(b"not weights")
    assert server.client(tmp_path).info()["models"][SAME]
    status, _ = server.ask(f"/model/{SAME}", "PUT", None)
    assert status in (422, 500)
    assert sha256(find_model().path) == before


def test_the_temporary_folder_is_the_servers_own(server: Server) -> None:
    assert server.temporary != Path(tempfile.gettempdir())
    (own,) = server.temporary.glob("mdcsrn-label-*")
    assert own.stat().st_mode & 0o077 == 0, "nobody else may look"
