"""Targets answered from rows whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peers
import pytest
from judge import Method
from study import signed_ranks
from targets import lines, targets

from mdcsrn.networks import save_weights

SETTING = "2x2 (1,2,2)"
ZERO = {"one": 28.0, "two": 30.0, "three": 29.0}


def rows(
    method: str, gains: tuple[float, ...], family: str = "ours", power_error: float = 10.0
) -> list[dict[str, Any]]:
    made = []
    for (subject, zero), gain in zip(ZERO.items(), gains, strict=True):
        row = {
            "subject": subject,
            "setting": SETTING,
            "method": method,
            "title": method,
            "family": family,
            "variant": "",
        }
        for region in ("head", "volume"):
            made.append({**row, "region": region, "psnr": zero + gain, "gain": gain, "power_error": power_error})
    return made


@pytest.fixture
def named(tmp_path: Path) -> dict[str, Method]:
    save_weights(tmp_path / "light.pt", peers.SRCNN3D())
    save_weights(tmp_path / "heavy.pt", peers.EDSR3D())
    files = {"light": tmp_path / "light.pt", "heavy": tmp_path / "heavy.pt"}
    families = {
        "model": "ours", "gan": "ours", "specialist": "ours", "ours-s2d-222": "ours", "light": "peer", "heavy": "peer",
    }  # fmt: skip
    seen = {"ours-s2d-222": 1000, "light": 1000, "heavy": 500}
    return {
        name: Method(name, name, family, (SETTING,), files.get(name), seen.get(name, 0))
        for name, family in families.items()
    }


def answers(found: list[dict[str, Any]], named: dict[str, Method]) -> dict[str, bool]:
    return {target.words.rsplit(":", 1)[0]: target.met for target in targets(found, list(named.values()))}


def test_what_is_good_is_met(named: dict[str, Method]) -> None:
    found = rows("model", (2.1, 2.2, 2.3)) + rows("gan", (1.9, 2.0, 2.1), power_error=3.0)
    found += rows("specialist", (2.2, 2.4, 2.3)) + rows("ours-s2d-222", (2.2, 2.4, 2.3))
    found += rows("light", (1.0, 1.1, 1.2), "peer") + rows("heavy", (3.0, 3.0, 3.0), "peer")
    assert len(answers(found, named)) == 7
    assert all(answers(found, named).values()), "a peer of more than twice our work is not asked about"


def test_what_is_missed_is_said(named: dict[str, Method]) -> None:
    found = rows("model", (2.1, 3.2, -0.1)) + rows("gan", (1.0, 1.0, 1.0), power_error=12.0)
    found += rows("specialist", (3.0, 3.0, 3.0)) + rows("ours-s2d-222", (3.0, 3.0, 3.0))
    found += rows("light", (4.0, 4.1, 4.2), "peer")
    answered = targets(found, list(named.values()))
    assert {target.met for target in answered if "light" in target.words} == {False}
    assert [target.met for target in answered if "mean gain" in target.words] == [False, True, True]
    assert [target.met for target in answered if target.words.startswith("gan")] == [False, False]
    assert [target.met for target in answered if "the 2x2 specialist" in target.words] == [False]
    assert "\n".join(lines(answered)).count("**missed**") == 5
    assert "+1.73, least -0.10 dB" in "\n".join(lines(answered))


def test_a_shipped_model_of_longer_training_does_not_beat_peers(named: dict[str, Method]) -> None:
    found = rows("model", (9.0, 9.0, 9.0)) + rows("light", (4.0, 4.1, 4.2), "peer")
    assert not [target for target in targets(found, list(named.values())) if "light" in target.words]
    found += rows("ours-s2d-222", (3.0, 3.0, 3.0))
    assert [t.met for t in targets(found, list(named.values())) if "light" in t.words] == [False]


def test_what_was_not_judged_is_not_answered(named: dict[str, Method]) -> None:
    assert targets([], list(named.values())) == []
    assert lines([]) == []
    assert len(targets(rows("gan", (2.0, 2.0, 2.0)), list(named.values()))) == 0, "a GAN is judged by its parent"


def test_five_subjects_allow_no_p_below_one_in_sixteen(named: dict[str, Method]) -> None:
    found = (
        rows("model", (2.0, 2.1, 2.2)) + rows("light", (1.0, 1.2, 1.1), "peer") + rows("heavy", (0.0, 3.0, 0.1), "peer")
    )
    for row in [row for row in found if row["subject"] == "one"]:
        found += [
            {**row, "subject": name, "psnr": row["psnr"] + shift} for name, shift in (("four", 0.1), ("five", 0.2))
        ]
    (test,) = signed_ranks(found, SETTING)
    assert (test["against"], test["n"], test["p"], test["smallest_p"]) == ("light", 5, 0.0625, 0.0625)
