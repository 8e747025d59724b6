"""Damaged bundles: whatever a byte does, the answer is a list of broken rules or an error of this project."""

from __future__ import annotations

import contextlib
import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdcsrn.bundle.check import check
from mdcsrn.bundle.expressions import expression_problems
from mdcsrn.bundle.loading import load_plain
from mdcsrn.bundle.pickles import weights_problem
from mdcsrn.bundle.screen import logging_problems
from mdcsrn.errors import MdcsrnError

# A place in a file as a share of its length, and what is put there instead of one byte.
mutations = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=3)), min_size=1, max_size=8)


def mutated(content: bytes, changes: list[tuple[float, bytes]]) -> bytes:
    for place, new in changes:
        index = int(place * len(content))
        content = content[:index] + new + content[index + 1 :]
    return content


@settings(max_examples=200, deadline=None)
@given(changes=mutations)
@pytest.mark.parametrize("name", ["inference.yaml", "metadata.json", "train.yaml"])
def test_configs(shipped: Path, name: str, changes: list[tuple[float, bytes]]) -> None:
    with contextlib.suppress(MdcsrnError):
        load_plain(name, mutated((shipped / "configs" / name).read_bytes(), changes))


@settings(max_examples=100, deadline=None)
@given(changes=mutations)
def test_logging(shipped: Path, changes: list[tuple[float, bytes]]) -> None:
    assert isinstance(
        logging_problems("a.conf", mutated((shipped / "configs/logging.conf").read_bytes(), changes)), list
    )


@settings(max_examples=100, deadline=None)
@given(changes=mutations)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights(shipped: Path, suffix: str, changes: list[tuple[float, bytes]]) -> None:
    problem = weights_problem(f"model{suffix}", mutated((shipped / f"models/model{suffix}").read_bytes(), changes))
    assert problem is None or isinstance(problem, str)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=mutations)
def test_zips(template: Path, tmp_path: Path, changes: list[tuple[float, bytes]]) -> None:
    target = tmp_path / "a.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(template.rglob("*.*")):
            archive.write(path, path.relative_to(template))
    target.write_bytes(mutated(target.read_bytes(), changes))
    with contextlib.suppress(MdcsrnError):
        assert isinstance(check(target), list)


# Attribute access, calls, references and words in any order: what passes names nothing but allowed names.
pieces = st.sampled_from(
    [
        *("torch", "np", "monai", "os", "eval", "x", "@a", "@a#b", ".", ".to", ".load", ".os", ".system", ".__class__"),
        *("(", ")", "[", "]", "'", "1", " ", ",", "+", "*", "lambda:", "for", "in", "if", "else"),
        *(".nn", ".Linear", ".device", "getattr"),
    ]
)


@settings(max_examples=2000, deadline=None)
@given(text=st.lists(pieces, max_size=12).map("".join))
def test_expressions(text: str) -> None:
    if not expression_problems("$" + text, {}):
        outside = " ".join(part for index, part in enumerate(text.split("'")) if index % 2 == 0)
        outside = re.sub(r"@[\w#]*", "", outside)  # identifiers of the configuration may be any word
        for word in ("os", "eval", "__", "lambda", "getattr", "load", "system"):
            assert word not in outside
