"""Damaged NRRD, MetaImage and FreeSurfer files: only the project's own errors, no crash of a C++ parser, no print."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from mdcsrn.errors import MdcsrnError
from mdcsrn.io.formats import read_image

MUTANTS = 2400
WORDS = (b"nan", b"inf", b"-1", b"0", b"1e38", b"9" * 20, b"", b"(", b"none", b"short", b"LIST", b"2", b"%s%n", b"3")


def _originals(folder: Path) -> dict[str, bytes]:
    array = np.random.default_rng(7).normal(100, 20, (7, 6, 5)).astype(np.float32)
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetSpacing((1.0, 1.2, 2.0))
    for name, packed in (("a.nrrd", False), ("b.nrrd", True), ("a.mha", False), ("b.mha", True)):
        sitk.WriteImage(image, str(folder / name), packed)
    for name in ("a.mgh", "b.mgz"):
        nib.freesurfer.MGHImage(array, np.diag([1, 1.2, 2, 1])).to_filename(folder / name)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _mutate(seed: int, name: str, original: bytes) -> bytes:
    """Bytes anywhere, bytes of the header, a word of the header, a line of it lost or moved, or a truncation."""
    rng = np.random.default_rng(seed)
    data = bytearray(original)
    text = not name.endswith((".mgh", ".mgz"))
    end = max(original.find(b"\n\n"), original.find(b"LOCAL") + 6) if text else min(300, len(data))
    way = rng.integers(5)
    if way == 0:
        for _ in range(rng.integers(1, 9)):
            data[rng.integers(len(data))] = rng.integers(256)
    elif way == 1 or (way in (2, 3) and not text):
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(end)] = rng.integers(256)
    elif way == 2:
        words = list(re.finditer(rb'[^\s:=(),"]+', original[:end]))
        word = words[rng.integers(len(words))]
        data[word.start() : word.end()] = WORDS[rng.integers(len(WORDS))]
    elif way == 3:
        lines = original[:end].split(b"\n")
        line = lines.pop(rng.integers(len(lines)))
        if rng.integers(2):
            lines.insert(int(rng.integers(len(lines))), line)
        data = bytearray(b"\n".join(lines) + original[end:])
    else:
        del data[int(rng.integers(len(data))) :]
    return bytes(data)


def attack(folder: Path) -> None:
    """Read all mutants; a crash ends the process, an exception of another kind ends the loop."""
    originals = _originals(folder)
    counts = [0, 0]
    for seed in range(MUTANTS):
        name = list(originals)[seed % len(originals)]
        path = folder / f"mutant{seed}_{name}"
        path.write_bytes(_mutate(seed, name, originals[name]))
        try:
            volume = read_image(path)
        except MdcsrnError as error:
            assert path.name in str(error), seed
            counts[0] += 1
        else:
            assert np.isfinite(volume.array).all(), seed
            assert np.linalg.matrix_rank(volume.affine) == 4, seed
            counts[1] += 1
        path.unlink()
    print("refused, read:", *counts)


def test_mutants_are_read_soundly_or_refused_by_name(tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path)]  # its own process: ITK's parsers are C++
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""  # ITK prints much, and nothing of it reaches the console
    refused, read = (int(word) for word in done.stdout.split()[-2:])
    assert refused + read == MUTANTS
    assert 0.3 * MUTANTS < refused < 0.95 * MUTANTS


if __name__ == "__main__":
    attack(Path(sys.argv[1]))
