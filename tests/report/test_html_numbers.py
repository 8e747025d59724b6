"""Previews and curves of a page against NumPy, nibabel, scikit-image and the project's own metrics."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nibabel.eulerangles import euler2mat
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mdcsrn.errors import ConfigError, GeometryError
from mdcsrn.io import Volume
from mdcsrn.kspace import DegradationSpec, degrade, grid_affine
from mdcsrn.metrics import data_range, head_mask, nrmse, psnr, ssim
from mdcsrn.report.analysis import (
    central_planes,
    fidelity,
    head_of,
    histogram,
    outside_band,
    slice_energy,
    slice_means,
)
from mdcsrn.report.evaluation import acquired_of, page_of_evaluation, shorten, study_of
from mdcsrn.report.html import render
from mdcsrn.report.page import Page
from mdcsrn.report.preview import Layer, Preview, filtered, make_preview, packed
from mdcsrn.report.rotation import in_plane, rotate_in_plane, study


def decoded(preview: Preview) -> dict[str, nib.Nifti1Image]:
    """What the page's script makes of each layer, by NumPy and nibabel: running sums, then the file."""

    def codes(layer: Layer) -> np.ndarray:
        values = np.frombuffer(gzip.decompress(layer.data), np.uint8).reshape(layer.shape, order="F")
        for axis in range(3) if layer.filtered else ():
            values = values.cumsum(axis=axis, dtype=np.uint8)
        return values

    first = codes(preview.layers[0])
    images = {}
    for layer in preview.layers:
        values = codes(layer) + first if layer.relative else codes(layer)
        images[layer.name] = nib.Nifti1Image.from_bytes(layer.header + values.tobytes("F"))
    return images


def world_centre(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Intensity-weighted mean position, millimetres."""
    grid = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij")).reshape(3, -1)
    voxel = (grid * array.ravel()).sum(axis=1) / array.sum()
    return affine[:3, :3] @ voxel + affine[:3, 3]


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(*[st.integers(1, 7)] * 3)))
def test_running_sums_undo_the_filter(codes: np.ndarray) -> None:
    back = filtered(codes)
    for axis in range(3):
        back = back.cumsum(axis=axis, dtype=np.uint8)
    assert np.array_equal(back, codes)
    assert np.array_equal(np.frombuffer(gzip.decompress(packed(codes)), np.uint8), codes.ravel(order="F"))


def test_previews_are_the_volumes_to_half_a_grey_level(page: Page) -> None:
    affine = np.eye(4)
    affine[:3, :3] = euler2mat(0.2, 0.1, -0.3) @ np.diag([-1.0, 1.2, 1.4])
    affine[:3, 3] = (12, -30, 8)
    mask, peak = head_of(page.after)
    volumes = {"before": page.before, "after": page.after}
    preview = make_preview(volumes, dict(page.maps), affine, mask, peak, 10**9)
    images = decoded(preview)
    assert preview.notes == ()
    assert [layer.kind for layer in preview.layers] == ["volume", "volume", "map"]
    for name, array in volumes.items():
        cropped = array[preview.box]
        shown = images[name].get_fdata()
        assert images[name].header.get_zooms() == pytest.approx((1.0, 1.2, 1.4))
        assert np.abs(shown - np.clip(cropped, 0, peak)).max() <= 0.501 * peak / 255
        corner = affine[:3, :3] @ [part.start for part in preview.box] + affine[:3, 3]
        assert images[name].affine[:3, 3] == pytest.approx(corner, abs=1e-4)
        assert np.linalg.norm(images[name].affine[:3, :3] - affine[:3, :3]) < 1e-5
    outside = mask.copy()
    outside[preview.box] = False
    assert outside.sum() < 0.001 * mask.sum(), "the whole head is in the field"
    invention = page.maps["invention"]
    small = images["invention"]
    assert small.shape == tuple(n // 2 for n in images["after"].shape)
    there = world_centre(np.clip(invention[preview.box], 0, None), images["after"].affine)
    assert world_centre(small.get_fdata(), small.affine) == pytest.approx(there, abs=0.15)


def test_smaller_previews_stay_in_place(page: Page) -> None:
    affine = np.diag([1.0, 1.2, 1.4, 1.0])
    mask, peak = head_of(page.after)
    whole = make_preview({"a": page.after}, {}, affine, mask, peak, 10**9)
    small = make_preview({"a": page.after}, {}, affine, mask, peak, whole.size // 4)
    assert small.size <= whole.size // 4
    assert len(small.notes) == 2
    big, little = decoded(whole)["a"], decoded(small)["a"]
    assert max(little.shape) < max(big.shape)
    near = np.clip(page.after, 0, peak)[whole.box]
    assert world_centre(little.get_fdata(), little.affine) == pytest.approx(world_centre(near, big.affine), abs=0.15)
    field = [np.array(image.shape) * image.header.get_zooms() for image in (big, little)]
    assert field[0] == pytest.approx(field[1], rel=1e-5)


def test_noise_in_the_air_is_no_head(make_head: Callable[..., np.ndarray]) -> None:
    volume = np.pad(make_head((32, 36, 30)), 20)
    volume += 12 * np.random.default_rng(0).standard_normal(volume.shape).astype(np.float32)
    mask, peak = head_of(volume)
    assert mask[:10].any(), "specks"
    preview = make_preview({"a": volume}, {}, np.eye(4), mask, peak, 10**9)
    assert all(part.start > 5 for part in preview.box)


def test_central_planes_are_those_of_the_whole_transform(page: Page) -> None:
    whole = np.abs(np.fft.fftshift(np.fft.fftn(page.after.astype(np.float64))))
    for axis, plane in enumerate(central_planes(page.after)):
        n = page.after.shape[axis]
        expected = whole.take(n // 2, axis)
        assert 10 ** plane.astype(np.float64) == pytest.approx(expected / np.sqrt(plane.size), rel=1e-4)


def test_detail_outside_the_band(page: Page, phantom: np.ndarray) -> None:
    assert page.shares is not None
    assert np.abs(outside_band(page.before, page.shares)).max() < 1e-3 * np.abs(page.before).max()
    part = outside_band(phantom, page.shares)
    spectrum = np.fft.fftn(phantom.astype(np.float64))
    for axis, half in ((1, 15), (2, 11)):
        k = np.abs(np.fft.fftfreq(phantom.shape[axis], 1 / phantom.shape[axis]))
        view = [1, 1, 1]
        view[axis] = len(k)
        spectrum *= (k < half).reshape(view)
    assert np.abs(part - (phantom - np.fft.ifftn(spectrum).real)).max() < 1e-4 * np.abs(part).max()


def test_slice_curves(page: Page, phantom: np.ndarray) -> None:
    mask, _ = head_of(phantom)
    means = slice_means({"a": phantom}).curves["a"]
    assert means[1] == pytest.approx(phantom.mean(axis=(0, 2)), rel=1e-5)
    energy = slice_energy({"a": phantom}, mask).curves["a"][2]
    for index in (10, 22):
        inside = phantom[:, :, index][mask[:, :, index]].astype(np.float64)
        assert energy[index] == pytest.approx(np.sqrt((inside**2).mean()), rel=1e-5)
    assert np.isnan(energy[0]), "no head there"


def test_fidelity_is_that_of_the_metrics_and_of_scikit_image(page: Page, phantom: np.ndarray) -> None:
    truth, candidate = torch.from_numpy(phantom), torch.from_numpy(page.after)
    mask, peak = head_of(phantom)
    assert peak == data_range(truth)
    assert np.array_equal(mask, head_mask(truth).numpy())
    found = fidelity(phantom, page.after, peak, {"head": mask, "all": np.ones_like(mask)})
    inside = torch.from_numpy(mask)
    assert found["head"].psnr == psnr(candidate, truth, peak, inside)
    assert found["head"].ssim == pytest.approx(ssim(candidate, truth, peak, inside), rel=1e-6)
    assert found["head"].nrmse == nrmse(candidate, truth, peak, inside)
    assert found["all"].psnr == pytest.approx(
        peak_signal_noise_ratio(phantom.astype(float), page.after.astype(float), data_range=peak), rel=1e-5
    )
    _, full = structural_similarity(
        phantom.astype(float), page.after.astype(float), data_range=peak, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    assert found["all"].slice_ssim[1] == pytest.approx(full.mean(axis=(0, 2)), abs=1e-5)
    error = ((page.after - phantom) / peak).astype(np.float64) ** 2
    assert found["all"].slice_psnr[0] == pytest.approx(-10 * np.log10(error.mean(axis=(1, 2))), rel=1e-4)


def test_histogram_counts_every_voxel() -> None:
    values = np.array([-9.0, -0.1, 0.0, 0.1, 5.0], np.float32)
    centres, shares = histogram(values, 1.0)
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == shares[-1] == pytest.approx(0.2)
    assert centres[len(centres) // 2] == pytest.approx(0, abs=1e-12)


def test_a_quarter_turn_is_exact(phantom: np.ndarray) -> None:
    cube = np.ascontiguousarray(phantom[:44, :44, :44])
    turned = rotate_in_plane(cube, 90, (1, 2), (1.0, 1.0, 1.0))
    assert np.abs(turned - np.rot90(cube, 1, axes=(1, 2)))[:, 1:-1, 1:-1].max() < 1e-3 * cube.max()
    assert np.array_equal(rotate_in_plane(cube, 360, (1, 2), (1.0, 1.0, 1.0)), cube)


@settings(max_examples=25, deadline=None)
@given(st.floats(-180, 180), st.sampled_from([(0, 1), (0, 2), (1, 2)]), st.floats(0.6, 2.0))
def test_a_turn_moves_landmarks_in_millimetres(degrees: float, plane: tuple[int, int], edge: float) -> None:
    spacing = np.array([1.0, edge, 1.3])
    shape = np.array([41, 37, 39])
    middle = (shape - 1) / 2 * spacing
    grid = np.stack(np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"))
    offset = np.array([3.0, -4.0, 5.0])

    def blob(where: np.ndarray) -> np.ndarray:
        return np.exp(-(((grid - (middle + where)[:, None, None, None]) / 3.0) ** 2).sum(axis=0)).astype(np.float32)

    angle = np.deg2rad(degrees)
    first, second = plane
    expected = offset.copy()
    expected[first] = np.cos(angle) * offset[first] - np.sin(angle) * offset[second]
    expected[second] = np.sin(angle) * offset[first] + np.cos(angle) * offset[second]
    turned = rotate_in_plane(blob(offset), degrees, plane, spacing)
    assert np.abs(turned - blob(expected)).max() < 0.02


def test_study_over_angles(phantom: np.ndarray) -> None:
    volume = Volume(phantom, np.diag([1.0, 1.2, 1.4, 1.0]))
    spec = DegradationSpec(reduction=(1, 2, 2))
    steps: list[int] = []

    def restore(short: Volume, shape: tuple[int, int, int]) -> np.ndarray:
        assert short.shape == (48, 29, 21)
        return np.full(shape, 500, np.float32)

    result = study_of(volume, spec, [30, 0], restore, lambda: steps.append(1))
    assert result.angles == (0.0, 30.0)
    assert (result.plane, result.slice_axis) == ((1, 2), 0)
    assert len(steps) == 2
    assert set(result.psnr) == {"nearest", "trilinear", "cubic B-spline", "zero-filled", "SR"}
    assert min(result.psnr["zero-filled"]) > max(result.psnr["SR"])
    mask, peak = head_of(phantom)
    low = degrade(torch.from_numpy(phantom), spec)
    assert result.psnr["zero-filled"][0] == pytest.approx(
        psnr(low, torch.from_numpy(phantom), peak, torch.from_numpy(mask)), abs=1e-3
    )
    turned = rotate_in_plane(phantom, 30, (1, 2), volume.spacing)
    curves = []
    for truth in (phantom, turned):
        mask, peak = head_of(truth)
        low = degrade(torch.from_numpy(truth), spec).numpy()
        curves.append(fidelity(truth, low, peak, {"head": mask})["head"].slice_psnr[0])
    expected = np.nanmean(np.array(curves)[:, 10:38], axis=0)
    assert np.array(result.slice_psnr["zero-filled"])[10:38] == pytest.approx(expected, abs=1e-2)


def test_study_refuses_nonsense(phantom: np.ndarray) -> None:
    for angles in ([], [float("nan")]):
        with pytest.raises(ConfigError, match="angles"):
            study(phantom, lambda turned: {"a": turned}, angles, (1, 2), (1, 1, 1))
    with pytest.raises(ConfigError, match="plane"):
        study(phantom, lambda turned: {"a": turned}, [0], (1, 1), (1, 1, 1))
    assert in_plane((1, 2, 2)) == (1, 2)
    assert in_plane((2, 2, 1)) == (0, 1)
    assert in_plane((2, 2, 2)) == (1, 2)


def test_acquired_grid_is_found_again(phantom: np.ndarray) -> None:
    volume = Volume(phantom, np.diag([1.0, 1.2, 1.4, 1.0]))
    spec = DegradationSpec(reduction=(1, 2, 2))
    short = shorten(volume, spec)
    low = volume.replace(degrade(torch.from_numpy(phantom), spec).numpy(), volume.affine)
    again = acquired_of(low, volume, spec)
    assert again.shape == short.shape
    assert np.abs(again.array - short.array).max() < 1e-3 * np.abs(short.array).max()
    assert again.affine == pytest.approx(short.affine)
    assert acquired_of(short, volume, None) is short
    even = degrade(torch.from_numpy(phantom), replace(spec, grid="acquired"))
    assert tuple(even.shape) == (48, 30, 22)
    affine = grid_affine(torch.from_numpy(volume.affine), volume.shape, even.shape).numpy()
    from_even = acquired_of(volume.replace(even.numpy(), affine), volume, spec)
    assert np.abs(from_even.array - short.array).max() < 1e-3 * np.abs(short.array).max()
    assert from_even.affine == pytest.approx(short.affine)
    for other in (np.pad(phantom, 1), phantom[:, :20]):
        with pytest.raises(GeometryError):
            acquired_of(Volume(other, volume.affine), volume, spec)


def test_page_of_an_evaluation(phantom: np.ndarray, page: Page) -> None:
    volume = Volume(phantom, np.diag([1.0, 1.2, 1.4, 1.0]))
    spec = DegradationSpec(reduction=(1, 2, 2))
    short = shorten(volume, spec)
    brain = np.zeros(phantom.shape, np.uint8)
    brain[12:36, 15:45, 11:33] = 1
    made = page_of_evaluation("one", volume, page.after, short, spec, brain)
    assert made.certificate is not None
    assert made.certificate["relative_error"] < 1e-5
    assert made.comparison is not None
    assert list(made.comparison.candidates)[-1] == "SR"
    assert made.shares == pytest.approx((1, 29 / 60, 21 / 44))
    text = render(made)
    mask, peak = head_of(phantom)
    figures = fidelity(phantom, page.after, peak, {"head": mask, "mask": brain != 0})
    for region in ("head", "mask"):
        assert f">{figures[region].psnr:.2f}<" in text
        assert f">{figures[region].ssim:.4f}<" in text
    for phrase in ("Absolute-difference maps", "Histograms of errors", "PSNR per slice, in the mask", "cubic B-spline"):
        assert phrase in text
    alone = render(page_of_evaluation("one", volume, page.after))
    assert "Data consistency was not checked" in alone
