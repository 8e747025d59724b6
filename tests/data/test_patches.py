"""Training patches: the same for every number of workers, processes and restarts, cut from where they say."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import CacheDataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandFlipd, RandRotate90d
from torch import Tensor
from torch.utils.data import DataLoader

from mdcsrn.data.patches import PatchDataset, SampleStream
from mdcsrn.errors import ConfigError, DataError
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.transforms import RandKSpaceLowPassd, ScaleByPercentiled

SHAPES = [(32, 34, 36), (33, 32, 38), (36, 36, 32)]
P = 12


def blob(shape: Sequence[int], seed: int) -> np.ndarray:
    """A bright ellipsoid with texture in a dark field."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = sum((2 * a) ** 2 for a in axes) < 1
    return (inside * (300 + 200 * random.random(tuple(shape)))).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("volumes")
    paths = [folder / f"sub-{i}.nii.gz" for i in range(len(SHAPES))]
    for i, (path, shape) in enumerate(zip(paths, SHAPES, strict=True)):
        nib.save(nib.Nifti1Image(blob(shape, i), np.eye(4)), path)
    return paths


def volumes(paths: Sequence[Path]) -> CacheDataset:
    load = Compose([LoadImaged("image", image_only=True), EnsureChannelFirstd("image")])
    return CacheDataset([{"image": str(p)} for p in paths], load, progress=False)


def augmentation() -> Compose:
    flips = [RandFlipd(["image", "label"], prob=0.5, spatial_axis=axis) for axis in range(3)]
    return Compose([*flips, RandRotate90d(["image", "label"], prob=0.5, max_k=1, spatial_axes=(0, 1))])


def dataset(paths: Sequence[Path], **options: Any) -> PatchDataset:
    """As in the bundle, small."""
    low_pass = RandKSpaceLowPassd("image", reduction=(1.5, 2.5), axes="pair", noise=(0.0, 0.05))
    scale = ScaleByPercentiled(["image", "label"], reference_key="image")
    settings_ = {"patch_size": P, "batch_size": 2, "patches_per_volume": 4, "volumes_per_group": 2, "seed": 7}
    return PatchDataset(
        volumes(paths), Compose([low_pass, scale]), **{"augment": augmentation(), **settings_, **options}
    )


def samples(batches: Sequence[dict[str, Tensor]]) -> dict[int, dict[str, Tensor]]:
    """Samples of collated batches by number."""
    return {
        int(batch["sample"][i]): {key: value[i] for key, value in batch.items()}
        for batch in batches
        for i in range(len(batch["sample"]))
    }


def assert_equal(one: dict[int, dict[str, Tensor]], other: dict[int, dict[str, Tensor]]) -> None:
    assert one.keys() == other.keys()
    for number in one:
        for key in ("image", "label", "coefficient"):
            assert torch.equal(one[number][key], other[number][key]), (number, key)


def batches(data: PatchDataset, count: int, workers: int = 0, **stream: int) -> list[dict[str, Tensor]]:
    sampler = SampleStream(data.batch_size, **stream)
    return list(itertools.islice(DataLoader(data, batch_sampler=sampler, num_workers=workers), count))


@pytest.fixture(scope="module")
def expected(files: list[Path]) -> dict[int, dict[str, Tensor]]:
    """The first 24 samples, read in order in this process."""
    return samples(batches(dataset(files), 12))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing(files: list[Path], expected: dict, workers: int) -> None:
    assert_equal(expected, samples(batches(dataset(files), 12, workers)))


@pytest.mark.parametrize("start", [1, 5, 8])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_later_start_gives_what_would_have_come(files: list[Path], expected: dict, start: int, workers: int) -> None:
    rest = samples(batches(dataset(files), 12 - start, workers, start=start))
    assert_equal({n: s for n, s in expected.items() if n >= 2 * start}, rest)


def test_order_of_access_changes_nothing(files: list[Path], expected: dict) -> None:
    data = dataset(files)
    order = np.random.default_rng(1).permutation(24)
    found = {int(n): data[int(n)] for n in (*order, *order[:3])}  # some twice
    assert_equal(expected, found)


def test_the_global_random_state_plays_no_part_and_is_left_alone(files: list[Path], expected: dict) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the state that MONAI's own transforms may use
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    data = dataset(files)
    found = {n: data[n] for n in range(6)}
    assert_equal({n: expected[n] for n in range(6)}, found)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("world", [2, 4])
def test_processes_together_see_what_one_sees(files: list[Path], world: int) -> None:
    whole = samples(batches(dataset(files, batch_size=4), 6))
    parts: dict[int, dict[str, Tensor]] = {}
    for rank in range(world):
        mine = samples(batches(dataset(files, batch_size=4), 6, rank=rank, world_size=world))
        assert len(mine) == 24 // world
        assert not parts.keys() & mine.keys()
        parts |= mine
    assert_equal(whole, dict(sorted(parts.items())))


def test_streams_are_part_of_the_setting_workers_are_not(files: list[Path]) -> None:
    four = samples(batches(dataset(files, streams=3), 12))
    assert_equal(four, samples(batches(dataset(files, streams=3), 12, workers=3)))


def test_seeds_differ(files: list[Path], expected: dict) -> None:
    other = dataset(files, seed=8)[0]
    assert not torch.equal(other["label"], expected[0]["label"])
    assert other["coefficient"] != expected[0]["coefficient"]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))
def test_every_patch_of_every_draw_comes_once(batch: int, patches: int, group: int, streams: int, count: int) -> None:
    """All groups of all streams filled: each draw gives its patches 0 ... n - 1, and each volume comes once a pass."""
    data = PatchDataset(
        [{}] * count, lambda d: d, None, P, batch, patches, group, streams, seed=3
    )  # volumes are not touched
    per_group = patches * group
    rounds = batch  # so many groups of a stream fill whole batches
    total = per_group * rounds * streams
    seen = Counter(data.locate(n) for n in range(total))
    draws = group * rounds * streams
    assert seen == Counter(itertools.product(range(draws), range(patches)))
    for turn in range(draws // count):
        used = [data.volume_of(turn * count + place) for place in range(count)]
        assert sorted(used) == list(range(count))


def test_passes_are_new_permutations() -> None:
    data = PatchDataset([{}] * 8, lambda d: d, seed=0)
    passes = {tuple(data.volume_of(8 * turn + place) for place in range(8)) for turn in range(20)}
    assert len(passes) == 20
    assert {p[0] for p in passes} == set(range(8))  # an index sampler that always ran 0 ... n - 1 would not do


def test_a_volume_is_degraded_once_for_its_patches(files: list[Path]) -> None:
    seen: list[int] = []

    def count(data: dict[str, Any]) -> dict[str, Any]:
        seen.append(1)
        return data

    data = PatchDataset(volumes(files), count, None, P, 2, 8, 2, seed=1)
    for n in range(64):
        data[n]
    assert len(seen) == 64 // 8
    assert len(data._draws) <= 3


class Place:
    """Stands for a degradation: every voxel's value is its place, so that a patch says where it was cut."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        label = torch.as_tensor(np.asarray(data["label"]))
        places = torch.arange(label.numel(), dtype=torch.float32).view_as(label)
        return {"image": places, "label": label}


def test_foreground_patches_are_centred_in_the_head(files: list[Path]) -> None:
    heads = [torch.from_numpy(blob(shape, i)) for i, shape in enumerate(SHAPES)]
    shares = {}
    for foreground in (1.0, 0.0):
        data = PatchDataset(volumes(files), Place(), None, P, 2, 4, 2, seed=5, foreground=foreground)
        inside, corners = [], set()
        for n in range(120):
            index = data.volume_of(data.locate(n)[0])
            corner = np.unravel_index(int(data[n]["image"][0, 0, 0, 0]), SHAPES[index])
            corners.add(tuple(int(c) for c in corner))
            inside.append(bool(heads[index][tuple(c + P // 2 for c in corner)] > 0))
        assert len(corners) > 100
        shares[foreground] = np.mean(inside)
    assert shares[1.0] == 1.0
    assert shares[0.0] < 0.8


def test_patches_reach_every_border(files: list[Path]) -> None:
    data = PatchDataset(volumes(files[:1]), Place(), None, 28, 2, 4, 2, seed=5, foreground=0.0)
    corners = np.array([np.unravel_index(int(data[n]["image"][0, 0, 0, 0]), SHAPES[0]) for n in range(150)])
    assert corners.min(axis=0).tolist() == [0, 0, 0]
    assert corners.max(axis=0).tolist() == [n - 28 for n in SHAPES[0]]


def test_image_and_label_are_the_same_place(files: list[Path]) -> None:
    """The image patch is the label's whole volume, degraded and scaled, at the label patch's place."""
    low_pass = RandKSpaceLowPassd("image", reduction=(2.0, 2.0), axes=(1, 2))
    scale = ScaleByPercentiled(["image", "label"], reference_key="image")
    data = PatchDataset(volumes(files), Compose([low_pass, scale]), None, P, 2, 4, 2, seed=2)
    spec = DegradationSpec((1, 2, 2))
    for n in range(6):
        label = torch.from_numpy(blob(SHAPES[i := data.volume_of(data.locate(n)[0])], i))
        image = degrade(label, spec)
        factor = 1 / np.percentile(image.numpy(), 99.9)
        sample = data[n]
        windows = (label * factor).unfold(0, P, 1).unfold(1, P, 1).unfold(2, P, 1)
        matches = torch.isclose(windows, sample["label"][0], rtol=1e-4, atol=1e-6).flatten(3).all(dim=3).nonzero()
        assert len(matches) == 1
        d, h, w = matches[0].tolist()
        expected = (image * factor)[d : d + P, h : h + P, w : w + P]
        torch.testing.assert_close(sample["image"][0], expected, rtol=1e-3, atol=1e-4)


def test_flips_and_turns_take_both_and_reach_many_poses(files: list[Path]) -> None:
    """With image = label before, they are equal after; and the augmented patch is a pose of the plain one."""

    def same(data: dict[str, Any]) -> dict[str, Any]:
        return {"image": data["label"], "label": data["label"]}

    plain = PatchDataset(volumes(files), same, None, P, seed=4)
    moved = PatchDataset(volumes(files), same, augmentation(), P, seed=4)
    poses = Counter()
    for n in range(40):
        sample, reference = moved[n], plain[n]["label"]
        assert torch.equal(sample["image"], sample["label"])
        for flips in itertools.product((False, True), repeat=3):
            axes = [axis + 1 for axis, flip in enumerate(flips) if flip]
            for turned in (0, 1):
                if torch.equal(torch.rot90(reference.flip(axes), turned, (1, 2)), sample["label"]):
                    poses[(*flips, turned)] += 1
    assert sum(poses.values()) == 40
    assert len(poses) >= 10


def test_coefficients_are_uniform_one_for_each_sample(files: list[Path]) -> None:
    data = PatchDataset(volumes(files), lambda d: d, None, P, seed=9)
    values = np.array([float(data[n]["coefficient"]) for n in range(400)])
    assert data[0]["coefficient"].shape == ()
    assert ((values >= 0) & (values < 1)).all()
    sorted_values = np.sort(values)
    distance = np.abs(sorted_values - (np.arange(400) + 0.5) / 400).max()  # Kolmogorov-Smirnov
    assert distance < 1.63 / np.sqrt(400)  # 1 % level
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.15


def test_what_a_sample_is(files: list[Path]) -> None:
    sample = dataset(files)[3]
    assert sample.keys() == {"image", "label", "coefficient", "sample"}
    for key in ("image", "label"):
        assert type(sample[key]) is Tensor  # no MetaTensor: nothing to collate but numbers
        assert sample[key].dtype == torch.float32
        assert sample[key].shape == (1, P, P, P)
        assert sample[key].is_contiguous()
    assert sample["sample"] == 3


def test_one_degradation_for_a_draw(files: list[Path]) -> None:
    specs: list[DegradationSpec] = []
    low_pass = RandKSpaceLowPassd("image", reduction=(1.5, 2.5), axes="pair")

    class Record(Compose):
        def __call__(self, data: Any, *args: Any) -> Any:
            result = super().__call__(data)
            specs.append(low_pass.low_pass.spec)
            return result

    data = PatchDataset(volumes(files), Record([low_pass]), None, P, 2, 4, 2, seed=2)
    for n in range(32):
        data[n]
    assert len(specs) == 8
    assert len(set(specs)) == 8  # each draw has its own
    assert len({tuple(r > 1 for r in s.reduction) for s in specs}) > 1  # and its own pair of axes


def test_volumes_of_different_sizes_make_one_batch(files: list[Path]) -> None:
    batch = batches(dataset(files, batch_size=8), 1)[0]
    assert batch["image"].shape == (8, 1, P, P, P)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_volume_smaller_than_a_patch_is_named(files: list[Path], workers: int) -> None:
    with pytest.raises(DataError, match=r"sub-\d\.nii\.gz is smaller than a patch"):
        batches(dataset(files, patch_size=33), 6, workers)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_transform_keeps_its_kind(files: list[Path], workers: int) -> None:
    def fail(data: dict[str, Any]) -> dict[str, Any]:
        raise DataError("sub-1.nii.gz has no contrast")

    with pytest.raises(DataError, match=r"sub-1\.nii\.gz has no contrast"):
        batches(PatchDataset(volumes(files), Compose([fail]), None, P), 1, workers)


def test_no_volumes() -> None:
    with pytest.raises(DataError, match="empty"):
        PatchDataset([], lambda d: d)


@pytest.mark.parametrize(
    "options",
    [{"patch_size": 0}, {"batch_size": 1.5}, {"patches_per_volume": True}, {"volumes_per_group": -1}, {"streams": 0},
     {"foreground": 1.5}],
)  # fmt: skip
def test_bad_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        PatchDataset([{}], lambda d: d, **options)


@pytest.mark.parametrize("values", [(0, 0, 0, 1), (3, 0, 0, 2), (2, 0, 2, 2), (2, 0, -1, 2)])
def test_batches_that_processes_cannot_share(values: tuple[int, int, int, int]) -> None:
    with pytest.raises(ConfigError, match="shared evenly"):
        SampleStream(*values)


def test_stream_is_endless_and_starts_where_told() -> None:
    first = list(itertools.islice(SampleStream(4, start=3, rank=1, world_size=2), 2))
    assert first == [[13, 15], [17, 19]]
    counted: Callable[[int], int] = lambda n: len(list(itertools.islice(SampleStream(1), n)))  # noqa: E731
    assert counted(5_000) == 5_000
