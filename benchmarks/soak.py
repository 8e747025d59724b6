"""Memory over many cases: small volumes of mixed sizes through one process, and how much it holds after each.

    python benchmarks/soak.py --backends openvino,eager,onnxruntime --cases 300

Each backend gets a process of its own. Printed is the growth in MiB for 100 cases, the slope of a straight line through
what the process held after the cases that follow the warm-up, once freed blocks have been given back to the system.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np

SMALLEST, LARGEST = 18, 36  # voxels of an edge
WARM_UP = 0.2  # share of the cases in which libraries load and what is kept fills up


def soak(backend: str, precision: str, cases: int, same: bool, seed: int = 0) -> dict[str, Any]:
    """Restore volumes one after another in this process.

    Args:
        backend: a name of :data:`mdcsrn.inference.backends.NAMES`.
        precision: ``auto``, or one of the backend's.
        cases: number of volumes.
        same: one size for all, else each axis draws its own.
        seed: of sizes and voxels.

    Returns:
        Memory after each case in MiB, growth for 100 cases in MiB, seconds in all and those of compiling.
    """
    from mdcsrn.inference import RunSettings, Task, predict
    from mdcsrn.inference.planning.models import find_model
    from mdcsrn.inference.running.memory import give_back, resident
    from mdcsrn.io import Volume

    rng = np.random.default_rng(seed)
    model, task = find_model(), Task("factor", factor=(1, 1, 2))
    settings = RunSettings(backend=backend, precision=precision)
    held, compiled, start = [], 0.0, time.perf_counter()
    # The network is recorded once for each axis that it runs along, and kept: that belongs to the warm-up.
    long = [tuple(LARGEST if axis == longest else SMALLEST for axis in range(3)) for longest in range(3)]
    for case in range(cases):
        drawn = tuple(int(n) for n in rng.integers(SMALLEST, LARGEST + 1, 3))
        shape = (LARGEST,) * 3 if same else long[case] if case < len(long) else drawn
        image = (1000 * rng.random(shape)).astype(np.float32)
        result = predict(Volume(image, np.eye(4)), task, settings, model=model)
        compiled += float(result.facts["compile_s"])
        del result
        gc.collect()
        give_back()
        held.append(resident() / (1 << 20))
    return {
        "backend": backend,
        "growth_mib_per_100": growth(held),
        "mib": [round(one, 2) for one in held],
        "seconds": round(time.perf_counter() - start, 1),
        "compile_s": round(compiled, 1),
    }


def growth(held: list[float], warm_up: float = WARM_UP) -> float:
    """Slope of the memory after the warm-up, for 100 cases."""
    after = np.asarray(held[int(len(held) * warm_up) :])
    return round(100 * float(np.polyfit(np.arange(len(after)), after, 1)[0]), 3)


def main() -> None:
    """Run one process for each backend and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default="openvino,eager,onnxruntime", help="names, separated by commas")
    parser.add_argument("--precision", default="auto", help="auto, or one that every backend has")
    parser.add_argument("--cases", type=int, default=300, help="volumes in one process")
    parser.add_argument("--same", action="store_true", help="one size for all volumes")
    parser.add_argument("--json", help="file for the memory after each case")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(soak(options.child, options.precision, options.cases, options.same)))
        return
    found = []
    print(f"{'backend':<12} {'MiB for 100 cases':>18} {'first MiB':>10} {'last MiB':>10} {'s a case':>9}")
    for backend in options.backends.split(","):
        words = ["--child", backend, "--precision", options.precision, "--cases", str(options.cases)]
        command = [sys.executable, __file__, *words, *(["--same"] if options.same else [])]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(done.stdout.splitlines()[-1])
        found.append(row)
        first, *_, last = row["mib"]
        each = row["seconds"] / options.cases
        print(f"{backend:<12} {row['growth_mib_per_100']:>18.2f} {first:>10.0f} {last:>10.0f} {each:>9.2f}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(found, file)


if __name__ == "__main__":
    main()
