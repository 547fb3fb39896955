"""The application: passes each HTTP request to the function that answers it, on a thread of the pool.

Runs on the server's event loop, which never reads a run itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.protocol.errors import SidecarError, reason
from tracker.errors import RunNotFoundError, TrackerError
from tracker.ui import comparing, details, editing, exporting, listing, saving, series, views
from tracker.ui.answers import error_response, to_response
from tracker.ui.errors import ApiError, CancelledError
from tracker.ui.pages import Guesses, body_of, login, other_page, own_page
from tracker.ui.routes import Call, Route
from tracker.ui.security import CONTENT_POLICY, FRONTEND_POLICY, HEADERS, Security
from tracker.ui.state import Dashboard

PREFIX = "/api/v1/"
METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH"]
ROUTES: tuple[Route, ...] = (
    *listing.ROUTES,
    *series.ROUTES,
    *details.ROUTES,
    *comparing.ROUTES,
    *exporting.ROUTES,
    *editing.ROUTES,
    *views.ROUTES,
    *saving.ROUTES,
)
"""Every route of the API except ``login``."""

HEAVY_THREADS = 2
LIGHT_THREADS = 4
"""Threads for answers that may take long, and for the others, which never wait for them."""

_log = logging.getLogger("tracker")

Endpoint = Callable[[Request], Awaitable[Response]]


class Headers:
    """Adds the security headers that an answer does not set itself.

    Refuses requests whose ``Host`` is not a name of this server.
    """

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
                own = message.get("headers", [])
                names = {name.lower() for name, _ in own}
                message["headers"] = [*own, *(header for header in self._headers if header[0] not in names)]
            await send(message)

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._security.knows_host(hosts[0]):
            shown = hosts[0] if hosts else ""
            answer = error_response(
                ApiError(
                    403, "host", f"{shown!r} is not a name of this server; use the address that `tracker ui` prints"
                )
            )
            await answer(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def make_app(
    dashboard: Dashboard, security: Security, frontend: Path | None = None, routes: tuple[Route, ...] = ROUTES
) -> ASGIApp:
    """Return the application.

    Args:
        dashboard: what it answers from.
        security: decides which requests are refused.
        frontend: directory of a custom page, which is served instead of the built-in one.
        routes: the routes of the API.
    """
    guesses = Guesses()
    limits = {True: anyio.CapacityLimiter(HEAVY_THREADS), False: anyio.CapacityLimiter(LIGHT_THREADS)}

    # More specific paths first.
    ordered = sorted(routes, key=lambda route: -route.path.count("/"))
    table = [
        StarletteRoute(
            PREFIX + route.path,
            _endpoint(dashboard, security, guesses, route, limits[route.heavy]),
            methods=[route.method],
        )
        for route in ordered
    ]
    app = Starlette(
        routes=[
            *table,
            StarletteRoute(PREFIX + "login", login(security, guesses), methods=["POST"]),
            StarletteRoute("/api/{path:path}", _no_route, methods=METHODS),
            *(own_page(security, guesses) if frontend is None else other_page(security, guesses, frontend)),
            StarletteRoute("/{path:path}", _no_route, methods=METHODS),
        ]
    )
    return Headers(app, security, CONTENT_POLICY if frontend is None else FRONTEND_POLICY)


async def _no_route(request: Request) -> Response:
    return error_response(ApiError(404, "route", f"there is no route {request.method} {request.url.path}"))


def _endpoint(
    dashboard: Dashboard, security: Security, guesses: Guesses, route: Route, limit: anyio.CapacityLimiter
) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        refused = security.refusal(request.method, request.headers, writes=route.writes)
        if refused is not None:
            if refused.status == 401 and "authorization" in request.headers:
                await guesses.wrong()
            return error_response(ApiError(*refused))
        try:
            call = Call(
                path=request.path_params,
                query=request.query_params,
                body=await body_of(request) if request.method == "POST" else None,
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
            return error_response(ApiError(500, "internal", "the server failed; the traceback is in its terminal"))

    return endpoint


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
