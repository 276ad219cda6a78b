"""The look at known holes in the locked packages, against a server that plays OSV."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
HOLE = {
    "id": "GHSA-0000-0000-0000",
    "modified": "2026-01-01T00:00:00Z",
    "summary": "a hole that is not there",
    "affected": [{"package": {"name": "jinja2", "ecosystem": "PyPI"}, "versions": []}],
}


@pytest.fixture
def osv() -> Iterator[Callable[[str], str]]:
    """Starts a list on which the package of that name has a hole; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(guilty: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                names = [query["package"]["name"] for query in asked["queries"]]
                vulns = {"vulns": [{"id": HOLE["id"], "modified": HOLE["modified"]}]}
                self.answer({"results": [vulns if name == guilty else {} for name in names]})

            def do_GET(self) -> None:
                self.answer(HOLE)

            def answer(self, body: object) -> None:
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def audit(address: str) -> tuple[int, str]:
    where = subprocess.run(
        ["sh", "toolchain/uv.sh", "--where"], cwd=PROJECT, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert shutil.which(where)
    done = subprocess.run(
        ["sh", "toolchain/audit.sh", where, "--service-url", address],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_packages_without_known_holes_pass(osv: Callable[[str], str]) -> None:
    status, said = audit(osv("nobody"))
    assert status == 0, said
    assert "NOT AUDITED" not in said


def test_a_known_hole_fails_and_is_named(osv: Callable[[str], str]) -> None:
    status, said = audit(osv("jinja2"))
    assert status != 0
    assert "jinja2" in said
    assert "GHSA-0000-0000-0000" in said


def test_a_list_out_of_reach_is_said_and_no_failure() -> None:
    status, said = audit("http://127.0.0.1:9")
    assert status == 0, said
    assert "NOT AUDITED" in said
