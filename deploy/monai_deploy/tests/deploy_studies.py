"""Images of a study: changed, cropped and written."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pydicom

APP = Path(__file__).resolve().parents[1] / "app"
SECRETS = ("Quuxington", "Zebediah", "PID-48151623", "19010203", "Doctor^Who", "ACC-777")


def secret(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """Put words into a header that must not spread."""
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = SECRETS[1] + "^" + SECRETS[0], *SECRETS[2:4]
    dataset.ReferringPhysicianName, dataset.AccessionNumber = SECRETS[4:6]
    dataset.SeriesDescription = f"Scan of {SECRETS[0]}"
    dataset.StudyDescription = f"Study of {SECRETS[1]}"
    block = dataset.private_block(0x0099, "QUUX", create=True)
    block.add_new(0x01, "LO", f"private {SECRETS[0]}")
    return dataset


def crop(images: list[pydicom.Dataset], rows: slice, columns: slice) -> list[pydicom.Dataset]:
    """Part of each image, where it lies: the position moves along."""
    made = []
    for image in images:
        ds = copy.deepcopy(image)
        plane = image.pixel_array[rows, columns]
        row, column = np.split(np.array(image.ImageOrientationPatient, dtype=float), 2)
        between_rows, between_columns = map(float, image.PixelSpacing)
        corner = np.array(image.ImagePositionPatient, dtype=float)
        corner = corner + row * columns.start * between_columns + column * rows.start * between_rows
        ds.ImagePositionPatient = [pydicom.valuerep.format_number_as_ds(float(v)) for v in corner]
        ds.Rows, ds.Columns = plane.shape
        ds.PixelData = np.ascontiguousarray(plane).tobytes()
        made.append(ds)
    return made


def write(images: list[pydicom.Dataset], folder: Path) -> Path:
    """Files whose names and order on the disk say nothing of the slices' order."""
    folder.mkdir(parents=True)
    for k in np.random.default_rng(0).permutation(len(images)):
        images[k].save_as(folder / f"IM{(k * 37) % 997:04d}_{k}", enforce_file_format=True)
    return folder
