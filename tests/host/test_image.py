"""The guest image: the vendor is played by a server on the loopback interface."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.host import guest_image
from lab.host import image as image_module
from lab.host.image import GuestImage, ensure_image, repin

VIRTUAL_SIZE = 3 << 30


def qcow2(size: int = 600_000, version: int = 3, backing: int = 0) -> bytes:
    """A file that begins like a qcow2 image and goes on with bytes that do not repeat."""
    head = b"QFI\xfb" + version.to_bytes(4) + backing.to_bytes(8) + bytes(8) + VIRTUAL_SIZE.to_bytes(8)
    body = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(size // 32))
    return head + body


GOOD = qcow2()


@dataclass
class Vendor:
    """What the server does, and what it was asked."""

    url: str = ""
    content: bytes = GOOD
    etag: str | None = '"one"'
    status: int | None = None
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the connection is cut, one entry for each of the next answers."""
    stall: threading.Event | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    pages: dict[str, bytes] = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    vendor: Vendor
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path in self.vendor.pages:
            self.reply(200, self.vendor.pages[self.path])
            return
        self.vendor.asked.append({name.lower(): value for name, value in self.headers.items()})
        if self.vendor.status:
            self.reply(self.vendor.status, b"no")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        unchanged = self.headers.get("If-Range", self.vendor.etag) == self.vendor.etag
        if wanted and self.vendor.ranges and unchanged:
            start = int(wanted[1])
            if start >= len(self.vendor.content):
                self.reply(416, b"")
                return
            total = len(self.vendor.content)
            self.reply(206, self.vendor.content[start:], f"bytes {start}-{total - 1}/{total}")
        else:
            self.reply(200, self.vendor.content)

    def reply(self, status: int, body: bytes, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.vendor.etag:
            self.send_header("ETag", self.vendor.etag)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.vendor.cut_after:
            self.wfile.write(body[: self.vendor.cut_after.pop(0)])
            self.wfile.flush()
            self.close_connection = True
        elif self.vendor.stall:
            self.wfile.write(b"" if content_range else body[:1000])
            self.wfile.flush()
            self.vendor.stall.wait(30)
            self.close_connection = True
        else:
            self.wfile.write(body)


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Vendor]:
    state = Vendor()

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"vendor": state}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv(image_module.BASE_URL_VARIABLE, state.url)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(image_module, "RETRY_DELAY", 0.01)
    pins = tmp_path / "pins.json"
    monkeypatch.setattr(image_module, "PINS", pins)
    digest = hashlib.sha256(GOOD).hexdigest()
    pins.write_text(
        json.dumps(
            {
                "name": "Ubuntu 24.04 server",
                "base_url": "http://192.0.2.1",
                "release": "20260705",
                "files": {os.uname().machine: {"name": "server.img", "sha256": digest}},
            }
        )
    )
    yield state
    if state.stall:
        state.stall.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def said() -> list[str]:
    return []


def files(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "images").iterdir() if path.name not in ("lock", "verified"))


def test_the_pinned_image_is_fetched_once(vendor: Vendor, cache: Path, said: list[str]) -> None:
    seen: list[tuple[int, int | None]] = []
    image = ensure_image("ubuntu", None, cache, said.append, lambda done, total: seen.append((done, total)))
    assert image == GuestImage(
        path=cache / "images" / "20260705-server.img",
        name="Ubuntu 24.04 server (release 20260705)",
        sha256=hashlib.sha256(GOOD).hexdigest(),
        format="qcow2",
        virtual_size=VIRTUAL_SIZE,
    )
    assert image.path.read_bytes() == GOOD
    assert seen[-1] == (len(GOOD), len(GOOD))
    assert ensure_image("ubuntu", None, cache, said.append) == image
    assert len(vendor.asked) == 1
    assert files(cache) == ["20260705-server.img"]


def test_a_verified_image_is_not_hashed_again(
    vendor: Vendor, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_image("ubuntu", None, cache, print)
    monkeypatch.setattr(image_module, "_sha256", lambda path: pytest.fail("hashed again"))
    ensure_image("ubuntu", None, cache, print)


def test_an_image_changed_in_the_cache_is_set_aside(vendor: Vendor, cache: Path) -> None:
    path = ensure_image("ubuntu", None, cache, print).path
    path.write_bytes(GOOD[:-1] + b"!")
    with pytest.raises(LabError, match="set aside as"):
        ensure_image("ubuntu", None, cache, print)
    assert not path.exists()
    assert ensure_image("ubuntu", None, cache, print).path.read_bytes() == GOOD


def test_a_tampered_download_is_set_aside_and_never_used(
    vendor: Vendor, cache: Path, said: list[str]
) -> None:
    vendor.content = GOOD[:-1] + b"!"
    with pytest.raises(LabError, match=r"pinned is .*set aside as .*\.bad-\d{8}T\d{6}Z"):
        ensure_image("auto", None, cache, said.append)
    assert [re.sub(r"\d{8}T\d{6}Z", "DATE", name) for name in files(cache)] == ["server.img.bad-DATE"]


def test_a_withdrawn_release_names_the_command_that_pins_the_next(vendor: Vendor, cache: Path) -> None:
    vendor.status = 404
    with pytest.raises(LabError, match=r"(?s)no longer has this release.*uv run lab image repin"):
        ensure_image("auto", None, cache, print)
    assert len(vendor.asked) == 1


def test_a_cut_download_goes_on_where_it_ended(vendor: Vendor, cache: Path) -> None:
    vendor.cut_after = [100_000, 50_000]
    assert ensure_image("ubuntu", None, cache, print).path.read_bytes() == GOOD
    assert [request.get("range") for request in vendor.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert vendor.asked[1]["if-range"] == '"one"'


def test_the_next_run_goes_on_too(vendor: Vendor, cache: Path) -> None:
    vendor.cut_after = [100_000, 0, 0, 0, 0]
    with pytest.raises(LabError, match="stopped at 100000 bytes"):
        ensure_image("auto", None, cache, print)
    vendor.cut_after = []
    vendor.asked.clear()
    assert ensure_image("ubuntu", None, cache, print).path.read_bytes() == GOOD
    assert [request.get("range") for request in vendor.asked] == ["bytes=100000-"]


def test_a_file_that_changed_meanwhile_comes_whole(vendor: Vendor, cache: Path) -> None:
    part = cache / "images" / "20260705-server.img.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    part.with_name(part.name + ".tag").write_text('"older"')
    assert ensure_image("ubuntu", None, cache, print).path.read_bytes() == GOOD


def test_a_server_without_ranges_sends_all_again(vendor: Vendor, cache: Path) -> None:
    vendor.ranges = False
    vendor.cut_after = [100_000]
    assert ensure_image("ubuntu", None, cache, print).path.read_bytes() == GOOD
    assert len(vendor.asked) == 2


def test_a_partial_file_that_is_complete_is_checked_not_fetched(vendor: Vendor, cache: Path) -> None:
    part = cache / "images" / "20260705-server.img.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(GOOD)
    assert ensure_image("ubuntu", None, cache, print).path.read_bytes() == GOOD
    assert files(cache) == ["20260705-server.img"]


def test_a_stalled_download_ends_and_keeps_what_came(
    vendor: Vendor, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_module, "READ_TIMEOUT", 0.2)
    vendor.stall = threading.Event()
    vendor.content = GOOD[:3000]
    with pytest.raises(LabError, match="goes on from there"):
        ensure_image("auto", None, cache, print)
    assert (cache / "images" / "20260705-server.img.part").stat().st_size == 1000


def test_a_vendor_out_of_reach_is_an_error_only_if_ubuntu_is_demanded(
    vendor: Vendor, cache: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(image_module.BASE_URL_VARIABLE, "http://127.0.0.1:1")
    built = tmp_path / "debian-12.qcow2"
    built.write_bytes(GOOD)
    monkeypatch.setattr(guest_image, "build", lambda images, say: built)
    with pytest.raises(LabError, match="cannot be reached"):
        ensure_image("ubuntu", None, cache, said.append)
    assert ensure_image("auto", None, cache, said.append).name == "Debian 12 built locally"
    assert any(line.startswith("NOTICE:") and "Debian 12" in line for line in said)


def test_a_silent_vendor_is_given_up_soon(
    vendor: Vendor, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A listening socket whose queue is full does not answer connections.
    import socket

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        monkeypatch.setattr(image_module, "CONNECT_TIMEOUT", 0.3)
        monkeypatch.setenv(image_module.BASE_URL_VARIABLE, f"http://127.0.0.1:{full.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(LabError, match="cannot be reached"):
            ensure_image("ubuntu", None, cache, print)
        assert time.monotonic() - begun < 5
        for filler in fillers:
            filler.close()


def test_a_file_given_by_path(cache: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.qcow2"
    mine.write_bytes(GOOD)
    digest = hashlib.sha256(GOOD).hexdigest()
    assert ensure_image(str(mine), digest.upper(), cache, print) == GuestImage(
        mine, "mine.qcow2", digest, "qcow2", VIRTUAL_SIZE
    )
    assert ensure_image(str(mine), None, cache, print).sha256 == digest


def test_a_raw_disk_given_by_path(cache: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.raw"
    mine.write_bytes(bytes(510) + b"\x55\xaa" + bytes(512))
    image = ensure_image(str(mine), None, cache, print)
    assert (image.format, image.virtual_size) == ("raw", 1024)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(600), "neither qcow2 nor a raw disk"),
        (b"", "neither qcow2 nor a raw disk"),
        (qcow2(version=2), "version 2"),
        (qcow2(backing=104), "rests on another file"),
    ],
)
def test_a_file_that_is_no_image(cache: Path, tmp_path: Path, content: bytes, message: str) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(content)
    with pytest.raises(LabError, match=message):
        ensure_image(str(mine), None, cache, print)
    assert mine.exists()


def test_a_missing_file(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="there is no such file"):
        ensure_image(str(tmp_path / "nothing.qcow2"), None, cache, print)


def test_an_unknown_source(cache: Path) -> None:
    with pytest.raises(LabError, match="neither `auto`, `ubuntu`, `debian` nor an absolute path"):
        ensure_image("fedora", None, cache, print)


def test_the_users_own_file_stays_where_it_is(cache: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.qcow2"
    mine.write_bytes(GOOD)
    with pytest.raises(LabError, match="image_sha256 says"):
        ensure_image(str(mine), "0" * 64, cache, print)
    assert mine.read_bytes() == GOOD


def test_repin_takes_the_newest_release(vendor: Vendor, cache: Path) -> None:
    new = qcow2(640_000)
    digest = hashlib.sha256(new).hexdigest()
    vendor.pages = {
        "/": b"".join(b'<a href="release-%s/">' % date for date in (b"20260705", b"20261101.1", b"20261101")),
        "/release-20261101.1/SHA256SUMS": f"{'1' * 64} *other.img\n{digest} *server.img\n".encode(),
    }
    vendor.content = new
    assert repin() == "20261101.1"
    image = ensure_image("ubuntu", None, cache, print)
    assert image.name == "Ubuntu 24.04 server (release 20261101.1)"
    assert image.sha256 == digest


def test_repin_leaves_the_pins_alone_when_the_vendor_lacks_an_image(vendor: Vendor) -> None:
    before = image_module.PINS.read_text()
    vendor.pages = {
        "/": b'<a href="release-20261101/">x</a>',
        "/release-20261101/SHA256SUMS": b"no such file\n",
    }
    with pytest.raises(LabError, match=r"no checksum of server\.img"):
        repin()
    assert image_module.PINS.read_text() == before


def test_the_committed_pins_are_complete() -> None:
    pins = json.loads(image_module.PINS.read_text())
    assert set(pins["files"]) == {"x86_64", "aarch64"}
    assert all(re.fullmatch(r"[0-9a-f]{64}", file["sha256"]) for file in pins["files"].values())
    assert re.fullmatch(r"\d{8}(\.\d+)?", pins["release"])


def test_the_command_prints_one_line_of_json(tmp_path: Path) -> None:
    mine = tmp_path / "mine.qcow2"
    mine.write_bytes(GOOD)
    environment = {**os.environ, "LVS_DR_LAB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "lab.host.image"]
    done = subprocess.run([*command, str(mine)], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["path"] == str(mine)
    assert len(done.stdout.splitlines()) == 1
    failed = subprocess.run(
        [*command, "/nowhere"], env=environment, capture_output=True, text=True, check=False
    )
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "Traceback" not in failed.stderr
    assert "there is no such file" in failed.stderr


def test_the_recipe_names_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = guest_image.image_path(tmp_path)
    assert guest_image.image_path(tmp_path) == first
    monkeypatch.setattr(guest_image, "_AT_HAND", ("keepalived",))
    assert guest_image.image_path(tmp_path) != first


def test_an_image_already_built_is_taken(tmp_path: Path) -> None:
    image = guest_image.image_path(tmp_path)
    image.write_bytes(GOOD)
    assert guest_image.build(tmp_path, pytest.fail) == image


def test_a_failed_build_names_the_log_and_leaves_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_image.packages, "missing", lambda wanted: [])
    monkeypatch.setattr(guest_image, "_privileged", lambda say: ["sh", "-c", "echo broken mirror; exit 3"])
    with pytest.raises(LabError, match=r"broken mirror\n    see .*\.log"):
        guest_image.build(tmp_path, print)
    assert [path.suffix for path in tmp_path.iterdir()] == [".log"]
