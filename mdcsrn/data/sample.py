"""Embedded demonstration cohort: synthetic subjects made from the MNI152 T1w template that nilearn ships.

A demonstration, not a result: the template is the average of 152 brains, so it is blurred, has no skull, and its
variants differ less than people do. A network trained on it shows that the chain works, and no more.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

import mdcsrn
from mdcsrn.data.datalist import SplitRule, build_datalist, write_datalist
from mdcsrn.data.split import FRACTIONS
from mdcsrn.errors import ConfigError, DataError, MissingDependencyError, OutputError
from mdcsrn.files import atomic_write_text, sha256
from mdcsrn.io import Volume, read_volume, write_volume
from mdcsrn.kspace import grid_affine, resample_grid
from mdcsrn.optional import install_command, is_installed
from mdcsrn.scratch import sweep
from mdcsrn.targets import check_length, foreign
from mdcsrn.user_cache import cache_folder

# Inside nilearn's wheel: MNI152 2009a, nonlinear symmetric, brain only, 1 mm, uint8. Nothing is downloaded.
TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
COARSE = 2  # the cohort's voxel is this many template voxels: 2 mm
SIZES = ((94, 102), (112, 120), (90, 98))  # voxels per axis, drawn for each subject
WHITE = 2000.0  # stored value of the template's brightest tissue, so that int16 rounding is far below the noise
MANIFEST = "sample.json"
BEGUN = ".sample-begun"  # until the manifest is there
RECIPE = 1  # counts changes of the recipe: an older cache is then made anew elsewhere


@dataclass(frozen=True)
class SampleRecipe:
    """How much synthetic subjects differ; everything is drawn from (seed, subject number) alone.

    Attributes:
        subjects: how many.
        seed: of the cohort.
        scale: largest relative change of size, per axis.
        rotation: largest angle about each axis, degrees.
        shear: largest shear.
        elastic: root mean square of the elastic displacement, millimetres.
        contrast: strength of the monotone intensity map, in [0, 0.8).
        bias: standard deviation of the smooth multiplicative field.
        noise: standard deviation in each complex channel, as a share of the brightest tissue.
    """

    subjects: int = 8
    seed: int = 0
    scale: float = 0.08
    rotation: float = 8.0
    shear: float = 0.04
    elastic: float = 1.5
    contrast: float = 0.35
    bias: float = 0.05
    noise: float = 0.004

    def __post_init__(self) -> None:
        if not 1 <= self.subjects <= 999:
            raise ConfigError("a sample cohort has at least one subject", got=self.subjects, allowed="1 to 999")
        if self.seed < 0:
            raise ConfigError("a seed is a whole number", got=self.seed, allowed=">= 0")


def make_sample(folder: str | os.PathLike[str], subjects: int = 8, seed: int = 0) -> Path:
    """Make the cohort in a folder, or find it there.

    Files are written one by one, each atomically, and the manifest last: a folder is complete or is completed by the
    next call. Equal arguments give equal bytes.

    Args:
        folder: where `sub-001_T1w.nii.gz` and so on, `datalist.json` and the manifest lie.
        subjects: how many synthetic subjects, 1 to 999.
        seed: of the cohort.

    Returns:
        Path of `datalist.json` (training, validation, test by subject).

    Raises:
        MissingDependencyError: nilearn is not installed.
        OutputError: the folder holds a sample with other settings or files of someone else, or cannot be written.
    """
    recipe = SampleRecipe(subjects, seed)
    root = Path(folder)
    datalist = root / "datalist.json"
    sweep(root)
    if _is_complete(root, recipe):
        return datalist
    template = load_template()
    _begin(root, subjects)
    coefficients = ndimage.spline_filter(template.array, order=3, output=np.float32)
    images = []
    for number in tqdm(range(1, subjects + 1), desc="demonstration cohort", disable=None):  # a bar on a terminal only
        volume = make_subject(template, coefficients, recipe, number)
        images.append(write_volume(volume, root / f"sub-{number:03d}_T1w.nii.gz", dtype=np.int16))
    content, _ = build_datalist(images, root, root, SplitRule(FRACTIONS, seed), "mdcsrn demonstration cohort")
    content["description"] = "synthetic variants of the MNI152 template: a demonstration, not a result"
    write_datalist(content, datalist)
    files = {path.name: sha256(path) for path in (*images, datalist)}
    manifest = {"recipe": _settings(recipe), "mdcsrn": mdcsrn.__version__, "files": files}
    atomic_write_text(root / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    (root / BEGUN).unlink(missing_ok=True)
    return datalist


def _begin(root: Path, subjects: int) -> None:
    """Refuse to replace files of someone else; a mark in the folder says that a run that was killed began here.

    Raises:
        OutputError: a file of a name of ours is there, and no run of ours began or ended in this folder.
    """
    names = [*(f"sub-{number:03d}_T1w.nii.gz" for number in range(1, subjects + 1)), "datalist.json"]
    there = [root / name for name in names if (root / name).exists()]
    if there and not (root / BEGUN).exists() and not (root / MANIFEST).exists():
        raise foreign(there[0], "choose an empty folder")
    check_length(root / names[0], "choose a folder with a shorter path")
    atomic_write_text(root / BEGUN, "the demonstration cohort of mdcsrn is being made here\n")


def sample_datalist(folder: str | os.PathLike[str] = "", subjects: int = 8, seed: int = 0) -> str:
    """Datalist of the cached cohort, made on the first call: what a bundle uses when no data are given.

    Args:
        folder: cache folder; empty: that of :mod:`mdcsrn.user_cache`.
        subjects: how many synthetic subjects.
        seed: of the cohort.

    Returns:
        Path of the JSON; each choice of settings has its own sub-folder.
    """
    return str(make_sample(Path(folder or cache_folder()) / f"sample-v{RECIPE}-{subjects}-seed{seed}", subjects, seed))


def datalist_or_sample(datalist: str | os.PathLike[str], dataset_dir: str | os.PathLike[str] = "") -> str:
    """The knob `datalist` of a bundle: its path where one is given, else the embedded sample's.

    Args:
        datalist: path of a JSON, relative to the working folder or else to `dataset_dir`; empty for the sample.
        dataset_dir: folder of the data; the sample is cached below it where it is given.
    """
    if not str(datalist):
        return sample_datalist(dataset_dir)
    beside = Path(dataset_dir) / datalist
    return str(beside if not Path(datalist).exists() and beside.exists() else datalist)


def load_template() -> Volume:
    """The MNI152 T1w template: brain only, 1 mm, values 0 to 1.

    Raises:
        MissingDependencyError: nilearn is not installed, or its wheel no longer holds the file.
    """
    # Only the file is wanted: nilearn itself (scikit-learn, pandas) is not imported, which saves seconds.
    spec = find_spec("nilearn") if is_installed("nilearn") else None
    places = spec.submodule_search_locations if spec is not None else None
    path = Path(places[0]) / TEMPLATE if places else None
    if path is None or not path.is_file():
        raise MissingDependencyError(
            "the demonstration cohort is made from the MNI152 template inside the package nilearn, which is not here",
            got=path,
            remedy=install_command("demo"),
        )
    volume = read_volume(path)
    return volume.replace(volume.array / volume.array.max())


def make_subject(template: Volume, coefficients: NDArray[np.float32], recipe: SampleRecipe, number: int) -> Volume:
    """One synthetic subject, a pure function of (recipe, number).

    The template is warped once, by cubic B-splines on its own 1 mm grid, and then cropped in k-space to 2 mm: the
    outer band of the result is the warped template's own. A complex Gaussian noise makes the image a Rician magnitude.

    Args:
        template: from :func:`load_template`.
        coefficients: its cubic B-spline coefficients, shape as the template's.
        recipe: strengths and seed.
        number: of the subject, from 1.

    Returns:
        Volume at 2 mm, about 98 x 116 x 94, values >= 0, brightest tissue near 2000.
    """
    rng = np.random.default_rng(np.random.SeedSequence((recipe.seed, number)))
    coarse = tuple(int(rng.integers(low, high + 1)) for low, high in SIZES)
    fine = tuple(COARSE * n for n in coarse)
    image = _warp(coefficients, template.array > 0, fine, recipe, rng)
    image = _contrast(np.clip(image, 0, 1), recipe, rng)
    image *= np.exp(recipe.bias * _smooth_field(fine, 3, rng))
    small = resample_grid(torch.from_numpy(image), coarse).numpy()
    real, imaginary = rng.normal(scale=recipe.noise, size=(2, *coarse))
    magnitude = np.hypot(small + real, imaginary)
    corner = np.eye(4)
    corner[:3, 3] = [(old - new) / 2 for old, new in zip(template.shape, fine, strict=True)]
    affine = grid_affine(torch.from_numpy(template.affine @ corner), fine, coarse).numpy()
    return Volume((WHITE * magnitude).astype(np.float32), affine)


def _warp(
    coefficients: NDArray[np.float32],
    brain: NDArray[np.bool_],
    shape: tuple[int, ...],
    recipe: SampleRecipe,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Template under a random affine and elastic map; voxels that fall far from the brain are not computed."""
    angles = np.deg2rad(rng.uniform(-recipe.rotation, recipe.rotation, 3))
    matrix = np.diag(1 + rng.uniform(-recipe.scale, recipe.scale, 3))
    matrix += np.triu(rng.uniform(-recipe.shear, recipe.shear, (3, 3)), 1)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[i, j, i, j], [i, j, j, i]] = math.cos(angle), math.cos(angle), -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    centred = np.meshgrid(*[np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape], indexing="ij", sparse=True)
    where = []
    for row, size in zip(matrix, brain.shape, strict=True):
        position = sum(np.float32(weight) * axis for weight, axis in zip(row, centred, strict=True)) + (size - 1) / 2
        where.append(position + recipe.elastic * _smooth_field(shape, 6, rng))
    coordinates = np.stack(where).astype(np.float32)
    near = ndimage.binary_dilation(brain, iterations=3)  # a cubic spline reaches two voxels
    inside = ndimage.map_coordinates(near.view(np.uint8), coordinates, order=0).astype(bool)
    image = np.zeros(shape, dtype=np.float32)
    image[inside] = ndimage.map_coordinates(coefficients, coordinates[:, inside], order=3, prefilter=False)
    return image


def _contrast(image: NDArray[np.float32], recipe: SampleRecipe, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth intensity map that fixes 0 and 1: x + a x (1 - x) + b sin(2 pi x) / (2 pi), monotone for |a| + |b| < 1."""
    a, b = rng.uniform(-recipe.contrast, recipe.contrast, 2)
    return (image + a * image * (1 - image) + b * np.sin(2 * np.pi * image) / (2 * np.pi)).astype(np.float32)


def _smooth_field(shape: tuple[int, ...], order: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Random smooth field: a cosine series of `order` terms per axis, weights falling with frequency, unit RMS."""
    index = np.indices((order, order, order)).astype(np.float64)
    weights = rng.normal(size=(order, order, order)) / (1 + (index**2).sum(axis=0))
    weights[0, 0, 0] = 0
    field = weights.astype(np.float32)
    for n in shape:  # each tensordot consumes the first axis and appends the new one
        phase = np.pi * (np.arange(n) + 0.5) / n
        basis = np.cos(np.arange(order)[:, None] * phase).astype(np.float32)
        field = np.tensordot(field, basis, axes=(0, 0))
    return field / np.sqrt(np.mean(field**2))


def _settings(recipe: SampleRecipe) -> dict[str, float]:
    return {"version": RECIPE, **asdict(recipe)}


def _is_complete(root: Path, recipe: SampleRecipe) -> bool:
    """True for a folder with this very sample, every file intact; another sample there is refused, not replaced."""
    path = root / MANIFEST
    if not path.is_file():
        return False
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        settings, files = manifest["recipe"], dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"cannot read {path}", got=error, remedy="delete this folder, the sample is made anew"
        ) from error
    if settings != _settings(recipe):
        raise OutputError(f"{root} holds a sample with other settings", got=settings, remedy="choose another folder")
    return all((root / name).is_file() and sha256(root / name) == digest for name, digest in files.items())
