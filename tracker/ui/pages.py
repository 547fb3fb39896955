"""What is served besides the API: the built-in page and its files, or a custom page, and the login.

The files of the page hold no data and are served to anybody who can connect; only the API needs the token, or the
cookie that the login leaves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tracker.ui.answers import error_response
from tracker.ui.errors import ApiError
from tracker.ui.security import MAX_BODY_BYTES, Security
from tracker.ui.static import StaticFiles, media_type

WRONG_TOKEN_SECONDS = 1.0
"""Delay of the answer to a wrong token, in seconds; there is one such answer at a time."""

_FOR_EVER = "public, max-age=31536000, immutable"
_HTML = "text/html; charset=utf-8"


class Guesses:
    """Delays the answers to wrong tokens, one at a time, so that guessing is slow over any number of connections."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()

    async def wrong(self) -> None:
        """Wait."""
        async with self._lock:
            await anyio.sleep(WRONG_TOKEN_SECONDS)


async def body_of(request: Request) -> Any:
    """Return the JSON in the body of a request.

    Raises:
        ApiError: it is too large, or not valid JSON.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY_BYTES:
            raise ApiError(413, "size", f"the body must have at most {MAX_BODY_BYTES:,} bytes")
    try:
        body = json.loads(bytes(content))
        if b"\\ud" in content.lower():
            json.dumps(body, ensure_ascii=False).encode()  # half of a surrogate pair is not valid text
    except (ValueError, RecursionError):
        raise ApiError(400, "body", "the body is not valid JSON") from None
    return body


def login(security: Security, guesses: Guesses) -> Any:
    """Return the endpoint that takes a token or password and leaves a cookie."""

    async def endpoint(request: Request) -> Response:
        refused = security.login_refusal(request.headers)
        if refused is not None:
            return error_response(ApiError(*refused))
        try:
            body = await body_of(request)
        except ApiError as error:
            return error_response(error)
        token = body.get("token") if isinstance(body, dict) else None
        if not isinstance(token, str) or not security.is_token(token):
            await guesses.wrong()
            return error_response(ApiError(401, "token", "the token or password is wrong"))
        return Response(status_code=204, headers={"Set-Cookie": security.cookie(), "Cache-Control": "no-store"})

    return endpoint


async def _with_token(security: Security, guesses: Guesses, request: Request) -> Response | None:
    """Return the answer to an address with the right token: the cookie, and the address without it."""
    token = request.query_params.get("token")
    if token is None:
        return None
    if not security.is_token(token):
        await guesses.wrong()
        return None
    return RedirectResponse("/", 303, {"Set-Cookie": security.cookie(), "Cache-Control": "no-store"})


def own_page(security: Security, guesses: Guesses) -> list[Route]:
    """Return the routes of the page and its files."""
    static = StaticFiles()

    async def page(request: Request) -> Response:
        answer = await _with_token(security, guesses, request)
        if answer is not None:
            return answer
        content = await anyio.to_thread.run_sync(static.index)
        return Response(content, media_type=_HTML, headers={"Cache-Control": "no-cache"})

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        content = await anyio.to_thread.run_sync(static.content, name)
        if content is None:
            return error_response(ApiError(404, "file", "there is no such file"))
        current = request.path_params["digest"] == static.digest
        headers = {"Cache-Control": _FOR_EVER if current else "no-store"}
        packed = content.gzip if "gzip" in request.headers.get("accept-encoding", "") else None
        if content.gzip is not None:
            headers["Vary"] = "Accept-Encoding"
        if packed is not None:
            headers["Content-Encoding"] = "gzip"
        return Response(content.plain if packed is None else packed, media_type=media_type(name), headers=headers)

    return [Route("/", page), Route("/static/{digest}/{name:path}", file)]


def other_page(security: Security, guesses: Guesses, top: Path) -> list[Route]:
    """Return the routes of a page in a directory, whose files lie at the addresses of their names."""
    static = StaticFiles(top)

    async def file(request: Request) -> Response:
        name = request.path_params.get("name") or "index.html"
        answer = await _with_token(security, guesses, request) if name == "index.html" else None
        if answer is not None:
            return answer
        await anyio.to_thread.run_sync(static.refresh)
        content = await anyio.to_thread.run_sync(static.read, name)
        if content is None:
            return error_response(ApiError(404, "file", "there is no such file"))
        return Response(content, media_type=media_type(name), headers={"Cache-Control": "no-cache"})

    return [Route("/", file), Route("/{name:path}", file)]
