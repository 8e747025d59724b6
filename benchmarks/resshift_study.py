"""ResShift against EDSR and interpolation: planes of T1w and T2w test people, both axes by 2, box low-pass.

    python benchmarks/planes_cohort.py DATA DATA_MORE -o runs/planes_cohort
    python benchmarks/resshift_study.py --datalist runs/planes_cohort/datalist.json --data DATA -o runs/resshift
        [--steps 1200] [--kappa 0.2] [--trials 0.04 0.2 1] [--slices 6] [--as-it-is] [--write]

ResShift (benchmarks/resshift.py) is trained on what EDSR of bundles/edsr_x2 is trained on, by the same loader; both
start from Keys' cubic convolution of the acquired matrix ("bicubic"). Of each test volume of benchmarks/planes.py,
slices spread evenly over those with at least a tenth of the fullest slice's head voxels are restored as whole planes,
in float32. PSNR and SSIM (Gaussian 11x11, sigma 1.5) in two dimensions in the head mask, data range = 99.9th percentile
of the reference volume, mean over slices, then over people; power error: `mdcsrn.metrics.power_error` of the planes
with the same mask, mean absolute dB over shells outside the measured band, 0 where the restoration has the power of
the reference. "one draw" is one sample of four steps, "mean of 8" the average of eight. `consistency` puts the measured
band back. `--trials` trains short runs of several kappa and judges them on the validation people.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from machine import machine
from planes import HEAD_SHARE, cropped, people
from resshift import ResShift, sample
from resshift_training import SCALE, Knobs, Run, train
from torch import Tensor, nn

from mdcsrn.data.datalist import load_datalist
from mdcsrn.files import atomic_write_text
from mdcsrn.inference.planning.models import find_model
from mdcsrn.io.formats import read_image
from mdcsrn.kspace import DegradationSpec, decimate, degrade, project
from mdcsrn.kspace.intensity import intensity_scale
from mdcsrn.metrics import data_range, head_mask, power_error, psnr, ssim
from mdcsrn.networks.interpolation import CubicUpsample

ROOT = Path(__file__).resolve().parents[1]
SPEC = DegradationSpec(reduction=(1, SCALE, SCALE))
DRAWS = 8
TRIAL_STEPS = 250
Scan = tuple[str, str, Path]  # contrast, subject, file
Figures = tuple[float, float, float]  # PSNR in dB, SSIM, power error in dB


def validation_people(datalist: Path) -> Iterator[Scan]:
    """Contrast, subject and file of a datalist's validation volumes."""
    for entry in load_datalist(datalist, "validation"):
        path = Path(entry["image"])
        yield path.name.removesuffix(".nii.gz").rpartition("_")[2], entry["subject"], path


def restored(acquired: Tensor, low: Tensor, run: Run, edsr: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and planes of each method, in units of the 99.9th percentile.

    Args:
        acquired: planes on the acquired matrix, (n, H / 2, W / 2).
        low: the same zero-filled, (n, H, W).
        run: ResShift.
        edsr: (1, 1, n, H / 2, W / 2) -> (1, 1, n, H, W).
    """
    y_0 = CubicUpsample(SCALE)(acquired)
    yield "bicubic", y_0
    yield "zero-filled", low
    with torch.inference_mode():
        plain = edsr(acquired[None, None])[0, 0]
    yield "EDSR, L1", plain
    yield "EDSR, L1, consistency", project(plain, low, SPEC)
    network = cast(ResShift, run.average.module).eval()
    draws = [sample(network, run.scheduler, y_0[:, None], seed, network.multiple)[:, 0] for seed in range(DRAWS)]
    for name, planes in (("one draw", draws[0]), (f"mean of {DRAWS}", torch.stack(draws).mean(0))):
        yield f"ResShift, {name}", planes
        yield f"ResShift, {name}, consistency", project(planes, low, SPEC)


def figures(planes: Tensor, reference: Tensor, peak: float, mask: Tensor) -> Figures:
    """Mean PSNR and SSIM of planes (n, H, W), and their power error."""
    parts = list(zip(planes, reference, mask, strict=True))
    decibels = [psnr(a, b, peak, inside) for a, b, inside in parts]
    similar = [ssim(a, b, peak, inside, spatial_dims=2) for a, b, inside in parts]
    # An axis of one plane: the shells are those of a plane's frequencies.
    power = power_error(planes[:, None], reference[:, None], SPEC, mask[:, None])
    return float(np.mean(decibels)), float(np.mean(similar)), power


def judge(run: Run, scans: Iterable[Scan], slices: int) -> dict[tuple[str, str], list[Figures]]:
    """Figures of each person by contrast and method."""
    edsr = find_model("edsr_x2").network.eval()
    found: dict[tuple[str, str], list[Figures]] = {}
    for contrast, subject, path in scans:
        whole = cropped(torch.from_numpy(read_image(path).array), SCALE)
        low = degrade(whole, SPEC)
        factor, peak, mask = intensity_scale(low), data_range(whole), head_mask(whole)
        filled = mask.flatten(1).sum(1)
        enough = torch.nonzero(filled >= HEAD_SHARE * filled.max())[:, 0]
        chosen = enough[torch.linspace(0, len(enough) - 1, min(slices, len(enough))).round().long()]
        acquired = decimate(low, (1, SCALE, SCALE))[chosen] / factor
        for name, planes in restored(acquired, low[chosen] / factor, run, edsr):
            found.setdefault((contrast, name), []).append(figures(planes * factor, whole[chosen], peak, mask[chosen]))
        print(f"{contrast} {subject}: {len(chosen)} slices", flush=True)
    return found


def rows(found: dict[tuple[str, str], list[Figures]]) -> list[str]:
    """A table in Markdown."""
    lines = ["| test | method | PSNR dB | over bicubic (range) | SSIM | over bicubic | power error dB |"]
    lines.append("|---|---|---|---|---|---|---|")
    for (contrast, name), values in found.items():
        table = np.asarray(values)
        gain = table - np.asarray(found[contrast, "bicubic"])
        decibels = f"{gain[:, 0].mean():+.2f} ({gain[:, 0].min():+.2f} to {gain[:, 0].max():+.2f})"
        mean = table.mean(0)
        lines.append(
            f"| {contrast}, {len(table)} people | {name} | {mean[0]:.2f} | {decibels} | {mean[1]:.4f} "
            f"| {gain[:, 1].mean():+.4f} | {mean[2]:.2f} |"
        )
    return lines


def tried(kappa: float, datalist: Path, folder: Path, slices: int) -> str:
    """One row of the table of trials: means over the validation people; kept beside the run."""
    run = train(Knobs(kappa=kappa, steps=TRIAL_STEPS), datalist, folder)
    record = folder / f"judged_{slices}.txt"
    if not record.is_file():
        found = judge(run, validation_people(datalist), slices)
        cells = [f"{kappa:g}"]
        for name in ("ResShift, one draw", f"ResShift, mean of {DRAWS}"):
            ours, cubic = (
                np.concatenate([values for (_, method), values in found.items() if method == wanted]).mean(0)
                for wanted in (name, "bicubic")
            )
            cells += [f"{ours[0] - cubic[0]:+.2f}", f"{ours[1] - cubic[1]:+.4f}", f"{ours[2]:.2f}"]
        atomic_write_text(record, f"| {' | '.join(cells)} |")
    return record.read_text(encoding="utf-8")


def best(trials: list[str], column: int, least: bool) -> str:
    """kappa of the trial with the least or greatest figure in a column, counted from 1."""
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in trials]
    return (min if least else max)(cells, key=lambda row: float(row[column - 1]))[0]


def step_seconds(knobs: Knobs, precision: str, count: int = 5) -> float:
    """Median processor seconds of a training step on random patches, after one to warm up."""
    run = Run(replace(knobs, precision=precision, steps=count + 1))
    batch = {"image": torch.rand(16, 1, 1, 40, 40), "label": torch.rand(16, 1, 1, 80, 80)}
    seconds = [0.0]
    for _ in run.losses(itertools.repeat(batch)):
        seconds.append(run.seconds)
    return float(np.median(np.diff(seconds)[1:]))


def verdict(found: dict[tuple[str, str], list[Figures]]) -> str:
    """What the figures decide: dropped unless draws and mean beat bicubic in both contrasts, in PSNR and SSIM."""
    lines, lost = [], False
    for method in ("one draw", f"mean of {DRAWS}"):
        for contrast in dict.fromkeys(contrast for contrast, _ in found):
            ours, plain, cubic = (
                np.asarray(found[contrast, name]).mean(0)
                for name in (f"ResShift, {method}, consistency", "EDSR, L1, consistency", "bicubic")
            )
            lost = lost or not (ours[0] > cubic[0] and ours[1] > cubic[1])
            over, against = ours - cubic, ours - plain
            lines.append(
                f"- {contrast}, {method}: {over[0]:+.2f} dB and {over[1]:+.4f} SSIM over bicubic, {against[0]:+.2f} dB "
                f"and {against[1]:+.4f} against EDSR; power error {ours[2]:.2f} dB (EDSR {plain[2]:.2f})."
            )
    head = "Dropped: it does not beat bicubic here." if lost else "It beats bicubic here."
    return "\n".join([f"{head} With consistency:", "", *lines])


def document(run: Run, trials: list[str], found: dict[tuple[str, str], list[Figures]], slices: int) -> str:
    """The text of benchmarks/resshift.md."""
    knobs, count = run.knobs, sum(value.numel() for value in run.network.parameters())
    done = f"{run.step} steps" if run.step == knobs.steps else f"{run.step} of {knobs.steps} steps, unfinished,"
    speed = {name: step_seconds(knobs, name) for name in ("float32", "bfloat16")}
    lines = ["# ResShift: four-step diffusion beside EDSR", "", (__doc__ or "").strip(), ""]
    lines += [f"Machine: {json.dumps(machine())}.", ""]
    lines += [
        f"Training: {done} of 16 patches of 80 x 80 voxels of the result, {run.seconds / 60:.0f} minutes "
        f"of one core, {knobs.precision}, Adam {knobs.rate:g} with a cosine rate, moving average {knobs.ema_decay}, "
        f"seed {knobs.seed}; {count:,} parameters, kappa {knobs.kappa:g}. A step takes "
        f"{speed['bfloat16']:.2f} processor seconds in bfloat16, {speed['float32']:.2f} in float32, without loading. "
        "EDSR: shipped weights, 1,367,553 parameters, 2,000 steps of the same batches, 50 minutes of one core with its "
        "four validations (bundles/edsr_x2/docs/README.md).",
        "",
    ]
    if trials:
        names = [f"{name}, {figure}" for name in ("draw", f"mean of {DRAWS}") for figure in ("dB", "SSIM", "power dB")]
        lines += [
            f"kappa, the noise at the far end of the chain in units of the 99.9th percentile, by runs of {TRIAL_STEPS} "
            "steps: PSNR and SSIM over bicubic, power error; mean over the validation people, no consistency.",
            "",
            f"| kappa | {' | '.join(names)} |",
            "|---|---|---|---|---|---|---|",
            *trials,
            "",
            f"A draw has the least power error at kappa {best(trials, column=4, least=True)}, the highest PSNR at "
            f"{best(trials, column=2, least=False)}.",
            "",
        ]
    lines += [f"Test people, {slices} slices of each:", ""]
    return "\n".join([*lines, *rows(found), "", verdict(found), ""])


def main() -> None:
    """Train, judge, and print or write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datalist", type=Path, required=True, help="of benchmarks/planes_cohort.py")
    parser.add_argument("--data", type=Path, required=True, help="folder with INDEX.tsv: the test people")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs; they resume from there")
    parser.add_argument("--steps", type=int, default=Knobs.steps)
    parser.add_argument("--kappa", type=float, default=Knobs.kappa)
    parser.add_argument("--trials", type=float, nargs="*", default=[], help="values of kappa for short runs")
    parser.add_argument("--slices", type=int, default=12, help="of each person")
    parser.add_argument("--as-it-is", action="store_true", help="judge what a run's checkpoint holds, finished or not")
    parser.add_argument("--write", action="store_true", help="into benchmarks/resshift.md")
    options = parser.parse_args()
    trials = [
        tried(kappa, options.datalist, options.output / f"kappa-{kappa:g}", options.slices) for kappa in options.trials
    ]
    knobs = Knobs(kappa=options.kappa, steps=options.steps)
    run = train(knobs, options.datalist, options.output / "run", as_it_is=options.as_it_is)
    text = document(run, trials, judge(run, people(options.data), options.slices), options.slices)
    print(text)
    if options.write:
        atomic_write_text(ROOT / "benchmarks" / "resshift.md", text)


if __name__ == "__main__":
    main()
