"""The perceptual loss on VGG19 files made here, against NumPy; which files are taken and which are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mdcsrn.errors import CheckpointError, ConfigError, GeometryError
from mdcsrn.files import sha256
from mdcsrn.losses import ContentLoss, FeatureLoss, feature_loss
from mdcsrn.losses.vgg19 import LAYERS, vgg19_features

# torchvision's configuration "E": channels of each convolution, M a pooling; its numbering counts ReLUs and poolings.
CONFIGURATION = [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"]
PUBLISHED = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]  # of torchvision's vgg19().features


def random_state(until: str = "conv5_4") -> dict[str, Tensor]:
    """A VGG19 with random weights that keep the size of its features, up to a layer."""
    random = torch.Generator().manual_seed(5)
    state: dict[str, Tensor] = {}
    for name, (place, before, after) in LAYERS.items():
        state[f"features.{place}.weight"] = torch.randn(after, before, 3, 3, generator=random) * (2 / 9 / before) ** 0.5
        state[f"features.{place}.bias"] = torch.randn(after, generator=random) * 0.1
        if name == until:
            break
    return state


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all of ``features``, and with something of the classifier, as torchvision's has."""
    path = tmp_path_factory.mktemp("vgg19") / "vgg19.pth"
    torch.save({**random_state(), "classifier.6.bias": torch.zeros(1000)}, path)
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    def save(content: Any) -> Path:
        path = tmp_path / "vgg19.pt"
        torch.save(content, path)
        return path

    return save


def _reference_features(state: dict[str, Tensor], planes: np.ndarray, layer: str, activated: bool) -> np.ndarray:
    """VGG19 by NumPy: shifted sums for the convolutions, blocks of four for the poolings."""
    x, place = planes.astype(np.float64), 0
    for entry in CONFIGURATION:
        if entry == "M":
            n, c, h, w = x.shape
            x = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))
            place += 1
            continue
        weight = state[f"features.{place}.weight"].double().numpy()
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        h, w = x.shape[-2:]
        x = sum(
            np.einsum("oc,nchw->nohw", weight[:, :, i, j], padded[:, :, i : i + h, j : j + w], optimize=True)
            for i in range(3)
            for j in range(3)
        ) + state[f"features.{place}.bias"].double().numpy().reshape(1, -1, 1, 1)
        if place == LAYERS[layer].place:
            return np.maximum(x, 0) if activated else x
        x, place = np.maximum(x, 0), place + 2
    raise AssertionError(layer)


def _reference_planes(image: Tensor) -> np.ndarray:
    """Each plane of each volume as a colour picture in the units of ImageNet."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    volume = image.double().numpy()
    planes = [volume[n, :, d] for n in range(len(volume)) for d in range(volume.shape[2])]
    colour = np.stack([np.repeat(plane, 3, 0) if len(plane) == 1 else plane for plane in planes])
    return (colour - mean.reshape(1, 3, 1, 1)) / std.reshape(1, 3, 1, 1)


def test_the_numbering_is_that_of_torchvision() -> None:
    assert [place for place, _, _ in LAYERS.values()] == PUBLISHED
    assert [after for _, _, after in LAYERS.values()] == [entry for entry in CONFIGURATION if entry != "M"]


@pytest.mark.parametrize(
    ("layer", "activated", "distance", "channels"),
    [("conv5_4", False, "mse", 1), ("conv5_4", True, "l1", 1), ("conv2_2", True, "mse", 1), ("conv3_4", False, "l1", 3),
     ("conv1_1", False, "mse", 1)],
)  # fmt: skip
def test_it_is_that_of_numpy(whole: Path, layer: str, activated: bool, distance: str, channels: int) -> None:
    random = torch.Generator().manual_seed(1)
    one, two = (torch.rand(1, channels, 2, 17, 20, generator=random) for _ in range(2))
    two = 5 * two**8  # noise of one distribution would look much the same from far up
    state = torch.load(whole, weights_only=True)
    features = [_reference_features(state, _reference_planes(image), layer, activated) for image in (one, two)]
    difference = features[0] - features[1]
    expected = np.square(difference).mean() if distance == "mse" else np.abs(difference).mean()
    found = float(FeatureLoss(whole, layer, activated, distance)(one, two))
    assert found == pytest.approx(expected, rel=1e-4)
    assert expected > 1e-3  # there was something to compare


def test_volumes_are_their_planes(whole: Path) -> None:
    loss = FeatureLoss(whole, "conv2_1")
    random = torch.Generator().manual_seed(2)
    one, two = (torch.rand(2, 1, 3, 8, 8, generator=random) for _ in range(2))
    planes = [float(loss(one[:, :, d], two[:, :, d])) for d in range(3)]
    assert float(loss(one, two)) == pytest.approx(np.mean(planes), rel=1e-5)


def test_the_gradient_reaches_the_prediction_alone(write: Callable) -> None:
    torch.manual_seed(0)  # no value within eps of a kink of the activations
    loss = FeatureLoss(write(random_state("conv2_1")), "conv2_1").double()
    one, two = (torch.rand(1, 1, 1, 4, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: loss(x, two), one, eps=1e-6)
    loss(one, two).backward()
    assert two.grad is None
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in loss.parameters())


def test_float32_under_autocast(whole: Path) -> None:
    loss = FeatureLoss(whole, "conv3_1")
    one, two = torch.rand(1, 1, 1, 16, 16), torch.rand(1, 1, 1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(one.bfloat16().float(), two)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(one.bfloat16().float(), two))


@pytest.mark.parametrize("prefix", ["features.", "", "module.features.", "net.features.0."])
@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
def test_prefixes_and_wrappers(write: Callable, prefix: str, nested: str | None) -> None:
    state = random_state("conv1_2")
    renamed = {key.replace("features.", prefix, 1): value for key, value in state.items()}
    path = write({nested: renamed, "epoch": 3} if nested else {**renamed, "head.weight": torch.zeros(2, 2)})
    found = vgg19_features(path, "conv1_2").state_dict()
    assert found.keys() == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert all(torch.equal(value, state[f"features.{name}"]) for name, value in found.items())


def test_safetensors_and_half_precision(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in random_state("conv1_1").items()}
    save_file(state, tmp_path / "vgg19.safetensors")
    network = vgg19_features(tmp_path / "vgg19.safetensors", "conv1_1")
    assert network[0].weight.dtype == torch.float32
    assert torch.equal(network[0].weight, state["features.0.weight"].float())


def test_the_older_form_is_read_where_its_name_holds_its_hash(tmp_path: Path) -> None:
    """torchvision's own file is older than torch's zip form: vgg19-dcbb9e9d.pth."""
    state, plain = random_state("conv1_1"), tmp_path / "vgg19.pth"
    torch.save(state, plain, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"before 1\.6.*vgg19-dcbb9e9d"):
        vgg19_features(plain, "conv1_1")
    named = plain.rename(tmp_path / f"vgg19-{sha256(plain)[:8]}.pth")
    assert torch.equal(vgg19_features(named, "conv1_1")[0].weight, state["features.0.weight"])
    content = bytearray(named.read_bytes())
    content[-1000] ^= 1  # one bit of a weight
    named.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        vgg19_features(named, "conv1_1")


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], zipped: bool) -> None:
    path = tmp_path / "vgg19.pth"
    torch.save({"features.0.weight": Hostile()}, path, _use_new_zipfile_serialization=zipped)
    path = path.rename(tmp_path / f"vgg19-{sha256(path)[:8]}.pth")
    with pytest.raises(CheckpointError, match="cannot read"):
        FeatureLoss(path)
    assert capsys.readouterr().out == ""


def test_no_file_says_what_to_do(tmp_path: Path) -> None:
    for missing in (tmp_path / "none.pth", ""):
        with pytest.raises(CheckpointError, match=r"no VGG19 weights.*vgg19-dcbb9e9d\.pth.*perceptual_weight to 0"):
            FeatureLoss(missing)
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(CheckpointError, match=r"text\.pth"):
        FeatureLoss(tmp_path / "text.pth")


def test_other_networks_are_refused(write: Callable) -> None:
    state = random_state("conv2_1")
    with pytest.raises(CheckpointError, match=r"no features\.7\.weight"):
        FeatureLoss(write(state), "conv2_2")
    with pytest.raises(CheckpointError, match=r"features\.5\.weight of shape \(128, 64, 1, 1\)"):
        FeatureLoss(write({**state, "features.5.weight": torch.zeros(128, 64, 1, 1)}), "conv2_1")
    with pytest.raises(CheckpointError, match=r"another network than VGG19.*features\.17"):  # as VGG16 has
        FeatureLoss(write({**state, "features.17.weight": torch.zeros(1)}), "conv2_1")
    with pytest.raises(CheckpointError, match=r"features\.0\.bias is not finite"):
        FeatureLoss(write({**state, "features.0.bias": torch.full((64,), torch.nan)}), "conv2_1")
    with pytest.raises(CheckpointError, match="no VGG19"):
        FeatureLoss(write({"weight": torch.zeros(3)}))


def test_settings_and_shapes_are_refused(whole: Path) -> None:
    with pytest.raises(ConfigError, match=r"conv6_1.*conv5_4"):
        FeatureLoss(whole, "conv6_1")
    with pytest.raises(ConfigError, match="cosine"):
        FeatureLoss(whole, distance="cosine")
    loss = FeatureLoss(whole)
    for shape in ((1, 2, 1, 32, 32), (1, 1, 1, 15, 32), (1, 32, 32)):
        with pytest.raises(GeometryError, match="16 pixels"):
            loss(torch.zeros(shape), torch.zeros(shape))
    with pytest.raises(GeometryError, match="two shapes"):
        loss(torch.zeros(1, 1, 1, 16, 16), torch.zeros(1, 1, 1, 16, 17))


def test_a_weight_of_zero_builds_nothing(tmp_path: Path, write: Callable) -> None:
    assert feature_loss(tmp_path / "none.pth", perceptual_weight=0) is None
    with pytest.raises(CheckpointError, match="no VGG19 weights"):
        feature_loss(tmp_path / "none.pth", perceptual_weight=0.1)
    with pytest.raises(ConfigError, match="perceptual_weight"):
        feature_loss(tmp_path / "none.pth", perceptual_weight=-1)
    path = write(random_state("conv1_1"))
    found = feature_loss(path, 1, "conv1_1", True, "l1")
    one, two = torch.rand(1, 1, 1, 4, 4), torch.rand(1, 1, 1, 4, 4)
    assert torch.equal(found(one, two), FeatureLoss(path, "conv1_1", True, "l1")(one, two))


def test_content_is_the_weighted_sum(write: Callable) -> None:
    perceptual = FeatureLoss(write(random_state("conv1_1")), "conv1_1")
    one, two = torch.rand(1, 1, 1, 4, 4), torch.rand(1, 1, 1, 4, 4)
    found = ContentLoss(nn.MSELoss(), perceptual, 0.25)(one, two)
    assert float(found) == pytest.approx(float((one - two).square().mean() + 0.25 * perceptual(one, two)), rel=1e-6)
    assert torch.equal(ContentLoss(None, perceptual, 0)(one, two), (one - two).abs().mean())
    with pytest.raises(ConfigError, match="perceptual_weight"):
        ContentLoss(perceptual_weight=-0.1)
