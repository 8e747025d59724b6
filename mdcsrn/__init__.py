"""mdcsrn: 3D super-resolution of brain MRI as MONAI bundles."""

__version__ = "0.1.0"
