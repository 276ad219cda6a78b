"""The offline bundle: one file with what a computer without a network needs for `make up`.

Packed here; taken in by `toolchain/unpack.py`, which needs nothing installed, checks the whole file and
then hands over what the caches of this package are to get: ``python -m lab.host.bundle DIRECTORY``.
docs/adr/0008 has the reasons. The file is a gzipped tar archive::

    manifest.json   what is in it, for what, with a SHA-256 a member; first, so that it is read first
    wheels/         uv, the packages of uv.lock and what builds the checkout itself
    python/         the Python that uv had to bring, where it had to
    engine/         a directory per piece
    images/         the guest image, under its name in the cache
    packages/       the system packages, a repository for apt
"""

import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lab import PROJECT
from lab.errors import LabError
from lab.host import guest_image, image, packages
from lab.host.engine import PIECES, TOOLCHAIN, Engine, ensure_engine, place_engine
from lab.host.paths import cache_dir
from lab.say import Say

FORMAT = 1
MANIFEST = "manifest.json"

Progress = Callable[[int, int | None], None]

_CHECKOUT = Path(__file__).resolve().parents[2]
_MIB = 1024**2
# What pyproject.toml's build system asks for by itself, when it is to install a checkout in place.
_EDITABLE = ("editables",)
# Fast; with the best compression the file would be a twentieth smaller.
_COMPRESSION = 1


@dataclass(frozen=True)
class Bundle:
    """A bundle that was made."""

    file: Path
    sha256: str
    size: int
    """Bytes."""
    unpacked: int
    """Bytes."""


def pack(source: str, folder: Path, say: Say, progress: Progress | None = None) -> Bundle:
    """Write a bundle for computers like this one.

    Args:
        source: the stack's setting ``image``.
        folder: where the file goes.
        say: hears of each step before it begins.
        progress: hears of a download of the image: bytes so far, bytes in all if known.

    Raises:
        LabError: something that belongs in cannot be had.
    """
    cache = cache_dir()
    engine = ensure_engine(cache, say)
    guest = _guest(source, cache, say, progress)
    version = metadata.version(PROJECT)
    file = folder / f"{PROJECT}-bundle-{version}-{platform.machine()}.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bundling-", dir=folder.resolve()) as name:
        staging = Path(name)
        members = {f"wheels/{wheel.name}": wheel for wheel in wheels(staging / "wheels", say)}
        members |= _interpreter(staging)
        for piece, files in engine.files().items():
            members |= {f"engine/{piece}/{part.name}": part for part in files}
        if guest:
            members[f"images/{guest.path.name}"] = guest.path
        members |= _system_packages(staging, say)
        manifest = _manifest(version, engine, guest, members)
        _write(manifest, members, staging / file.name, say)
        (staging / file.name).replace(file)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    unpacked = sum(member["size"] for member in manifest["members"].values())
    return Bundle(file, digest, file.stat().st_size, unpacked)


def _guest(source: str, cache: Path, say: Say, progress: Progress | None) -> image.GuestImage | None:
    """The image for guests that come up without a network, if there is a choice."""
    if source not in ("auto", "ubuntu", "debian"):
        say(f"NOTICE: the bundle has no image: bring {source} along to the same place")
        return None
    if source == "auto" and platform.machine() == guest_image.MACHINE:
        # Whatever server can be reached from here: Ubuntu's guests fetch their packages when they boot.
        source = "debian"
    if source != "debian":
        say("NOTICE: machines that run Ubuntu fetch their packages; where the bundle goes, set package_proxy")
    elif guest_image.keeps_password():
        raise LabError(
            "apt's proxy (Acquire::http::Proxy) is given with a password, and a guest image that is built "
            "through it keeps that.\n    Make the bundle where apt needs no password."
        )
    return image.ensure_image("ubuntu" if source == "auto" else source, None, cache, say, progress)


def wheels(folder: Path, say: Say) -> list[Path]:
    """Fetch uv, the packages in uv.lock and what builds the checkout, for this Python, into ``folder``.

    Raises:
        LabError: they cannot be had.
    """
    say("fetching the Python packages, half a minute")
    folder.mkdir()
    uv = _uv()
    locked = folder.with_suffix(".txt")
    export = [uv, "export", "--project", str(_CHECKOUT), "--quiet", "--frozen", "--no-dev"]
    locked.write_text(_run([*export, "--no-emit-project", "--no-header", "--no-annotate"]), encoding="utf-8")
    # uv has no download of its own.
    pip = [uv, "tool", "run", "--quiet", "--python", sys.executable, "pip", "download", "--quiet"]
    pip += ["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(folder)]
    _run([*pip, "--no-deps", "--require-hashes", "--requirement", str(locked)])
    project = tomllib.loads((_CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    version = _run(["sh", str(TOOLCHAIN / "uv.sh"), "--version"]).strip()
    # The locked packages first: what builds the checkout may use one of them.
    found = ["--find-links", str(folder)]
    _run([*pip, *found, f"uv=={version}", *project["build-system"]["requires"], *_EDITABLE])
    return sorted(folder.glob("*.whl"))


def _interpreter(staging: Path) -> dict[str, Path]:
    """The Python of this environment, where uv had to bring one because the system's is too old."""
    home = Path(_run([_uv(), "python", "dir"]).strip()).resolve()
    python = Path(sys.base_prefix).resolve()
    if python.parent != home:
        return {}
    archive = staging / f"{python.name}.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(python, python.name, filter=_anonymous)
    return {f"python/{archive.name}": archive}


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _system_packages(staging: Path, say: Say) -> dict[str, Path]:
    if not packages.has_apt():
        say("NOTICE: the bundle has no system packages: they come from apt, which is not here")
        return {}
    say("fetching the system packages with all they need, about a minute")
    folder = staging / "debs"
    folder.mkdir()
    debs = packages.download(packages.HYPERVISOR, folder, say)
    # apt leaves the epoch in the name; the percent sign that it is written with would be read as another.
    debs = [deb.rename(deb.with_name(re.sub(r"_\d+%3a", "_", deb.name))) for deb in debs]
    index = folder / "Packages"
    index.write_text(packages.index(debs), encoding="utf-8")
    return {f"packages/{file.name}": file for file in (index, *debs)}


def _versions(engine: Engine, guest: image.GuestImage | None) -> dict[str, str]:
    """For a person who wants to know."""
    return {
        "uv": _run(["sh", str(TOOLCHAIN / "uv.sh"), "--version"]).strip(),
        **engine.versions,
        **({"guest image": guest.name} if guest else {}),
    }


def _manifest(
    version: str, engine: Engine, guest: image.GuestImage | None, members: dict[str, Path]
) -> dict[str, Any]:
    return {
        "project": PROJECT,
        "format": FORMAT,
        "version": version,
        "architecture": platform.machine(),
        "distribution": distribution(),
        "python": "{}.{}".format(*sys.version_info),
        "versions": _versions(engine, guest),
        # A link to somebody's own installation becomes a copy of the vendor's release.
        "engine": {name: "built" if how == "built" else "vendor" for name, how in engine.origin.items()},
        "inputs": {str(file.relative_to(_CHECKOUT)): _digest(file) for file in _inputs(engine, guest)},
        "members": {
            name: {
                "sha256": _digest(file),
                "size": file.stat().st_size,
                "executable": os.access(file, os.X_OK),
            }
            for name, file in members.items()
        },
    }


def _inputs(engine: Engine, guest: image.GuestImage | None) -> Iterator[Path]:
    """Files of the checkout that must be the same where the bundle goes, or it would not fit."""
    yield _CHECKOUT / "uv.lock"
    yield TOOLCHAIN / "uv.sh"
    yield _CHECKOUT / "lab" / "host" / "engine_vendor.py"
    for piece in PIECES:
        if engine.origin[piece.name] == "built":
            folder = TOOLCHAIN / piece.recipe.folder
            yield from (file for file in sorted(folder.rglob("*")) if file.is_file())
    if guest:
        yield from guest_image.recipe() if guest.name == guest_image.NAME else [image.PINS]


def distribution() -> str:
    """The distribution and its release, such as ``debian 12``."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "unknown"
    return f"{release['ID']} {release.get('VERSION_ID') or release.get('VERSION_CODENAME', '')}".strip()


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(manifest: dict[str, Any], members: dict[str, Path], file: Path, say: Say) -> None:
    total = sum(member["size"] for member in manifest["members"].values())
    say(f"packing {total // _MIB} MiB, about {1 + total // (30 * _MIB)} s")
    done, told = 0, 0
    with tarfile.open(file, "w:gz", compresslevel=_COMPRESSION) as tar:
        text = json.dumps(manifest, indent=1).encode()
        tar.addfile(_entry(MANIFEST, len(text), executable=False), io.BytesIO(text))
        for name, member in manifest["members"].items():
            with members[name].open("rb") as stream:
                tar.addfile(_entry(name, member["size"], executable=member["executable"]), stream)
            done += member["size"]
            if 5 * done // total > told:
                told = 5 * done // total
                say(f"packed {100 * done // total} % of {total // _MIB} MiB")


def _entry(name: str, size: int, *, executable: bool) -> tarfile.TarInfo:
    """A member that does not tell whose file it was, nor when."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o755 if executable else 0o644
    return entry


def _uv() -> str:
    return _run(["sh", str(TOOLCHAIN / "uv.sh"), "--where"]).strip()


def _run(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is missing.\n    `make setup` brings it.") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        step = " ".join([Path(argv[0]).name, *argv[1:3]])
        raise LabError(f"`{step}` failed: {' '.join(said[-3:]) or f'exit status {done.returncode}'}")
    return done.stdout


def place(staging: Path, say: Say) -> None:
    """Put in place what a bundle brought; what is there already stays.

    Args:
        staging: its members, checked, on the file system of the cache. What is taken is gone from there.
        say: hears of each step before it begins.

    Raises:
        LabError: a package is missing here that the bundle cannot give, or the engine does not run.
    """
    manifest = json.loads((staging / MANIFEST).read_text(encoding="utf-8"))
    cache = cache_dir()
    if missing := packages.missing():
        _check_packages(missing, manifest, staging)
        packages.install_from(staging / "packages", missing, say)
    place_engine(cache, staging / "engine", manifest["engine"], say)
    for guest in (staging / "images").glob("*"):
        image.place(guest, cache)


def _check_packages(missing: list[packages.Package], manifest: dict[str, Any], staging: Path) -> None:
    names = ", ".join(package.name for package in missing)
    if not packages.has_apt():
        # Names commands instead of packages, and the remedy there is.
        packages.install(missing, print)
    there, here = manifest["distribution"], distribution()
    if not (staging / "packages").is_dir():
        reason = f"the bundle has no system packages: it was made without apt ({there})"
    elif there != here:
        reason = f"the packages in the bundle are for {there}, this is {here}"
    else:
        return
    raise LabError(f"missing here: {names}\n    {reason}.\n    Install them, or make the bundle on {here}.")


def _main(staging: Path) -> None:
    def say(sentence: str) -> None:
        sys.stderr.write(f"lab {sentence}\n")
        sys.stderr.flush()

    try:
        place(staging, say)
    except LabError as error:
        sys.exit(f"error {error}")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
