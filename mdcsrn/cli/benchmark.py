"""``mdcsrn benchmark``: compare each backend on this machine with eager float32 under a sliding window."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdcsrn.cli import _complete as complete
from mdcsrn.cli._help import by_topic
from mdcsrn.errors import ConfigError
from mdcsrn.optional import install_command, is_installed

if TYPE_CHECKING:
    from torch import Tensor

    from mdcsrn.benchmark.measure import Job

BASELINE = "baseline"
SIZE = (64, 96, 96)


TOPICS = {
    "What is measured": ("size", "backends", "bundle", "model"),
    "How": ("threads", "full", "no_int8", "as_json", "help"),
}


@click.command("benchmark", cls=by_topic(TOPICS))
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--size", nargs=3, type=click.IntRange(8, 1024), metavar="D H W", help="Default: the file's, or 64 96 96."
)
@click.option("--threads", type=click.IntRange(1), help="Default: all cores that the process may use.")
@click.option("--backends", metavar="A,B", help="Only these, such as openvino,eager; default: all that are here.",
              shell_complete=complete.among_list(complete.BACKENDS[1:]))  # fmt: skip
@click.option("--bundle", metavar="B", help="Name or folder of a bundle.", shell_complete=complete.bundles)
@click.option("--model", metavar="F", help="File with weights, or the name of one in the bundle.",
              shell_complete=complete.models)  # fmt: skip
@click.option("--full", is_flag=True, help="Run the whole baseline rather than a few windows of it.")
@click.option("--no-int8", is_flag=True, help="Leave 8-bit arithmetic out: its calibration takes a while.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    file: Path | None,
    size: tuple[int, int, int] | None,
    threads: int | None,
    backends: str | None,
    bundle: str | None,
    model: str | None,
    full: bool,
    no_int8: bool,
    as_json: bool,
) -> None:
    """Measure every backend and precision on a head.

    Each row is a process of its own: the network over the whole volume without overlap, compiling apart, the most
    memory that the process held, and the PSNR to the float32 result. FILE is a scan to use instead of a synthetic head.
    """
    from mdcsrn.benchmark.measure import Job, machine, synthetic_head
    from mdcsrn.inference.planning.models import find_model
    from mdcsrn.inference.planning.prepare import check_picture
    from mdcsrn.io.formats import image_kind
    from mdcsrn.networks import traits_of
    from mdcsrn.processor import usable_threads

    combinations, absent = _combinations(*_wanted(backends, no_int8))
    found = find_model(bundle, model)
    traits_of(found.network)  # weights that no row could run are refused before any
    if file is not None:
        check_picture(file, image_kind(file), found)
    weights = found.path
    count = threads or usable_threads()
    say = (lambda text: None) if as_json else click.echo
    with tempfile.TemporaryDirectory(prefix="mdcsrn-benchmark-") as folder:
        import numpy as np

        volume = synthetic_head(size or SIZE) if file is None else _scan(file, size)
        np.save(Path(folder) / "volume.npy", volume.numpy())
        shared = Job("engine", str(Path(folder) / "volume.npy"), str(weights), count)
        about = {
            **machine(),
            "threads": count,
            "volume": "a synthetic head" if file is None else file.name,
            "shape": list(volume.shape),
            "weights": weights.name,
        }
        say(f"{about['processor']} ({', '.join(about['features']) or 'no features known'}), {count} threads")
        say(f"{about['volume']}, {' x '.join(map(str, volume.shape))}, weights {weights.name}\n")
        for name, reason in absent.items():  # what will not be in the table is said before minutes are spent on it
            say(f"{name}: {reason}")
        peaks = _peaks(shared)
        for precision, peak in peaks.items():
            say(
                f"measured peak, {precision}: {peak['gemm']:.0f} GFLOP/s in matrix products, {peak['conv']:.0f} in 3D "
                "convolutions"
            )
        rows = _rows(shared, combinations, Path(folder), full, peaks, say)
    if as_json:
        click.echo(json.dumps({**about, "peak_gflops": peaks, "rows": rows, "absent": absent}, indent=2))
        return


def _wanted(backends: str | None, no_int8: bool) -> tuple[list[str], bool]:
    from mdcsrn.inference.backends import NAMES

    names = list(NAMES) if backends is None else [name.strip() for name in backends.split(",")]
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ConfigError("unknown backend", got=", ".join(unknown), allowed=", ".join(NAMES))
    return names, not no_int8


def _scan(file: Path, size: tuple[int, int, int] | None) -> Tensor:
    """A scan as the network reads it, its middle cut to `size`."""
    import torch

    from mdcsrn.io.formats import read_image
    from mdcsrn.kspace.intensity import intensity_scale

    array = torch.from_numpy(read_image(file).array)
    for axis, edge in enumerate(size or array.shape):
        kept = min(edge, array.shape[axis])
        array = array.narrow(axis, (array.shape[axis] - kept) // 2, kept)
    scale = float(intensity_scale(array))
    if not scale > 0:
        raise ConfigError(f"{file} has no signal to measure with", got=scale)
    return (array / scale).contiguous()


def _peaks(shared: Job) -> dict[str, dict[str, float]]:
    from mdcsrn.benchmark.measure import measure_apart

    facts = measure_apart(dataclasses.replace(shared, kind="peak"))
    return {name: value for name, value in facts.items() if isinstance(value, dict)}


def _rows(
    shared: Job,
    combinations: Sequence[tuple[str, str]],
    folder: Path,
    full: bool,
    peaks: dict[str, dict[str, float]],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Measure row by row, the reference first, and print each as it is done."""
    from mdcsrn.benchmark.measure import measure_apart

    reference = folder / "float32.npy"
    rows: list[dict[str, Any]] = []
    say(f"\n{'':28}{'seconds':>9}{'faster':>8}{'compile':>9}{'GiB':>7}{'PSNR dB':>9}{'GFLOP/s':>9}{'share':>7}")
    baseline = measure_apart(dataclasses.replace(shared, kind="baseline", windows=None if full else 2))
    if "error" in baseline:
        raise ConfigError("the baseline failed", got=baseline["error"])
    # The reference is always measured, and first.
    combinations = [("eager", "float32"), *(pair for pair in combinations if pair != ("eager", "float32"))]
    for name, precision in [(BASELINE, "float32"), *combinations]:
        if name == BASELINE:
            facts = baseline
        else:
            target = reference if not reference.is_file() else folder / "result.npy"
            job = dataclasses.replace(shared, backend=name, precision=precision, result=str(target))
            facts = measure_apart(job)
            if "error" not in facts:
                facts["psnr_db"] = _psnr(target, reference)
        if "error" not in facts:
            facts["faster"] = baseline["seconds"] / facts["seconds"]
            peak = peaks.get(precision if precision in peaks else "bfloat16")
            if peak and "gflops" in facts and precision != "int8":
                facts["peak_share"] = facts["gflops"] / max(peak["gemm"], peak["conv"])
        row = {"backend": name, "precision": precision, **facts}
        rows.append(row)
        say(_line(row))
    scaled = "" if full else f", scaled from {baseline['windows_run']} of {baseline['windows']} windows"
    say(f"\nbaseline: eager float32, MONAI sliding window 64^3, overlap 0.25, Gaussian{scaled}")
    return rows


def _combinations(names: Sequence[str], eight_bits: bool) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Backends and precisions that can run here, and why others cannot."""
    from mdcsrn.inference.backends import backend

    pairs: list[tuple[str, str]] = []
    absent: dict[str, str] = {}
    for name in names:
        found = backend(name)
        reason = found.available()
        if reason is not None:
            absent[name] = reason
            continue
        pairs += [(name, precision) for precision in found.precisions()]
        if name == "openvino" and eight_bits:
            if not is_installed("nncf"):
                absent["openvino int8"] = f"not installed: nncf ({install_command('int8')})"
            else:
                pairs.append((name, "int8"))
    return pairs, absent


def _psnr(result: Path, reference: Path) -> float | None:
    """PSNR, range 1 (the 99.9th percentile), in dB; None where the two are equal."""
    import numpy as np
    import torch

    from mdcsrn.inference.backends.select import psnr

    ours, truth = (torch.from_numpy(np.load(path)) for path in (result, reference))
    value = psnr(ours, truth, data_range=1.0)
    return value if math.isfinite(value) else None


def _line(row: dict[str, Any]) -> str:
    name = row["backend"] if row["backend"] == BASELINE else f"{row['backend']} {row['precision']}"
    if "error" in row:
        return f"{name:28}failed: {row['error']}"
    cells = [f"{row['seconds']:9.2f}", f"{row['faster']:7.1f}x"]
    for key, width, form in (
        ("compile_s", 9, ".1f"),
        ("peak_gib", 7, ".2f"),
        ("psnr_db", 9, ".1f"),
        ("gflops", 9, ".0f"),
        ("peak_share", 7, ".0%"),
    ):
        value = row.get(key)
        cells.append(f"{'-' if value is None else format(value, form):>{width}}")
    return f"{name:28}" + "".join(cells)
