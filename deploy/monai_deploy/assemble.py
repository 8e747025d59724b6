"""The folder that ``monai-deploy package`` takes: the app with mdcsrn in it, and a bundle to be its model.

    python deploy/monai_deploy/assemble.py build/monai_deploy

makes ``build/monai_deploy/app`` (the app's files, and mdcsrn as its wheel holds it) and ``build/monai_deploy/models``
(one bundle). mdcsrn is on no package index, so it goes into the app's folder. Other ways do not work: the packager
installs ``requirements.txt`` before it copies anything into the image, leaves out folders named ``wheels``, and puts
every sub-folder of what ``--add`` names onto Python's path, where ``mdcsrn/report/html.py`` would take the place of the
standard library's ``html``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


def assemble(target: Path, bundle: Path) -> Path:
    """Make both folders.

    Args:
        target: new or empty folder.
        bundle: folder of the bundle that becomes the model.

    Returns:
        The app's folder.

    Raises:
        SystemExit: the folder is in use, there is no such bundle, or the wheel cannot be built.
    """
    if target.exists() and any(target.iterdir()):
        sys.exit(f"error: {target} is not empty: choose another folder, or empty this one")
    if not (bundle / "configs" / "metadata.json").is_file():
        sys.exit(f"error: {bundle} is no bundle: it has no configs/metadata.json")
    app = target / "app"
    shutil.copytree(HERE / "app", app, ignore=LEFT_OUT)
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        command += ["--wheel-dir", place, str(CHECKOUT)]
        if subprocess.run(command, check=False).returncode:
            sys.exit("error: the wheel of mdcsrn cannot be built: see pip's message; it needs the package hatchling")
        (wheel,) = Path(place).glob("mdcsrn-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(app)  # our own, made just now
    shutil.copytree(bundle, target / "models" / bundle.name, ignore=LEFT_OUT)
    return app


def main() -> None:
    """Make the folders, and say what to do next."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", type=Path, help="new or empty folder")
    parser.add_argument(
        "--bundle", type=Path, default=CHECKOUT / "bundles" / "mdcsrn_wgan_gp", help="folder of the model's bundle"
    )
    arguments = parser.parse_args()
    app = assemble(arguments.target, arguments.bundle)
    print(
        f"monai-deploy package {app} --config {app}/app.yaml --models {arguments.target}/models \\\n"
        "    --platform x86_64 --tag mdcsrn:0.1.0"
    )


if __name__ == "__main__":
    main()
