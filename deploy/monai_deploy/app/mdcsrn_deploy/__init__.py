"""A MONAI Deploy app: from a DICOM study to a super-resolved MR series, by the functions behind ``mdcsrn predict``.

loader -> selector -> volume -> restoration -> writer: one operator a module. ``command`` is what a user starts,
``start`` what must happen before Holoscan is imported.
"""
