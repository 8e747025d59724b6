"""Seconds of one L1 training step by precision and allocator: what the settings for the CPU are worth.

    python benchmarks/training_step.py [--patch 32] [--batch 4] [--threads 2] [--steps 5]

Each row is a process of its own, since the allocator's settings are read once; the median of its steps is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch
from machine import ALLOCATOR, machine

from mdcsrn.networks import MDCSRN
from mdcsrn.processor import has_bfloat16


def main() -> None:
    """Run each combination and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", type=int, default=32)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.precision:
        print(step_seconds(options))
        return
    print(f"{options.batch} x {options.patch}^3, {options.threads} threads; {json.dumps(machine())}\n")
    print("| precision | allocator | seconds a step |\n|---|---|---|")
    for precision in ("float32", "bfloat16") if has_bfloat16() else ("float32",):  # emulated: minutes a step
        for name, extra in (("default", {}), ("huge pages", ALLOCATOR)):
            plain = {key: value for key, value in os.environ.items() if key not in ALLOCATOR}
            command = [sys.executable, __file__, *sys.argv[1:], "--precision", precision]
            result = subprocess.run(command, env={**plain, **extra}, check=True, capture_output=True, text=True)
            print(f"| {precision} | {name} | {float(result.stdout):.2f} |", flush=True)


def step_seconds(options: argparse.Namespace) -> float:
    """Median seconds of forward, backward and Adam on random patches, channels last, after one step to warm up."""
    torch.set_num_threads(options.threads)
    layout = torch.channels_last_3d
    network = MDCSRN().to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    patch = torch.rand(options.batch, 1, *[options.patch] * 3).contiguous(memory_format=layout)
    seconds = []
    for _ in range(options.steps + 1):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
            output = network(patch)
        loss = (output.float() - 1.1 * patch).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
