"""Compare an earlier commit with this checkout on one machine: voxels, records, words, training, exported files.

    python benchmarks/compare_versions.py 3f23eb6 --data ../shared/data

Bits differ between processors, so both versions run here, with one Python and its packages. The script ends with 1
where anything differs that a user could depend on. Compared are

- ``predict``: a head, thick 2D slices and a DICOM series: voxels and matrix bit for bit, keys and values of the record;
- ``words``: exit codes and both streams of commands, right and wrong;
- ``training``: two phases, and the same run stopped and resumed: every tensor of the weights bit for bit;
- ``inference``: the bundle's inference and evaluation, as MONAI runs them;
- ``export``: TorchScript and ONNX, loaded and run.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = "mdcsrn_wgan_gp"
HEAD, THICK = "t1w/test/ds002748-66_T1w.nii.gz", "thick/dcmqa-decub_T1w.nii.gz"
SERIES = "dicom/philips_classic_mprage3d.zip"
# Of a record: what differs between any two runs.
VOLATILE = re.compile(
    r"(record_sha256|dicom/sha256|time|timings_s|second|date|_s$|version|started|memory|peak|software|path|command)",
    re.IGNORECASE,
)
TRAINING = {
    "network_def#blocks": 1, "network_def#units": 2, "network_def#growth": 4, "patch_size": 16, "batch_size": 2,
    "patches_per_volume": 4, "volumes_per_group": 2, "voxel_steps": 8, "critic_warmup": 3, "adversarial_steps": 4,
    "critic_per_generator": 2, "extra_critic_steps": 3, "extra_every": 2, "rate_warmup": 3, "rate_final": 0.1,
    "critic_rate": 1e-4, "epoch_length": 7, "checkpoint_every": 2, "log_every": 1, "max_memory": 1.0,
    "precision": "float32",
}  # fmt: skip
EPOCHS = 4  # that hold the schedule above


class Version:
    """One version of the sources, run from a folder of its own.

    Args:
        name: in messages.
        tree: folder with ``mdcsrn/`` and ``bundles/``.
        scratch: empty folder for what it writes.
    """

    def __init__(self, name: str, tree: Path, scratch: Path) -> None:
        self.name, self.tree, self.scratch = name, tree, scratch
        scratch.mkdir()

    def run(self, *words: object, module: str = "mdcsrn", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """``python -m module words``, with this version's sources first."""
        command = [sys.executable, "-m", module, *map(str, words)]
        variables = os.environ | {"PYTHONPATH": str(self.tree), "PYTHONUTF8": "1", "NO_COLOR": "1", "COLUMNS": "100"}
        return subprocess.run(
            command, cwd=cwd or self.scratch, env=variables, capture_output=True, text=True, check=False
        )

    def must(self, *words: object, module: str = "mdcsrn", cwd: Path | None = None) -> None:
        """The same; an error ends the comparison."""
        done = self.run(*words, module=module, cwd=cwd)
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stderr}")

    def bundle(self, *words: object) -> None:
        """``python -m monai.bundle words`` in the bundle's folder."""
        self.must(*words, module="monai.bundle", cwd=self.tree / "bundles" / BUNDLE)


Found = dict[str, Any]


def digest(array: np.ndarray) -> str:
    """Shape, type and a hash of the bytes."""
    return f"{array.shape} {array.dtype} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]}"


def image(path: Path) -> str:
    """Voxels and both matrices of a NIfTI file."""
    found = nib.load(path)
    header = found.header
    forms = b"".join(np.asarray(m).tobytes() for m in (found.affine, header.get_sform(), header.get_qform()))
    codes = (int(header["sform_code"]), int(header["qform_code"]))
    return f"{digest(np.asanyarray(found.dataobj))} {hashlib.sha256(forms).hexdigest()[:16]} {codes}"


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a JSON document with its path; values that differ between two runs are left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}/{key}")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, inner in enumerate(value):
            yield from flat(inner, f"{name}/{number}")
    else:
        yield name, "..." if VOLATILE.search(name) else value


def predict(version: Version, data: Path) -> Iterator[tuple[str, Any]]:
    """Voxels and records of three scans and a DICOM series."""
    series = version.scratch / "series"
    with zipfile.ZipFile(data / SERIES) as archive:
        archive.extractall(series)
    settings = {"head": (data / HEAD, "1 2 2"), "thick": (data / THICK, "1 1 2"), "series": (series, "1 1 2")}
    for name, (source, factor) in settings.items():
        out = version.scratch / f"{name}.nii.gz"
        more = ["--dicom-out", version.scratch / "derived"] if name == "series" else ["--uncertainty"]
        version.must("predict", source, "-o", out, "--factor", *factor.split(), *more)
        for path in sorted(version.scratch.glob(f"{name}*.nii.gz")):
            yield path.name, image(path)
        yield from flat(json.loads((version.scratch / f"{name}.json").read_text()), f"{name}.json")
        yield f"{name}: verify", version.run("verify", out, "--input", source).returncode
    import pydicom

    slices = [pydicom.dcmread(path) for path in sorted((version.scratch / "derived").rglob("*.dcm"))]
    for ds in sorted(slices, key=lambda ds: int(ds.InstanceNumber)):
        voxels = hashlib.sha256(ds.PixelData).hexdigest()[:16]
        yield f"slice {ds.InstanceNumber}", f"{voxels} {ds.ImagePositionPatient} {sorted(e.keyword for e in ds)}"


def words(version: Version, data: Path) -> Iterator[tuple[str, Any]]:
    """Exit codes and streams of commands; paths and measured figures are left out."""
    head, out = version.scratch / "head.nii.gz", version.scratch / "words.nii.gz"
    shutil.copy(data / HEAD, head)  # results go beside it where no place is named
    pages = ["predict", "info", "degrade", "evaluate", "verify", "benchmark", "report", "bids"]
    inner = [["data", w] for w in ("sample", "hcp", "fastmri", "folder")]
    inner += [["bundle", w] for w in ("list", "check", "pack", "export")]
    commands: list[list[object]] = [["--help"], *([page, "--help"] for page in pages), *([*w, "--help"] for w in inner)]
    commands += [
        [], ["predcit"], ["predict"], ["predict", "nothing.nii.gz"], ["predict", head], ["info", head],
        ["predict", head, "-o", out, "--factor", "1", "1", "2", "--dry-run"],
        ["predict", head, "-o", out, "--factor", "1", "1", "0"], ["predict", head, "-o", "words.txt", "--same-grid"],
        ["predict", head, "-o", out, "--factor", "1", "1", "2", "--model", "nothing.pt"],
        ["predict", head, "-o", out, "--factor", "1", "1", "2", "--device", "tpu"],
        ["predict", head, "-o", out, "--factor", "1", "1", "2", "--backend", "none"],
        ["degrade", head, "-o", "low.nii.gz", "--spec", ROOT / "configs/degradation/hcp_2x2.yaml"],
        ["evaluate", "--prediction", "low.nii.gz", "--reference", head], ["verify", "low.nii.gz"],
        ["evaluate", "--prediction", "low.nii.gz", "--reference", data / THICK], ["degrade", head, "-o", "x.nii.gz"],
        ["bundle", "list"], ["bundle", "check", BUNDLE], ["bundle", "export", BUNDLE, "--format", "none", "-o", "x"],
        ["data", "folder", data / "t1w", "-o", "datalist.json"], ["data", "folder", "nothing"], ["report", "none"],
    ]  # fmt: skip
    for command in commands:
        done = version.run(*command)
        title = " ".join(str(word).replace(str(data), "DATA") for word in command).replace(str(version.scratch), "OUT")
        title = title.replace(str(ROOT), "ROOT")
        yield f"{title}: exit", done.returncode
        yield f"{title}: stdout", masked(done.stdout, version)
        yield f"{title}: stderr", masked(done.stderr, version)


def masked(text: str, version: Version) -> str:
    """Words without what differs between two runs: folders, times, memory."""
    for folder, name in ((version.scratch, "OUT"), (version.tree, "TREE"), (ROOT, "TREE")):
        text = text.replace(str(folder), name)
    return re.sub(r"\d+(\.\d+)? ?(s|min|GiB|MiB|GB|h)\b", r"N \2", text)


def training(version: Version, data: Path) -> Iterator[tuple[str, Any]]:
    """Weights of a run, and of one that was stopped in the middle and resumed."""
    source = version.scratch / "datalist.json"
    files = sorted((data / "t1w/train").glob("ds002748-*.nii.gz"))[:4]
    content = {
        section: [{"image": str(path), "subject": path.name} for path in chosen]
        for section, chosen in (("training", files[:3]), ("validation", files[3:]))
    }
    source.write_text(json.dumps(content))
    for name, runs in (("whole", (EPOCHS,)), ("resumed", (2, EPOCHS))):
        output = version.scratch / name
        for epochs in runs:
            knobs = TRAINING | {"datalist": source, "output_dir": output, "train#trainer#max_epochs": epochs}
            options = [word for key, value in knobs.items() for word in (f"--{key}", str(value))]
            version.bundle("run", "training", "--config_file", "configs/train.yaml", *options)
        for path in sorted(output.glob("*.pt")):
            for tensor, value in tensors(path):
                yield f"{name}/{path.name}/{tensor}", value


def tensors(path: Path) -> Iterator[tuple[str, str]]:
    """Each tensor of a weights file of any version, with a hash of its bytes."""
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    for name, tensor in content.get("state_dict", content).items():
        yield name, digest(tensor.numpy())


def inference(version: Version, data: Path) -> Iterator[tuple[str, Any]]:
    """The bundle's inference and evaluation of a small volume."""
    small = version.scratch / "small.nii.gz"
    found = nib.load(data / HEAD)
    nib.save(nib.Nifti1Image(np.asarray(found.dataobj)[40:104, 46:110, 14:74], found.affine), small)
    output = version.scratch / "inference"
    options = ["--input", small, "--output_dir", output, "--precision", "float32"]
    version.bundle("run", "run", "--config_file", "configs/inference.yaml", *options)
    for path in sorted(output.rglob("*.nii.gz")):
        yield f"inference/{path.relative_to(output)}", image(path)
    listed = version.scratch / "evaluate.json"
    listed.write_text(json.dumps({"test": [{"image": str(small), "subject": "one"}]}))
    figures = version.scratch / "evaluation"
    options = ["--datalist", listed, "--output_dir", figures, "--precision", "float32"]
    version.bundle("run", "evaluating", "--config_file", "configs/evaluate.yaml", *options)
    for path in sorted(figures.rglob("*.csv")):
        yield f"evaluation/{path.relative_to(figures)}", path.read_text()


def export(version: Version, data: Path) -> Iterator[tuple[str, Any]]:
    """Results of exported files on one random volume."""
    import torch

    volume = np.random.default_rng(0).random((1, 1, 16, 20, 24), dtype=np.float32)
    for form, suffix in (("torchscript", ".ts"), ("onnx", ".onnx")):
        path = version.scratch / f"model{suffix}"
        version.must("bundle", "export", BUNDLE, "--format", form, "-o", path, "--volume", data / HEAD)
        yield f"{form} record", sorted(json.loads(path.with_name(path.name + ".json").read_text()))
        if form == "torchscript":
            with torch.inference_mode():
                result = torch.jit.load(path)(torch.from_numpy(volume)).numpy()
        else:
            import onnxruntime

            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            result = session.run(None, {session.get_inputs()[0].name: volume})[0]
        yield form, digest(result)


PARTS: dict[str, Callable[[Version, Path], Iterator[tuple[str, Any]]]] = {
    "predict": predict, "words": words, "training": training, "inference": inference, "export": export,
}  # fmt: skip


def differences(before: Found, after: Found) -> Iterator[str]:
    """One paragraph for each value that is not the same."""
    for name in sorted({*before, *after}):
        if name not in after:
            yield f"- {name} is gone"
        elif name not in before:
            yield f"- {name} is new: {after[name]}"
        elif before[name] != after[name]:
            lines = (str(found[name]).splitlines() for found in (before, after))
            yield f"- {name}\n    " + "\n    ".join(difflib.unified_diff(*lines, "before", "after", lineterm="", n=0))


def main() -> int:
    """Run both versions and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="commit to compare with")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder with real MRI")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    options = parser.parse_args()
    data, different = options.data.resolve(), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packed = folder / "before.tar"
        subprocess.run(["git", "-C", ROOT, "archive", "-o", packed, options.before], check=True)
        with tarfile.open(packed) as archive:
            archive.extractall(folder / "before", filter="data")
        for part in options.only.split(","):
            versions = (
                Version("before", folder / "before", folder / f"{part}-before"),
                Version("after", ROOT, folder / f"{part}-after"),
            )
            before, after = (dict(PARTS[part](version, data)) for version in versions)
            found = list(differences(before, after))
            different += len(found)
            print(f"{part}: {len(before)} values, {len(found)} differ", *found, sep="\n", flush=True)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
