"""mdcsrn: 3D super-resolution of brain MRI as MONAI bundles."""

from mdcsrn import offline

__version__ = "0.1.0"

offline.install()
