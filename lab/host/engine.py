"""The Pulumi engine and its plugins: found on this computer, downloaded, or built.

Everything is kept in ``<cache>/engine``::

    bin/       the binaries, or links to the user's own
    pieces/    per piece: which version, from where, and how its files looked when they were put there
    logs/      what building said
"""

import fcntl
import hashlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.errors import LabError
from lab.host import engine_build
from lab.host.engine_build import Builder, Recipe
from lab.host.engine_vendor import PLUGINS, RELEASE, Archive, Sources, UnavailableError, Vendor
from lab.say import Say

TOOLCHAIN = Path(__file__).resolve().parents[2] / "toolchain"

# Seconds that a binary may take to say who it is; a cold disk under load needs some.
_PATIENCE = 60


@dataclass(frozen=True)
class Piece:
    """One part of the engine."""

    name: str
    files: tuple[str, ...]
    """What it consists of at least, wherever it comes from."""
    version: str
    """The vendor's release."""
    built_version: str
    """What building from source yields."""
    recipe: Recipe
    plugin: str = ""
    """Name as a resource plugin; empty for the command line tool and its language host."""

    def parts(self, origin: str) -> list[str]:
        """Names of its files when it came from ``origin``."""
        return [*self.files, *(self.recipe.own_files if origin == "built" else ())]

    def vendor_archive(self, sources: Sources) -> Archive:
        """The vendor's archive that holds this piece."""
        return sources.plugin(self.plugin) if self.plugin else sources.cli(_CLI_FILES)


PIECES = (
    Piece("pulumi", ("pulumi",), RELEASE, RELEASE, engine_build.CLI),
    Piece(
        "pulumi-language-python",
        ("pulumi-language-python", "pulumi-language-python-exec"),
        RELEASE,
        "3.78.1",
        engine_build.LANGUAGE_HOST,
    ),
    Piece(
        "pulumi-resource-libvirt",
        ("pulumi-resource-libvirt",),
        PLUGINS["libvirt"],
        "0.4.8",
        engine_build.LIBVIRT,
        plugin="libvirt",
    ),
    Piece(
        "pulumi-resource-command",
        ("pulumi-resource-command",),
        PLUGINS["command"],
        PLUGINS["command"],
        engine_build.COMMAND,
        plugin="command",
    ),
)
_CLI_FILES = tuple(name for piece in PIECES if not piece.plugin for name in piece.files)


@dataclass(frozen=True)
class Engine:
    """An engine that is ready to run."""

    bin_dir: Path
    """Holds every binary, under the name the engine looks for."""
    origin: dict[str, str]
    """How each piece came: ``present`` (the user's own), ``vendor`` or ``built``."""
    versions: dict[str, str]

    def environment(self, venv_bin: Path, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment in which ``pulumi`` runs this engine and fetches nothing.

        Args:
            venv_bin: of the environment that holds the program's packages.
            base: what to start from; the environment of this process if not given.
        """
        environment = dict(os.environ if base is None else base)
        path = [str(self.bin_dir), str(venv_bin), environment.get("PATH", os.defpath)]
        # The vendor's language host must find uv on PATH. `uv run` tells where it lies; without that it
        # is where toolchain/uv.sh puts it, beside the engine.
        if uv := environment.get("UV"):
            path.append(str(Path(uv).parent))
        path += map(str, sorted(self.bin_dir.parents[1].glob("uv-*/bin")))
        environment["PATH"] = os.pathsep.join(path)
        environment["PULUMI_SKIP_UPDATE_CHECK"] = "true"
        environment["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
        # A socket whose agent is gone makes every SSH connection of the official plugin fail.
        environment.pop("SSH_AUTH_SOCK", None)
        python = self.bin_dir / "pulumi-python"
        if self.origin["pulumi-language-python"] == "built" and python.exists():
            environment["PULUMI_PYTHON_CMD"] = str(python)
        return environment

    def files(self) -> dict[str, list[Path]]:
        """The files of each piece."""
        return {
            piece.name: [self.bin_dir / name for name in piece.parts(self.origin[piece.name])]
            for piece in PIECES
        }

    def plug_into(self, environment: dict[str, str]) -> None:
        """Make the plugins known to the ``PULUMI_HOME`` of an environment.

        The engine finds them on PATH too, but then warns of each at every run. Without a
        ``PULUMI_HOME`` of its own the environment stays as it is: the user's is not the lab's to change.
        """
        if "PULUMI_HOME" not in environment:
            return
        for name, version in PLUGINS.items():
            binary = f"pulumi-resource-{name}"
            folder = Path(environment["PULUMI_HOME"]) / "plugins" / f"resource-{name}-v{version}"
            folder.mkdir(parents=True, exist_ok=True)
            _link(self.bin_dir / binary, folder / binary)
        environment["PULUMI_IGNORE_AMBIENT_PLUGINS"] = "true"


def ensure_engine(
    cache: Path, say: Say, *, sources: Sources | None = None, toolchain: Path = TOOLCHAIN
) -> Engine:
    """Make the engine available in ``cache``; where it is already, this takes milliseconds.

    Each missing piece is taken from the first of these that has it: the user's own installation of the
    same release, the vendor's downloads, the sources in ``toolchain``.

    Args:
        cache: directory that all labs of this user share; may be used by several processes at once.
        say: hears of each step before it begins.
        sources: of the vendor; as the environment says if not given.
        toolchain: folder with the Go modules to build from.

    Raises:
        LabError: a piece cannot be had in any way.
    """
    store = _Store(cache / "engine", toolchain)
    if store.missing():
        with store.locked(say):
            _complete(store, sources or Sources.from_environment(), say)
    return store.engine()


def place_engine(
    cache: Path, folder: Path, origin: Mapping[str, str], say: Say, *, toolchain: Path = TOOLCHAIN
) -> None:
    """Put in place what is missing of the engine out of ``folder``, where each piece has a directory.

    Args:
        cache: as for ``ensure_engine``; on the file system of ``folder``.
        folder: what is taken is gone from there.
        origin: how each piece came to where it was copied: ``vendor`` or ``built``.
        say: hears of waiting.
        toolchain: folder with the Go modules that a piece was built from.

    Raises:
        LabError: a piece does not run here.
    """
    store = _Store(cache / "engine", toolchain)
    with store.locked(say):
        for piece in store.missing():
            try:
                store.take(piece, folder / piece.name, origin[piece.name])
            except UnavailableError as error:
                raise LabError(f"{piece.name} was brought along but does not work: {error}") from error


@dataclass(frozen=True)
class _Mark:
    """What is noted of an installed piece."""

    version: str
    origin: str
    source: str
    files: dict[str, list[int]]


class _Store:
    """The directory of the engine."""

    def __init__(self, root: Path, toolchain: Path) -> None:
        self.root = root
        self.toolchain = toolchain
        self.bin_dir = root / "bin"

    def missing(self) -> list[Piece]:
        """Pieces that are not there, not whole, or not of the version or sources wanted now."""
        return [piece for piece in PIECES if not self._is_good(piece)]

    def engine(self) -> Engine:
        marks = {piece.name: self._mark(piece) for piece in PIECES}
        return Engine(
            bin_dir=self.bin_dir,
            origin={name: mark.origin for name, mark in marks.items() if mark},
            versions={name: mark.version for name, mark in marks.items() if mark},
        )

    @contextmanager
    def locked(self, say: Say) -> Iterator[None]:
        """Be the only process that changes the directory."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Waiting for another run that is installing the Pulumi engine")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A directory on the same file system, so that what it holds can be put in place by renaming."""
        for left in self.root.glob("staging-*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="staging-", dir=self.root) as name:
            yield Path(name)

    def adopt(self, piece: Piece, found: Path) -> None:
        """Link the user's own files of a piece."""
        with self.staging() as staging:
            for name in piece.files:
                (staging / name).symlink_to(found / name)
            self._put(piece, staging, "present", piece.version)

    def take(self, piece: Piece, staging: Path, origin: str) -> None:
        """Put the files of a piece in place, after seeing that they run.

        Raises:
            UnavailableError: they do not run, or are of another version.
        """
        version = piece.built_version if origin == "built" else piece.version
        if problem := _problem(piece, staging):
            raise UnavailableError(problem)
        self._put(piece, staging, origin, version)

    def _put(self, piece: Piece, staging: Path, origin: str, version: str) -> None:
        names = piece.parts(origin)
        note = self._note(piece)
        note.unlink(missing_ok=True)
        note.parent.mkdir(exist_ok=True)
        self.bin_dir.mkdir(exist_ok=True)
        for name in names:
            (staging / name).replace(self.bin_dir / name)
        files = {name: _look(self.bin_dir / name) for name in names}
        mark = _Mark(version, origin, self._source(piece, origin), files)
        half = staging / note.name
        half.write_text(json.dumps(asdict(mark), indent=2) + "\n", encoding="utf-8")
        half.replace(note)

    def _is_good(self, piece: Piece) -> bool:
        mark = self._mark(piece)
        if mark is None or mark.source != self._source(piece, mark.origin):
            return False
        try:
            return all(_look(self.bin_dir / name) == seen for name, seen in mark.files.items())
        except OSError:
            return False

    def _note(self, piece: Piece) -> Path:
        return self.root / "pieces" / f"{piece.name}.json"

    def _mark(self, piece: Piece) -> _Mark | None:
        try:
            return _Mark(**json.loads(self._note(piece).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _source(self, piece: Piece, origin: str) -> str:
        """What a piece was made from: the vendor's release, or a hash of all that goes into the build."""
        if origin != "built":
            return piece.version
        digest = hashlib.sha256(piece.version.encode())
        folder = self.toolchain / piece.recipe.folder
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = file.read_bytes()
            digest.update(f"\0{file.relative_to(folder)}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()


def _complete(store: _Store, sources: Sources, say: Say) -> None:
    for piece in store.missing():
        if found := _own_installation(piece, store.bin_dir):
            say(f"Using {piece.name} {piece.version} from {found}")
            store.adopt(piece, found)
    refused = _download(store, sources, say)
    _build(store, refused, say)


def _download(store: _Store, sources: Sources, say: Say) -> list[str]:
    """Take what is missing from the vendor; the reasons why pieces could not be."""
    checksums = tomllib.loads((store.toolchain / "checksums.toml").read_text(encoding="utf-8"))
    vendor = Vendor(sources, checksums["sha256"])
    refused: list[str] = []
    archives: dict[Archive, list[Piece]] = {}
    for piece in store.missing():
        archives.setdefault(piece.vendor_archive(sources), []).append(piece)
    for archive, pieces in archives.items():
        if vendor.may_have(archive):
            say(f"Downloading {archive.file_name}, which takes about a minute on a common line")
        try:
            with store.staging() as staging:
                vendor.fetch(archive, staging)
                for piece in pieces:
                    store.take(piece, staging, "vendor")
        except UnavailableError as error:
            if str(error) not in refused:
                say(f"Not downloaded: {error}")
                refused.append(str(error))
    return refused


def _build(store: _Store, refused: list[str], say: Say) -> None:
    builder = Builder(store.toolchain, store.root / "go", store.root / "logs", say)
    for piece in store.missing():
        try:
            with store.staging() as staging:
                builder.build(piece.recipe, staging)
                store.take(piece, staging, "built")
        except UnavailableError as error:
            raise LabError(f"{piece.name} was built but does not work: {error}") from error
        except LabError as error:
            raise LabError(f"{error}\n    It had to be built because {'; '.join(refused)}.") from error
    builder.clean()


def _own_installation(piece: Piece, bin_dir: Path) -> Path | None:
    """Directory of the user's own copy of a piece, if it is of the release wanted.

    Plugins are looked for where Pulumi installs them, by release. One that merely lies on PATH is passed
    over: it does not tell its version.
    """
    if piece.plugin:
        home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
        folder = home / "plugins" / f"resource-{piece.plugin}-v{piece.version}"
        whole = not folder.with_name(f"{folder.name}.partial").exists()
        return folder if whole and _is_own(folder / piece.name, bin_dir) else None
    path = [folder for folder in os.get_exec_path() if Path(folder) != bin_dir]
    pulumi = shutil.which("pulumi", path=os.pathsep.join(path))
    if pulumi is None:
        return None
    folder = Path(pulumi).resolve().parent
    if not all((folder / name).is_file() for name in _CLI_FILES):
        return None
    return folder if _problem(PIECES[0], folder) is None else None


def _is_own(binary: Path, bin_dir: Path) -> bool:
    return binary.is_file() and not binary.resolve().is_relative_to(bin_dir.resolve())


def _problem(piece: Piece, folder: Path) -> str | None:
    """Why the binary of a piece cannot be used, if so."""
    binary = folder / piece.name
    try:
        if piece.name == "pulumi":
            answer = _first_line([str(binary), "version"])
            expected = f"v{piece.version}"
            return None if answer == expected else f"{piece.name} calls itself {answer!r}, not {expected}"
        # A plugin is started with the address of the engine and begins by printing its own port.
        answer = _first_line([str(binary), "127.0.0.1:1"])
        return None if answer.isdigit() else f"{piece.name} does not start as a plugin, it says {answer!r}"
    except OSError as error:
        return f"{piece.name} does not run: {error.strerror}"


def _first_line(command: list[str]) -> str:
    """The first line that a command prints, which may not be its last; it is ended then."""
    environment = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            return _read_line(process, time.monotonic() + _PATIENCE)
        finally:
            process.kill()


def _read_line(process: subprocess.Popen[bytes], deadline: float) -> str:
    assert process.stdout is not None  # noqa: S101  asked for above
    text = b""
    while b"\n" not in text and (left := deadline - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            break
        chunk = os.read(process.stdout.fileno(), 4096)
        if not chunk:
            break
        text += chunk
    return text.partition(b"\n")[0].decode("utf-8", "replace").strip()


def _look(file: Path) -> list[int]:
    """Size in bytes and time of change in nanoseconds of a file, or of the one it links to."""
    seen = file.stat()
    return [seen.st_size, seen.st_mtime_ns]


def _link(target: Path, link: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)
