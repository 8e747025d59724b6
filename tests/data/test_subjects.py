"""Who is on which scan: nobody gets two names, in the layouts of known studies and in homely ones, or it is refused."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcsrn.data.split import read_subjects_table
from mdcsrn.data.subjects import infer_subjects, name_subjects
from mdcsrn.errors import DataError

# A path of person p (1 to 60), visit v (1 to 3), contrast c, repeat r (1, 2). The person is p and nothing else.
LAYOUTS: dict[str, Callable[[int, int, str, int], str]] = {
    "bids": lambda p, v, c, r: f"sub-{p:02d}/ses-{v}/anat/sub-{p:02d}_ses-{v}_run-{r}_{c}w.nii.gz",
    "bids flat": lambda p, v, c, r: f"sub-P{p:02d}_ses-{v}_run-{r}_{c}w.nii.gz",
    "bids of several sites": lambda p, v, c, r: f"site{v}/sub-{p:02d}/anat/sub-{p:02d}_acq-{r}_{c}w.nii",
    "ixi": lambda p, v, c, r: f"IXI{p:03d}-{('Guys', 'HH', 'IOP')[p % 3]}-{1000 + p}-{c}.nii.gz",
    "ixi by contrast": lambda p, v, c, r: f"IXI-{c}/IXI{p:03d}-Guys-{1000 + p}-{c}.nii.gz",
    "adni": lambda p, v, c, r: (
        f"ADNI/{p:03d}_S_{4000 + p}/MPR__GradWarp/200{v}-05-0{r}_12_31_52.0/S{v}{p}/"
        f"ADNI_{p:03d}_S_{4000 + p}_MR_MPR__GradWarp_Br_200{v}050{r}123152_S{v}{p}_I{p}{v}{r}.nii"
    ),
    "adni flat": lambda p, v, c, r: f"ADNI_{p:03d}_S_{4000 + p}_MR_MT1__N3m_Br_2007_S1{v}_I{v}{r}.nii",
    "oasis 1": lambda p, v, c, r: f"disc{p % 3}/OAS1_{p:04d}_MR{v}/RAW/OAS1_{p:04d}_MR{v}_mpr-{r}_anon.nii.gz",
    "oasis 3": lambda p, v, c, r: f"OAS3{p:04d}_MR_d{v:04d}/anat{r}/sub-OAS3{p:04d}_ses-d{v:04d}_{c}w.nii.gz",
    "brats 2018": lambda p, v, c, r: (
        f"HGG/Brats18_TCIA0{p % 9}_{p}_{v}/Brats18_TCIA0{p % 9}_{p}_{v}_{c.lower()}.nii.gz"
    ),
    "brats 2020": lambda p, v, c, r: f"BraTS20_Training_{p:03d}/BraTS20_Training_{p:03d}_{c.lower()}.nii.gz",
    "brats 2023": lambda p, v, c, r: f"BraTS-GLI-{p:05d}-{v:03d}/BraTS-GLI-{p:05d}-{v:03d}-{c.lower()}n.nii.gz",
    "hcp flat": lambda p, v, c, r: f"{100300 + p}_3T_{c}w_MPR{r}.nii.gz",
    "hcp": lambda p, v, c, r: f"{100300 + p}/unprocessed/3T/{c}w_MPR{r}/{100300 + p}_3T_{c}w_MPR{r}.nii.gz",
    "hcp processed": lambda p, v, c, r: f"{100300 + p}/T1w/{c}w_acpc_dc_restore.nii.gz",
    "hcp twice": lambda p, v, c, r: f"{('test', 'retest')[r - 1]}/{100300 + p}/T1w/{c}w_acpc_dc_restore.nii.gz",
    "hcp aging": lambda p, v, c, r: f"HCA{6000000 + p}_V{v}_MR/{c}w_MPR{r}.nii.gz",
    "nnunet": lambda p, v, c, r: f"imagesTr/prostate_{p:02d}_000{r - 1}.nii.gz",
    "decathlon": lambda p, v, c, r: f"images{'Tr' if p % 2 else 'Ts'}/BRATS_{p:03d}.nii.gz",
    "uk biobank": lambda p, v, c, r: f"{1000000 + p}_20252_{v}_0/T1/T1_orig_{r}.nii.gz",
    "ppmi": lambda p, v, c, r: f"PPMI_{3000 + p}_MR_Axial_{c}_2011{v}_S{v}{p}_I{r}{p}.nii",
    "openneuro": lambda p, v, c, r: f"ds00274{v}-{p:02d}_{c}w.nii.gz" if v == 1 else f"ds002741-{p:02d}_{c}w_{v}.nii",
    "folders": lambda p, v, c, r: f"patient{p:02d}/{c}.nii.gz",
    "folders in groups": lambda p, v, c, r: f"{'controls' if p % 2 else 'patients'}/subj_{p}/{c}_{r}.nii.gz",
    "coded folders": lambda p, v, c, r: f"P{p:02d}/{c}_odd_name_{r}.nii.gz",
    "numbered folders": lambda p, v, c, r: f"{p:03d}/scan{r}/{c}.nii.gz",
    "folders with dates": lambda p, v, c, r: f"P{p:02d}/201{v}-03-1{r}/{c}.nii.gz",
    "dates before folders": lambda p, v, c, r: f"201{v}031{r}/P{p:02d}/{c}.nii.gz",
    "folders named with dates": lambda p, v, c, r: f"A{p:03d}_201{v}031{r}/mprage.nii.gz",
    "visits in folders": lambda p, v, c, r: f"visit{v}/P{p:02d}/{c}_run{r}.nii.gz",
    "visits in names": lambda p, v, c, r: f"P{p:02d}_v{v}_{c}.nii.gz",
    "letters behind": lambda p, v, c, r: f"P{p:02d}{'_' if r else ''}{'AB'[r - 1]}_{c}.nii.gz",
    "repeats behind": lambda p, v, c, r: f"P{p:02d}-{r}_{c}.nii.gz",
    "sides": lambda p, v, c, r: f"P{p:02d}_{('left', 'right')[r - 1]}_{c}.nii.gz",
    "scanner before": lambda p, v, c, r: f"{('GE', 'Philips', 'Siemens')[v - 1]}_P{p:02d}_{c}.nii.gz",
    "site before": lambda p, v, c, r: f"site{v}_{p:03d}_{c}_{r}.nii.gz",
    "field strength": lambda p, v, c, r: f"P{p:02d}_{('1.5T', '3T', '7T')[v - 1]}_{c}_{r}.nii.gz",
    "sections": lambda p, v, c, r: f"{('train', 'val', 'test')[v - 1]}/P{p:02d}_{c}.nii.gz",
    "names of people": lambda p, v, c, r: f"{chr(97 + p % 26)}x{chr(97 + p // 26)}/{c}.nii.gz",
    "exams below": lambda p, v, c, r: f"P{p:02d}_E{p:03d}{v}{r}_{c}.nii.gz",
    "visits written onto names": lambda p, v, c, r: f"P{p:02d}{('V', 'ses', 'T')[v - 1]}{r}/{c}.nii.gz",
    "contrasts written onto names": lambda p, v, c, r: f"P{p:02d}{('FLAIR', c, c + 'w')[v - 1]}.nii.gz",
    "visits written onto numbers": lambda p, v, c, r: f"patient{p:02d}v{v}/patient{p}ses{v}_{c}.nii.gz",
    "contrasts with digits": lambda p, v, c, r: f"P{p:02d}/{('3DT1', 'T1MPRAGE', 'mprage2', 'sagT2')[v + r - 2]}.nii",
    "patients and controls": lambda p, v, c, r: f"{('PD', 'HC')[p % 2]}{p:02d}_{c}.nii.gz",
    "adni in one word": lambda p, v, c, r: f"ADNI{p:03d}S{4000 + p}_M{6 * v:02d}_{c}.nii.gz",
    "ixi and oasis in small letters": lambda p, v, c, r: (
        f"ixi{p:03d}-guys-{1000 + p}-{c.lower()}.nii" if p % 2 else f"oas1_{p:04d}_mr{v}_mpr-{r}_anon.nii"
    ),
    "tcga": lambda p, v, c, r: f"TCGA-{('02', '06', 'HT')[p % 3]}-{7000 + p}_200{v}.01.0{r}_{c.lower()}.nii.gz",
    "upenn": lambda p, v, c, r: f"UPENN-GBM-{p:05d}_{v}1/UPENN-GBM-{p:05d}_{v}1_{c}.nii.gz",
    "other scripts": lambda p, v, c, r: f"{'王李张刘陈'[p % 5]}{'伟芳娜敏静强磊军洋勇艳杰'[p // 5]}/{c}.nii.gz",
    "accents": lambda p, v, c, r: unicodedata.normalize(
        ("NFC", "NFD")[r - 1], f"{'äéîøŭ'[p % 5]}n{'àèìòùáéíóúýñ'[p // 5]}/{c}.nii.gz"
    ),
    # These do not say who is who: a refusal is right, another name for one person is not.
    "unknown words before": lambda p, v, c, r: f"{('Xanadu', 'Utopia', 'Eden')[v - 1]}_P{p:02d}_{c}.nii.gz",
    "unknown folders before": lambda p, v, c, r: f"{('x1', 'y2', 'z3')[v - 1]}/P{p:02d}_{c}.nii.gz",
    "unknown folders of folders": lambda p, v, c, r: f"{('x1', 'y2', 'z3')[v - 1]}/P{p:02d}/{c}.nii.gz",
    "short dates before": lambda p, v, c, r: f"19013{v}/P{p:02d}/{c}.nii.gz",
    "visits of few letters before": lambda p, v, c, r: f"v{v}/P{p:02d}_{c}.nii.gz",
    "running numbers before": lambda p, v, c, r: f"{p * 10 + v:04d}_A{p:02d}_{c}.nii.gz",
    "letters onto names": lambda p, v, c, r: f"P{p:02d}{'abc'[v - 1]}/{c}.nii.gz",
    "months onto names": lambda p, v, c, r: f"P{p:02d}M{6 * v:02d}_{c}.nii.gz",
    "counts behind dots": lambda p, v, c, r: f"P{p:02d}.{v}/{c}.nii.gz",
    "people behind scanners": lambda p, v, c, r: f"B{v}_{'abcdefghij'[p % 10]}{'klmnopqrst'[p // 10]}m_{c}.nii.gz",
}
REFUSED = [*LAYOUTS][[*LAYOUTS].index("unknown words before") :]

cohort = st.sets(
    st.tuples(st.integers(1, 59), st.integers(1, 3), st.sampled_from(["T1", "T2"]), st.integers(1, 2)),
    min_size=1, max_size=40,
)  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@given(files=cohort)
def test_no_person_has_two_names(layout: str, files: set[tuple[int, int, str, int]]) -> None:
    people: dict[Path, int] = {Path(LAYOUTS[layout](*file)): file[0] for file in files}
    try:
        named = infer_subjects(list(people))
    except DataError as error:
        assert "--subject-pattern" in str(error)
        return
    assert set(named.names) == set(people)
    names: dict[int, set[str]] = {}
    for path, person in people.items():
        names.setdefault(person, set()).add(named.names[path])
    assert max(map(len, names.values())) == 1


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in REFUSED])
def test_a_whole_cohort_of_a_known_layout_is_told_apart(layout: str) -> None:
    files = [(p, v, c, r) for p in range(1, 21) for v in (1, 2, 3) for c in ("T1", "T2") for r in (1, 2)]
    named = infer_subjects([Path(name) for name in sorted({LAYOUTS[layout](*file) for file in files})])
    assert len(set(named.names.values())) == 20
    assert len(named.examples()) == 3


@pytest.mark.parametrize("layout", REFUSED)
def test_what_leaves_a_doubt_is_refused(layout: str) -> None:
    files = [(p, v, c, 1) for p in range(1, 21) for v in (1, 2, 3) for c in ("T1", "T2")]
    with pytest.raises(DataError, match=r"do not say who is who.*--subject-pattern.*--subjects-table"):
        infer_subjects([Path(name) for name in sorted({LAYOUTS[layout](*file) for file in files})])


@pytest.mark.parametrize(
    "names",
    [
        ["T1.nii", "T2.nii"],
        ["scan1.nii", "scan2.nii", "scan3.nii"],
        ["2019-01-01/T1.nii", "2019-02-01/T1.nii"],
        ["sub-01/sub-02_T1w.nii"],
        ["patient1/patient2_T1.nii", "patient3/patient3_T1.nii"],
        ["P01/sub-01_T1w.nii", "P01/other_T1.nii", "P02/T1.nii"],
        ["one/ann_T1.nii", "one/bob_T1.nii", "two/ann_T1.nii", "two/bob_T1.nii"],
        ["prisma1x/ann.nii", "prisma1x/bob.nii", "trio2x/ann.nii", "trio2x/bob.nii", "trio2x/cid.nii"],
        ["01_ann_T1.nii", "02_ann_T2.nii", "03_bob_T1.nii", "04_bob_T2.nii"],
        ["P01_T1.nii", "P02_T1.nii", "T1.nii"],
        ["Xanadu_P01_T1.nii", "Utopia_P01_T1.nii"],
        ["x1/P01_T1.nii", "y2/P01_T1.nii", "z3/P01_T1.nii"],
        ["P01_E11_T1.nii", "P01_E12_T1.nii", "P01_E13_T1.nii"],
        ["sub1.nii", "msub1.nii", "sub2.nii", "msub2.nii"],
        ["P01.nii", "wP01.nii", "P02.nii", "wP02.nii"],
        ["c1sub1.nii", "msub1.nii", "c1sub2.nii", "msub2.nii"],
        ["sub-01_T1w.nii", "sub01_T2.nii", "sub-02_T1w.nii"],
        ["sub-P01_T1w.nii", "P01_T2.nii", "P02_T1.nii"],
        ["sub01_T1.nii", "01_T2.nii", "sub02_T1.nii"],
    ],
)
def test_doubtful_names_are_refused(names: list[str]) -> None:
    with pytest.raises(DataError, match="who is who"):
        infer_subjects([Path(name) for name in names])


def named(names: Sequence[str], **how: object) -> dict[str, str]:
    folder = Path("/scans")
    found = name_subjects([folder / name for name in names], folder, **how)  # type: ignore[arg-type]
    return {path.relative_to(folder).as_posix(): name for path, name in found.names.items()}


def test_names_are_spelt_as_in_the_paths() -> None:
    assert named(["BRATS_001.nii", "BRATS_002.nii"]) == {"BRATS_001.nii": "001", "BRATS_002.nii": "002"}
    assert named(["Patient_07/a.nii", "patient7/b.nii"]) == {
        "Patient_07/a.nii": "Patient_07",
        "patient7/b.nii": "Patient_07",
    }
    assert set(named(["subject1_T1.nii", "subj01_T2.nii", "sub1_T3.nii"]).values()) == {"sub1"}
    assert named(["sub-A1_T1w.nii"]) == {"sub-A1_T1w.nii": "A1"}


def test_a_refusal_shows_two_names_with_the_word_that_they_share() -> None:
    scans = [f"P{person}/{name}.nii" for person in ("01", "02") for name in ("T1", "a_map", "B07")]
    with pytest.raises(DataError, match=r"P01/B07.nii and P02/B07.nii: one person, or two"):
        infer_subjects([Path(scan) for scan in scans])


def test_an_expression_or_a_table_says_what_names_do_not(tmp_path: Path) -> None:
    doubtful = ["x1/P01_T1.nii", "y2/P01_T1.nii", "y2/P02_T1.nii"]
    assert set(named(doubtful, regex=r"(P\d+)").values()) == {"P01", "P02"}
    (tmp_path / "t.tsv").write_text("subject\tperson\nP01\tann\nP02\tbob\n")
    assert set(named(doubtful, table=read_subjects_table(tmp_path / "t.tsv")).values()) == {"P01", "P02"}
    (tmp_path / "f.csv").write_text("file,person\nx1/P01_T1.nii,ann\ny2/P01_T1.nii,ann\ny2/P02_T1.nii,bob\n")
    assert [*named(doubtful, table=read_subjects_table(tmp_path / "f.csv")).values()] == ["ann", "ann", "bob"]
    (tmp_path / "two.tsv").write_text("subject\tperson\nx1\tann\nP01\tbob\n")
    with pytest.raises(DataError, match=r"names two subjects of .*two.tsv.*P01 and x1"):
        named(doubtful, table=read_subjects_table(tmp_path / "two.tsv"))
