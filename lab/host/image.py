"""The guest image: fetched once and verified, given as a file, or built where the vendor is out of reach.

``python -m lab.host.image SOURCE [SHA256]`` prints the image as one line of JSON on standard output;
notices and progress go to standard error. The Pulumi program runs it that way.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import httpx

from lab.errors import LabError
from lab.host import guest_image
from lab.host.paths import cache_dir
from lab.say import Say

Progress = Callable[[int, int | None], None]

PINS = Path(__file__).parent / "guest_image" / "ubuntu.json"
"""Release and checksums of the vendor's image that this version of the lab was written for."""

BASE_URL_VARIABLE = "LVS_DR_LAB_IMAGE_URL"
"""Environment variable with the address of a mirror of the vendor's release directory."""

OFFLINE_VARIABLE = "LVS_DR_LAB_OFFLINE"
"""Environment variable that is set where nothing may be fetched."""

REPIN = "uv run lab image repin"

# Seconds. A vendor that does not answer the connection soon is out of reach: the user waits for this.
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
RETRY_DELAY = 1.0
# Attempts in a row that bring nothing new before the download is given up.
_FRUITLESS_ATTEMPTS = 3


@dataclass(frozen=True)
class GuestImage:
    """A disk image that machines may start from."""

    path: Path
    name: str
    sha256: str
    format: Literal["qcow2", "raw"]
    virtual_size: int
    """Bytes."""

    def to_json(self) -> str:
        """One line, the path as text."""
        return json.dumps({**asdict(self), "path": str(self.path)})


class VendorUnreachableError(LabError):
    """The vendor's server could not be connected to at all."""


@dataclass(frozen=True)
class _Pin:
    """One file of the vendor's release."""

    name: str
    url: str
    file: str
    sha256: str
    release: str


def ensure_image(
    source: str, sha256: str | None, cache: Path, say: Say, progress: Progress | None = None
) -> GuestImage:
    """Make the image available and return it.

    Args:
        source: ``ubuntu``, ``debian``, ``auto`` (Ubuntu, or Debian where Ubuntu's server cannot be
            connected to) or the absolute path of a file.
        sha256: what a file given by path must hash to; the others are pinned.
        cache: directory shared by all labs of this user.
        say: told what a user should know.
        progress: told the bytes so far and in all, if known.

    Raises:
        LabError: there is no such image, it is not what it should be, or it cannot be had.
    """
    images = cache / "images"
    try:
        images.mkdir(parents=True, exist_ok=True)
        if source not in ("auto", "ubuntu", "debian"):
            return _given(Path(source), sha256, images)
        with _locked(images):
            if os.environ.get(OFFLINE_VARIABLE):
                return _at_hand(source, images)
            if source == "debian":
                return _debian(images, say)
            try:
                return _ubuntu(images, say, progress or _no_progress)
            except VendorUnreachableError as error:
                if source == "ubuntu":
                    raise
                say(f"NOTICE: {error}")
                say("NOTICE: the machines run Debian 12, built on this computer, instead of Ubuntu 24.04")
                return _debian(images, say)
    except OSError as error:
        raise LabError(f"guest image: {error.strerror or error}: {error.filename or images}") from error


def place(file: Path, cache: Path) -> None:
    """Put an image that was brought along where ``ensure_image`` looks for it; one that is there stays."""
    images = cache / "images"
    images.mkdir(parents=True, exist_ok=True)
    with _locked(images):
        if not (images / file.name).exists():
            file.replace(images / file.name)


def repin() -> str:
    """Pin the newest release the vendor offers and return its date.

    Raises:
        LabError: the vendor's directory cannot be read or lacks an image.
    """
    pins = _pins()
    base = _base_url(pins)
    releases: list[str] = re.findall(r'href="release-(\d{8}(?:\.\d+)?)/"', _text(f"{base}/"))
    if not releases:
        raise LabError(f"{base}/ lists no dated release")
    release = max(releases, key=lambda date: [int(part) for part in date.split(".")])
    listed = _text(f"{base}/release-{release}/SHA256SUMS")
    sums = {name: digest for digest, name in re.findall(r"^([0-9a-f]{64}) [ *](\S+)$", listed, re.MULTILINE)}
    for file in pins["files"].values():
        digest = sums.get(file["name"])
        if digest is None:
            raise LabError(f"{base}/release-{release}/SHA256SUMS has no checksum of {file['name']}")
        file["sha256"] = digest
    new = PINS.with_suffix(".new")
    new.write_text(json.dumps({**pins, "release": release}, indent=2) + "\n", encoding="utf-8")
    new.replace(PINS)
    return release


def _given(path: Path, sha256: str | None, images: Path) -> GuestImage:
    if not path.is_absolute():
        raise LabError(
            f"lvs-dr-lab:image = {path}: it is neither `auto`, `ubuntu`, `debian` nor an absolute path"
        )
    if not path.is_file():
        raise LabError(
            f"lvs-dr-lab:image = {path}: there is no such file.\n    Correct the path, or set image to auto."
        )
    image = _examined(path, path.name, images)
    if sha256 and image.sha256 != sha256.lower():
        raise LabError(
            f"lvs-dr-lab:image = {path}: its sha256 is {image.sha256}, image_sha256 says {sha256}\n"
            "    the file is not what was meant: fetch it again, or correct image_sha256"
        )
    return image


def _at_hand(source: str, images: Path) -> GuestImage:
    """What the cache has; the guest that needs no network for its packages goes first."""
    debian = guest_image.image_path(images)
    if source != "ubuntu" and debian.exists():
        return _examined(debian, guest_image.NAME, images)
    pin = _pin()
    if source != "debian" and _place_of(pin, images).exists():
        return _pinned(pin, images)
    raise LabError(
        f"lvs-dr-lab:image = {source}: this image is not in {images}, and nothing may be fetched here\n"
        "    set `image` to one that is there, or make the bundle with this setting"
    )


def _debian(images: Path, say: Say) -> GuestImage:
    return _examined(guest_image.build(images, say), guest_image.NAME, images)


def _ubuntu(images: Path, say: Say, progress: Progress) -> GuestImage:
    pin = _pin()
    path = _place_of(pin, images)
    if not path.exists():
        say(f"fetching {pin.name} from {pin.url}")
        part = path.with_name(path.name + ".part")
        _fetch(pin, part, progress)
        _check(part, pin, _sha256(part))
        part.replace(path)
        _tag_file(part).unlink(missing_ok=True)
    return _pinned(pin, images)


def _place_of(pin: _Pin, images: Path) -> Path:
    return images / f"{pin.release}-{pin.file}"


def _pinned(pin: _Pin, images: Path) -> GuestImage:
    """The vendor's image in the cache, if it is what is pinned."""
    path = _place_of(pin, images)
    image = _examined(path, pin.name, images)
    _check(path, pin, image.sha256)
    return image


def _check(path: Path, pin: _Pin, sha256: str) -> None:
    """Set a file aside that is not what is pinned: it must never be booted, nor resumed."""
    if sha256 == pin.sha256:
        return
    aside = path.with_name(f"{pin.file}.bad-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    path.rename(aside)
    _tag_file(path).unlink(missing_ok=True)
    raise LabError(
        f"{pin.url}: the file's sha256 is {sha256}, pinned is {pin.sha256}; set aside as {aside}\n"
        f"    run the command again to fetch it anew; if that repeats, look at the release and `{REPIN}`"
    )


def _pins() -> dict[str, Any]:
    pins: dict[str, Any] = json.loads(PINS.read_text(encoding="utf-8"))
    return pins


def _base_url(pins: dict[str, Any]) -> str:
    return (os.environ.get(BASE_URL_VARIABLE) or str(pins["base_url"])).rstrip("/")


def _pin() -> _Pin:
    pins = _pins()
    file = pins["files"].get(platform.machine())
    if file is None:
        raise LabError(
            f"no {pins['name']} image is pinned for {platform.machine()}: set `image` to a file's path"
        )
    return _Pin(
        name=f"{pins['name']} (release {pins['release']})",
        url=f"{_base_url(pins)}/release-{pins['release']}/{file['name']}",
        file=file["name"],
        sha256=file["sha256"],
        release=pins["release"],
    )


def _fetch(pin: _Pin, part: Path, progress: Progress) -> None:
    """Fetch into ``part``, going on where an earlier attempt ended, today or last week."""
    fruitless = 0
    with httpx.Client(timeout=_timeout(), follow_redirects=True) as client:
        while True:
            before = _size(part)
            try:
                _fetch_rest(client, pin, part, progress)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
                raise VendorUnreachableError(f"{pin.url} cannot be reached ({error})") from error
            except httpx.HTTPError as error:
                fruitless = fruitless + 1 if _size(part) <= before else 0
                if fruitless >= _FRUITLESS_ATTEMPTS:
                    reason = error or type(error).__name__
                    raise LabError(
                        f"{pin.url}: the download stopped at {_size(part)} bytes ({reason})\n"
                        "    run the command again: it goes on from there"
                    ) from error
                time.sleep(RETRY_DELAY)
            else:
                return


def _fetch_rest(client: httpx.Client, pin: _Pin, part: Path, progress: Progress) -> None:
    have = _size(part)
    tag = _tag_file(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.exists():
            # RFC 9110 section 13.1.5: a changed file comes whole, not as a tail of something else.
            headers["If-Range"] = tag.read_text(encoding="utf-8")
    with client.stream("GET", pin.url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            # All of it is here already, or it is not ours: the checksum tells.
            return
        _explain_status(response, pin)
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise httpx.RemoteProtocolError("the server sent another part than the one asked for")
        _remember_tag(response, tag)
        done = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with part.open("ab" if resumed else "wb") as file:
            # As it comes: a chunk size would hold back, and lose, the last part before a cut.
            for chunk in response.iter_raw():
                file.write(chunk)
                done += len(chunk)
                progress(done, total)


def _explain_status(response: httpx.Response, pin: _Pin) -> None:
    if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise LabError(
            f"{pin.url}: the vendor no longer has this release (HTTP {response.status_code});\n"
            f"    dated releases are removed after some months: pin the newest one with `{REPIN}`"
        )
    response.raise_for_status()


def _remember_tag(response: httpx.Response, tag: Path) -> None:
    validator = response.headers.get("ETag", "")
    if not validator or validator.startswith("W/"):
        # A weak tag must not be used in If-Range.
        validator = response.headers.get("Last-Modified", "")
    if validator:
        tag.write_text(validator, encoding="utf-8")
    else:
        tag.unlink(missing_ok=True)


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _text(url: str) -> str:
    try:
        response = httpx.get(url, timeout=_timeout(), follow_redirects=True)
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise LabError(f"{url} cannot be read ({error})") from error
    return response.text


def _timeout() -> httpx.Timeout:
    return httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)


def _examined(path: Path, name: str, images: Path) -> GuestImage:
    """The image in this file, hashed again only if size or time of the file have changed since."""
    status = path.stat()
    seen = f"{path.resolve()} {status.st_size} {status.st_mtime_ns} {status.st_ino}"
    stamp = images / "verified" / hashlib.sha256(seen.encode()).hexdigest()
    if stamp.exists():
        sha256 = stamp.read_text(encoding="utf-8")
    else:
        sha256 = _sha256(path)
        stamp.parent.mkdir(exist_ok=True)
        new = stamp.with_suffix(f".{os.getpid()}")
        new.write_text(sha256, encoding="utf-8")
        new.replace(stamp)
    disk_format, virtual_size = _disk(path)
    return GuestImage(path, name, sha256, disk_format, virtual_size)


def _disk(path: Path) -> tuple[Literal["qcow2", "raw"], int]:
    """Format and virtual size, by the file's first bytes (QEMU's docs/interop/qcow2.txt)."""
    with path.open("rb") as file:
        head = file.read(512)
    if head[:4] == b"QFI\xfb":
        if int.from_bytes(head[4:8]) < 3:
            raise LabError(
                f"lvs-dr-lab:image = {path}: a qcow2 file of version 2\n"
                "    convert it: `qemu-img convert -O qcow2 -o compat=1.1 OLD NEW`"
            )
        if int.from_bytes(head[8:16]):
            raise LabError(
                f"lvs-dr-lab:image = {path}: this qcow2 file rests on another file\n"
                "    join them: `qemu-img convert -O qcow2 OLD NEW`"
            )
        return "qcow2", int.from_bytes(head[24:32])
    if head[510:] == b"\x55\xaa":
        return "raw", path.stat().st_size
    raise LabError(f"lvs-dr-lab:image = {path}: neither qcow2 nor a raw disk with a boot record")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _locked(images: Path) -> Iterator[None]:
    """One download or build at a time; the second finds what the first brought."""
    with (images / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _no_progress(_done: int, _total: int | None) -> None:
    pass


def _main(arguments: list[str]) -> int:
    if not 1 <= len(arguments) <= 2:
        sys.stderr.write("usage: python -m lab.host.image SOURCE [SHA256]\n")
        return 2

    source, sha256 = arguments[0], "".join(arguments[1:])

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    shown = -10

    def progress(done: int, total: int | None) -> None:
        nonlocal shown
        percent = 100 * done // total if total else 0
        if percent >= shown + 10:
            shown = percent
            say(f"guest image: {percent} % of {(total or 0) >> 20} MiB")

    try:
        image = ensure_image(source, sha256 or None, cache_dir(), say, progress)
    except LabError as error:
        say(f"error: {error}")
        return 1
    sys.stdout.write(image.to_json() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
