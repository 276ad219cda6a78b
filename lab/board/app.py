"""The board's server: one page, its files, and the stream that keeps it live."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab.board.feed import Feed

_STATIC = Path(__file__).with_name("static")
# Names under which a browser on this machine finds the board; any other is somebody's DNS rebinding.
_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
# Seconds between two signs of life; the page calls the connection lost after three.
_PING = 4
# Seconds that a page may leave its connection unread before it is given up.
_STUCK = 60.0
# Seconds for open streams to end after a signal.
_FAREWELL = 2

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def build(feed: Feed) -> Starlette:
    """The ASGI application over ``feed``."""

    async def stream(_: Request) -> Response:
        return EventSourceResponse(
            _events(feed), ping=_PING, ping_message_factory=_sign_of_life, send_timeout=_STUCK
        )

    async def snapshot(_: Request) -> Response:
        return Response(feed.snapshot().model_dump_json(), media_type="application/json")

    return Starlette(
        routes=[
            Route("/", _page),
            Route("/healthz", _healthy),
            Route("/api/events", stream),
            Route("/api/snapshot", snapshot),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[
            Middleware(_Headers),
            Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS, www_redirect=False),
        ],
    )


async def serve(feed: Feed, sock: socket.socket) -> None:
    """Serve the board until SIGINT or SIGTERM, then return. Cancelling it ends it as cleanly.

    Args:
        feed: what it shows.
        sock: already bound and listening; it may belong to another network namespace. It is closed.
    """
    # Its own farewell polls a flag of the whole process that nothing ever resets; the feed ends its streams.
    AppStatus.enable_automatic_graceful_drain = False
    config = uvicorn.Config(
        build(feed),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_FAREWELL,
    )
    server = _Server(config, feed)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


class _Server(uvicorn.Server):
    """Uvicorn's, but it ends the streams first, and a signal that has been obeyed is not raised again."""

    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._feed.hang_up()
        await super().shutdown(sockets)


class _Headers:
    """Puts the same headers on every answer, refusals included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, with_headers)


async def _page(_: Request) -> Response:
    return FileResponse(_STATIC / "index.html")


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _events(feed: Feed) -> AsyncIterator[ServerSentEvent]:
    async for message in feed.subscribe():
        yield _as_event(message.kind, message)


def _as_event(kind: str, message: BaseModel) -> ServerSentEvent:
    return ServerSentEvent(data=message.model_dump_json(), event=kind)


def _sign_of_life() -> ServerSentEvent:
    return ServerSentEvent(data=f'{{"at": {time.time():.3f}}}', event="ping")
