"""Converts the answers of routes to HTTP responses."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from sidecar.protocol.plain import json_default, json_value
from tracker.ui.errors import ApiError
from tracker.ui.routes import JSON_TYPE, Binary, Call, Download, Stream
from tracker.ui.security import DOWNLOAD_HEADERS, FRAME_HEADERS

MIN_GZIP_BYTES = 1_000
"""Minimum size of JSON that is compressed, in bytes; numbers of series are not, since they hardly get smaller."""

_FRESH = {"Cache-Control": "no-store"}


def to_response(answer: Any, call: Call) -> Response:
    """Return an answer as an HTTP response."""
    if answer is None:
        return Response(status_code=204, headers=_FRESH)
    if isinstance(answer, Binary):
        return Response(answer.content, media_type=answer.media_type, headers=_FRESH)
    if isinstance(answer, Stream):
        return StreamingResponse(
            answer.parts, media_type=answer.media_type, headers=_FRESH | _attachment(answer.file_name)
        )
    if isinstance(answer, Download):
        kind = FRAME_HEADERS if answer.framed else DOWNLOAD_HEADERS | _attachment(answer.file_name)
        headers = _FRESH | kind | {"Accept-Ranges": "bytes"}
        start, end = answer.range or (0, answer.size)
        headers["Content-Length"] = str(end - start)
        if answer.range is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{answer.size}"
        status = 200 if answer.range is None else 206
        return StreamingResponse(answer.parts, status, headers, answer.media_type)
    return json_response(answer, call)


def json_response(answer: Any, call: Call, status: int = 200) -> Response:
    """Return plain data as JSON, compressed if it is large enough."""
    content = to_json(answer)
    headers = dict(_FRESH)
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
    """Return the response to a request that failed."""
    body = {"error": {"code": error.code, "message": str(error), **error.details}}
    return Response(to_json(body), error.status, _FRESH, JSON_TYPE)


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
