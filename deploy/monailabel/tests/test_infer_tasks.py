"""What is offered, and how a request is read: without a server."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from mdcsrn.errors import ConfigError
from mdcsrn.networks import publish_weights
from mdcsrn.resources import bundle_folder

from .conftest import APP, BUNDLE

sys.path.insert(0, str(APP))
from lib.infer_tasks import FINER, SAME, bundles, shipped, trained
from lib.request import checked_name, offered, read_request


@pytest.fixture
def two_models(tmp_path: Path) -> Path:
    """A bundle of the user's own, with a second model."""
    home = tmp_path / "own_bundle"
    shutil.copytree(bundle_folder(BUNDLE), home, ignore=shutil.ignore_patterns("runs", "eval"))
    publish_weights(home / "models" / "model.pt", home / "models", "gan")
    return home


def test_each_model_has_a_name_of_its_own(two_models: Path) -> None:
    offers = shipped(bundles(f"{BUNDLE}, {two_models}"))
    names = [offer.name for offer in offers]
    assert len(set(names)) == len(names)
    assert {"own_bundle_same_grid", "own_bundle_gan_finer_grid", f"{BUNDLE}_finer_grid"} <= set(names)


def test_a_choice_of_models(two_models: Path) -> None:
    assert [offer.name for offer in shipped([two_models], "gan")] == [
        "own_bundle_gan_same_grid",
        "own_bundle_gan_finer_grid",
    ]
    with pytest.raises(ConfigError, match="no such model") as caught:
        shipped([two_models], "gan, gam")
    assert "allowed: gan, model" in str(caught.value)


def test_wrong_bundles(two_models: Path) -> None:
    with pytest.raises(ConfigError, match="no bundle /nowhere"):
        bundles("/nowhere")
    with pytest.raises(ConfigError, match="one name"):
        bundles(f"{two_models},{two_models}/../own_bundle")


def test_models_trained_here_are_offered_once(two_models: Path, tmp_path: Path) -> None:
    assert trained(tmp_path / "nothing") == []
    names = [offer.name for offer in trained(two_models / "models")]  # each lies there in two forms
    assert names == ["gan_same_grid", "gan_finer_grid", "model_same_grid", "model_finer_grid"]


def test_defaults_sent_back_untouched_are_the_defaults(two_models: Path) -> None:
    for offer in shipped([two_models], "gan"):
        plain, _ = read_request({}, offer)
        assert read_request(offered(offer), offer) == (plain, ".nii.gz")
        assert plain.settings()["dtype"] == "float32"
        assert (plain.same_grid, plain.factor) == ((True, None) if offer.grid == SAME else (False, (2.0, 2.0, 2.0)))
        assert not plain.no_consistency


def test_spacing_takes_the_place_of_the_factor(two_models: Path) -> None:
    offer = next(offer for offer in shipped([two_models]) if offer.grid == FINER)
    options, _ = read_request({"factor": "2 2 2", "spacing": [0.7, 0.7, 0.8]}, offer)
    assert (options.factor, options.to_spacing) == (None, (0.7, 0.7, 0.8))


@pytest.mark.parametrize("tag", ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "../x", "x\0", "a\n"])
def test_tags_become_no_paths(tag: str) -> None:
    with pytest.raises(ConfigError):
        checked_name("label_tag", tag)
    assert checked_name("label_tag", "original-2.1_b") == "original-2.1_b"
