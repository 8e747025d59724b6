"""Boutiques descriptors of ``mdcsrn predict`` and ``mdcsrn bids``, made from the definitions that make their help.

``python deploy/boutiques/generate.py`` writes ``mdcsrn-predict.json`` and ``mdcsrn-bids.json`` beside this file; a test
fails where the committed files are not what it gives. Boutiques 0.5: https://boutiques.github.io/doc.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

import mdcsrn
from mdcsrn import errors
from mdcsrn.cli import bids, predict
from mdcsrn.errors import INTERRUPTED, TERMINATED

HERE = Path(__file__).resolve().parent
IMAGE = "mdcsrn:cpu"  # as deploy/docker/README.md builds it
# What click does not know: an argument has no help, and a path that is written looks like one that is read.
MEANING = {
    "source": "Image file, a folder of them, or a DICOM series (folder or zip).",
    "bids_dir": "BIDS dataset.",
    "out_dir": "Folder of the derived dataset; it is made where it is not there.",
    "level": "Level of the analysis; every participant is worked on alone.",
    "model": "Weights: a file, or the name of one in the bundle.",
}
WRITTEN = {"output", "out_dir", "dicom_out", "report"}
# A workflow asks where results go; beside the input, the default, is often read-only.
REQUIRED = {"output"}
# The words of the BIDS-App template, where they are others than ours.
BIDS_KEYS = {
    "out_dir": "OUTPUT_DIR",
    "level": "ANALYSIS_LEVEL",
    "participants": "PARTICIPANT_LABEL",
    "sessions": "SESSION_LABEL",
}
# Likewise. The template has the folder of results twice, as a name and as a folder that is there; Boutiques 0.5.33
# takes both out of the line where one is not given, so that ours has it once.
BIDS_LINE = (
    "mkdir -p [OUTPUT_DIR]; mdcsrn bids [BIDS_DIR] [OUTPUT_DIR] [ANALYSIS_LEVEL] [PARTICIPANT_LABEL] [SESSION_LABEL]"
)
TASKS = ("same_grid", "factor", "to_spacing")


def descriptor(
    command: click.Command, keys: dict[str, str], line: str, outputs: list[dict[str, Any]]
) -> dict[str, Any]:
    """A descriptor as plain values.

    Args:
        command: of :mod:`mdcsrn.cli`.
        keys: parameter -> its word in the command line, where that is not the name in capitals.
        line: what comes before the parameters; those that it names are not added.
        outputs: files that the command leaves.
    """
    inputs = [_input(parameter, keys) for parameter in command.params]
    words = [entry["value-key"] for entry in inputs if entry["value-key"] not in line]
    return {
        "name": f"mdcsrn {command.name}",
        "tool-version": mdcsrn.__version__,
        "schema-version": "0.5",
        "author": "The mdcsrn authors",
        "description": " ".join((command.help or "").split()) + " Research use only: not a medical device.",
        "command-line": " ".join([line, *words]),
        "container-image": {"type": "docker", "image": IMAGE, "entrypoint": True},
        "inputs": inputs,
        "groups": [
            {
                "id": "task",
                "name": "Task",
                "description": "One at most; without one, an empty outer band of k-space is looked for and filled.",
                "members": list(TASKS),
                "mutually-exclusive": True,
            }
        ],
        "output-files": outputs,
        "error-codes": _codes(),
        # A head of 256 x 320 x 320 takes 2.4 GiB, and no volume is planned above 6.
        "suggested-resources": {"cpu-cores": 2, "ram": 6, "walltime-estimate": 300},
        "tags": {"domain": ["neuroinformatics", "MRI"], "purpose": ["super-resolution"]},
    }


def _input(parameter: click.Parameter, keys: dict[str, str]) -> dict[str, Any]:
    name = str(parameter.name)
    kind, more = _type(parameter)
    about = parameter.help if isinstance(parameter, click.Option) else None
    entry: dict[str, Any] = {
        "id": name,
        "name": name.replace("_", " "),
        "type": kind,
        "description": MEANING.get(name) or about,
        "value-key": f"[{keys.get(name, name.upper())}]",
        "optional": not (parameter.required or name in REQUIRED),
        **more,
    }
    if entry["description"] is None:
        raise SystemExit(f"error: {name} has no help: describe it in MEANING")
    if isinstance(parameter, click.Option):
        flag = max(parameter.opts, key=len)
        entry["command-line-flag"] = flag
        if parameter.multiple:
            # Boutiques names the flag once before a list; click wants it before each value.
            entry |= {"list": True, "list-separator": f" {flag} "}
    if parameter.nargs > 1:
        entry |= {"list": True, "min-list-entries": parameter.nargs, "max-list-entries": parameter.nargs}
    return entry


def _type(parameter: click.Parameter) -> tuple[str, dict[str, Any]]:
    """Boutiques' type and what else it says of the value."""
    value = parameter.type
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return "Flag", {}
    if isinstance(value, click.Path):
        return ("String", {}) if parameter.name in WRITTEN else ("File", {})
    if isinstance(value, click.Choice):
        return "String", {"value-choices": list(value.choices)}
    if value is click.FLOAT or value is click.INT:
        return "Number", {"integer": True} if value is click.INT else {}
    if value is click.STRING:
        return "String", {}
    raise SystemExit(f"error: no type of Boutiques for {parameter.name}, {value}")


def _codes() -> list[dict[str, Any]]:
    """Exit codes with the sentence that their error begins with."""
    found = {2: "Wrong usage.", INTERRUPTED: "Interrupted (Ctrl-C).", TERMINATED: "Asked to end (SIGTERM)."}
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.MdcsrnError) and "exit_code" in vars(error):
            first = (error.__doc__ or "").strip().splitlines()[0].replace("``", "")
            found[error.exit_code] = "An error of another kind." if error is errors.MdcsrnError else first
    return [{"code": code, "description": text} for code, text in sorted(found.items())]


def descriptors() -> dict[str, dict[str, Any]]:
    """File name -> descriptor."""
    results: list[dict[str, Any]] = [
        {
            "id": "result",
            "name": "Result",
            "description": "Sharp volume, or the folder of several.",
            "path-template": "[OUTPUT]",
        },
        {
            "id": "record",
            "name": "Record",
            "description": "What was decided and why, hashes, certificate and warnings, beside a single volume.",
            "path-template": "[OUTPUT].json",
            "path-template-stripped-extensions": [".nii.gz", ".nii"],
            "optional": True,
        },
    ]
    derivatives: dict[str, Any] = {
        "id": "derivatives", "name": "Derived dataset",
        "description": "sub-*/anat/*_desc-sr_*.nii.gz with their records.", "path-template": "[OUTPUT_DIR]",
    }  # fmt: skip
    return {
        "mdcsrn-predict.json": descriptor(predict.command, {}, "mdcsrn predict [SOURCE]", results),
        "mdcsrn-bids.json": descriptor(bids.command, BIDS_KEYS, BIDS_LINE, [derivatives]),
    }


def text(content: dict[str, Any]) -> str:
    """As it is committed."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file, content in descriptors().items():
        (HERE / file).write_text(text(content), encoding="utf-8")
        print(HERE / file)
