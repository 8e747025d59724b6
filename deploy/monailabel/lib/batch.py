"""Run a task over the study folder: restore what can be restored and list failures, as ``mdcsrn predict`` does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.batch_infer import BatchInferTask

from lib.http_errors import answered
from lib.request import checked_name
from mdcsrn.errors import ConfigError

logger = logging.getLogger(__name__)


class StudyBatch(BatchInferTask):
    """MONAI Label's own batch, which on a machine without a GPU divides by zero and stops at the first bad scan."""

    def __call__(self, request: dict[str, Any], datastore: Datastore, infer: Callable[..., Any]) -> dict[str, Any]:
        """Do every scan that is asked for, and keep each result under a tag.

        Args:
            request: ``model``, ``images`` (``all``, ``labeled``, ``unlabeled`` or a list of names), options of the
                model, ``label_tag`` (default: the model's name, so that results of two models do not overwrite each
                other), ``max_batch_size`` and ``max_workers``.
            datastore: the study folder.
            infer: does one scan.

        Returns:
            Name of each scan to ``{"status": "done", "label", "tag", "decision", "warnings"}`` or
            ``{"status": "failed", "error"}``.

        Raises:
            HTTPException: the request itself is wrong.
        """
        with answered():
            request = _checked(request, datastore)

        def one(task: dict[str, Any], store: Datastore) -> dict[str, Any]:
            try:
                result = infer(task, store)
            except HTTPException as error:
                return {"status": "failed", "error": str(error.detail)}
            facts = result["params"]
            return {
                "status": "done",
                "label": result["label"],
                "tag": task["label_tag"],
                "file": result["file"],  # taken out and removed by the caller
                "decision": facts["decision"],
                "warnings": facts["warnings"],
            }

        return super().__call__(request, datastore, one)


def failures(results: dict[str, Any]) -> dict[str, str]:
    """Name of each scan that was not done, to the reason."""
    return {name: str(one.get("error", "unknown")) for name, one in results.items() if one.get("status") != "done"}


def _checked(request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
    images = request.get("images")
    if isinstance(images, list):
        missing = [str(name) for name in images if name not in datastore.list_images()]
        if missing:
            raise ConfigError("no such image in the study folder", got=", ".join(missing[:5]))
    for key in ("max_batch_size", "max_workers"):
        count = request.get(key, 0)
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ConfigError(f"parameter {key}", got=count, allowed="a whole number, 0 for the default")
    request = {**request, "label_tag": checked_name("label_tag", request.get("label_tag") or request.get("model"))}
    if not torch.cuda.is_available():
        request["multi_gpu"] = False
        request["max_workers"] = request.get("max_workers") or 1  # one scan already uses every core
    return request
