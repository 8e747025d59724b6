"""Turn errors into HTTP answers: the project's own words with a fitting status, never a bare 500."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException
from monailabel.interfaces.exception import MONAILabelException

from mdcsrn.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MdcsrnError,
    MissingDependencyError,
    RefusedError,
    root_error,
)

logger = logging.getLogger(__name__)

STATUS: tuple[tuple[type[MdcsrnError], int], ...] = (
    (ConfigError, 400),
    (DataError, 422),
    (RefusedError, 422),
    (MissingDependencyError, 501),
)


class UnknownError(ConfigError):
    """A model or an image that is not there."""


def status_of(error: MdcsrnError) -> int:
    """Status of HTTP: 400 and 422 for what the client can mend, 404 for what is not there, else the server's own."""
    if isinstance(error, UnknownError):
        return 404
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


@contextmanager
def answered() -> Iterator[None]:
    """Turn what is raised inside into an answer; the server keeps running.

    Raises:
        HTTPException: with the error's text as its detail.
    """
    try:
        yield
    except HTTPException:
        raise
    except Exception as error:
        ours = root_error(error)
        if ours is not None:
            level = logging.ERROR if isinstance(ours, CheckpointError) else logging.WARNING
            logger.log(level, "%s", ours)
            raise HTTPException(status_of(ours), str(ours)) from error
        logger.exception("unexpected")
        text = error.msg if isinstance(error, MONAILabelException) else f"{type(error).__name__}: {error}"
        raise HTTPException(500, f"unexpected {text} | remedy: see the server's log and report it") from error
