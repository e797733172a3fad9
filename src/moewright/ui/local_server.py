"""The page's server: this machine alone, nothing kept, no file read."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from moewright.report.html.render_report import file_text
from moewright.ui.live_plan import MOST_SPEC, answer, choices, page, quickly

#: names under which a browser reaches this machine itself: any other is a page elsewhere that means to use this server
LOCAL = ("127.0.0.1", "localhost", "[::1]", "::1")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'self' 'unsafe-inline' "
    "'unsafe-eval'; connect-src 'self'; img-src data: blob:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


async def index(request: Request) -> Response:
    """The page."""
    return HTMLResponse(page(), headers=_HEADERS)


async def vega(request: Request) -> Response:
    """The drawing library."""
    headers = {"Cache-Control": "max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response(file_text("vega.js"), media_type="text/javascript", headers=headers)


async def offered(request: Request) -> Response:
    """Models, clusters and engines."""
    return JSONResponse(choices(), headers=_HEADERS)


async def plan(request: Request) -> Response:
    """The report of a posted case. Refused: what no page of this server sends, and what is too long."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return JSONResponse({"error": "expected application/json"}, 415)
    origin = request.headers.get("origin")
    if origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host')}":
        return JSONResponse({"error": "another page's"}, 403)
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > 2 * MOST_SPEC:
            return JSONResponse({"error": "too long"}, 413)
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return JSONResponse({"error": "no JSON"}, 400)
    if not isinstance(asked, dict):
        return JSONResponse({"error": "expected an object"}, 400)
    return JSONResponse(await run_in_threadpool(answer, asked), headers=_HEADERS)


def application() -> Starlette:
    """The page's ASGI application."""
    quickly()
    return Starlette(
        routes=[
            Route("/", index),
            Route("/vega.js", vega),
            Route("/choices", offered),
            Route("/plan", plan, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL))],
    )


def serve_page(port: int, tell: Callable[[str], None]) -> None:
    """Serve on 127.0.0.1 until interrupted; ``tell`` is told the address. Raises SpecError for a port in use."""
    from moewright.errors import SpecError

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        raise SpecError(f"got {port}: {error.strerror}; 0 takes any that is free", field="--port") from None
    tell(f"http://127.0.0.1:{listening.getsockname()[1]}/")
    server = uvicorn.Server(uvicorn.Config(application(), log_level="warning", access_log=False))
    server.run(sockets=[listening])
