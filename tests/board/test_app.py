"""The server: what it hands out, to whom, and how it ends."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from lab.board import Feed, build, serve
from tests.board.fake import FakeLab

STATIC = Path(__file__).parents[2] / "lab" / "board" / "static"


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def fake(feed: Feed) -> FakeLab:
    lab = FakeLab(feed)
    lab.announce()
    return lab


def client(feed: Feed, base: str = "http://127.0.0.1:8080") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(build(feed)), base_url=base)


@asynccontextmanager
async def served(feed: Feed) -> AsyncIterator[str]:
    sock = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(serve(feed, sock))
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/", "/static/main.js", "/static/board.css", "/api/snapshot", "/healthz"])
async def test_every_answer_is_locked_down(feed: Feed, fake: FakeLab, path: str) -> None:
    async with client(feed) as http:
        answer = await http.get(path)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:1", "[::1]:8080", "localhost"])
async def test_it_answers_on_loopback_names(feed: Feed, host: str) -> None:
    async with client(feed) as http:
        assert (await http.get("/healthz", headers={"Host": host})).text == "ok\n"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "host", ["evil.example", "192.168.1.20", "localhost.evil.example", "www.localhost", ""]
)
@pytest.mark.parametrize("path", ["/", "/api/events", "/api/snapshot", "/static/main.js"])
async def test_a_rebound_name_gets_nothing(feed: Feed, fake: FakeLab, host: str, path: str) -> None:
    async with client(feed) as http:
        answer = await http.get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert "master" not in answer.text
    assert "content-security-policy" in answer.headers


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/api/nothing", "/static/"])
async def test_nothing_else_is_handed_out(feed: Feed, path: str) -> None:
    async with client(feed) as http:
        assert (await http.get(path)).status_code == 404


@pytest.mark.asyncio
async def test_the_snapshot_is_json(feed: Feed, fake: FakeLab) -> None:
    fake.ask()
    async with client(feed) as http:
        told = (await http.get("/api/snapshot")).json()
    assert told["lab"]["vip"] == "192.168.1.20"
    assert len(told["lab"]["machines"]) == 6
    assert told["state"]["machines"]["master"]["vrrp"] == "MASTER"
    assert told["requests"][0]["server"].startswith("server")


@pytest.mark.asyncio
async def test_the_stream_begins_with_a_snapshot_and_goes_on(feed: Feed, fake: FakeLab) -> None:
    async with served(feed) as base, httpx.AsyncClient(timeout=5) as http:
        async with http.stream("GET", f"{base}/api/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            lines = answer.aiter_lines()
            assert await anext(lines) == "event: snapshot"
            data = json.loads((await anext(lines)).removeprefix("data: "))
            assert data["lab"]["stack"] == "dev"
            await anext(lines)
            fake.event("backup", "vrrp", "two\nlines", state="MASTER")
            assert await anext(lines) == "event: event"
            told = json.loads((await anext(lines)).removeprefix("data: "))
            assert told["event"]["text"] == "two\nlines"
            assert len(told["clock"]) == len("12:34:56")
        for _ in range(100):
            if feed.subscribers == 0:
                break
            await asyncio.sleep(0.02)
        assert feed.subscribers == 0


@pytest.mark.asyncio
async def test_a_browser_that_reads_nothing_blocks_nobody(fake: FakeLab, feed: Feed) -> None:
    async with served(feed) as base:
        port = int(base.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readline()
        began = time.monotonic()
        for _ in range(3_000):
            fake.tell()
            await asyncio.sleep(0)
        assert time.monotonic() - began < 10
        async with httpx.AsyncClient(timeout=5) as http:
            assert (await http.get(f"{base}/healthz")).status_code == 200
        writer.close()


PROGRAM = """
import asyncio, socket, sys
from lab.board import Feed, serve
from tests.board.fake import FakeLab

async def main():
    feed = Feed()
    FakeLab(feed).announce()
    sock = socket.create_server(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    await serve(feed, sock)
    print("ended", flush=True)

asyncio.run(main())
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_though_a_stream_is_open(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONWARNINGS": "error::ResourceWarning"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    port = int(await asyncio.wait_for(process.stdout.readline(), 30))
    url = f"http://127.0.0.1:{port}/api/events"
    async with httpx.AsyncClient(timeout=10) as http, http.stream("GET", url) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: snapshot"
        began = time.monotonic()
        process.send_signal(number)
        async for _ in lines:
            pass
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert time.monotonic() - began < 3
    assert (process.returncode, out, err) == (0, b"ended\n", b"")


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, file
        assert "https://" not in text, file
        assert "//cdn" not in text, file


def test_names_never_become_markup() -> None:
    for file in STATIC.glob("*.js"):
        text = file.read_text(encoding="utf-8")
        for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert forbidden not in text, f"{forbidden} in {file.name}"
