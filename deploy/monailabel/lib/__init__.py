"""Offer models, read requests and run tasks of the MONAI Label app; all inference is mdcsrn's own."""
