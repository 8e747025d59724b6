"""The judge against the package's own figures, and what the study makes of them against SciPy and plain arithmetic."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import peers
import pytest
import torch
from judge import Case, How, Method, baseline_methods, judge, measure, reference_facts, restore
from scipy.stats import wilcoxon
from settings import SETTINGS, THICK
from study import against_snr, by_series, make_rows, select, signed_ranks
from tables import markdown, per_subject

from mdcsrn.data.datalist import load_datalist
from mdcsrn.evaluation import baselines, compare
from mdcsrn.inference.planning.head_region import head_region
from mdcsrn.kspace import DegradationSpec, degrade, resample_grid
from mdcsrn.kspace.intensity import percentile
from mdcsrn.metrics import hfen, power_error, power_ratio
from mdcsrn.networks import MDCSRN, save_weights
from mdcsrn.transforms import RandThickSlices

HOW = How(backend="eager")
FEW = ("2x2 (1,2,2)", "slab x4 (1,1,4), noise 0.02")


@pytest.fixture
def case(noisy_phantom: tuple[np.ndarray, float]) -> Case:
    return Case(torch.from_numpy(noisy_phantom[0]), SETTINGS["2x2 (2,2,1)"])


def shaken(network: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    for module in network.modules():  # made while tests were collected, from whatever state the draws had then
        if isinstance(module, torch.nn.Conv3d):
            module.reset_parameters()
    torch.nn.init.normal_(network.recon.weight, std=0.02)
    return network.eval()


@pytest.fixture
def methods(tmp_path: Path) -> list[Method]:
    ours = shaken(MDCSRN(1, 1, 2, space_to_depth=(2, 2, 2)))
    other = shaken(peers.SRCNN3D(2, 2))
    save_weights(tmp_path / "ours.pt", ours)
    save_weights(tmp_path / "other.pt", other)
    networks = [
        Method("ours", "Ours", "ours", FEW, tmp_path / "ours.pt", 12_000_000),
        Method("other", "Other", "peer", FEW[:1], tmp_path / "other.pt"),
    ]
    return [*(Method(m.name, m.title, m.family, FEW) for m in baseline_methods()), *networks]


def test_figures_are_those_of_the_package(case: Case) -> None:
    result = case.low + 0.01 * torch.randn(case.low.shape, generator=torch.Generator().manual_seed(0))
    scored = case.score(result)
    for row in compare(case.reference, {"": result}, case.spec, legacy=True):
        for name, value in row.values.items():
            assert scored[row.region][name] == pytest.approx(value, rel=1e-6), (row.region, name)
    for region, mask in case.regions.items():
        assert scored[region]["hfen"] == pytest.approx(hfen(result, case.reference, mask), rel=1e-5)
        assert scored[region]["power_error"] == power_error(result, case.reference, case.spec, mask)
    ratios = power_ratio(result, case.reference, case.spec)
    found = [scored["volume"][f"power_ratio_{shell:02d}"] for shell in range(len(ratios))]
    assert found == pytest.approx(ratios, nan_ok=True)


def test_a_case_is_the_training_pair(noisy_phantom: tuple[np.ndarray, float], case: Case) -> None:
    volume = torch.from_numpy(noisy_phantom[0])
    low = degrade(volume, case.spec)
    scale = percentile(low, 99.9)
    assert torch.allclose(case.low, low / scale)
    assert torch.allclose(case.reference, volume / scale)
    made = baselines(degrade(volume, DegradationSpec(reduction=(2, 2, 1), grid="acquired")), volume.shape)
    assert torch.allclose(baselines(case.acquired, volume.shape)["trilinear"], made["trilinear"] / scale, atol=1e-5)


def test_thick_slices_alias_and_get_no_consistency(noisy_phantom: tuple[np.ndarray, float], tmp_path: Path) -> None:
    volume = torch.from_numpy(noisy_phantom[0])
    thick = Case(volume, SETTINGS[THICK])
    slices = RandThickSlices((4, 4), (1, 1), "gaussian", axes=[2])
    simulated = slices(volume[None])[0]
    torch.testing.assert_close(thick.low, simulated / percentile(simulated, 99.9))
    assert thick.acquired.shape == (*volume.shape[:2], round(volume.shape[2] / 4))
    torch.testing.assert_close(resample_grid(thick.acquired, volume.shape), thick.low, atol=1e-5, rtol=0)
    save_weights(tmp_path / "ours.pt", shaken(MDCSRN(1, 1, 2, space_to_depth=(2, 2, 2))))
    ours = Method("ours", "Ours", "ours", (THICK,), tmp_path / "ours.pt")
    found = measure(ours, thick, HOW)["figures"]
    assert list(found) == [""]
    assert found[""] == thick.score(restore(ours.network, thick, HOW))


@pytest.mark.parametrize("network", [MDCSRN(1, 2, 4), MDCSRN(1, 1, 2, space_to_depth=(1, 2, 2)), peers.EDSR3D(1, 4)])
def test_every_network_works_inside_the_same_region(network: torch.nn.Module, case: Case) -> None:
    network = shaken(network)
    with torch.no_grad():
        whole = network(case.low[None, None])[0, 0]
    inside = head_region(case.low)
    assert 0 < float(inside.float().mean()) < 1
    expected = torch.where(inside, whole, case.low)
    assert float((restore(network, case, HOW) - expected).abs().max()) < 1e-4
    assert float((expected - case.low).abs().max()) > 1e-2


@pytest.mark.parametrize("network", [MDCSRN(1, 1, 2, space_to_depth=(2, 2, 2)), peers.SRCNN3D(2, 2)])
def test_flips_are_the_mean_of_eight_mirrored_runs(network: torch.nn.Module, case: Case) -> None:
    network = shaken(network)
    inside = head_region(case.low)
    runs = []
    for number in range(8):
        axes = [axis for axis in range(3) if number >> axis & 1]
        with torch.no_grad():
            runs.append(network(case.low.flip(axes)[None, None])[0, 0].flip(axes).numpy())
    expected = np.where(inside, np.mean(runs, axis=0), case.low)
    found = restore(network, case, HOW, flips=True).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(found - restore(network, case, HOW).numpy()).max() > 1e-3


def test_what_is_on_disk_is_not_measured_again(tiny_cohort: Path, methods: list[Method], tmp_path: Path) -> None:
    entries, said = load_datalist(tiny_cohort, "test")[:2], []
    first = list(judge(methods, entries, tmp_path / "figures", HOW, said.append))
    assert len(first) == len(said) == 2 * (2 * 7 + 1)
    assert list(judge(methods, entries, tmp_path / "figures", HOW, lambda line: pytest.fail(line))) == first
    removed = sorted((tmp_path / "figures").glob("*/*/ours-*.json"))[0]
    removed.unlink()
    again: list[str] = []
    assert [r["figures"] for r in judge(methods, entries, tmp_path / "figures", HOW, again.append)] == [
        r["figures"] for r in first
    ]
    assert len(again) == 1
    save_weights(methods[-1].weights, shaken(peers.SRCNN3D(3, 2)))
    fresh = Method("other", "Other", "peer", FEW[:1], methods[-1].weights)
    changed: list[str] = []
    list(judge([*methods[:-1], fresh], entries, tmp_path / "figures", HOW, changed.append))
    assert len(changed) == 2, "other weights under the same name are another method"


def test_consistency_of_a_noise_free_box_never_raises_the_error(
    tiny_cohort: Path, methods: list[Method], tmp_path: Path
) -> None:
    entries = load_datalist(tiny_cohort, "test")
    facts = {entry["subject"]: reference_facts(entry, tmp_path / "figures") for entry in entries}
    rows = make_rows(judge(methods, entries, tmp_path / "figures", HOW, lambda _: None), methods, facts)
    for setting, region in ((FEW[0], "volume"),):
        for name in ("ours", "other"):
            raw, bound = (
                select(rows, setting=setting, region=region, method=name, variant=variant)
                for variant in ("without consistency", "")
            )
            assert all(b["psnr"] >= r["psnr"] for r, b in zip(raw, bound, strict=True))
    study_says_what_the_rows_say(rows, facts, entries)
    tables_hold_it(rows, methods, facts, entries)


def study_says_what_the_rows_say(rows: list[dict[str, Any]], facts: dict[str, Any], entries: list) -> None:
    inside = select(rows, setting=FEW[0], region="head")
    psnr = {(row["title"], row["subject"]): row["psnr"] for row in inside}
    for row in inside:
        assert row["gain"] == pytest.approx(row["psnr"] - psnr["zero-filled", row["subject"]])
        mse = {
            name: 10 ** (-value / 10) for name, value in (("zero", row["psnr"] - row["gain"]), ("this", row["psnr"]))
        }
        floor = (facts[row["subject"]]["sigma"] / facts[row["subject"]]["range"]) ** 2 * (1 - 17 * 15 / 36 / 30)
        assert row["removed"] == pytest.approx((mse["zero"] - mse["this"]) / (mse["zero"] - floor), abs=1e-6)
    assert all("removed" not in row for row in select(rows, setting=FEW[1]))
    (test,) = signed_ranks(rows, FEW[0])
    others = {
        title: np.mean([v for (t, _), v in psnr.items() if t == title]) for title, _ in psnr if "Ours" not in title
    }
    best = max(others, key=lambda title: others[title])
    pairs = [(psnr["Ours", s], psnr[best, s]) for s in facts]
    assert (test["against"], test["n"], test["smallest_p"]) == (best, 3, 0.25)
    assert test["p"] == pytest.approx(wilcoxon(*zip(*pairs, strict=True)).pvalue)
    ours = select(inside, title="Ours")
    groups = {line["series"]: line for line in by_series(ours, entries, {"aa"})}
    assert [(name, line["seen"], line["n"]) for name, line in groups.items()] == [
        ("aa", True, 1), ("bb", False, 1), ("cc", False, 1), ("all seen", True, 1), ("all unseen", False, 2),
    ]  # fmt: skip
    assert groups["all unseen"]["gain"] == pytest.approx((groups["bb"]["gain"] + groups["cc"]["gain"]) / 2)
    lines, rank = against_snr(ours, facts)
    assert [line["snr"] for line in lines] == sorted(line["snr"] for line in lines)
    assert -1 <= rank <= 1


def tables_hold_it(rows: list[dict[str, Any]], methods: list[Method], facts: dict[str, Any], entries: list) -> None:
    text = markdown(rows, methods, facts, entries, {"aa"}, "Ours")
    for setting in FEW:
        assert f"### {setting}, head, n = 3" in text
        assert f"### {setting}, volume, n = 3" in text
    mean = np.mean([row["psnr"] for row in select(rows, setting=FEW[0], region="head", title="Ours")])
    assert f"| Ours | {mean:.2f} ±" in text
    assert "| all unseen | no | 2 |" in text
    assert ".9092" in text
    assert "no p below 0.25 is possible" in text
    assert "nan" not in text
    assert "inf" not in text.replace("inform", "")
    table = list(csv.DictReader(io.StringIO(per_subject(rows))))
    assert len(table) == len(rows) == 3 * 2 * (2 * (6 + 2) + 2)
    assert float(table[0]["psnr"]) == pytest.approx(rows[0]["psnr"], rel=1e-5)
    assert json.loads(json.dumps(facts)) == facts
    assert not any(cell in ("nan", "inf") for line in table for cell in line.values())
    assert all(math.isfinite(float(line["hfen"])) for line in table)
