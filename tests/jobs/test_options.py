"""Options declare what they change, and a result is kept only where nothing that changes it differs."""

from __future__ import annotations

from dataclasses import fields

import pytest

from mdcsrn.inference import RunSettings
from mdcsrn.jobs.options import Options

# Another value of each field whose default is not true or false.
OTHER = {
    "factor": (1.0, 1.0, 2.0), "to_spacing": (1.0, 1.0, 1.0), "slice_profile": "box", "region": "all", "dtype": "keep",
    "backend": "eager", "precision": "float32", "device": "cpu", "dicom_slope": "one", "series_description": "x",
    "series_number": 7, "max_memory": 3.0, "mask": "m", "report": "r", "bundle": "b", "model": "m", "dicom_out": "d",
}  # fmt: skip


@pytest.mark.parametrize("kind", [Options, RunSettings])
def test_every_field_declares_what_it_changes(kind: type) -> None:
    assert {f.name: f.metadata.get("effect") for f in fields(kind) if f.metadata.get("effect") is None} == {}
    assert {f.metadata["effect"] for f in fields(kind)} <= {"voxels", "series", "none"}


@pytest.mark.parametrize("field", fields(Options), ids=lambda field: field.name)
def test_a_changed_option_is_seen_where_it_has_an_effect(field) -> None:
    other = OTHER.get(field.name, not field.default)
    before, after = Options(), Options(**{field.name: other})
    effect = field.metadata["effect"]
    assert (before.settings() != after.settings()) == (effect == "voxels")
    assert (before.series() != after.series()) == (effect == "series")


def test_both_declarations_agree_and_reach_the_run() -> None:
    declared = {f.name: f.metadata["effect"] for f in fields(Options)}
    for field in fields(RunSettings):
        if field.name == "maps":  # an option of Python alone: the command line makes them as they are needed
            continue
        assert declared[field.name] == field.metadata["effect"], field.name
        value = OTHER.get(field.name, not field.default)
        assert getattr(Options(**{field.name: value}).run_settings(maps=False), field.name) == value
    assert Options().run_settings(maps=True) == RunSettings()
