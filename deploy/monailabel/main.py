"""MONAI Label app: brain MRI super-resolution with the bundles of mdcsrn, scan by scan or in batches, and training."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.train import TrainTask

import mdcsrn
from lib.batch import StudyBatch, failures
from lib.environment import TEMPORARY
from lib.http_errors import UnknownError, answered
from lib.infer import SuperResolution
from lib.infer_tasks import bundles, shipped, trained
from lib.request import checked_name
from lib.train import FineTune
from mdcsrn.errors import ConfigError, MdcsrnError

logger = logging.getLogger(__name__)

CONF = {"models", "bundles", "server_mode"}


class SuperResolutionApp(MONAILabelApp):
    """Infer tasks for every bundle that mdcsrn finds, a batch over the study folder, and fine-tuning on it.

    Settings (``--conf NAME VALUE``): ``models`` and ``bundles``, lists with commas; see README.md.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self._results = tempfile.TemporaryDirectory(prefix="mdcsrn-label-")
        self.models = Path(app_dir) / "model"
        try:
            unknown = set(conf) - CONF
            if unknown:
                raise ConfigError("unknown --conf", got=", ".join(sorted(unknown)), allowed=", ".join(sorted(CONF)))
            self.bundles = bundles(conf.get("bundles", ""))
            self.shipped = shipped(self.bundles, conf.get("models", ""))
        except MdcsrnError as error:
            logger.error("%s", error)
            sys.exit(error.exit_code)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name=f"mdcsrn {mdcsrn.__version__}",
            description="Super-resolution of brain MRI: outer k-space restored, what was measured kept",
            version=mdcsrn.__version__,
        )

    def init_infers(self) -> dict[str, InferTask]:
        """Tasks of the bundles' models and of those trained here; a task that is there already is kept."""
        known: dict[str, InferTask] = getattr(self, "_infers", {})
        offers = {offer.name: offer for offer in (*trained(self.models), *self.shipped)}  # a bundle's own name wins
        results = Path(self._results.name)
        return {name: known.get(name) or SuperResolution(offer, results) for name, offer in offers.items()}

    def init_trainers(self) -> dict[str, TrainTask]:
        """One task for each bundle that can be fine-tuned."""
        return {home.resolve().name: FineTune(home, self.models) for home in self.bundles if FineTune.is_possible(home)}

    def init_batch_infer(self) -> StudyBatch:
        """A bad scan does not stop the others."""
        return StudyBatch()

    def info(self) -> dict[str, Any]:
        """What the app offers now: a model that was trained a minute ago is there."""
        self._infers = self.init_infers()
        return super().info()

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """One scan.

        Raises:
            HTTPException: what is wrong, in words.
        """
        with answered():
            self._infers = self.init_infers()
            store = datastore or self.datastore()
            model, image = request.get("model"), request.get("image")
            if model not in self._infers:
                raise UnknownError(f"no model {model}", allowed=", ".join(sorted(self._infers)))
            if not isinstance(image, str) or not self._may_be_read(image, store):
                raise UnknownError(f"no image {image}", allowed="a name of the study folder, a file that is sent along")
            if "label_tag" in request:
                checked_name("label_tag", request["label_tag"])
            try:
                return super().infer(request, store)
            except BaseException:
                self._forget(image)
                raise

    def batch_infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """A batch; in a process of its own, whose status is what a client sees, a bad scan is an error at the end."""
        with self._task():
            results: dict[str, Any] = super().batch_infer(request, datastore)
        bad = failures(results)
        for name, reason in bad.items():
            logger.error("failed: %s: %s", name, reason)
        logger.info("%d done, %d failed", len(results) - len(bad), len(bad))
        if bad and not self._server_mode:
            sys.exit(3)
        return results

    def train(self, request: dict[str, Any]) -> dict[str, Any]:
        """Fine-tune.

        Raises:
            HTTPException: what is wrong, in words.
        """
        with self._task():
            if request.get("model") not in self._trainers:
                listed = ", ".join(sorted(self._trainers)) or "none of these bundles can be fine-tuned"
                raise UnknownError(f"no training task {request.get('model')}", allowed=listed)
            return super().train(request)

    def bundle_path(self, model: str) -> None:
        """MONAI Label asks this before it starts a task in the background: the moment to refuse what is unknown.

        Raises:
            HTTPException: neither an infer task nor a training task.
        """
        self._infers = self.init_infers()
        known = {*self._infers, *self._trainers}
        with answered():
            if model not in known:
                raise UnknownError(f"no model {model}", allowed=", ".join(sorted(known)))

    @contextmanager
    def _task(self) -> Iterator[None]:
        """Answer errors; in a background process, whose last lines are what a client sees, end with one line."""
        try:
            with answered():
                yield
        except HTTPException as error:
            if self._server_mode:
                raise
            logger.error("%s", error.detail)
            sys.exit(1)

    def _may_be_read(self, image: str, store: Datastore) -> bool:
        """True for a name of the study folder, an upload, or a session's file; no other path of this machine."""
        if not os.path.exists(image):
            return bool(store.get_image_uri(image))
        sessions = Path(settings.MONAI_LABEL_SESSION_PATH or Path.home() / ".cache" / "monailabel" / "sessions")
        return _is_upload(image) or Path(os.path.realpath(image)).is_relative_to(sessions.resolve())

    def _forget(self, image: str) -> None:
        """Remove what a client sent along: MONAI Label does so after a result, and leaves it after an error."""
        if _is_upload(image) and os.environ.get(TEMPORARY) == tempfile.gettempdir():
            Path(image).unlink(missing_ok=True)


def _is_upload(image: str) -> bool:
    """True for a file that MONAI Label wrote for a request: of the names it gives, in the temporary folder."""
    place = Path(os.path.realpath(image))
    return place.parent == Path(tempfile.gettempdir()).resolve() and place.name.startswith("tmp") and place.is_file()
