"""Brain extraction by HD-BET, where it is installed: its command, called on one scan.

F. Isensee et al.: Automated brain extraction of multisequence MRI using artificial neural networks, Human Brain
Mapping 40(17), 2019. The options are those of version 2 (``hd-bet -i scan.nii.gz -o brain.nii.gz``), which writes the
mask to ``brain_bet.nii.gz``.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import torch

from mdcsrn.errors import DataError, MissingDependencyError
from mdcsrn.io.formats import read_image, write_image
from mdcsrn.io.same_place import check_same_place
from mdcsrn.io.volume import Volume
from mdcsrn.scratch import scratch

COMMAND = "hd-bet"


def check_extractor() -> str:
    """Path of HD-BET's command.

    Raises:
        MissingDependencyError: it is not installed.
    """
    found = shutil.which(COMMAND)
    if found is None:
        raise MissingDependencyError(
            "brain extraction needs HD-BET, whose command hd-bet is not here",
            remedy="pip install hd-bet, or give masks: --masks FOLDER",
        )
    return found


def brain_mask(volume: Volume, folder: Path) -> Volume:
    """Mask of the brain in a scan.

    Args:
        volume: the scan, any unit, with an affine that is true.
        folder: for a hidden folder with the files in between; it goes at the end.

    Returns:
        1 in the brain, 0 outside, on the same grid.

    Raises:
        MissingDependencyError: HD-BET is not installed.
        DataError: it failed (its last line is given), or wrote no mask.
        GeometryError: its mask lies elsewhere.
    """
    command = check_extractor()
    with scratch(folder) as place:
        source, result = place / "scan.nii.gz", place / "brain.nii.gz"
        write_image(volume, source)
        how = ["-device", "cuda"] if torch.cuda.is_available() else ["-device", "cpu", "--disable_tta"]
        words = [command, "-i", str(source), "-o", str(result), *how, "--save_bet_mask", "--no_bet_image"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        mask = place / "brain_bet.nii.gz"
        if done.returncode != 0 or not mask.is_file():
            lines = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()
            raise DataError(
                f"HD-BET made no mask of {volume.path or 'the volume'}", got=lines[-1],
                remedy="run hd-bet by hand, or give masks: --masks FOLDER",
            )  # fmt: skip
        found = read_image(mask, allow_constant=True)
        check_same_place(found, volume, mask, source)
        return volume.replace((found.array != 0).astype(found.array.dtype))
