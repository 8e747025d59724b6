"""Rows and table: equal to the metric functions, paired by subject, honest about what is missing."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from pathlib import Path

import pytest
import torch

from mdcsrn.errors import GeometryError
from mdcsrn.evaluation import Row, as_dict, compare, degradation_label, paired_gain, render, summarise, write_csv
from mdcsrn.evaluation.table import per_subject_csv, write_json
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.metrics import band_error, data_range, head_mask, legacy_metrics, nrmse, psnr, ssim

SPEC = DegradationSpec(reduction=(1, 2, 2))


def head(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    volume = torch.zeros(1, 14, 15, 16)
    volume[:, 3:11, 3:12, 3:13] = 100 * (torch.rand(1, 8, 9, 10) + 0.2)
    return volume


def test_rows_equal_the_metric_functions() -> None:
    truth = head(0)
    low = degrade(truth, SPEC)
    rows = compare(truth, {"zero-filled": low}, SPEC, "sub-1", legacy=True)
    assert [(r.subject, r.method, r.region, r.degradation) for r in rows] == [
        ("sub-1", "zero-filled", "head", "1x2x2 box"),
        ("sub-1", "zero-filled", "volume", "1x2x2 box"),
    ]
    peak = data_range(truth)
    for row, mask in zip(rows, (head_mask(truth), None), strict=True):
        assert row.values["psnr"] == psnr(low, truth, peak, mask)
        assert row.values["ssim"] == ssim(low, truth, peak, mask)
        assert row.values["nrmse"] == nrmse(low, truth, peak, mask)
        assert row.values["band_error"] == band_error(low, truth, SPEC, mask)
    legacy = legacy_metrics(low, truth)
    assert {key: rows[1].values[key] for key in legacy} == legacy
    assert not set(legacy) & set(rows[0].values), "the legacy figures know no mask"


def test_given_mask_replaces_the_head() -> None:
    truth = head(1)
    mask = torch.zeros_like(truth, dtype=torch.bool)
    mask[:, 4:8, 4:8, 4:8] = True
    rows = compare(truth, {"SR": truth + 3}, mask=mask)
    assert [row.region for row in rows] == ["mask", "volume"]
    assert rows[0].values["nrmse"] == pytest.approx(3 / data_range(truth), rel=1e-5)
    assert "band_error" not in rows[0].values


def study() -> list[Row]:
    rows = []
    for index in range(3):
        truth = head(index)
        low = degrade(truth, SPEC)
        better = low + (0.2 + 0.1 * index) * (truth - low)
        rows += compare(truth, {"SR": better, "zero-filled": low}, SPEC, f"sub-{index}")
    return rows


def test_summary_is_mean_and_sample_sd_and_gain_is_paired() -> None:
    rows = study()
    line = next(s for s in summarise(rows) if (s.method, s.region) == ("SR", "head"))
    figures = [r.values["psnr"] for r in rows if (r.method, r.region) == ("SR", "head")]
    assert line.metrics["psnr"].mean == pytest.approx(statistics.fmean(figures))
    assert line.metrics["psnr"].sd == pytest.approx(statistics.stdev(figures))
    assert line.gain is not None
    # the error shrinks by the factor 1 - (0.2 + 0.1 i) everywhere
    gains = [-20 * math.log10(1 - 0.2 - 0.1 * index) for index in range(3)]
    assert line.gain.mean == pytest.approx(statistics.fmean(gains), abs=1e-3)
    assert line.gain.smallest == pytest.approx(gains[0], abs=1e-3)
    assert next(s for s in summarise(rows) if s.method == "zero-filled").gain is None
    assert next(s for s in summarise(rows) if (s.method, s.region) == ("zero-filled", "volume")).metrics[
        "band_error"
    ].mean == pytest.approx(1.0, abs=1e-4)


def test_a_gain_needs_its_partner_in_the_same_subject_and_degradation() -> None:
    rows = [
        Row("a", "SR", "head", "1x2x2 box", {"psnr": 31.0}),
        Row("a", "zero-filled", "head", "1x2x2 box", {"psnr": 30.0}),
        Row("a", "SR", "head", "2x2x1 box", {"psnr": 35.0}),
        Row("b", "SR", "head", "1x2x2 box", {"psnr": 35.0}),
    ]
    assert paired_gain(rows) == [1.0, None, None, None]
    assert all(line.gain is None for line in summarise(rows)), "no mean gain over a part of the subjects"


def test_csv_and_json_hold_every_row(tmp_path: Path) -> None:
    rows = study()
    write_csv(tmp_path / "new" / "rows.csv", rows)
    table = list(csv.DictReader(io.StringIO((tmp_path / "new" / "rows.csv").read_text())))
    assert len(table) == 12
    for row, line in zip(rows, table, strict=True):
        assert (line["subject"], line["method"], line["region"]) == (row.subject, row.method, row.region)
        assert float(line["psnr"]) == pytest.approx(row.values["psnr"], rel=1e-5)
    write_json(tmp_path / "s.json", rows, {degradation_label(SPEC): SPEC.to_dict()})
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["subjects"] == ["sub-0", "sub-1", "sub-2"]
    assert DegradationSpec.from_dict(content["degradations"]["1x2x2 box"]) == SPEC
    assert content["summary"][0]["psnr"]["n"] == 3
    assert "11x11x11" in content["setting"]["SSIM"]


def test_equal_volumes_give_valid_json_and_an_infinite_mean() -> None:
    truth = head(0)
    rows = compare(truth, {"SR": truth}) + compare(truth, {"SR": truth + 1}, subject="other")
    text = json.dumps(as_dict(rows), allow_nan=False)
    assert json.loads(text)["rows"][0]["psnr"] is None
    assert summarise(rows)[0].metrics["psnr"].mean == math.inf
    assert "inf" in render(rows)
    assert "inf" in per_subject_csv(rows)


def test_printed_table_states_its_setting() -> None:
    text = render(study())
    for phrase in (
        "99.9th percentile",
        "2 %",
        "11x11x11",
        "3D",
        "degradation: 1x2x2 box",
        "3 subjects",
        "band error",
        "±",
    ):
        assert phrase in text
    assert "legacy" not in text
    assert max(map(len, text.splitlines())) < 130


def test_misfit_names_subject_and_method() -> None:
    with pytest.raises(GeometryError, match="sub-9, SR"):
        compare(head(0), {"SR": head(0)[:, 1:]}, subject="sub-9")


def test_labels_tell_degradations_apart() -> None:
    labels = {
        degradation_label(spec)
        for spec in (
            SPEC, DegradationSpec(reduction=(2, 2, 1)), DegradationSpec(window="tukey"), DegradationSpec(noise=0.01),
            DegradationSpec(partial_fourier=(1, 0.75, 1)), DegradationSpec(reduction=(1, 1.5, 2)),
        )
    }  # fmt: skip
    assert len(labels) == 6
    assert "2x2x1 box" in labels
