"""Guard MONAI Label's web application: a token, no foreign web pages, and plain errors for unreadable requests."""

from __future__ import annotations

import atexit
import hmac
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from monailabel.app import app as application

from lib.environment import ORIGINS, TEMPORARY, TOKEN_FILE

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HERE = ("127.0.0.1", "localhost", "::1")


class Gate:
    """Lets a request through if it bears the token, comes from no foreign web page and names no path.

    A browser says which page a request comes from. Without this, any page that somebody has open could send scans to,
    and start trainings on, the server of the same machine.

    Args:
        inner: what lies behind.
        token_file: holds the token, and is read for each request, so that a new one needs no restart; None: no token.
        origins: pages that may ask, such as ``https://viewer.example.org``, beside those of this machine.
    """

    def __init__(self, inner: ASGIApp, token_file: Path | None = None, origins: Iterable[str] = ()) -> None:
        self.inner, self.token_file, self.origins = inner, token_file, frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 400, 401 or 403."""
        headers = dict(scope.get("headers", ()))
        if scope["type"] == "lifespan":
            await self.inner(scope, receive, send)
        elif not self._is_welcome(headers.get(b"origin", b"").decode("latin-1")):
            await _refuse(send, 403, f"a web page of another origin | remedy: list it in {ORIGINS}")
        elif not _names_no_path(scope):
            await _refuse(send, 400, "image, label, tag and id are names, no paths")
        elif _is_question(scope, headers) or self._is_valid(headers.get(b"authorization", b"")):
            await self.inner(scope, receive, send)
        else:
            await _refuse(send, 401, "no valid token | remedy: send the header Authorization: Bearer TOKEN")

    def _is_welcome(self, origin: str) -> bool:
        return not origin or origin in self.origins or urlsplit(origin).hostname in HERE

    def _is_valid(self, header: bytes) -> bool:
        if self.token_file is None:
            return True
        kind, _, value = header.partition(b" ")
        token = self.token_file.read_bytes().strip()
        return bool(token) and kind.lower() == b"bearer" and hmac.compare_digest(value.strip(), token)


def _names_no_path(scope: Scope) -> bool:
    """MONAI Label's data store makes paths of these values without a look, so ``../..`` would write anywhere."""
    if not str(scope.get("path", "")).startswith("/datastore"):
        return True
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    values = [value for key, value in query if key in ("image", "label", "tag", "id")]
    return not any(mark in value for value in values for mark in ("/", "\\", "\0")) and not {".", ".."} & {*values}


def _is_question(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """A browser asks without the token whether it may send a request with it."""
    return bool(scope.get("method") == "OPTIONS" and b"access-control-request-method" in headers)


async def _refuse(send: Send, status: int, detail: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": detail}).encode()})


async def unreadable(request: Request, error: Exception) -> JSONResponse:
    """The parameters of a request are no JSON."""
    return JSONResponse({"detail": f"the parameters are no JSON | got: {error}"}, 400)


def gated(inner: FastAPI, token_file: str, origins: str) -> Gate:
    """The application behind its gate; MONAI Label itself allows every origin, this one those that are listed."""
    listed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    inner.user_middleware = [one for one in inner.user_middleware if one.cls is not CORSMiddleware]
    if listed:
        inner.add_middleware(
            CORSMiddleware, allow_origins=listed, allow_credentials=True, allow_methods=["*"], allow_headers=["*"]
        )
    inner.add_exception_handler(json.JSONDecodeError, unreadable)
    return Gate(inner, Path(token_file) if token_file else None, listed)


if TEMPORARY in os.environ:
    atexit.register(shutil.rmtree, os.environ[TEMPORARY], ignore_errors=True)
app = gated(application, os.environ.get(TOKEN_FILE, ""), os.environ.get(ORIGINS, ""))
