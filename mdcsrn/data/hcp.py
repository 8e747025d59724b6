"""Human Connectome Project, young adults: paths of the T1w volumes, the published split, and download from S3.

The data need the user's own agreement: accept the terms at https://www.humanconnectome.org, make AWS keys there, and
put them where boto3 looks (environment, ``~/.aws/credentials``). Twins and siblings are many in this cohort; who has
the restricted table can keep families on one side by a subjects table with the family as `person`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdcsrn.errors import ConfigError, DataError, MissingDependencyError
from mdcsrn.files import atomic_path, read_text
from mdcsrn.optional import install_command

BUCKET = "hcp-openaccess"
PREFIX = "HCP_1200"
PREPROCESSED = "{id}/T1w/T1w_acpc_dc_restore.nii.gz"  # 260 x 311 x 260 at 0.7 mm
UNPROCESSED = "{id}/unprocessed/3T/T1w_MPR1/{id}_3T_T1w_MPR1.nii.gz"  # 256 x 320 x 320 at 0.7 mm
# 1,113 subjects with a T1w; a subset is split in the same proportions.
PUBLISHED_SPLIT = {"training": 780.0, "validation": 111.0, "evaluation": 111.0, "test": 111.0}
SUBJECT = re.compile(r"[0-9A-Za-z]+(_[0-9A-Za-z]+)*")
FOLDER_IS_SUBJECT = r"^([^/]+)/"


class MissingSubjectError(DataError):
    """The bucket has no such file: this subject has no T1w there, or does not exist."""


def subject_path(subject: str, unprocessed: bool = False) -> str:
    """Path of a subject's T1w, relative to the folder of all subjects (and to the bucket's prefix).

    Raises:
        ConfigError: the name cannot be a subject's.
    """
    if not SUBJECT.fullmatch(subject):
        raise ConfigError("not a subject of HCP", got=subject, allowed="a name such as 100206")
    return (UNPROCESSED if unprocessed else PREPROCESSED).format(id=subject)


def find_subjects(folder: Path, unprocessed: bool = False) -> list[Path]:
    """T1w volumes of the subjects in a folder; any subset, other content is ignored.

    Returns:
        Sorted paths below `folder`.

    Raises:
        DataError: no such folder, or no subject in it.
    """
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}", remedy="check the path, or fetch with --fetch --subjects ...")
    names = sorted(place.name for place in folder.iterdir() if SUBJECT.fullmatch(place.name))
    found = [path for path in (folder / subject_path(name, unprocessed) for name in names) if path.is_file()]
    if not found:
        pattern = (UNPROCESSED if unprocessed else PREPROCESSED).format(id="<id>")
        raise DataError(f"{folder} holds no subject of HCP", allowed=pattern, remedy="see --unprocessed and --fetch")
    return found


def connect() -> Any:
    """S3 client with boto3's ordinary chain of credentials (environment, profile, instance).

    Raises:
        MissingDependencyError: boto3 is not installed.
        ConfigError: no credentials are set up.
    """
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise MissingDependencyError("fetching HCP needs boto3", remedy=install_command("cluster")) from error
    try:
        session = boto3.session.Session()
        if session.get_credentials() is None:
            raise _no_credentials("none found")
        # The bucket is in Virginia; a region is asked for even so.
        return session.client("s3", region_name=session.region_name or "us-east-1")
    except BotoCoreError as error:
        raise _no_credentials(str(error)) from error


def fetch_subject(client: Any, folder: Path, subject: str, unprocessed: bool = False) -> tuple[Path, bool]:
    """Fetch one subject's T1w, unless the whole file is already there.

    Args:
        client: from :func:`connect`.
        folder: of all subjects; the file takes its place in HCP's own layout.
        subject: such as ``100206``.
        unprocessed: the scanner's own volume instead of the aligned one.

    Returns:
        The file, and whether it was fetched now.

    Raises:
        MissingSubjectError: not in the bucket.
        DataError: forbidden, unreachable, or what came is not what the bucket announced.
        ConfigError: no usable credentials.
        OutputError: cannot be written; nothing half is left.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    inside = subject_path(subject, unprocessed)
    target, key = folder / inside, f"{PREFIX}/{inside}"
    try:
        facts = client.head_object(Bucket=BUCKET, Key=key)
        size, tag = int(facts["ContentLength"]), str(facts["ETag"]).strip('"')
        if _is_whole(target, size, tag):
            return target, False
        with atomic_path(target) as temporary:
            client.download_file(BUCKET, key, str(temporary))
            if not _is_whole(temporary, size, tag):
                got = f"{temporary.stat().st_size} of {size} bytes"
                raise DataError(f"s3://{BUCKET}/{key} arrived damaged", got=got, remedy="run the same command again")
        return target, True
    except ClientError as error:
        raise _refused(error, key, subject) from error
    except (BotoCoreError, Boto3Error) as error:
        if "redential" in type(error).__name__:
            raise _no_credentials(str(error)) from error
        raise DataError(
            f"cannot fetch s3://{BUCKET}/{key}", got=str(error), remedy="run the same command again"
        ) from error


def read_subjects_file(path: Path) -> list[str]:
    """Subjects from a text file: one a line; empty lines and ``#`` comments are skipped.

    Raises:
        DataError: missing, not text, or empty.
    """
    try:
        lines = [line.split("#")[0].strip() for line in read_text(path).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list of subjects {path}", got=str(error)) from error
    subjects = [line for line in lines if line]
    if not subjects:
        raise DataError(f"the list of subjects {path} is empty")
    return subjects


def unique(subjects: Sequence[str]) -> list[str]:
    """Subjects without repetition, in order; each name is checked."""
    for subject in subjects:
        subject_path(subject)
    return list(dict.fromkeys(subjects))


def _is_whole(path: Path, size: int, tag: str) -> bool:
    """Same size, and the same MD5 where the bucket's tag is one (that of a multi-part upload is not)."""
    if not path.is_file() or path.stat().st_size != size:
        return False
    if not re.fullmatch(r"[0-9a-f]{32}", tag):
        return True
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == tag


def _refused(error: Any, key: str, subject: str) -> DataError | ConfigError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    where = f"s3://{BUCKET}/{key}"
    if code in ("404", "NoSuchKey", "NotFound"):
        return MissingSubjectError(f"subject {subject} has no T1w in the bucket: {where}", remedy="check its number")
    if code == "NoSuchBucket":
        return DataError(f"there is no bucket {BUCKET} at this endpoint", remedy="check AWS_ENDPOINT_URL")
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"):
        return _no_credentials(code)
    if code in ("403", "AccessDenied", "Forbidden"):
        return DataError(
            f"access to {where} is forbidden", got=code,
            remedy="accept the HCP open access terms, make AWS keys at ConnectomeDB and use those; "
            "S3 says the same of a subject that does not exist",
        )  # fmt: skip
    return DataError(f"S3 refused {where}", got=str(error))


def _no_credentials(got: str) -> ConfigError:
    return ConfigError(
        "no usable AWS credentials for HCP open access",
        got=got,
        remedy="make keys at https://db.humanconnectome.org and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        "or a profile in ~/.aws/credentials",
    )
