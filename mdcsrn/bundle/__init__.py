"""List, check, package and export MONAI bundles."""
