"""The folder for ``monai-deploy package``: it runs by itself, and the packager takes it up to the call of Docker."""

from __future__ import annotations

import fnmatch
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import holoscan_cli
import pytest
from deploy_studies import write
from holoscan_cli.packager.arguments import PackagingArguments
from holoscan_cli.packager.container_builder import PythonAppBuilder
from holoscan_cli.packager.package_command import create_package_parser
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Run = Callable[..., subprocess.CompletedProcess[str]]
HERE = Path(__file__).resolve().parents[1]
TOOL = Path(sys.executable).parent / "monai-deploy"


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("assembled") / "map"
    command = [sys.executable, str(HERE / "assemble.py"), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("monai-deploy package ")
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, "is not empty" in again.stderr) == (1, True)
    return target


@pytest.fixture
def arguments(assembled: Path, tmp_path: Path) -> list[str]:
    """Of ``monai-deploy package``, as the README gives them; the build cache stays in the test's folder."""
    app = assembled / "app"
    return [
        str(app), "--config", str(app / "app.yaml"), "--models", str(assembled / "models"), "--platform", "x86_64",
        "--tag", "mdcsrn:0.1.0", "--source", str(HERE / "artifacts.json"), "--build-cache", str(tmp_path / "cache"),
    ]  # fmt: skip


GATE = """
import sys

class Gate:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(name + " is not in the image", name=name)

sys.meta_path.insert(0, Gate())
"""


def not_in_the_image() -> set[str]:
    """Modules of this environment that ``app/requirements.txt`` does not bring, directly or through another package."""
    lines = [line.split("#")[0] for line in (HERE / "app" / "requirements.txt").read_text().splitlines()]
    left = [Requirement(line) for line in lines if line.strip()]
    seen: set[tuple[str, str]] = set()
    while left:
        wanted = left.pop()
        for extra in ("", *wanted.extras):
            key = (canonicalize_name(wanted.name), extra)
            if key in seen:
                continue
            seen.add(key)
            for text in metadata.requires(wanted.name) or []:
                further = Requirement(text)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    left.append(further)
    brought = {name for name, _ in seen} | {"pip", "setuptools", "mdcsrn"}
    homes = metadata.packages_distributions().items()
    return {module for module, owners in homes if not brought & {canonicalize_name(owner) for owner in owners}}


def test_it_runs_by_itself(assembled: Path, app: Run, stack, tmp_path: Path) -> None:
    """As in the image: the app's folder, the model's folder, what its requirements bring, nothing of the checkout."""
    missing = not_in_the_image()
    assert {"pytest", "hypothesis", "ignite", "tensorboard"} <= missing
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "sitecustomize.py").write_text(GATE.replace("{names}", repr(missing)))
    write(stack(slices=16, rows=24, columns=24), tmp_path / "input")
    env = {
        "HOLOSCAN_INPUT_PATH": "input/", "HOLOSCAN_OUTPUT_PATH": "output/",
        "HOLOSCAN_MODEL_PATH": str(assembled / "models"), "HOLOSCAN_CONFIG_PATH": str(assembled / "app" / "app.yaml"),
        "MDCSRN_FACTOR": "1 1 2", "MDCSRN_BACKEND": "eager", "PYTHONVERBOSE": "1", "PYTHONPATH": str(tmp_path / "gate"),
    }  # fmt: skip
    done = app(env=env, folder=assembled / "app", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "output" / "series005_sr" / "00032.dcm").is_file()
    imported = [line for line in done.stderr.splitlines() if line.startswith("import 'mdcsrn")]
    assert "weights: mdcsrn_wgan_gp" in done.stderr
    assert imported
    checkout = str(HERE.parents[1] / "mdcsrn")
    assert not [line for line in done.stderr.splitlines() if checkout in line]


def test_the_packager_takes_it(arguments: list[str], tmp_path: Path) -> None:
    """Its own parser, manifests and builder, up to the call of Docker."""
    import argparse

    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    create_package_parser(commands, "package", parents=[])
    context = tmp_path / "context"
    context.mkdir()
    parsed = parser.parse_args(["package", *arguments, "--sdk", "monai-deploy"])
    packaging = PackagingArguments(parsed, str(context))
    manifest, package = packaging.application_manifest.data, packaging.package_manifest.data
    assert manifest["command"] == '["python3", "/opt/holoscan/app"]'
    assert (manifest["sdk"], manifest["sdkVersion"], manifest["version"]) == ("monai-deploy", "4.0.0", "0.1.0")
    assert manifest["input"] == {"path": "input/", "formats": ["file"]}
    assert package["models"] == {"mdcsrn_wgan_gp": "/opt/holoscan/models/mdcsrn_wgan_gp"}
    assert package["resources"]["memory"] == "8Gi"

    builder = PythonAppBuilder(packaging.build_parameters, str(context))
    (platform,) = packaging.platforms
    builder._copy_supporting_files(platform)
    dockerfile = Path(builder._write_dockerfile(platform)).read_text()
    assert "pip install monai-deploy-app-sdk==4.0.0" in dockerfile
    assert "COPY ./app /opt/holoscan/app" in dockerfile
    assert (context / "app" / "__main__.py").is_file()
    assert (context / "models" / "mdcsrn_wgan_gp" / "models" / "model.pt").is_file()
    requirements = (context / "pip" / "requirements.txt").read_text()
    assert "holoscan-cu13==4.6.0\n" in requirements

    # What the packager's .dockerignore leaves out of the image must not be ours.
    ignored = (Path(holoscan_cli.__file__).parent / "packager" / "templates" / "dockerignore").read_text().splitlines()
    patterns = [line.strip("/").removeprefix("**/") for line in ignored if line and not line.startswith("#")]
    parts = {part for file in (context / "app").rglob("*") for part in file.relative_to(context / "app").parts}
    assert len(patterns) > 20
    assert not [(part, p) for part in parts for p in patterns if fnmatch.fnmatch(part, p)]


def test_the_command_reaches_docker(arguments: list[str], environment: dict[str, str]) -> None:
    """The real command; where no Docker is, that is all it complains of."""
    done = subprocess.run(
        [str(TOOL), "package", *arguments, "-l", "DEBUG"], capture_output=True, text=True, check=False,
        env=environment | {"DOCKER_HOST": "tcp://127.0.0.1:9"},  # nothing is built here, whatever the machine has
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "End app.json" in said
    assert "End pkg.json" in said
    assert "End Dockerfile" in said
    assert "docker" in said.split("Error packaging application")[-1].lower()


def test_pins_agree(assembled: Path) -> None:
    """What the image installs is what the tests ran with."""
    pins = dict(
        line.split("==") for line in (HERE / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    pins = {name.lower(): version for name, version in pins.items()}
    wanted = [
        line.split("#")[0].strip()
        for name in ("app/requirements.txt", "requirements.txt")
        for line in (HERE / name).read_text().splitlines()
    ]
    listed = [line.split("==") for line in wanted if line and not line.startswith("-r")]
    assert len(listed) > 20
    for name, version in listed:
        assert pins[name.lower()] == version, name
    artifacts = json.loads((HERE / "artifacts.json").read_text())
    assert list(artifacts) == [pins["holoscan-cu13"]]
