"""Whether the gain hangs on how bright the brain is: one setting, the input scaled down before the network sees it.

python benchmarks/intensity.py --data FOLDER [--weights FILE ...] [--section validation]

Volumes are divided by their 99.9th percentile. With bright fat the brain is left with a tenth or a fifth of the range;
without a skull it takes half. A network that has seen the latter alone does nothing in the former.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from cohort import make_datalist
from contestants import BUNDLE, ROOT
from judge import Case, How, restore
from machine import resolved
from settings import SETTINGS
from tables import table
from torch import Tensor, nn

from mdcsrn.data.datalist import load_datalist
from mdcsrn.errors import MdcsrnError
from mdcsrn.io import read_volume
from mdcsrn.metrics import psnr
from mdcsrn.networks import load_weights

SHARES = (1.0, 0.5, 0.3, 0.2, 0.1)
SETTING = "2x2 (1,2,2)"


def main() -> None:
    """Print a table: subjects down, scales across, gain over zero-filled in the head, consistency on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of T1w scans with INDEX.tsv")
    parser.add_argument("--weights", type=Path, nargs="+", default=[BUNDLE / "models" / "model.pt"])
    parser.add_argument("--section", default="validation")
    parser.add_argument("--subjects", type=int, help="only the first so many")
    parser.add_argument("--setting", default=SETTING, choices=SETTINGS, metavar="SETTING")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "quality", help="where the datalist is made")
    options = parser.parse_args()
    networks = {path: load_weights(path).requires_grad_(False) for path in options.weights}
    datalist = make_datalist(options.data.resolve(), options.output.resolve())
    how, lines = How(resolved(options.precision)), []
    for entry in load_datalist(datalist, options.section)[: options.subjects]:
        case = Case(torch.from_numpy(read_volume(Path(entry["image"])).array), SETTINGS[options.setting])
        brightness = float(case.reference[case.regions["head"]].median() / case.peak)
        base = head_psnr(case, case.low)
        for path, network in networks.items():
            found = [f"{head_psnr(case, seen_at(network, case, share, how)) - base:+.2f}" for share in SHARES]
            lines.append([entry["subject"], f"{brightness:.2f}", f"{path.parent.name}/{path.name}", *found])
    head = ["subject", "head's median / range", "weights", *(f"gain dB, input x {share:g}" for share in SHARES)]
    print("\n".join(table(head, lines)))


def seen_at(network: nn.Module, case: Case, share: float, how: How) -> Tensor:
    """Consistent result where the network sees `share` of the input's intensity; in the unit of the case."""
    dimmed = copy.copy(case)
    dimmed.low = case.low * share
    return case.setting.consistent(restore(network, dimmed, how) / share, case.low)


def head_psnr(case: Case, result: Tensor) -> float:
    """PSNR in the head, dB."""
    return psnr(result, case.reference, case.peak, case.regions["head"])


if __name__ == "__main__":
    try:
        main()
    except MdcsrnError as error:
        raise SystemExit(f"error: {error}") from error
