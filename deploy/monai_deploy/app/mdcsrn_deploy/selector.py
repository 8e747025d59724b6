"""The one series of a study that is restored, and why the others are not; no value of a tag reaches the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from monai.deploy.core import Fragment
from monai.deploy.core.domain.dicom_series_selection import SelectedSeries, StudySelectedSeries
from monai.deploy.core.domain.dicom_study import DICOMStudy
from monai.deploy.operators import DICOMSeriesSelectorOperator
from pydicom.multival import MultiValue

from mdcsrn.errors import DataError, MdcsrnError
from mdcsrn.io.dicom.facts import facts_of
from mdcsrn.io.dicom.header import FrameTags, quiet
from mdcsrn_deploy.loader import StackSeries
from mdcsrn_deploy.rules import CONTRAST, SLICES, Rule, Values, parse_rules

logger = logging.getLogger(__name__)
LISTED = 12  # series that an error names


class SeriesSelector(DICOMSeriesSelectorOperator):
    """Takes the series that meets the first rule that any series meets; of several, the one with most slices.

    Args:
        fragment: the application.
        rules: JSON text, see :mod:`mdcsrn_deploy.rules`.
        name: of the operator.

    Named input:
        dicom_study_list: from :class:`mdcsrn_deploy.loader.StudyLoader`.
    Named output:
        study_selected_series_list: one StudySelectedSeries with one series.
    """

    def __init__(self, fragment: Fragment, *args: Any, rules: str, name: str = "selector") -> None:
        self.rules = parse_rules(rules)
        super().__init__(fragment, *args, rules=rules, name=name)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Receive studies, emit the chosen series."""
        studies = op_input.receive(self.input_name_study_list)
        op_output.emit([choose(self.rules, studies)], self.output_name_selected_series)


def choose(rules: Sequence[Rule], studies: Sequence[DICOMStudy]) -> StudySelectedSeries:
    """Choose the series, and say of every other one why it was not taken.

    Args:
        rules: the earlier, the better.
        studies: their series are of the type :class:`StackSeries`.

    Returns:
        The study with the chosen series.

    Raises:
        DataError: no series meets a rule.
    """
    stacks = [(study, series) for study in studies for series in study.get_all_series()]
    judged = [judge(rules, series) for _, series in stacks]
    suitable = [i for i, (place, _) in enumerate(judged) if place is not None]
    if not suitable:
        listed = [f"{s.files.name}: {why}" for (_, s), (_, why) in zip(stacks, judged, strict=True)]
        more = f"; and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
        raise DataError(
            "the study holds no series that is worth restoring",
            got="; ".join(listed[:LISTED]) + more,
            allowed=", ".join(rule.name for rule in rules),
            remedy="send the original images of a scan, or give rules of your own with --rules",
        )
    best = min(suitable, key=lambda i: (judged[i][0], -len(stacks[i][1].files.frames), i))
    for i, (_, series) in enumerate(stacks):
        place, why = judged[i]
        verdict = f"chosen, as {why}" if i == best else f"not taken, though {why}" if place is not None else why
        logger.info("%s, %d images: %s", series.files.name, len(series.files.frames), verdict)
    study, series = stacks[best]
    selected = StudySelectedSeries(study)
    selected.add_selected_series(SelectedSeries(judged[best][1], series))
    return selected


def judge(rules: Sequence[Rule], series: StackSeries) -> tuple[int | None, str]:
    """Number and name of the first rule that a series meets; or None, and what speaks against it."""
    error, header = series.files.error, series.header
    if error is not None:
        return None, f"cannot be read ({error.what})"
    if header is None:
        return None, "cannot be read"
    first = series.files.frames[0]
    tags = FrameTags(header, first.index if first.file == series.files.files[0] else 0, first.file)

    def look_up(attribute: str) -> Values:
        if attribute == SLICES:
            return (float(len(series.files.frames)),)
        if attribute == CONTRAST:
            return tuple(filter(None, [facts_of(tags).contrast]))
        value = tags.get(attribute)
        if value is None:
            return ()
        listed = value if isinstance(value, list | tuple | MultiValue) else [value]
        return tuple(str(entry).strip() for entry in listed)

    against = []
    with quiet():
        for place, rule in enumerate(rules):
            try:
                unmet = rule.unmet(look_up)
            except MdcsrnError as problem:  # a tag that cannot be decoded
                return None, f"cannot be read ({problem.what})"
            if not unmet:
                return place, rule.name
            against.append(f"{unmet} for {rule.name}")
    return None, f"not suitable: {', '.join(against)}"
