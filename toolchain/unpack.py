#!/usr/bin/env python3
"""Takes in a bundle that `make bundle` wrote: ``python3 toolchain/unpack.py FILE``.

It runs before there is a Python environment, so it needs nothing but Python 3.8, sh and the checkout. The
whole file is looked at before the first thing is put in place. Then come uv and the environment; the rest
is the environment's own to place (`lab/host/bundle.py`). docs/adr/0008 has the reasons.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from contextlib import contextmanager, suppress
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROJECT = Path(__file__).resolve().parents[1]
NAME = "lvs-dr-lab"
FORMAT = 1
MANIFEST = "manifest.json"
AGAIN = "Make it anew with `make bundle` in this checkout, or check out the version it is for."

_MIB = 1 << 20
# 128 and the number of SIGINT, as shells have it.
_INTERRUPTED = 130
_KEYS = {"project", "format", "version", "architecture", "python", "inputs", "members"}
_LONGEST_MANIFEST = 4 * _MIB
# A path below the staging directory, and nothing else.
_SAFE = re.compile(r"(?:[A-Za-z0-9_+~%-][A-Za-z0-9._+~%:-]*/)*[A-Za-z0-9_+~%-][A-Za-z0-9._+~%:-]*")
_DAMAGE = (tarfile.TarError, EOFError, BadGzipFile, zlib.error)


class RefusedError(Exception):
    """The bundle is not taken; the text says what is wrong with it and what to do."""


def say(sentence: str) -> None:
    """Tell the operator what is being done."""
    sys.stderr.write(f"lab {sentence}\n")
    sys.stderr.flush()


def take_in(file: Path) -> None:
    """Check the bundle, then put all of it where the ordinary set-up looks.

    Raises:
        RefusedError: it is not whole, not what was packed, or not for this computer or checkout.
    """
    cache = _cache_dir()
    if not file.is_file():
        raise RefusedError(
            f"BUNDLE = {file}: there is no such file.\n    Correct the path; `make bundle` writes one."
        )
    with file.open("rb") as raw, cast("IO[bytes]", GzipFile(fileobj=raw)) as stream:
        tar, manifest = _opened(file, stream)
        check(file, manifest)
        with _staging(cache, file, manifest) as staging:
            extract(file, tar, manifest, staging)
            _read_out(file, stream)
            say("bundle: it is whole, and for this computer and checkout")
            (staging / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
            _install(file, manifest, staging)


def _opened(file: Path, stream: IO[bytes]) -> tuple[tarfile.TarFile, dict[str, Any]]:
    """The archive, to be read once from front to end, and the manifest with which it begins."""
    manifest: Any = None
    try:
        tar = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115  as long as its stream
        first = tar.next()
        if first and first.name == MANIFEST and first.size <= _LONGEST_MANIFEST:
            manifest = json.loads(cast("IO[bytes]", tar.extractfile(first)).read().decode())
    except (*_DAMAGE, ValueError):
        pass
    if not isinstance(manifest, dict) or not manifest.keys() >= _KEYS or manifest["project"] != NAME:
        raise RefusedError(
            f"BUNDLE = {file}: it is no bundle of {NAME}, for it does not begin with a manifest.\n"
            "    Name the file that `make bundle` wrote; if this is it, copy it again."
        )
    return tar, manifest


def check(file: Path, manifest: Mapping[str, Any]) -> None:
    """See that the bundle is for this kind of computer and for this state of the project.

    Raises:
        RefusedError: it is not.
    """
    if manifest["format"] != FORMAT:
        raise RefusedError(
            f"BUNDLE = {file}: its format is {manifest['format']}, this checkout reads {FORMAT}.\n    {AGAIN}"
        )
    here = platform.machine()
    if manifest["architecture"] != here:
        raise RefusedError(
            f"BUNDLE = {file}: it is for {manifest['architecture']}, this computer is {here}.\n"
            "    Make one on a computer of this kind."
        )
    version = _own_version()
    if manifest["version"] != version:
        raise RefusedError(
            f"BUNDLE = {file}: it is for {NAME} {manifest['version']}, this checkout is {version}.\n"
            f"    {AGAIN}"
        )
    for name, digest in sorted(manifest["inputs"].items()):
        if _sha256(PROJECT / name) != digest:
            raise RefusedError(
                f"BUNDLE = {file}: {name} is not here as it was when the bundle was made.\n    {AGAIN}"
            )


def _own_version() -> str:
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    return found.group(1) if found else "unknown"


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "none"


@contextmanager
def _staging(cache: Path, file: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """A directory beside the caches, so that its files can be put in place by renaming; gone afterwards."""
    new = not cache.exists()
    cache.mkdir(parents=True, exist_ok=True)
    staging = cache / "bundle"
    lock = os.open(cache, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run that is taking a bundle in")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # What a run that was killed has left.
        shutil.rmtree(staging, ignore_errors=True)
        size = sum(member["size"] for member in manifest["members"].values())
        # uv unpacks the wheels once more.
        needed, free = size * 3 // 2 // _MIB, shutil.disk_usage(cache).free // _MIB
        if free < needed:
            raise RefusedError(
                f"BUNDLE = {file}: it needs {needed} MiB in {cache}, {free} are free.\n"
                "    Free some, or let LVS_DR_LAB_CACHE name a larger disk."
            )
        staging.mkdir()
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(lock)
        if new:
            with suppress(OSError):
                cache.rmdir()


def _cache_dir() -> Path:
    """As toolchain/uv.sh and lab/host/paths.py have it."""
    own = os.environ.get("LVS_DR_LAB_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / NAME


def extract(file: Path, tar: tarfile.TarFile, manifest: Mapping[str, Any], staging: Path) -> None:
    """Unpack every member into ``staging``, each against its checksum.

    Raises:
        RefusedError: the file ends early, or holds something else than its manifest says.
    """
    members = manifest["members"]
    total = sum(member["size"] for member in members.values())
    say(f"bundle: checking and unpacking {total // _MIB} MiB, about {1 + total // (50 * _MIB)} s")
    seen = _Seen(total)
    left, last = set(members), MANIFEST
    try:
        while entry := tar.next():
            last = entry.name
            content = tar.extractfile(entry) if entry.isreg() and last in left else None
            if content is None or not _SAFE.fullmatch(last):
                raise RefusedError(
                    f"BUNDLE = {file}: it holds {last!r}, which its manifest does not name.\n"
                    "    It was changed after it was made: get it again from where it was made."
                )
            left.discard(last)
            found = _store(content, staging / last, seen)
            if found != members[last]["sha256"]:
                raise RefusedError(
                    f"BUNDLE = {file}: the sha256 of {last} in it is {found},\n"
                    f"    its manifest says {members[last]['sha256']}.\n"
                    "    It was damaged or changed on its way: copy it again."
                )
            (staging / last).chmod(0o755 if members[last]["executable"] else 0o644)
    except _DAMAGE as error:
        raise _cut(file, last, error) from error
    if left:
        raise RefusedError(
            f"BUNDLE = {file}: {min(left)} is missing in it, which its manifest names.\n    Copy it again."
        )


def _read_out(file: Path, stream: IO[bytes]) -> None:
    """Read what follows the last member: gzip's own checksum, without which the file was cut."""
    try:
        while stream.read(_MIB):
            pass
    except _DAMAGE as error:
        raise _cut(file, "its last member", error) from error


def _cut(file: Path, last: str, error: Exception) -> RefusedError:
    return RefusedError(
        f"BUNDLE = {file}: it cannot be read beyond {last} ({error}), so it is cut short or damaged.\n"
        "    Copy it again."
    )


class _Seen:
    """Tells every fifth of the way."""

    def __init__(self, total: int) -> None:
        self._total = max(1, total)
        self._done = self._told = 0

    def add(self, size: int) -> None:
        self._done += size
        fifths = 5 * self._done // self._total
        if fifths > self._told:
            self._told = fifths
            say(f"bundle: {20 * fifths} % of {self._total // _MIB} MiB")


def _store(content: IO[bytes], target: Path, seen: _Seen) -> str:
    """Write a member down and return its SHA-256."""
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        for chunk in iter(lambda: content.read(_MIB), b""):
            digest.update(chunk)
            out.write(chunk)
            seen.add(len(chunk))
    return digest.hexdigest()


def _install(file: Path, manifest: Mapping[str, Any], staging: Path) -> None:
    uv = _uv(staging)
    _place_interpreter(uv, staging)
    environment = _environment(file, uv, manifest["python"], staging / "wheels")
    _run([str(environment / "bin" / "python"), "-m", "lab.host.bundle", str(staging)], cwd=PROJECT)


def _uv(staging: Path) -> str:
    """Where the ordinary set-up expects uv; the bundle's goes there unless there is one."""
    told = subprocess.run(
        ["sh", str(PROJECT / "toolchain" / "uv.sh"), "--where"], check=True, stdout=subprocess.PIPE
    )
    uv = Path(told.stdout.decode().strip())
    if not uv.exists():
        (wheel,) = (staging / "wheels").glob("uv-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
            new = staging / "uv"
            with archive.open(name) as content, new.open("wb") as out:
                shutil.copyfileobj(content, out)
        new.chmod(0o755)
        uv.parent.mkdir(parents=True, exist_ok=True)
        new.replace(uv)
    return str(uv)


def _place_interpreter(uv: str, staging: Path) -> None:
    """Give uv the Python that it had where the bundle was made, if that was none of the system's."""
    for archive in (staging / "python").glob("*.tar"):
        home = Path(_run([uv, "python", "dir"]).strip())
        if (home / archive.stem).exists():
            continue
        with tarfile.open(archive) as tar:
            # Its checksum is the manifest's; versions of Python that know filters want to be told one.
            safely: dict[str, Any] = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
            tar.extractall(staging / "python", **safely)  # noqa: S202
        home.mkdir(parents=True, exist_ok=True)
        # It may be another disk: only the last step is a renaming.
        half = home / f".{archive.stem}.new"
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(staging / "python" / archive.stem, half, symlinks=True)
        half.rename(home / archive.stem)


def _environment(file: Path, uv: str, python: str, wheels: Path) -> Path:
    """The checkout's Python environment, out of the wheels; every one is checked against uv.lock."""
    environment = PROJECT / os.environ.get("UV_PROJECT_ENVIRONMENT", ".venv")
    new = not _is_of(environment, python)
    if new:
        try:
            _run([uv, "python", "find", "--no-project", "--no-python-downloads", "--system", python])
        except subprocess.CalledProcessError:
            raise RefusedError(
                f"BUNDLE = {file}: it is for Python {python}, which is not on this computer; "
                f"`python3` is {platform.python_version()}.\n"
                f"    Install Python {python}, or make the bundle on a computer that has the same as this."
            ) from None
    say("bundle: setting up Python, a few seconds")
    try:
        if new:
            make = [uv, "venv", "--quiet", "--clear", "--no-python-downloads", "--python", python]
            _run([*make, str(environment)])
        export = [uv, "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project"]
        locked = wheels.parent / "requirements.txt"
        locked.write_text(_run([*export, "--no-header", "--no-annotate"], cwd=PROJECT), encoding="utf-8")
        add = [uv, "pip", "install", "--quiet", "--python", str(environment), "--no-index", "--no-deps"]
        add += ["--find-links", str(wheels)]
        _run([*add, "--require-hashes", "--requirement", str(locked)])
        # The editable checkout itself; what builds it is among the wheels.
        _run([*add, "--editable", str(PROJECT)])
    except BaseException:
        if new:
            shutil.rmtree(environment, ignore_errors=True)
        raise
    return environment


def _is_of(environment: Path, python: str) -> bool:
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        return _run([str(environment / "bin" / "python"), "-c", version]).strip() == python
    except (OSError, subprocess.CalledProcessError):
        return False


def _run(argv: Sequence[str], cwd: Path | None = None) -> str:
    """What a step prints; its errors go to the terminal."""
    environment = {**os.environ, "UV_OFFLINE": "1"}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True
    )
    return done.stdout.decode()


def main(arguments: list[str]) -> int:
    """Take in the bundle that the arguments name; the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: unpack.py FILE\n")
        return 2
    try:
        take_in(Path(arguments[0]))
    except RefusedError as error:
        sys.stderr.write(f"error {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped: what was unpacked is removed again\n")
        return _INTERRUPTED
    except subprocess.CalledProcessError as error:
        # It has said itself what is wrong.
        return error.returncode if error.returncode > 0 else 1
    except OSError as error:
        sys.stderr.write(f"error {error.filename or arguments[0]}: {error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
