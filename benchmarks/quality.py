"""Every table of quality from weights and data: baselines, our networks and peers, one evaluation for all.

    python benchmarks/quality.py --data FOLDER                              the shipped weights, on the test section
    python benchmarks/quality.py --data FOLDER --weights mine=model.pt      and others
    python benchmarks/quality.py --data FOLDER --train [--only ours unet]   train the contestants first, or go on

Everything lies under --output: trained contestants in train/ (those that are there are judged along), figures of single
subjects in figures/ (what is there is not measured again), and quality.md, per_subject.csv, quality.json. The test
section is for the end: choose on validation.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from cohort import make_datalist, series_of
from contestants import BOARD, BUNDLE, CONTESTANTS, DONE, ROOT, WEIGHTS, train
from judge import FIGURES, How, Method, baseline_methods, judge, reference_facts
from machine import machine, resolved
from settings import SETTINGS, SPECIALIST
from study import Row, make_rows, signed_ranks
from tables import learning, markdown, per_subject
from targets import lines, targets
from training_log import VALIDATED, curve

from mdcsrn.data.datalist import load_datalist
from mdcsrn.errors import ConfigError, MdcsrnError
from mdcsrn.files import atomic_write_text

SHIPPED = {"model": "mDCSRN universal L1 (shipped)", "gan": "mDCSRN universal GAN (shipped)"}
FLIPPED = "model"  # also judged as the mean over eight flips, at the settings of the specialists


def main(arguments: Sequence[str] | None = None) -> None:
    """Train where asked for, judge, write."""
    options = parse(arguments)
    output: Path = options.output.resolve()
    datalist = options.datalist.resolve() if options.datalist else make_datalist(options.data.resolve(), output)
    if options.train:
        knobs = {name: yaml.safe_load(value) for name, value in map(_pair, options.knob)}
        for name in options.only or CONTESTANTS:
            print(f"training {name}", flush=True)
            train(CONTESTANTS[name], datalist, output / "train", options.steps_scale, knobs)
    methods = [*baseline_methods(), *networks(options, output / "train")]
    methods = [_at(method, options.settings) for method in methods]
    entries = load_datalist(datalist, options.section)[: options.subjects]
    seen = {series_of(entry) for entry in load_datalist(datalist, "training")}
    how = How(options.precision, options.backend, options.max_memory)
    facts = {entry["subject"]: reference_facts(entry, output / "figures") for entry in entries}
    rows = make_rows(judge(methods, entries, output / "figures", how), methods, facts)
    write(output, rows, methods, facts, entries, seen, options)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder of T1w scans with INDEX.tsv, whose split is used")
    source.add_argument("--datalist", type=Path, help="datalist JSON")
    parser.add_argument("--section", default="test", help="section of the datalist")
    parser.add_argument("--subjects", type=int, help="only the first so many")
    parser.add_argument("--weights", nargs="+", default=[], metavar="NAME=FILE", help="more networks, at every setting")
    parser.add_argument("--main", help="network whose subjects and scanners are shown; default: model, else the first")
    parser.add_argument("--no-shipped", action="store_true", help="leave the weights of the bundle out")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, metavar="SETTING", default=list(SETTINGS),
                        help="; ".join(SETTINGS))  # fmt: skip
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--backend", default="auto", help="of mDCSRN")
    parser.add_argument("--max-memory", type=float, default=8.0, help="GiB for a network")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "quality")
    training = parser.add_argument_group("training")
    training.add_argument("--train", action="store_true", help="train the contestants, each to its end, in their order")
    training.add_argument("--only", nargs="+", choices=CONTESTANTS, metavar="NAME", help=", ".join(CONTESTANTS))
    training.add_argument("--steps-scale", type=float, default=1.0, help="of every contestant's steps")
    training.add_argument("--knob", nargs="+", default=[], metavar="NAME=VALUE", help="of the training config")
    options = parser.parse_args(arguments)
    options.precision = resolved(options.precision)
    return options


def networks(options: argparse.Namespace, trained: Path) -> list[Method]:
    """Networks to judge: the shipped ones, those that were trained here, those that were given."""
    found = []
    for name, title in SHIPPED.items():
        path = BUNDLE / "models" / f"{name}.pt"
        if path.is_file() and not options.no_shipped:
            found.append(Method(name, title, "ours", tuple(SETTINGS), path))
            if name == FLIPPED:
                found.append(Method(f"{name}-flips", f"{title}, mean of 8 flips", "ours", SPECIALIST, path, flips=True))
    for name, contestant in CONTESTANTS.items():
        record = trained / name / DONE
        if record.is_file():
            family, where = (
                "ours" if contestant.ours else "peer",
                tuple(SETTINGS) if contestant.universal else SPECIALIST,
            )
            voxels = json.loads(record.read_text())["voxels"]
            found.append(Method(name, contestant.title, family, where, trained / name / WEIGHTS, voxels))
    for name, given in map(_pair, options.weights):
        found.append(Method(name, name, "ours", tuple(SETTINGS), Path(given).resolve()))
    names = [method.name for method in found]
    if len(set(names)) < len(names):
        raise ConfigError("two networks of one name", got=", ".join(names), remedy="give another NAME=FILE")
    return found


def write(
    output: Path,
    rows: Sequence[Row],
    methods: Sequence[Method],
    facts: Mapping[str, Mapping[str, Any]],
    entries: Sequence[Mapping[str, Any]],
    seen: set[str],
    options: argparse.Namespace,
) -> None:
    """The three files, and the Markdown to the terminal."""
    ours = [method for method in methods if method.family == "ours"]
    main = next((m.title for m in ours if m.name == options.main), ours[0].title if ours else "")
    facts_of_run = {"machine": machine(), "section": options.section, "precision": options.precision}
    answers = targets(rows, methods)
    text = f"Machine: {json.dumps(facts_of_run)}\n\n" + "\n".join(lines(answers))
    text += "\n" + markdown(rows, methods, facts, entries, seen, main)
    text += "\n".join(learning({m.title: curve(output / "train" / m.name / BOARD, VALIDATED) for m in methods}))
    present = [name for name in SETTINGS if any(row["setting"] == name for row in rows)]
    content = {
        **facts_of_run,
        "version": FIGURES,
        "settings": {name: SETTINGS[name].to_dict() for name in present},
        "weights": {method.title: method.key for method in methods if method.weights},
        "references": list(facts.values()),
        "targets": [asdict(answer) for answer in answers],
        "tests": {name: signed_ranks(rows, name) for name in present},
        "rows": [{key: _finite(value) for key, value in row.items()} for row in rows],
    }
    atomic_write_text(output / "per_subject.csv", per_subject(rows))
    atomic_write_text(output / "quality.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    atomic_write_text(output / "quality.md", text)
    print(text)


def _at(method: Method, chosen: Sequence[str]) -> Method:
    """The same method at those of its settings that were asked for."""
    return replace(method, settings=tuple(name for name in method.settings if name in chosen))


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise ConfigError("NAME=VALUE is wanted", got=text)
    return name, value


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    try:
        main()
    except MdcsrnError as error:
        raise SystemExit(f"error: {error}") from error
