"""Model the scan in k-space: Fourier transform, windows, degradation, measurement and consistency (torch alone)."""

from mdcsrn.kspace.band import AxisBand, detect_band, power_spectrum
from mdcsrn.kspace.consistency import DegradationOperator, certify, project
from mdcsrn.kspace.degradation import DegradationSpec, degrade, load_spec
from mdcsrn.kspace.fourier import (
    align_samples,
    decimate,
    fft,
    frequencies,
    grid_affine,
    ifft,
    resample_grid,
    resample_grid_adjoint,
)
from mdcsrn.kspace.lowpass import acquired_shape, low_pass, passband, window
from mdcsrn.kspace.measurement import SLICE_PROFILES, AxisMeasurement, Measurement, MeasurementCertificate
from mdcsrn.kspace.operator import Certificate, LinearOperator
from mdcsrn.kspace.windows import Window, WindowParameter, find_window, register_window, window_names

__all__ = [
    "SLICE_PROFILES",
    "AxisBand",
    "AxisMeasurement",
    "Certificate",
    "DegradationOperator",
    "DegradationSpec",
    "LinearOperator",
    "Measurement",
    "MeasurementCertificate",
    "Window",
    "WindowParameter",
    "acquired_shape",
    "align_samples",
    "certify",
    "decimate",
    "degrade",
    "detect_band",
    "fft",
    "find_window",
    "frequencies",
    "grid_affine",
    "ifft",
    "load_spec",
    "low_pass",
    "passband",
    "power_spectrum",
    "project",
    "register_window",
    "resample_grid",
    "resample_grid_adjoint",
    "window",
    "window_names",
]
