"""`python -m monai.bundle run evaluating`: the table against NumPy, scikit-image and the files of inference."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mdcsrn.engines import save_weights
from mdcsrn.networks import MDCSRN

CONFIG = ("run", "evaluating", "--config_file", "configs/evaluate.yaml")
METHODS = ["SR", "SR without consistency", "nearest", "trilinear", "cubic B-spline", "zero-filled"]
SHAPES = {"sub-01": (24, 30, 26), "sub-02": (27, 25, 31)}


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file()) if folder.exists() else []


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, make_head: Callable, save: Callable) -> Path:
    folder = tmp_path_factory.mktemp("study")
    for index, (name, shape) in enumerate(SHAPES.items()):
        save(
            make_head(shape, seed=index, peak=500.0 * (index + 1)),
            folder / f"{name}_T1w.nii.gz",
            np.diag([1, 2, -1, 1]),
        )
    entries = [{"image": f"{name}_T1w.nii.gz", "subject": name} for name in SHAPES]
    (folder / "datalist.json").write_text(json.dumps({"training": [], "test": entries}))
    return folder


@pytest.fixture
def evaluate(run_bundle: Callable, small: list[str], tmp_path: Path) -> Callable:
    def run(datalist: Path, *options: object, output: Path | None = None) -> object:
        target = tmp_path / "out" if output is None else output
        return run_bundle(*CONFIG, *small, f"--datalist={datalist}", f"--output_dir={target}", *options)

    return run


@pytest.fixture(scope="module")
def table(study: Path, run_bundle: Callable, small: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """One evaluation that several tests read: rows by (subject, region, method), JSON, printed text."""
    out = tmp_path_factory.mktemp("evaluation")
    done = run_bundle(*CONFIG, *small, f"--datalist={study / 'datalist.json'}", f"--output_dir={out}", "--legacy=true")
    assert done.code == 0, done.err
    assert files(out) == ["per_subject.csv", "summary.json"]
    with (out / "per_subject.csv").open(newline="") as stream:
        rows = {(row["subject"], row["region"], row["method"]): row for row in csv.DictReader(stream)}
    return rows, json.loads((out / "summary.json").read_text()), done.out


def read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)


def figures(candidate: np.ndarray, reference: np.ndarray) -> dict[str, dict[str, float]]:
    """Independent figures, conventions as written above the table."""
    peak = np.percentile(reference, 99.9)
    head = binary_fill_holes(reference > 0.02 * peak)
    error = np.square(candidate - reference)
    _, similarity = structural_similarity(
        reference, candidate, data_range=peak, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        full=True, truncate=3.5,
    )  # fmt: skip
    volume = {
        "psnr": peak_signal_noise_ratio(reference, candidate, data_range=peak),
        "ssim": similarity.mean(),
        "nrmse": np.sqrt(error.mean()) / peak,
    }
    inside = {
        "psnr": 10 * np.log10(peak**2 / error[head].mean()),
        "ssim": similarity[head].mean(),
        "nrmse": np.sqrt(error[head].mean()) / peak,
    }
    return {"head": inside, "volume": volume}


def test_every_method_region_and_subject_is_there(table: tuple) -> None:
    rows, summary, printed = table
    names = [f"{name}_T1w" for name in SHAPES]
    assert set(rows) == {(s, r, m) for s in names for r in ("head", "volume") for m in METHODS}
    assert summary["subjects"] == names
    assert [line["method"] for line in summary["summary"] if line["region"] == "head"] == METHODS
    assert summary["degradations"]["1x2x2 box"]["reduction"] == [1, 2, 2]
    for word in (*METHODS, "region: head", "region: volume", "2 subjects", "99.9th percentile", "±", "11x11x11"):
        assert word in printed, word


@pytest.mark.parametrize("name", SHAPES)
def test_zero_filled_against_numpy_and_skimage(name: str, table: tuple, study: Path, numpy_low_pass: Callable) -> None:
    reference = read(study / f"{name}_T1w.nii.gz")
    expected = figures(numpy_low_pass(reference, (1, 2, 2)).astype(np.float64), reference)
    for region, values in expected.items():
        row = table[0][f"{name}_T1w", region, "zero-filled"]
        assert float(row["psnr"]) == pytest.approx(values["psnr"], abs=1e-3)
        assert float(row["ssim"]) == pytest.approx(values["ssim"], abs=1e-4)
        assert float(row["nrmse"]) == pytest.approx(values["nrmse"], rel=1e-4)
        assert row["psnr_gain"] == ""


@pytest.mark.parametrize("name", SHAPES)
def test_sr_is_what_inference_writes(
    name: str, table: tuple, study: Path, numpy_low_pass: Callable, save: Callable,
    run_bundle: Callable, small: list[str], tmp_path: Path,
) -> None:  # fmt: skip
    """The degraded file through the inference bundle, scored by NumPy, gives the evaluation's own figure."""
    reference = read(study / f"{name}_T1w.nii.gz")
    source = save(numpy_low_pass(reference, (1, 2, 2)), tmp_path / f"{name}.nii.gz", np.diag([1, 2, -1, 1]))
    config = ("run", "--config_file", "configs/inference.yaml", *small)
    done = run_bundle(*config, f"--input={source}", f"--output_dir={tmp_path / 'out'}")
    assert done.code == 0, done.err
    expected = figures(read(tmp_path / "out" / f"{name}_sr.nii.gz"), reference)
    for region, values in expected.items():
        row = table[0][f"{name}_T1w", region, "SR"]
        zero = table[0][f"{name}_T1w", region, "zero-filled"]
        assert float(row["psnr"]) == pytest.approx(values["psnr"], abs=2e-3)
        assert float(row["ssim"]) == pytest.approx(values["ssim"], abs=1e-4)
        assert float(row["psnr_gain"]) == pytest.approx(float(row["psnr"]) - float(zero["psnr"]), abs=1e-3)


def test_consistency_never_raises_the_error_of_the_volume(table: tuple) -> None:
    for name in SHAPES:
        with_it, without = (table[0][f"{name}_T1w", "volume", method] for method in METHODS[:2])
        assert float(with_it["nrmse"]) < float(without["nrmse"])


def test_mean_and_deviation_are_those_of_the_rows(table: tuple) -> None:
    rows, summary, _ = table
    full = {(row["subject"], row["region"], row["method"]): row for row in summary["rows"]}  # the CSV is rounded
    assert set(full) == set(rows)
    for line in summary["summary"]:
        for metric in ("psnr", "ssim", "nrmse", "band_error"):
            values = [full[f"{name}_T1w", line["region"], line["method"]][metric] for name in SHAPES]
            assert line[metric]["mean"] == pytest.approx(np.mean(values), rel=1e-9)
            assert line[metric]["sd"] == pytest.approx(np.std(values, ddof=1), rel=1e-6)
            assert line[metric]["n"] == len(SHAPES)


def test_legacy_figures_are_asked_for(table: tuple, study: Path, evaluate: Callable, tmp_path: Path) -> None:
    assert "legacy_ssim" in table[0]["sub-01_T1w", "volume", "SR"]
    done = evaluate(study / "datalist.json", "--baselines=['zero-filled']", "--degradation#reduction=[2, 2, 1]")
    assert done.code == 0, done.err
    text = (tmp_path / "out" / "per_subject.csv").read_text()
    assert "legacy" not in text
    assert "trilinear" not in text
    assert "2x2x1 box" in text


def datalist(folder: Path, *images: str, section: str = "test") -> Path:
    path = folder / "list.json"
    path.write_text(json.dumps({"training": [], section: [{"image": image} for image in images]}))
    return path


def truncated(array: np.ndarray, path: Path, save: Callable) -> None:
    save(array, path)
    path.write_bytes(path.read_bytes()[:-2000])


def nan(array: np.ndarray, path: Path, save: Callable) -> None:
    array[3, 4, 5] = np.nan
    save(array, path)


BAD_VOLUMES: dict[str, Callable[[np.ndarray, Path, Callable], object]] = {
    "missing": lambda array, path, save: None,
    "nan": nan,
    "4d": lambda array, path, save: save(np.stack([array, array], -1), path),
    "zero": lambda array, path, save: save(np.zeros_like(array), path),
    "truncated": truncated,
}


@pytest.mark.parametrize("kind", BAD_VOLUMES)
def test_a_bad_volume_is_named(
    kind: str, evaluate: Callable, make_head: Callable, save: Callable, tmp_path: Path
) -> None:
    path = tmp_path / "scan.nii.gz"
    BAD_VOLUMES[kind](make_head((16, 14, 12)), path, save)
    done = evaluate(datalist(tmp_path, "scan.nii.gz"))
    assert done.code != 0
    assert done.last_line.startswith("error: "), done.err
    assert str(path) in done.last_line
    assert files(tmp_path / "out") == []


BAD_LISTS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "no JSON": lambda path: path.write_text("{"),
    "no list": lambda path: path.write_text("[1, 2]"),
    "empty section": lambda path: path.write_text('{"test": []}'),
    "no section": lambda path: path.write_text('{"training": [{"image": "a.nii"}]}'),
    "one subject twice": lambda path: path.write_text(
        '{"training": [{"image": "a.nii", "subject": "x"}], "test": [{"image": "b.nii", "subject": "x"}]}'
    ),
}


@pytest.mark.parametrize("kind", BAD_LISTS)
def test_a_bad_datalist_is_named(kind: str, evaluate: Callable, tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    BAD_LISTS[kind](path)
    done = evaluate(path)
    assert done.code != 0
    assert done.last_line.startswith("error: "), done.err
    assert str(path) in done.last_line
    assert files(tmp_path / "out") == []


BAD_WEIGHTS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "garbage": lambda path: path.write_bytes(b"PK\x03\x04 not a checkpoint"),
    "other network": lambda path: save_weights(path, MDCSRN(blocks=1, units=1, growth=4)),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_bad_weights_are_named(kind: str, evaluate: Callable, study: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    BAD_WEIGHTS[kind](path)
    done = evaluate(study / "datalist.json", f"--checkpoint={path}")
    assert done.code != 0
    assert done.last_line.startswith("error: "), done.err
    assert str(path) in done.last_line
    assert files(tmp_path / "out") == []


def test_an_output_folder_below_a_file_is_named(evaluate: Callable, study: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = evaluate(study / "datalist.json", "--baselines=['zero-filled']", output=tmp_path / "file" / "out")
    assert done.code != 0
    assert done.last_line.startswith("error: "), done.err
    assert str(tmp_path / "file" / "out") in done.last_line


@pytest.mark.parametrize(
    ("option", "words"),
    [("--basline=1", "basline"), ("--baselines=['lanczos']", "lanczos"), ("--section=tset", "tset"),
     ("--degradation#reductions=[1, 2, 2]", "reductions"), ("--consistency_threshold=2", "2")],
)  # fmt: skip
def test_bad_settings_are_named(option: str, words: str, evaluate: Callable, study: Path, tmp_path: Path) -> None:
    done = evaluate(study / "datalist.json", option)
    assert done.code != 0
    assert done.last_line.startswith("error: "), done.err
    assert words in done.last_line
    assert files(tmp_path / "out") == []
