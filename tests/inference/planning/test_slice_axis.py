"""Stacks of 2D slices: which axis is theirs, and what consistency binds there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mdcsrn.errors import ConfigError
from mdcsrn.inference.planning.task import Task, make_plan
from mdcsrn.io import Volume, read_volume
from mdcsrn.io.acquisition import ScanFacts

UNKNOWN = ScanFacts()
THREE_D = ScanFacts(acquisition="3D")


def native(shape, spacing=(1.0, 1.0, 1.0)):
    array = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    return Volume(array, np.diag([*spacing, 1.0]))


def test_real_thick_scans_are_stacks_of_slices(shared_data: Path) -> None:
    for name in ("oms-long-01-study1_FLAIR.nii.gz", "dcmqa-decub_T1w.nii.gz", "ds000011-01_inplaneT2.nii.gz"):
        volume = read_volume(shared_data / "thick" / name)
        assert make_plan(volume, UNKNOWN, Task("factor", factor=(1, 1, 2))).measurement is None, name
        plan = make_plan(volume, UNKNOWN, Task("factor", factor=(1, 1, 2), slice_profile="gaussian"))
        assert plan.slice_axis == 2, name
        assert plan.measurement is not None
        assert plan.measurement.kinds == ("fourier", "fourier", "gaussian")
        assert "not assessed" in plan.reasons[2]
        # in-plane refinement alone needs no profile
        flat = make_plan(volume, UNKNOWN, Task("factor", factor=(1.5, 1, 1)))
        assert flat.measurement is not None
        assert flat.measurement.kinds == ("fourier", "fourier", "fourier")


def test_slices_are_bound_through_their_profile() -> None:
    volume = native((40, 44, 12), (1.0, 1.0, 4.0))
    array = torch.from_numpy(volume.array)
    for facts, thickness in ((UNKNOWN, 1.0), (ScanFacts(acquisition="2D", slice_thickness=3.0), 0.75)):
        plan = make_plan(volume, facts, Task("factor", factor=(1, 1, 4), slice_profile="gaussian"))
        assert plan.measurement is not None
        axis = plan.measurement.axes[2]
        assert (axis.kind, axis.thickness, axis.measured, axis.result) == ("gaussian", thickness, 12, 48)
        projected = plan.measurement.project(plan.low(array), plan.measured(array))
        assert plan.measurement.certify(projected, array).relative_error < 1e-6
    box = make_plan(volume, UNKNOWN, Task("factor", factor=(1, 1, 4), slice_profile="box"))
    assert box.measurement is not None
    assert box.measurement.kinds[2] == "box"
    for profile in ("auto", "none"):
        off = make_plan(volume, UNKNOWN, Task("factor", factor=(1, 1, 4), slice_profile=profile))
        assert off.measurement is None
        assert any("consistency is off" in reason for reason in off.reasons)
    three = make_plan(volume, THREE_D, Task("factor", factor=(1, 1, 4)))
    assert three.slice_axis is None
    assert three.measurement is not None
    assert three.measurement.kinds == ("fourier",) * 3


def test_slices_that_overlap_too_much_switch_consistency_off_by_name() -> None:
    facts = ScanFacts(acquisition="2D", slice_thickness=10.0)
    plan = make_plan(
        native((40, 44, 12), (1.0, 1.0, 4.0)), facts, Task("factor", factor=(1, 1, 2), slice_profile="gaussian")
    )
    assert plan.measurement is None
    assert [notice.name for notice in plan.notices] == ["slice-consistency-off"]


def test_unknown_slice_axis() -> None:
    volume = native((40, 40, 40))
    plan = make_plan(volume, ScanFacts(acquisition="2D"), Task("factor", factor=(1, 1, 2)))
    assert [notice.name for notice in plan.notices] == ["slice-axis-unknown"]
    with pytest.raises(ConfigError):
        make_plan(volume, UNKNOWN, Task("factor", factor=(1, 1, 2), slice_profile="box"))
    known = make_plan(volume, ScanFacts(acquisition="2D", slice_axis=0), Task("factor", factor=(2, 1, 1)))
    assert known.slice_axis == 0
