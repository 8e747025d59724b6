"""Datalists: one human being on one side, the same split everywhere, and a named error for each broken list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.data import load_decathlon_datalist

from mdcsrn.data.datalist import (
    SECTIONS,
    SplitRule,
    build_datalist,
    datalist_sha256,
    find_images,
    load_datalist,
    write_datalist,
)
from mdcsrn.data.split import FRACTIONS, assign, read_subjects_table, subject_of
from mdcsrn.errors import ConfigError, DataError

SUBJECTS = [f"p{number:02d}" for number in range(20)]


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Twenty subjects, two scans each, in BIDS layout; empty files, since a datalist reads no voxel."""
    for subject in SUBJECTS:
        for session in ("1", "2"):
            path = tmp_path / "bids" / f"sub-{subject}" / f"ses-{session}" / "anat" / f"sub-{subject}_T1w.nii.gz"
            path.parent.mkdir(parents=True)
            path.touch()
    return tmp_path / "bids"


def build(folder: Path, **rule: Any) -> dict[str, Any]:
    return build_datalist(find_images(folder), folder, folder, SplitRule(**{"fractions": FRACTIONS, **rule}))[0]


def subjects(content: dict[str, Any], section: str) -> set[str]:
    return {entry["subject"] for entry in content[section]}


def test_both_scans_of_a_subject_stay_together(cohort: Path) -> None:
    content = build(cohort)
    parts = [subjects(content, section) for section in FRACTIONS]
    assert [len(part) for part in parts] == [16, 2, 2]
    assert set.union(*parts) == set(SUBJECTS)
    assert sum(len(content[section]) for section in FRACTIONS) == 40


def test_split_depends_on_seed_and_names_alone(cohort: Path) -> None:
    first = build(cohort)
    shuffled = build_datalist(find_images(cohort)[::-1], cohort, cohort, SplitRule(FRACTIONS))[0]
    assert first["sha256"] == shuffled["sha256"]
    assert all(subjects(first, key) == subjects(shuffled, key) for key in FRACTIONS)
    assert any(subjects(first, "test") != subjects(build(cohort, seed=seed), "test") for seed in (1, 2, 3))
    # Pinned: another machine, Python or release must give this very split.
    assert subjects(first, "test") == PINNED_TEST


PINNED_TEST = {"p04", "p19"}


@given(
    st.sets(st.text("abcdef0123456789", min_size=1), min_size=1, max_size=200),
    st.tuples(st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1)),
    st.integers(0, 1000),
)
def test_assign_gives_everyone_one_part_near_its_share(units: set[str], shares: tuple[float, ...], seed: int) -> None:
    fractions = dict(zip(FRACTIONS, shares, strict=True))
    parts = assign(sorted(units), fractions, seed)
    assert parts.keys() == units
    wanted = [name for name, share in fractions.items() if share > 0]
    for name, share in fractions.items():
        count = sum(part == name for part in parts.values())
        assert abs(count - len(units) * share / sum(shares)) < 1 + len(wanted)
        if share == 0 and name != "training":
            assert count <= 1  # at most a remainder
        if share > 0 and len(units) >= 3:
            assert count >= 1


@pytest.mark.parametrize("shares", [(0, 0.5, 0.5), (-0.1, 0.6, 0.5), (0, 0, 0), (float("inf"), 1, 1)])
def test_impossible_shares_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="fractions"):
        assign(["a", "b"], dict(zip(FRACTIONS, shares, strict=True)), 0)


@pytest.mark.parametrize(
    ("path", "regex", "subject"),
    [
        ("sub-07/ses-1/anat/sub-07_T1w.nii.gz", None, "07"),
        ("ds002748-01_T1w.nii.gz", None, "ds002748-01"),
        ("plain.nii", None, "plain"),
        ("site/100206_3T_T1w_MPR1.nii.gz", None, "100206"),
        ("IXI012-HH-1211-T1.nii.gz", r"IXI(\d+)", "012"),
        ("b/x9.nii", r"x\d", "x9"),
    ],
)
def test_subject_names(path: str, regex: str | None, subject: str) -> None:
    assert subject_of(Path(path), regex) == subject


def test_subject_expressions_that_fail_are_named() -> None:
    with pytest.raises(DataError, match="does not match a.nii"):
        subject_of(Path("a.nii"), r"sub(\d+)")
    with pytest.raises(ConfigError, match="invalid"):
        subject_of(Path("a.nii"), r"(")


def test_folder_search(tmp_path: Path) -> None:
    for name in ("b.nii", "a/c.NII.GZ", "a/.hidden.nii", ".cache/d.nii", "a/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == ["a/c.NII.GZ", "b.nii"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no NIfTI"):
        find_images(tmp_path / "empty")
    with pytest.raises(DataError, match="no such folder"):
        find_images(tmp_path / "absent")


def table(tmp_path: Path, text: str, suffix: str = "tsv") -> Any:
    (tmp_path / f"table.{suffix}").write_text(text)
    return read_subjects_table(tmp_path / f"table.{suffix}")


def test_a_table_fixes_the_split(cohort: Path, tmp_path: Path) -> None:
    rows = "participant_id,split\n" + "".join(f"sub-{s},{'train' if s < 'p10' else 'val'}\n" for s in SUBJECTS[:-1])
    content = build(cohort, table=table(tmp_path, rows, "csv"))
    assert subjects(content, "training") == set(SUBJECTS[:10])
    assert subjects(content, "validation") == set(SUBJECTS[10:-1])  # the last one has no row and is left out
    assert content["test"] == []
    assert "seed" not in content["split"]


def test_a_person_with_two_subject_names_stays_on_one_side(cohort: Path, tmp_path: Path) -> None:
    twins = table(tmp_path, "subject\tperson\n" + "".join(f"{s}\tman{int(s[1:]) // 2}\n" for s in SUBJECTS))
    content = build(cohort, table=twins)
    people = [{entry["person"] for entry in content[section]} for section in FRACTIONS]
    assert [len(part) for part in people] == [8, 1, 1]
    assert len(set.union(*people)) == 10


def test_a_table_that_splits_a_person_is_refused(cohort: Path, tmp_path: Path) -> None:
    rows = "subject\tperson\tsplit\np00\tanna\ttrain\np01\tanna\ttest\n"
    with pytest.raises(DataError, match="same person.*anna in training and in test"):
        build(cohort, table=table(tmp_path, rows))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names neither"),
        ("age\tsex\n3\tf\n", "names neither"),
        ("subject\tsplit\n", "no rows"),
        ("subject\tsplit\np00\ttrain\np00\ttest\n", "line 3.*contradicts"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        table(tmp_path, text)
    with pytest.raises(DataError, match="cannot read the subjects table"):
        read_subjects_table(tmp_path / "absent.tsv")


def test_the_index_of_real_scans_gives_its_own_split(shared_data: Path) -> None:
    rule = SplitRule(FRACTIONS, table=read_subjects_table(shared_data / "INDEX.tsv"))
    images = find_images(shared_data)
    content, left_out = build_datalist(images, shared_data, shared_data, rule)
    for section, folder in (("training", "train"), ("validation", "val"), ("test", "test")):
        expected = {path.relative_to(shared_data).as_posix() for path in find_images(shared_data / "t1w" / folder)}
        assert {entry["image"] for entry in content[section]} == expected
    assert {path.parts[-2] for path in left_out} == {"paired", "t2w", "thick"}
    # The same table serves a sub-folder.
    inner, _ = build_datalist(find_images(shared_data / "t1w"), shared_data / "t1w", shared_data, rule)
    assert inner["sha256"] == content["sha256"]


def test_load_is_what_monai_loads(cohort: Path) -> None:
    path = write_datalist(build(cohort), cohort / "datalist.json")
    ours = load_datalist(path, "training")
    theirs = load_decathlon_datalist(str(path), is_segmentation=False, data_list_key="training")
    assert [entry["image"] for entry in ours] == [entry["image"] for entry in theirs]
    assert all(Path(entry["image"]).is_absolute() for entry in ours)
    assert "/" not in json.loads(path.read_text())["training"][0]["image"][:1]


def test_images_elsewhere_and_a_base_folder(cohort: Path, tmp_path: Path) -> None:
    content, _ = build_datalist(find_images(cohort), cohort, tmp_path / "lists", SplitRule(FRACTIONS))
    away = write_datalist(content, tmp_path / "lists" / "d.json")  # images are not below it: absolute
    assert len(load_datalist(away, "test")) == 4
    moved = write_datalist(build(cohort), tmp_path / "lists" / "e.json")
    assert len(load_datalist(moved, "test", base_dir=cohort)) == 4
    with pytest.raises(DataError, match="no such image"):
        load_datalist(moved, "test")


def test_hash_names_the_split_not_the_place(cohort: Path, tmp_path: Path) -> None:
    content = build(cohort)
    assert content["sha256"] == datalist_sha256(content)
    elsewhere = {**content, "training": [{**e, "image": f"/mnt/{e['image']}"} for e in content["training"]][::-1]}
    assert datalist_sha256(elsewhere) == content["sha256"]
    other = {**content, "test": content["validation"], "validation": content["test"]}
    assert datalist_sha256(other) != content["sha256"]


def broken(change: str, cohort: Path) -> dict[str, Any]:
    content = build(cohort)
    first = content["training"][0]
    if change == "subject":
        del content["sha256"]
        content["test"].append(first)
    elif change == "person":
        del content["sha256"]
        first["person"] = content["test"][0]["person"] = "anna"
    elif change == "file":
        del content["sha256"]
        content["test"].append({**first, "subject": "someone else"})
    elif change == "hash":
        content["training"].append(content["validation"].pop())
        content["training"].append(content["validation"].pop())
    elif change == "empty":
        content["validation"] = []
    elif change == "no image":
        first.clear()
    elif change == "no list":
        content["training"] = {"image": "a.nii"}
    return content


@pytest.mark.parametrize(
    ("change", "section", "words"),
    [
        ("subject", "training", "same subject is in two parts"),
        ("person", "test", "same person is in two parts.*anna"),
        ("file", "training", "same image is in two parts"),
        ("hash", "training", "no longer the one"),
        ("empty", "validation", "'validation' of .*is empty"),
        ("", "evaluation", "no section 'evaluation'.*training, validation, test"),
        ("no image", "training", "names no image"),
        ("no list", "training", "is not a datalist"),
    ],
)
def test_broken_lists_are_refused_by_name(cohort: Path, change: str, section: str, words: str) -> None:
    path = write_datalist(broken(change, cohort), cohort / "list.json")
    with pytest.raises(DataError, match=words) as caught:
        load_datalist(path, section)
    assert "list.json" in str(caught.value)


def test_missing_and_broken_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such datalist"):
        load_datalist(tmp_path / "absent.json", "training")
    for text in ("{", "[]", "\ufffd" * 3, "[" * 100000):
        (tmp_path / "bad.json").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=r"bad\.json"):
            load_datalist(tmp_path / "bad.json", "training")


def test_missing_image_is_named(cohort: Path) -> None:
    path = write_datalist(build(cohort), cohort / "list.json")
    gone = Path(load_datalist(path, "test")[0]["image"])
    gone.unlink()
    with pytest.raises(DataError, match=gone.name):
        load_datalist(path, "test")
    assert load_datalist(path, "training")


def test_monai_style_list_without_subjects(tmp_path: Path) -> None:
    (tmp_path / "a_1.nii").touch()
    (tmp_path / "list.json").write_text(json.dumps({"training": [{"image": "a_1.nii"}], "test": ["a_1.nii"]}))
    with pytest.raises(DataError, match="same subject is in two parts.*a in training and in test"):
        load_datalist(tmp_path / "list.json", "training")
    (tmp_path / "list.json").write_text(json.dumps({"test": ["a_1.nii"]}))
    assert load_datalist(tmp_path / "list.json", "test") == [{"image": str(tmp_path / "a_1.nii"), "subject": "a"}]
    assert set(SECTIONS) >= {"training", "test"}
