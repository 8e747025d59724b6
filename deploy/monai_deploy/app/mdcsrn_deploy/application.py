"""The graph of the app: loader -> selector -> volume -> restoration -> writer, each run once."""

from __future__ import annotations

import sys

from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application

from mdcsrn.inference.planning.models import Model
from mdcsrn.jobs.staging import Staging
from mdcsrn_deploy.inference import Restoration
from mdcsrn_deploy.loader import StudyLoader
from mdcsrn_deploy.selector import SeriesSelector
from mdcsrn_deploy.settings import Settings
from mdcsrn_deploy.volume import SeriesToVolume
from mdcsrn_deploy.writer import SeriesWriter


class SuperResolutionApp(Application):
    """Restores one series of one study.

    Args:
        settings: what is asked for.
        rules: text of the selection rules.
        model: the weights.
        made: hidden folder on the output's disk, from which results are moved to their place.
    """

    def __init__(self, settings: Settings, rules: str, model: Model, made: Staging) -> None:
        self.settings, self.selection, self.weights, self.made = settings, rules, model, made
        super().__init__([sys.executable, sys.argv[0]])  # Holoscan reads sys.argv otherwise, and has options of its own

    def compose(self) -> None:
        """Make the operators and connect them."""
        settings, options = self.settings, self.settings.options
        loader = StudyLoader(self, CountCondition(self, 1), input_folder=settings.source)
        selector = SeriesSelector(self, rules=self.selection)
        volume = SeriesToVolume(self)
        restoration = Restoration(self, options=options, model=self.weights, output=settings.output)
        writer = SeriesWriter(self, made=self.made, options=options, model=self.weights)
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(selector, volume, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(volume, restoration, {("image", "image")})
        self.add_flow(restoration, writer, {("result", "result")})
