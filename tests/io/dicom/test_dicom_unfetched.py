"""Slices that were not fetched: the series is refused, since it would come out short without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mdcsrn.errors import DataError
from mdcsrn.io.sources import find_cases, load_case


@pytest.mark.parametrize("name", ["IM0006", "6.dcm", "MR.1.2.840.6"])
@pytest.mark.parametrize("pointer", [False, True])
def test_a_series_never_comes_out_short(
    tmp_path: Path, make_slices: Callable, save: Callable, name: str, pointer: bool
) -> None:
    save(make_slices()[:-1], tmp_path / "series")
    assert load_case(find_cases(tmp_path / "series")[0]).volume.shape[2] == 4
    key = ".git/annex/objects/a1/b2/MD5E-s3417067--0/MD5E-s3417067--0"
    if pointer:
        (tmp_path / "series" / name).write_text(f"/annex/objects/{key}\n")
    else:
        (tmp_path / "series" / name).symlink_to(f"../{key}")
    (case,) = find_cases(tmp_path / "series")
    assert "datalad get" in str(case.error)
    with pytest.raises(DataError, match="was not fetched"):
        load_case(case)
