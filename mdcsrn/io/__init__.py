"""Read and write volumes with their geometry; errors of nibabel and SimpleITK are translated here."""

from mdcsrn.io.names import image_stem, is_nifti_name, is_standard_name, nifti_stem
from mdcsrn.io.nifti import read_header, read_volume, write_volume
from mdcsrn.io.volume import Header, Volume, check_affine, check_same_grid, voxel_spacing

__all__ = [
    "Header",
    "Volume",
    "check_affine",
    "check_same_grid",
    "image_stem",
    "is_nifti_name",
    "is_standard_name",
    "nifti_stem",
    "read_header",
    "read_volume",
    "voxel_spacing",
    "write_volume",
]
