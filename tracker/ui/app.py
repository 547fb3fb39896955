"""The application: from an HTTP request to the function that answers it, on a thread of the pool, and back.

Runs on the server's event loop, which never reads a run itself.
"""

from __future__ import annotations

import gzip
import json
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.protocol.errors import SidecarError, reason
from sidecar.protocol.plain import json_default, json_value
from tracker.errors import RunNotFoundError, TrackerError
from tracker.ui import comparing, details, listing, series
from tracker.ui.errors import ApiError, CancelledError
from tracker.ui.routes import JSON_TYPE, Binary, Call, Download, Route, Stream
from tracker.ui.security import CONTENT_POLICY, HEADERS, MAX_BODY_BYTES, Security
from tracker.ui.state import Dashboard
from tracker.ui.static import StaticFiles

PREFIX = "/api/v1/"
ROUTES: tuple[Route, ...] = (*listing.ROUTES, *series.ROUTES, *details.ROUTES, *comparing.ROUTES)
"""Every route of the API."""

HEAVY_THREADS = 2
LIGHT_THREADS = 4
"""Threads for answers that may take long, and for the others, which never wait for them."""

MIN_GZIP_BYTES = 1_000
_log = logging.getLogger("tracker")

Endpoint = Callable[[Request], Awaitable[Response]]


class Headers:
    """Adds the security headers to every answer, and refuses requests to a name that is not this server's."""

    def __init__(self, app: ASGIApp, security: Security, policy: str) -> None:
        self._app = app
        self._security = security
        self._headers = [
            (name.lower().encode(), value.encode())
            for name, value in (HEADERS | {"Content-Security-Policy": policy}).items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._security.knows_host(hosts[0]):
            shown = hosts[0] if hosts else ""
            answer = error_response(
                ApiError(403, "host", f"this server is not called {shown!r}; use the address that `tracker ui` prints")
            )
            await answer(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def make_app(
    dashboard: Dashboard, security: Security, static: StaticFiles, routes: tuple[Route, ...] = ROUTES
) -> ASGIApp:
    """Return the application."""
    limits = {True: anyio.CapacityLimiter(HEAVY_THREADS), False: anyio.CapacityLimiter(LIGHT_THREADS)}

    async def page(request: Request) -> Response:
        token = request.query_params.get("token")
        if token is not None and security.is_token(token):
            return RedirectResponse("/", 303, {"Set-Cookie": security.cookie(), "Cache-Control": "no-store"})
        content = await anyio.to_thread.run_sync(static.index)
        return Response(content, media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-cache"})

    async def file(request: Request) -> Response:
        found = await anyio.to_thread.run_sync(static.get, request.path_params["name"])
        if found is None:
            return error_response(ApiError(404, "file", "there is no such file"))
        current = request.path_params["digest"] == static.digest
        kept = "public, max-age=31536000, immutable" if current else "no-store"
        return Response(found.content, media_type=found.media_type, headers={"Cache-Control": kept})

    async def missing(request: Request) -> Response:
        return error_response(ApiError(404, "route", f"there is no {request.method} {request.url.path}"))

    # {ref} and longer paths: the more specific first.
    ordered = sorted(routes, key=lambda route: -route.path.count("/"))
    table = [
        StarletteRoute(
            PREFIX + route.path, _endpoint(dashboard, security, route, limits[route.heavy]), methods=[route.method]
        )
        for route in ordered
    ]
    app = Starlette(
        routes=[
            StarletteRoute("/", page),
            StarletteRoute("/static/{digest}/{name:path}", file),
            *table,
            StarletteRoute("/{path:path}", missing, methods=["GET", "POST", "DELETE", "PUT", "PATCH"]),
        ]
    )
    return Headers(app, security, CONTENT_POLICY)


def _endpoint(dashboard: Dashboard, security: Security, route: Route, limit: anyio.CapacityLimiter) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        refused = security.refusal(request.method, request.headers, writes=route.writes)
        if refused is not None:
            return error_response(ApiError(*refused))
        try:
            call = Call(
                path=request.path_params,
                query=request.query_params,
                body=await _body(request),
                headers=request.headers,
                cancelled=threading.Event(),
            )
            return await _answered(request, dashboard, route, call, limit)
        except ApiError as error:
            return error_response(error)
        except (CancelledError, ClientDisconnect):
            return Response(status_code=499)
        except RunNotFoundError as error:
            return error_response(ApiError(404, "run", str(error)))
        except (TrackerError, SidecarError, OSError) as error:
            return error_response(ApiError(503, "unavailable", reason(error)))
        except Exception:
            _log.exception("dashboard: %s %s", request.method, request.url.path)
            return error_response(ApiError(500, "internal", "the server failed; its terminal says how"))

    return endpoint


async def _body(request: Request) -> Any:
    if request.method != "POST":
        return None
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY_BYTES:
            raise ApiError(413, "size", f"the body must have at most {MAX_BODY_BYTES:,} bytes")
    try:
        return json.loads(bytes(content))
    except (ValueError, RecursionError):
        raise ApiError(400, "body", "the body is not valid JSON") from None


async def _answered(
    request: Request, dashboard: Dashboard, route: Route, call: Call, limit: anyio.CapacityLimiter
) -> Response:
    response = Response(status_code=499)

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        call.cancelled.set()

    def work() -> Response:
        call.check_cancelled()
        return to_response(route.answer(dashboard, call), call)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            response = await anyio.to_thread.run_sync(work, limiter=limit)
        except Exception as error:
            caught: Exception | None = error
        else:
            caught = None
        group.cancel_scope.cancel()
    if caught is not None:
        raise caught
    return response


def to_response(answer: Any, call: Call) -> Response:
    """Return an answer as an HTTP response."""
    fresh = {"Cache-Control": "no-store"}
    if answer is None:
        return Response(status_code=204, headers=fresh)
    if isinstance(answer, Binary):
        return Response(answer.content, media_type=answer.media_type, headers=fresh)
    if isinstance(answer, Stream):
        return StreamingResponse(
            answer.parts, media_type=answer.media_type, headers=fresh | _attachment(answer.file_name)
        )
    if isinstance(answer, Download):
        headers = fresh | _attachment(answer.file_name)
        headers |= {"Content-Security-Policy": "sandbox", "Accept-Ranges": "bytes"}
        start, end = answer.range or (0, answer.size)
        headers["Content-Length"] = str(end - start)
        if answer.range is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{answer.size}"
        status = 200 if answer.range is None else 206
        return StreamingResponse(answer.parts, status, headers, answer.media_type)
    return json_response(answer, call)


def json_response(answer: Any, call: Call, status: int = 200) -> Response:
    """Return plain data as JSON, compressed where that is worth it."""
    content = to_json(answer)
    headers = {"Cache-Control": "no-store"}
    if len(content) >= MIN_GZIP_BYTES and "gzip" in call.headers.get("accept-encoding", ""):
        content = gzip.compress(content, 1)
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(content, status, headers, JSON_TYPE)


def to_json(answer: Any) -> bytes:
    """Return plain data as JSON; NaN and infinities become strings."""
    try:
        text = json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError):
        text = json.dumps(json_value(answer), ensure_ascii=False, separators=(",", ":"), default=json_default)
    return text.encode("utf-8", "replace")


def error_response(error: ApiError) -> Response:
    """Return an error as it is answered."""
    body = {"error": {"code": error.code, "message": str(error), **error.details}}
    return Response(to_json(body), error.status, {"Cache-Control": "no-store"}, JSON_TYPE)


def _attachment(name: str) -> dict[str, str]:
    from urllib.parse import quote

    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
