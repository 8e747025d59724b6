"""A selected series to voxels, read as ``mdcsrn predict`` reads it.

The SDK's operator takes the type of the whole volume from slice 0: where that slice holds whole numbers, the fractions
of all others are cut off, as with rescale slopes that differ from slice to slice. It also swaps the two pixel spacings
in its affine, inverts MONOCHROME1 and does not see missing slices.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from monai.deploy.core import Fragment, Operator
from monai.deploy.core.domain.dicom_series_selection import StudySelectedSeries
from monai.deploy.core.domain.image import Image
from monai.deploy.operators import DICOMSeriesToVolumeOperator
from numpy.typing import NDArray

from mdcsrn.errors import ConfigError
from mdcsrn.io.scan import Scan
from mdcsrn.io.sources import Case, load_case
from mdcsrn_deploy.loader import StackSeries

logger = logging.getLogger(__name__)


class ScanImage(Image):
    """An image of the SDK that knows its scan.

    Attributes:
        scan: voxels (column, row, slice), affine, facts and the DICOM headers.
    """

    def __init__(self, scan: Scan, metadata: dict[str, Any]) -> None:
        array: NDArray[np.float32] = scan.volume.array.T  # the SDK's order: slice, row, column
        super().__init__(array, metadata)
        self.scan = scan


class SeriesToVolume(DICOMSeriesToVolumeOperator):
    """Reads the voxels of the selected series.

    Named input:
        study_selected_series_list: one StudySelectedSeries with one :class:`mdcsrn_deploy.loader.StackSeries`.
    Named output:
        image: :class:`ScanImage`, float32, ``affine`` to RAS+ millimetres in its metadata.
    """

    def __init__(self, fragment: Fragment, *args: Any, name: str = "volume") -> None:
        self.input_name_series, self.output_name_image = "study_selected_series_list", "image"
        self.affine_lps_to_ras = True
        # Not the base's own, which puts another decoder of pixels before pydicom's, or warns that there is none.
        Operator.__init__(self, fragment, *args, name=name)

    def convert_to_image(self, study_selected_series_list: list[StudySelectedSeries]) -> ScanImage:
        """Read the voxels.

        Raises:
            GeometryError: missing slices, unequal spacing, varying orientation or size.
            DataError: damaged pixels, or more than one image at a position.
            ConfigError: the series comes from another loader.
        """
        selected = study_selected_series_list[0].selected_series[0]
        if not isinstance(selected.series, StackSeries):
            raise ConfigError(
                "this operator reads series that StudyLoader found",
                got=type(selected.series).__name__,
                remedy="put mdcsrn_deploy.loader.StudyLoader in the place of the SDK's loader",
            )
        files = selected.series.files
        scan = load_case(Case(files.name, "dicom", files.source, series=files, error=files.error))
        metadata = {
            "affine": scan.volume.affine,
            "spacing": scan.volume.spacing,
            **self.METADATA_SPACE_RAS,
            "selection_name": selected.selection_name,
        }
        selected.image = image = ScanImage(scan, metadata)
        assert scan.dicom is not None
        logger.info("%s read: %s", scan.name, scan.dicom.description)
        return image
