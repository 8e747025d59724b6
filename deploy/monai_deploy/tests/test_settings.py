"""Where settings come from and which wins; which weights a model folder means; what is loaded before Holoscan."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from mdcsrn_deploy.command import main, run
from mdcsrn_deploy.settings import Settings, config_defaults, find_weights, settings_of
from mdcsrn_deploy.start import CUDA_RUNTIME, cuda_runtime

from mdcsrn.cli.predict import command as predict_command
from mdcsrn.errors import CheckpointError, ConfigError, DataError
from mdcsrn.inference.planning.models import find_model

BUNDLE = Path(__file__).resolve().parents[3] / "bundles" / "mdcsrn_wgan_gp"


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a command line, an environment and the section of an app.yaml."""

    def settings(*arguments: object, env: dict[str, str] | None = None, section: str = "") -> Settings:
        for name in [name for name in os.environ if name.startswith(("HOLOSCAN_", "MDCSRN_"))]:
            monkeypatch.delenv(name)
        (tmp_path / "app.yaml").write_text(f"mdcsrn: {{{section}}}\n")
        monkeypatch.setenv("HOLOSCAN_CONFIG_PATH", str(tmp_path / "app.yaml"))
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        return settings_of(main.make_context("app", [str(argument) for argument in arguments]))

    return settings


def test_defaults_are_the_sdks(parse) -> None:
    settings = parse()
    assert (settings.source, settings.output, settings.model) == (Path("input"), Path("output"), None)
    assert settings.options.task().kind == "detect"


def test_arguments_before_environment_before_file(parse) -> None:
    section, env = "factor: [1, 1, 2], strict: true", {"MDCSRN_FACTOR": "1 2 2", "MDCSRN_STRICT": "0"}
    assert parse(section=section).options.factor == (1, 1, 2)
    assert parse(section=section).options.strict
    assert parse(section=section, env=env).options.factor == (1, 2, 2)
    assert not parse(section=section, env=env).options.strict
    assert parse("--factor", 2, 2, 2, section=section, env=env).options.factor == (2, 2, 2)
    assert parse(section="rules: mine.json").rules == Path("mine.json")
    assert parse(section="rules: mine.json", env={"MDCSRN_RULES": "theirs.json"}).rules == Path("theirs.json")
    paths = {"HOLOSCAN_INPUT_PATH": "in", "HOLOSCAN_OUTPUT_PATH": "there"}
    settings = parse("-i", "here", env=paths)
    assert (settings.source, settings.output) == (Path("here"), Path("there"))


def test_a_stronger_task_replaces_a_weaker_one(parse) -> None:
    settings = parse("--same-grid", section="factor: [1, 1, 2]", env={"MDCSRN_TO_SPACING": "1 1 1"})
    assert settings.options.task().kind == "same-grid"
    assert parse(section="factor: [1, 1, 2]", env={"MDCSRN_TO_SPACING": "1 1 1"}).options.task().kind == "to-spacing"
    with pytest.raises(ConfigError, match="one task at a time"):
        parse("--same-grid", "--factor", 1, 1, 2)
    with pytest.raises(ConfigError, match="one task at a time"):
        parse(section="factor: [1, 1, 2], same-grid: true")


def test_options_are_those_of_predict() -> None:
    theirs = {option.name: option for option in predict_command.params}
    shared = [
        option for option in main.params if option.name in theirs and option.name not in ("source", "output", "model")
    ]
    assert len(shared) >= 12
    assert all(option is theirs[option.name] for option in shared)


@pytest.mark.parametrize(
    ("section", "match"),
    [("facter: [1, 1, 2]", "unknown key.*facter"), ("json: true", "unknown key.*json"), ("1: 2", "unknown key")],
)
def test_a_file_with_unknown_keys(parse, section: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        parse(section=section)


def test_values_that_make_no_sense(parse) -> None:
    with pytest.raises(ConfigError, match="factor"):
        parse("--factor", 1, 0.5, 1)
    with pytest.raises(click.UsageError):
        parse("--factor", 1, 2)
    with pytest.raises(click.UsageError, match="not one of"):
        parse(section="slice-profile: round")
    with pytest.raises(click.UsageError):
        parse(env={"MDCSRN_FACTOR": "one two three"})
    with pytest.raises(click.UsageError):
        parse("-t", "localhost:8000")  # Triton has no part in this


def test_a_config_file_that_is_no_mapping(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("mdcsrn: [1]\n")
    with pytest.raises(ConfigError, match="no mapping"):
        config_defaults({"HOLOSCAN_CONFIG_PATH": str(tmp_path / "app.yaml")})
    with pytest.raises(ConfigError, match="cannot read"):
        config_defaults({"HOLOSCAN_CONFIG_PATH": str(tmp_path / "none.yaml")})


def test_the_model_folder_of_a_package_may_be_missing_or_empty(parse, tmp_path: Path) -> None:
    missing = {"HOLOSCAN_MODEL_PATH": str(tmp_path / "missing")}
    assert parse(env=missing).model is None
    assert parse(env=missing, section="model: gan").model == "gan"
    (tmp_path / "empty").mkdir()
    assert parse(env={"HOLOSCAN_MODEL_PATH": str(tmp_path / "empty")}).model is None
    assert parse(env={"HOLOSCAN_MODEL_PATH": str(BUNDLE)}).model == str(BUNDLE)
    with pytest.raises(CheckpointError):  # asked for by a person, it must be there
        find_weights(parse("-m", tmp_path / "missing").model)


def test_which_weights_a_model_folder_means(tmp_path: Path) -> None:
    default = find_model()
    assert find_weights(None).sha256 == default.sha256
    assert find_weights("model").sha256 == default.sha256
    shutil.copytree(BUNDLE, tmp_path / "models" / "mdcsrn_wgan_gp", ignore=shutil.ignore_patterns("docs", "runs"))
    for place in (tmp_path / "models", tmp_path / "models" / "mdcsrn_wgan_gp"):
        found = find_weights(str(place))
        assert (found.bundle, found.sha256) == ("mdcsrn_wgan_gp", default.sha256)
        assert found.trained is not None
        assert found.path.is_relative_to(tmp_path)
    alone = tmp_path / "alone" / "mine"  # as the packager lays a single file
    alone.mkdir(parents=True)
    shutil.copy(BUNDLE / "models" / "model.pt", alone / "mine.pt")
    for place in (tmp_path / "alone", alone, alone / "mine.pt"):
        assert find_weights(str(place)).path == alone / "mine.pt"
    shutil.copy(BUNDLE / "models" / "model.safetensors", alone / "mine.safetensors")
    assert find_weights(str(alone)).path.stem == "mine"  # two forms of one model
    shutil.copy(alone / "mine.pt", alone / "other.pt")
    with pytest.raises(ConfigError, match=r"does not say which weights.*got: .*mine"):
        find_weights(str(alone))
    (tmp_path / "void").mkdir()
    with pytest.raises(ConfigError, match="got: neither"):
        find_weights(str(tmp_path / "void"))


def test_a_folder_that_is_not_there(parse, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        run(parse("-i", tmp_path / "none", "-o", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_cuda_runtime_is_the_packages() -> None:
    library = cuda_runtime()
    assert library is not None
    assert library.name == CUDA_RUNTIME
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libcudart" in line}
    assert loaded == {str(library.resolve())}  # one, and not what a system may have beside it
