"""HCP: both layouts, the published split for any subset, and the fetch against moto's S3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdcsrn.data import hcp
from mdcsrn.data.datalist import SplitRule, build_datalist
from mdcsrn.data.split import assign
from mdcsrn.errors import ConfigError, DataError, OutputError

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto")
moto_core = pytest.importorskip("moto.core")

CONTENT = {"100206": b"first volume" * 100, "100307": b"second volume" * 100}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "absent"))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with moto.mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=hcp.BUCKET)
        for subject, content in CONTENT.items():
            for unprocessed in (False, True):
                key = f"{hcp.PREFIX}/{hcp.subject_path(subject, unprocessed)}"
                client.put_object(Bucket=hcp.BUCKET, Key=key, Body=content + bytes(unprocessed))
        yield client


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_paths_are_those_of_the_release() -> None:
    assert hcp.subject_path("100206") == "100206/T1w/T1w_acpc_dc_restore.nii.gz"
    assert hcp.subject_path("100206", True) == "100206/unprocessed/3T/T1w_MPR1/100206_3T_T1w_MPR1.nii.gz"
    for name in ("../etc", "", "1/2", "a b"):
        with pytest.raises(ConfigError, match="not a subject"):
            hcp.subject_path(name)


def test_the_published_split_and_its_proportions() -> None:
    whole = assign((str(number) for number in range(100000, 101113)), hcp.PUBLISHED_SPLIT, 0)
    assert [list(whole.values()).count(key) for key in hcp.PUBLISHED_SPLIT] == [780, 111, 111, 111]
    subset = assign((str(number) for number in range(100000, 100100)), hcp.PUBLISHED_SPLIT, 0)
    assert [list(subset.values()).count(key) for key in hcp.PUBLISHED_SPLIT] == [70, 10, 10, 10]


@pytest.mark.parametrize("unprocessed", [False, True])
def test_subjects_are_found_in_either_layout(tmp_path: Path, unprocessed: bool) -> None:
    for subject in ("100307", "100206", "162026_V1", "999999"):
        path = tmp_path / hcp.subject_path(subject, unprocessed if subject != "999999" else not unprocessed)
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "README.txt").touch()
    images = hcp.find_subjects(tmp_path, unprocessed)
    assert [path.relative_to(tmp_path).parts[0] for path in images] == ["100206", "100307", "162026_V1"]
    rule = SplitRule(hcp.PUBLISHED_SPLIT, 0, hcp.FOLDER_IS_SUBJECT)
    content, _ = build_datalist(images, tmp_path, tmp_path, rule)
    named = {entry["subject"] for key in hcp.PUBLISHED_SPLIT for entry in content[key]}
    assert named == {"100206", "100307", "162026_V1"}


def test_a_folder_without_subjects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no subject"):
        hcp.find_subjects(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        hcp.find_subjects(tmp_path / "absent")


def test_fetch_takes_what_is_missing_and_no_more(bucket: Any, tmp_path: Path) -> None:
    client = hcp.connect()
    for subject, content in CONTENT.items():
        path, fetched = hcp.fetch_subject(client, tmp_path / "hcp", subject)
        assert fetched
        assert path.read_bytes() == content
    assert set(files(tmp_path / "hcp")) == {hcp.subject_path(subject) for subject in CONTENT}
    path, fetched = hcp.fetch_subject(client, tmp_path / "hcp", "100206")
    assert not fetched
    # The same size, other bytes: an interrupted disk. The tag tells.
    path.write_bytes(b"x" * len(CONTENT["100206"]))
    assert hcp.fetch_subject(client, tmp_path / "hcp", "100206") == (path, True)
    assert path.read_bytes() == CONTENT["100206"]
    raw, _ = hcp.fetch_subject(client, tmp_path / "hcp", "100206", unprocessed=True)
    assert raw.read_bytes() == CONTENT["100206"] + b"\0"


def test_the_tag_of_a_large_upload_is_no_hash_of_the_file(bucket: Any, tmp_path: Path) -> None:
    key = f"{hcp.PREFIX}/{hcp.subject_path('100408')}"
    upload = bucket.create_multipart_upload(Bucket=hcp.BUCKET, Key=key)["UploadId"]
    parts = [b"a" * (5 << 20), b"b" * 1000]
    tags = [
        {"PartNumber": i, "ETag": bucket.upload_part(
            Bucket=hcp.BUCKET, Key=key, UploadId=upload, PartNumber=i, Body=part)["ETag"]}
        for i, part in enumerate(parts, start=1)
    ]  # fmt: skip
    bucket.complete_multipart_upload(Bucket=hcp.BUCKET, Key=key, UploadId=upload, MultipartUpload={"Parts": tags})
    path, fetched = hcp.fetch_subject(hcp.connect(), tmp_path, "100408")
    assert fetched
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(b"".join(parts)).digest()
    assert hcp.fetch_subject(hcp.connect(), tmp_path, "100408") == (path, False)


def test_a_missing_subject_is_named_and_leaves_nothing(bucket: Any, tmp_path: Path) -> None:
    with pytest.raises(hcp.MissingSubjectError, match="123456"):
        hcp.fetch_subject(hcp.connect(), tmp_path, "123456")
    assert files(tmp_path) == {}


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match="no usable AWS credentials.*AWS_ACCESS_KEY_ID"):
        hcp.connect()
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(ConfigError, match="no usable AWS credentials.*absent"):
        hcp.connect()


@moto_core.set_initial_no_auth_action_count(0)  # moto then checks who asks, as S3 does
def _fetch_as_a_stranger(folder: Path) -> None:
    hcp.fetch_subject(hcp.connect(), folder, "100206")


def test_a_forbidden_bucket_says_what_to_do(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iam = boto3.client("iam", region_name="us-east-1")
    iam.create_user(UserName="stranger")  # with keys, without any right
    key = iam.create_access_key(UserName="stranger")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    with pytest.raises(DataError, match="100206.*is forbidden.*accept the HCP open access terms"):
        _fetch_as_a_stranger(tmp_path)
    assert files(tmp_path) == {}


def test_keys_that_s3_does_not_know(bucket: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no usable AWS credentials.*InvalidAccessKeyId"):
        _fetch_as_a_stranger(tmp_path)
    assert files(tmp_path) == {}


def test_an_unreachable_endpoint(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # the discard port: nobody listens
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(DataError, match="cannot fetch s3://hcp-openaccess"):
        hcp.fetch_subject(hcp.connect(), tmp_path, "100206")


def test_an_unwritable_folder(bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        hcp.fetch_subject(hcp.connect(), tmp_path / "file", "100206")


def test_lists_of_subjects(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("100206\n\n# a comment\n100307  # twin\n")
    assert hcp.read_subjects_file(tmp_path / "list.txt") == ["100206", "100307"]
    assert hcp.unique(["1", "2", "1"]) == ["1", "2"]
    (tmp_path / "empty.txt").write_text("# nobody\n")
    for name in ("empty.txt", "absent.txt"):
        with pytest.raises(DataError, match=name):
            hcp.read_subjects_file(tmp_path / name)
