"""``mdcsrn report --study`` on small files: page, table, masks, lists of every kind, and what cannot be used."""

from __future__ import annotations

import csv
import html
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mdcsrn.io.formats import read_image
from mdcsrn.report.study.brain import brain_mask
from mdcsrn.report.study.people import people_of
from mdcsrn.report.study.summary import COLUMNS

SHAPE = (10, 36, 32)
UPRIGHT = np.diag([1.0, 1.2, 1.4, 1.0])


@pytest.fixture
def people(make_phantom: Callable, save_image: Callable, tmp_path: Path) -> Path:
    """A datalist of two T1w and one T2w person, each with a mask in a folder of masks."""
    entries = []
    for number, (name, contrast) in enumerate((("a", "T1w"), ("b", "T1w"), ("c", "T2w"))):
        volume = make_phantom(SHAPE, number)
        save_image(volume, tmp_path / "scans" / f"sub-{name}_{contrast}.nii.gz", UPRIGHT)
        inside = np.zeros(SHAPE, np.uint8)
        inside[3:7, 10:24, 9:22] = 1
        save_image(inside, tmp_path / "masks" / f"sub-{name}_{contrast}_mask.nii.gz", UPRIGHT)
        entries.append({"image": f"scans/sub-{name}_{contrast}.nii.gz", "subject": name})
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"test": entries}))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))


def words(path: Path) -> str:
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", path.read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_page_and_table_of_a_study(mdcsrn: Callable, people: Path, small_model: Path, tmp_path: Path) -> None:
    page = tmp_path / "out" / "study.html"
    done = mdcsrn(
        "report", "--study", people, "-o", page, "--bundles", small_model, "--baselines", "nearest zero-filled",
        "--angles", "0 20", "--masks", tmp_path / "masks",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"wrote {page}" in done.output
    rows = rows_of(page.with_suffix(".tsv"))
    methods = {"bicubic", "nearest", "zero-filled", small_model.stem}
    assert {row["method"] for row in rows} == methods
    assert {(row["contrast"], row["subject"]) for row in rows} == {("T1w", "a"), ("T1w", "b"), ("T2w", "c")}
    assert {row["angle"] for row in rows} == {"0", "20"}
    text = words(page)
    for region in ("head", "brain"):
        for method in methods:
            means = [
                np.mean([
                    float(row["psnr"]) for row in rows
                    if (row["subject"], row["angle"], row["region"], row["method"]) == (subject, angle, region, method)
                ])
                for subject in "ab" for angle in ("0", "20")
            ]  # fmt: skip
            assert f"T1w, {region}: {method} {np.mean(means):.2f}" in text, "the page's means are those of the table"
    for phrase in ("Where methods cross bicubic", "T2w: absolute-difference maps", "T2w: histograms", "everywhere"):
        assert phrase in text
    assert str(tmp_path) not in page.read_text(), "no path of this machine"


def test_page_asks_no_network(mdcsrn: Callable, people: Path, small_model: Path) -> None:
    table = people.with_name("list_study.tsv")
    table.write_text("\t".join(COLUMNS) + "\n")  # of an earlier study: replaced
    done = mdcsrn("report", "--study", people, "--bundles", small_model, "--baselines", "bicubic",
                  "--degrade", "bicubic_x2_gaussian")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert {row["region"] for row in rows_of(table)} == {"head"}
    text = people.with_name("list_study.html").read_text()
    assert "bicubic ×2, then Gaussian" in text
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", text)
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "default-src 'none'" in html.unescape(text)
    assert "<script" not in text


@pytest.mark.parametrize("kind", ["index", "bids", "folder"])
def test_lists_of_every_kind(people: Path, tmp_path: Path, kind: str) -> None:
    root = tmp_path / "scans"
    if kind == "index":
        names = [f"sub-{name}.nii.gz" for name in ("a_T1w", "b_T1w", "c_T2w")]
        lines = [f"{n}\t{n[4]}\t{n[6:9]}\t{'train' if n[4] == 'b' else 'test'}" for n in names]
        (root / "INDEX.tsv").write_text("\n".join(["file\tsubject\tmodality\tsplit", *lines]) + "\n")
    if kind == "bids":
        (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.11.0"}')
        for scan in list(root.glob("*.nii.gz")):
            place = root / scan.name.split("_")[0] / "anat" / scan.name
            place.parent.mkdir(parents=True)
            scan.rename(place)
    if kind == "folder":
        (tmp_path / "masks" / "sub-a_T1w_mask.nii.gz").rename(root / "sub-a_T1w_brain_mask.nii.gz")
    found = people_of(root)
    everyone = [("T1w", "a"), ("T1w", "b"), ("T2w", "c")]
    wanted = [who for who in everyone if kind != "index" or who[1] != "b"]
    assert [(person.contrast, person.name.removeprefix("sub-")) for person in found] == wanted
    assert [person.mask is not None for person in found] == [kind == "folder", *[False] * (len(wanted) - 1)]


def test_a_person_scanned_twice_is_told_apart(people: Path, tmp_path: Path) -> None:
    image = tmp_path / "scans" / "sub-a_T1w.nii.gz"
    second = image.with_name("sub-a_run-2_T1w.nii.gz")
    second.write_bytes(image.read_bytes())
    write(people, {"test": [{"image": str(path), "subject": "a"} for path in (image, second)]})
    assert [person.name for person in people_of(people)] == ["sub-a_T1w", "sub-a_run-2_T1w"]


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "options", "code", "phrase"),
    [
        ({"test": []}, (), 3, "'test' of"),
        ({"training": []}, (), 3, "has no section 'test'"),
        (None, ("--bundles", "no_such"), 4, "no bundle no_such"),
        (None, ("--bundles", "edsr_x2 edsr_x2"), 4, "one name"),
        (None, ("--bundles", "wdsr_x4"), 4, "wdsr_x4 has a factor of its own, and another is asked for"),
        (None, ("--degrade", "bicubic_x2", "--bundles", "srgan_x3"), 4, "(1, 2, 2) | allowed: (1, 3, 3) or"),
        (None, ("--baselines", "sinc"), 4, "unknown baseline"),
        (None, ("--degrade", "bicubic_x1"), 4, "whole number"),
        (None, ("--degrade", "no_such"), 4, "no degradation file or preset named no_such"),
        (None, ("--angles", "ten"), 4, "angles are numbers"),
        (None, ("--masks", "nowhere"), 3, "no mask of sub-a_T1w.nii.gz"),
        (None, ("--bundle", "edsr_x2"), 2, "--bundle does not go with --study"),
    ],
)  # fmt: skip
def test_what_a_study_cannot_use_is_one_line(
    mdcsrn: Callable, people: Path, change: object, options: tuple[str, ...], code: int, phrase: str
) -> None:
    if change is not None:
        write(people, change)
    done = mdcsrn("report", "--study", people, *options)
    assert done.exit_code == code, done.output
    assert phrase in done.output
    assert "Traceback" not in done.output
    assert not people.with_name("list_study.html").exists()
    assert not people.with_name("list_study.tsv").exists()


def test_a_mask_of_another_shape_is_refused(
    mdcsrn: Callable, people: Path, save_image: Callable, tmp_path: Path
) -> None:
    save_image(np.ones((10, 30, 32), np.uint8), tmp_path / "masks" / "sub-a_T1w_mask.nii.gz", UPRIGHT)
    done = mdcsrn("report", "--study", people, "--masks", tmp_path / "masks")
    assert done.exit_code == 3, done.output
    assert "sub-a_T1w_mask.nii.gz" in done.output


def test_a_file_of_someone_else_is_kept(mdcsrn: Callable, people: Path) -> None:
    table = people.with_name("list_study.tsv")
    table.write_text("mine\n")
    done = mdcsrn("report", "--study", people)
    assert done.exit_code == 7, done.output
    assert table.read_text() == "mine\n"


def test_options_of_a_study_need_it(mdcsrn: Callable) -> None:
    done = mdcsrn("report", "a.nii.gz", "--bundles", "edsr_x2")
    assert done.exit_code == 2
    assert "--bundles belongs to a study" in done.output


HD_BET = """#!/bin/sh
# The options of version 2; the mask is written where that version writes it.
[ "$1" = -i ] && [ "$3" = -o ] || exit 2
case "$4" in *.nii.gz) ;; *) exit 2 ;; esac
case "$*" in
*"-device cpu --disable_tta --save_bet_mask --no_bet_image") ;;
*"-device cuda --save_bet_mask --no_bet_image") ;;
*) exit 2 ;; esac
BODY
"""


def stand_in(folder: Path, body: str) -> None:
    folder.mkdir()
    tool = folder / "hd-bet"
    tool.write_text(HD_BET.replace("BODY", body))
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)


def test_hd_bet_is_called_as_its_version_2_asks(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HD-BET is not here: a stand-in checks the words and answers with the scan as its own mask."""
    stand_in(tmp_path / "bin", 'cp "$2" "${4%.nii.gz}_bet.nii.gz"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    scan = read_image(people_of(people)[0].image)
    place = tmp_path / "place"
    place.mkdir()
    assert np.array_equal(brain_mask(scan, place).array, scan.array != 0)
    assert not list(place.iterdir()), "no file in between stays"


def test_hd_bet_that_fails_or_is_missing_is_one_line(
    mdcsrn: Callable, people: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = mdcsrn("report", "--study", people, "--masks", "hd-bet")
    assert missing.exit_code == 8, missing.output
    assert "pip install hd-bet" in missing.output
    stand_in(tmp_path / "bin", "echo 'out of memory' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    failed = mdcsrn("report", "--study", people, "--masks", "hd-bet", "--bundles", small_model)
    assert failed.exit_code == 3, failed.output
    assert "out of memory" in failed.output
