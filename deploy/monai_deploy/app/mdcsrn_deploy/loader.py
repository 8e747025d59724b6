"""A folder of DICOM files to studies and series of the SDK, every stack of images a series of its own.

The SDK's loader keeps one image of those that share a position: of two echoes, or of magnitude and phase, it drops one
without a word, and of a series' time points all but one. It also stops at the first file that cannot be opened, and
holds all pixels of the study. This one reads headers alone, parts such series, and keeps what is wrong with one for the
selector.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment
from monai.deploy.core.domain.dicom_series import DICOMSeries
from monai.deploy.core.domain.dicom_study import DICOMStudy
from monai.deploy.operators import DICOMDataLoaderOperator
from pydicom import Dataset

from mdcsrn.errors import MdcsrnError
from mdcsrn.io.dicom import SeriesFiles, find_series
from mdcsrn.io.dicom.header import get, parse, quiet
from mdcsrn.io.dicom.source import read_bytes


class StackSeries(DICOMSeries):
    """One stack of MR images, found and not yet read.

    Attributes:
        files: where its images are; ``files.error`` says why it cannot be read.
    """

    def __init__(self, files: SeriesFiles, header: Dataset | None) -> None:
        uid = "" if header is None else str(header.get("SeriesInstanceUID") or "")
        super().__init__(uid)
        self.files = files
        if header is not None:
            self.add_sop_instance(header)

    def get_series_instance_uid(self) -> str:
        """Key within the study: the parts of a split series share their UID, and must not replace each other."""
        return f"{self.SeriesInstanceUID} {self.files.folder}/{self.files.name}"

    @property
    def header(self) -> Dataset | None:
        """Tags of the first file, without pixels; None where the series cannot be read."""
        instances = self.get_sop_instances()
        return instances[0].get_native_sop_instance() if instances else None


class StudyLoader(DICOMDataLoaderOperator):
    """Loads the MR series below a folder.

    Args:
        fragment: the application.
        input_folder: where it looks, unless the input port names another folder.
        name: of the operator.

    Named input:
        input_folder: optional, as in the SDK.
    Named output:
        dicom_study_list: list of DICOMStudy; their series are of the type :class:`StackSeries`.
    """

    def __init__(self, fragment: Fragment, *args: Any, input_folder: Path, name: str = "loader") -> None:
        super().__init__(fragment, *args, input_folder=input_folder, name=name)
        self._logger.setLevel(logging.WARNING)  # it tells of the optional port that nobody uses

    def load_data_to_studies(self, input_path: Path) -> list[DICOMStudy]:
        """Find the series.

        Args:
            input_path: folder, searched to its leaves; files of any name.

        Returns:
            The studies; series that cannot be read are in one without a UID.

        Raises:
            DataError: no MR image below the folder.
        """
        studies: dict[str, DICOMStudy] = {}
        for files in find_series(input_path):
            header = first_header(files)
            uid = "" if header is None else str(header.get("StudyInstanceUID") or "")
            studies.setdefault(uid, DICOMStudy(uid)).add_series(StackSeries(files, header))
        return list(studies.values())


def first_header(files: SeriesFiles) -> Dataset | None:
    """Tags of a series' first file, without pixels.

    Args:
        files: from :func:`mdcsrn.io.dicom.find_series`.

    Returns:
        None for a series that cannot be read.

    Raises:
        DataError: the file has changed since it was found.
    """
    if files.error is not None or not files.files:
        return None
    with quiet():
        for file, content in read_bytes(files.files[:1]):
            if isinstance(content, MdcsrnError):
                raise content
            header = parse(content, file, pixels=False)
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
                get(header, keyword, file)  # decoded here, where what pydicom raises becomes an error of ours
            return header
    return None
