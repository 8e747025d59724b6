"""A volume in slabs over columns is the equally masked whole-volume pass, for every size, slab, column and memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdcsrn.inference.backends import backend
from mdcsrn.inference.backends.select import psnr
from mdcsrn.inference.planning.head_region import head_region
from mdcsrn.inference.planning.models import find_model
from mdcsrn.inference.running.memory import GIB, VOLUMES, resident
from mdcsrn.inference.running.slab_route import Column, Route, TooLittleMemory
from mdcsrn.inference.running.slab_runner import SlabRunner
from mdcsrn.inference.running.streaming import example_of, stream
from mdcsrn.io import read_volume
from mdcsrn.kspace import DegradationSpec, degrade
from mdcsrn.kspace.intensity import percentile
from mdcsrn.networks import MDCSRN
from mdcsrn.networks.slab import SlabMDCSRN, least_planes

REACHED = 2e-6  # of the largest sum; 1e-4 of the output is promised, and rounding left 3e-7 at most in 135 draws
MOST = 20_000  # voxels of a drawn volume

axis_sizes = st.one_of(st.integers(1, 97), st.sampled_from([1, 2, 3, 4, 5, 96, 97]))
networks = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))  # blocks, units, growth
factors = st.sampled_from([None, None, (1, 2, 2), (2, 1, 2), (2, 2, 2), (3, 1, 1), (1, 1, 5)])


def small_enough(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The longest axis stays, the next longest gets shorter, until a plain pass takes milliseconds."""
    sizes = list(shape)
    while sizes[0] * sizes[1] * sizes[2] > MOST:
        middle = sorted(range(3), key=lambda i: sizes[i])[1]
        sizes[middle] = max(1, 2 * sizes[middle] // 3)
    return sizes[0], sizes[1], sizes[2]


shapes = st.tuples(axis_sizes, axis_sizes, axis_sizes).map(small_enough)


def random(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def eager(slab: SlabMDCSRN, example: tuple[Tensor, ...], small: tuple[Tensor, ...]):
    return backend("eager").compile(slab, example, "float32", small=small)


def difference(result: Tensor, reference: Tensor, scale: float) -> float:
    """Largest difference over the largest sum of magnitudes: an output may be what is left of terms that cancel."""
    return float((result - reference).abs().max()) / max(scale, 1e-30)


def summed(network: MDCSRN, low: Tensor) -> float:
    """Largest sum of magnitudes that the last convolution, and the residual, add up; `low` is (N, c, D, H, W)."""
    seen = []
    hook = network.recon.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network(low)
        hook.remove()
        largest = torch.nn.functional.conv3d(seen[0].abs(), network.recon.weight.abs()).max()
    return float(largest) + network.residual * float(low.abs().max())


def whole(network: MDCSRN, low: Tensor, region: Tensor) -> Tensor:
    """The independent reference: one pass over everything, then the mask."""
    with torch.inference_mode():
        return torch.where(region, network(low[None, None])[0, 0], low)


@st.composite
def routes(draw: st.DrawFn) -> tuple[tuple[int, int, int], int, list[tuple[int, int]], list[list[int]]]:
    """Shape, run axis, kept planes, and where the plane is cut: any route, not just those that the planner makes."""
    shape, run = draw(shapes), draw(st.integers(0, 2))
    turned = [shape[run], *(n for i, n in enumerate(shape) if i != run)]
    first = draw(st.integers(0, turned[0] - 1))
    last = draw(st.integers(first + 1, turned[0]))
    cuts = [sorted(draw(st.sets(st.integers(0, n), max_size=3)) | {0, n}) for n in turned[1:]]
    return shape, run, [(first, last)], cuts


@settings(max_examples=45, deadline=None)
@given(networks, routes(), st.integers(0, 16), st.integers(0, 999))
def test_any_route_gives_the_whole(random_network, size, way, more, seed) -> None:
    network, (shape, run, [depth], (rows, lines)) = random_network(*size, seed=seed), way
    margin, turned = network.margin[0], [shape[run], rows[-1], lines[-1]]
    columns = []
    for top, bottom in zip(rows, rows[1:], strict=False):
        for left, right in zip(lines, lines[1:], strict=False):
            kept = (depth, (top, bottom), (left, right))
            a, b, c = ((max(x - margin, 0), min(y + margin, n)) for (x, y), n in zip(kept, turned, strict=True))
            columns.append(Column((a, b, c), kept))
    route = Route(run, least_planes(network) + more, tuple(columns), 0)
    low, computed = random((1, *shape), seed), []
    result = stream(low, network, route, eager, computed.append)
    with torch.inference_mode():
        reference = network.features(low[None])[0].movedim(1 + run, 1)
    inside, result = slice(*depth), result.movedim(1 + run, 1)
    assert difference(result[:, inside], reference[:, inside], summed(network, low[None])) <= REACHED
    assert not bool(result[:, : depth[0]].any()), "nothing outside the kept parts"
    assert not bool(result[:, depth[1] :].any()), "nothing outside the kept parts"
    assert sum(computed) == route.computed(margin), "progress tells all that was computed, and nothing else was"


def some_region(kind: str, shape: tuple[int, int, int], seed: int) -> Tensor:
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    if kind == "box":
        region = torch.zeros(shape, dtype=torch.bool)
        region[tuple(slice(n // 4, n - n // 3) for n in shape)] = True
        return region
    return drawn >= {"all": 0.0, "half": 0.5, "specks": 0.999}[kind]


@settings(max_examples=45, deadline=None)
@given(
    networks,
    st.booleans(),
    factors,
    shapes,
    st.sampled_from(["all", "half", "specks", "box"]),
    st.sampled_from([None, 0, 1, 5, 13]),
    st.sampled_from([1e9, 1e7, 3e6, 1e6]),
    st.integers(0, 999),
)
def test_the_engine_gives_the_whole(random_network, size, residual, factor, shape, kind, more, memory, seed) -> None:
    network = random_network(*size, residual, factor, seed)
    low, region = random(shape, seed), some_region(kind, shape, seed)
    engine = SlabRunner(network, "eager", "float32", planes=None if more is None else least_planes(network) + more)
    while True:  # bytes for the network beside what the process holds anyway
        engine.max_memory = (resident() + VOLUMES * low.numel() + memory) / GIB
        try:
            result = engine.run(low, region)
            break
        except TooLittleMemory:
            memory *= 2
    assert difference(result, whole(network, low, region), summed(network, low[None, None])) <= REACHED
    assert torch.equal(result[~region], low[~region]), "outside the region the input stays, to the last bit"
    assert bool(torch.isfinite(result).all())


@pytest.mark.parametrize("factor", [None, (1, 2, 2)])
def test_the_largest_volume(random_network, factor) -> None:
    network = random_network(2, 2, 2, space_to_depth=factor)
    low, region = random((97, 97, 97), 0), torch.ones(97, 97, 97, dtype=torch.bool)
    result = SlabRunner(network, "eager", "float32").run(low, region)
    assert difference(result, whole(network, low, region), summed(network, low[None, None])) <= REACHED


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("factor", [None, (2, 1, 2)])
def test_through_other_backends_in_float32(random_network, name, factor) -> None:
    if (reason := backend(name).available()) is not None:
        pytest.skip(reason)
    network = random_network(2, 3, 2, space_to_depth=factor)
    for shape, planes in (((1, 1, 1), None), ((19, 33, 26), 5), ((45, 8, 17), None)):
        low, region = random(shape, 1), some_region("box" if min(shape) > 3 else "all", shape, 0)
        result = SlabRunner(network, name, "float32", planes=planes, threads=1).run(low, region)
        assert difference(result, whole(network, low, region), summed(network, low[None, None])) <= REACHED


@pytest.fixture(scope="module")
def head(shared_data) -> Tensor:
    """A piece from the rim of a real head, low-passed and scaled as a prediction does."""
    truth = torch.from_numpy(read_volume(shared_data / "t1w/test/ds002748-68_T1w.nii.gz").array)
    low = degrade(truth, DegradationSpec((1.0, 2.0, 2.0)))
    return (low / percentile(low, 99.9))[40:77, 0:43, 20:51].contiguous()


@pytest.mark.parametrize("planes", [4, 11, None])
def test_the_real_weights_on_a_real_head(head, planes) -> None:
    network = find_model().network
    region = head_region(head)
    assert 0 < float(region.float().mean()) < 1
    engine = SlabRunner(network, "eager", "float32", planes=planes)
    assert (
        difference(engine.run(head, region), whole(network, head, region), summed(network, head[None, None])) <= REACHED
    )


def test_the_real_weights_on_a_thin_volume(head) -> None:
    network, low = find_model().network, head[:5, 20:27, :1].contiguous()
    region = torch.ones(low.shape, dtype=torch.bool)
    result = SlabRunner(network, "eager", "float32").run(low, region)
    assert difference(result, whole(network, low, region), summed(network, low[None, None])) <= REACHED


@pytest.mark.parametrize("name", ["openvino", "eager"])
def test_bfloat16_is_within_55_db(head, name) -> None:
    found, network = backend(name), find_model().network
    if found.available() is not None or "bfloat16" not in found.precisions():
        pytest.skip(f"no bfloat16 with {name} here")
    region = head_region(head)
    result = SlabRunner(network, name, "bfloat16", threads=1).run(head, region)
    assert psnr(result, whole(network, head, region), data_range=1.0) >= 55.0


def test_an_example_is_empty(random_network) -> None:
    slab = SlabMDCSRN(random_network(), 4)
    x, valid, *state = example_of(slab, 6, 9)
    assert x.shape == (1, 1, 4, 6, 9)
    assert valid.shape == (1, 1, slab.context + 4, 1, 1)
    assert [tensor.shape for tensor in state] == [torch.Size(shape) for shape in slab.state_shapes(6, 9)]
    assert not any(bool(tensor.any()) for tensor in (x, valid, *state))
