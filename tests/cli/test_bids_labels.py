"""The labels of ``mdcsrn bids``, in its own words and in those of the BIDS-App specification."""

from __future__ import annotations

import click
import pytest

from mdcsrn.cli.bids import command

PLACES = ["data", "out", "participant"]


@pytest.mark.parametrize(
    ("words", "participants", "sessions"),
    [
        ([*PLACES], (), ()),
        ([*PLACES, "--participant_label", "01", "02"], ("01", "02"), ()),
        ([*PLACES, "--participant_label", "01", "--session_label", "a", "b", "--quiet"], ("01",), ("a", "b")),
        ([*PLACES, "--participant_label", "01", "--participant_label", "02"], ("01", "02"), ()),
        ([*PLACES, "--participant-label", "01", "--participant-label", "02"], ("01", "02"), ()),
        (["--participant-label", "01", *PLACES], ("01",), ()),
    ],
)
def test_labels(words: list[str], participants: tuple[str, ...], sessions: tuple[str, ...]) -> None:
    read = command.make_context("bids", words).params
    assert (read["participants"], read["sessions"]) == (participants, sessions)
    assert [str(read["bids_dir"]), str(read["out_dir"])] == PLACES[:2]
    assert read["quiet"] is ("--quiet" in words)


@pytest.mark.parametrize("words", [["--participant_label"], ["--participant_label", "--quiet"]])
def test_no_label_is_not_all_of_them(words: list[str]) -> None:
    with pytest.raises(click.UsageError, match="needs a label"):
        command.make_context("bids", [*PLACES, *words])
