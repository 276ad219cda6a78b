"""Where the engine comes from. The vendor is a server on the loopback interface, Go is a script."""

import hashlib
import io
import multiprocessing
import socket
import tarfile
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.host.engine import PIECES, TOOLCHAIN, Engine, ensure_engine
from lab.host.engine_vendor import PLUGINS, RELEASE, Sources

# A CLI that tells its version, and a plugin that prints its port and stays.
CLI = f"#!/bin/sh\necho v{RELEASE}\n"
PLUGIN = "#!/bin/sh\necho 40001\nexec sleep 60\n"
NAMES = [piece.name for piece in PIECES]
HOST = ("pulumi-language-python", "pulumi-language-python-exec")

# Builds whatever it is asked for, unless a file tells it not to; counts its builds.
GO = f"""#!/bin/sh
here=$(dirname "$0")
case "$1 $2" in
"env GOVERSION") echo go1.99.0 ;;
"mod download") echo '{{"Dir": "'"$here"'/sdk"}}' ;;
build*)
    echo "$PWD" >>"$here/builds"
    if [ -e "$here/broken" ]; then echo "main.go:1: no such thing" >&2; exit 1; fi
    while [ "$1" != -o ]; do shift; done
    case "$2" in
    *pulumi) printf '%s' '{CLI}' >"$2" ;;
    *) printf '%s' '{PLUGIN}' >"$2" ;;
    esac
    chmod +x "$2" ;;
esac
"""


def archive(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            entry.mode = 0o755
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@dataclass
class VendorServer:
    """What the vendor serves by path, and how it misbehaves."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    truncate: set[str] = field(default_factory=set)
    stall: set[str] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def sources(self) -> Sources:
        patience = 1 if self.stall else 30
        return Sources(self.url, f"{self.url}/releases", connect_timeout=5, read_timeout=patience)

    def offer(self, path: str, content: bytes, checksums: str) -> None:
        self.files[path] = content
        line = f"{hashlib.sha256(content).hexdigest()}  {Path(path).name}\n".encode()
        self.files[checksums] = self.files.get(checksums, b"") + line

    def asked_for(self, path: str) -> int:
        return self.asked.count(path)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An x86 computer without Pulumi and Go, and with nothing of this one's environment."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for name in ("PULUMI_HOME", "UV", "LVS_DR_LAB_ENGINE_DOWNLOADS", "LVS_DR_LAB_ENGINE_RELEASES"):
        monkeypatch.delenv(name, raising=False)


CLI_PATH = f"/sdk/pulumi-v{RELEASE}-linux-x64.tar.gz"
CLI_SUMS = f"/sdk/pulumi-{RELEASE}-checksums.txt"


def plugin_path(name: str) -> str:
    return f"/plugins/pulumi-resource-{name}-v{PLUGINS[name]}-linux-amd64.tar.gz"


def plugin_sums(name: str) -> str:
    version = PLUGINS[name]
    return f"/releases/pulumi-{name}/releases/download/v{version}/pulumi-{name}_{version}_checksums.txt"


@pytest.fixture
def vendor() -> Iterator[VendorServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            content = server.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.path in server.truncate:
                content = content[: len(content) // 2]
            if self.path in server.stall:
                self.wfile.write(content[:10])
                self.wfile.flush()
                server.released.wait(30)
                return
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = VendorServer(f"http://127.0.0.1:{http.server_port}")
        cli = {f"pulumi/{name}": PLUGIN for name in HOST}
        server.offer(CLI_PATH, archive({"pulumi/pulumi": CLI, "pulumi/pulumi-watch": "", **cli}), CLI_SUMS)
        for name in PLUGINS:
            content = archive({"LICENSE": "", f"pulumi-resource-{name}": PLUGIN})
            server.offer(plugin_path(name), content, plugin_sums(name))
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        http.shutdown()
        thread.join()


@dataclass
class Go:
    folder: Path

    @property
    def builds(self) -> list[str]:
        log = self.folder / "builds"
        return [Path(line).name for line in log.read_text().splitlines()] if log.exists() else []

    def break_it(self) -> None:
        (self.folder / "broken").touch()


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    folder = tmp_path / "go"
    script = folder / "sdk" / "python" / "cmd" / "pulumi-language-python-exec"
    script.parent.mkdir(parents=True)
    script.write_text("#!/usr/bin/env python3\n")
    (folder / "go").write_text(GO)
    (folder / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr("lab.host.engine_build._DISK_NEEDED", 0)
    return Go(folder)


@pytest.fixture
def toolchain(tmp_path: Path) -> Path:
    """A copy of the recipes that a test may change."""
    copy = tmp_path / "toolchain"
    for piece in PIECES:
        folder = copy / piece.recipe.folder
        folder.mkdir(parents=True)
        (folder / "go.mod").write_text("module trial\n\ngo 1.25.1\n")
        for name in piece.recipe.own_files:
            (folder / name).write_text("#!/bin/sh\n")
    (copy / "checksums.toml").write_text("[sha256]\n")
    (copy / "go-requirements.txt").touch()
    return copy


@dataclass
class Installation:
    """Calls the code under test and looks at what it leaves."""

    cache: Path
    toolchain: Path
    said: list[str] = field(default_factory=list)

    def ensure(self, sources: Sources) -> Engine:
        self.said.clear()
        return ensure_engine(self.cache, self.said.append, sources=sources, toolchain=self.toolchain)

    @property
    def files(self) -> set[str]:
        """Every file but the lock, by its path in the engine's directory."""
        root = self.cache / "engine"
        found = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
        return found - {"lock"}


@pytest.fixture
def installation(tmp_path: Path, toolchain: Path) -> Installation:
    return Installation(tmp_path / "cache", toolchain)


def everything() -> set[str]:
    return {
        *(f"bin/{name}" for name in (*NAMES, "pulumi-language-python-exec")),
        *(f"pieces/{name}.json" for name in NAMES),
    }


def test_the_vendor_gives_everything(installation: Installation, vendor: VendorServer) -> None:
    engine = installation.ensure(vendor.sources)
    assert engine.origin == dict.fromkeys(NAMES, "vendor")
    assert engine.versions == {piece.name: piece.version for piece in PIECES}
    assert installation.files == everything()
    assert [words.split(",")[0] for words in installation.said] == [
        f"Downloading {Path(path).name}" for path in (CLI_PATH, *map(plugin_path, PLUGINS))
    ]


def test_the_second_time_there_is_nothing_to_do(installation: Installation, vendor: VendorServer) -> None:
    first = installation.ensure(vendor.sources)
    asked = len(vendor.asked)
    assert installation.ensure(vendor.sources) == first
    assert installation.said == []
    assert len(vendor.asked) == asked


def test_a_vendor_out_of_reach_is_asked_once_and_everything_is_built(
    installation: Installation, go: Go
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        engine = installation.ensure(Sources(url, url, connect_timeout=1))
    assert engine.origin == dict.fromkeys(NAMES, "built")
    assert engine.versions["pulumi-resource-libvirt"] == "0.4.8"
    assert go.builds == ["pulumi", "language-python", "libvirt", "command"]
    assert sum("cannot be reached" in words for words in installation.said) == 1
    assert sum(words.startswith("Building ") for words in installation.said) == len(PIECES)
    assert "Building pulumi from source, which takes about 4 to 6 minutes on two cores" in installation.said
    logs = {f"logs/{name}.log" for name in NAMES}
    assert installation.files == everything() | logs | {"bin/pulumi-python"}


def test_downloads_can_be_switched_off(installation: Installation, go: Go) -> None:
    engine = installation.ensure(Sources(downloads=""))
    assert set(engine.origin.values()) == {"built"}
    assert not any("Downloading" in words for words in installation.said)


def test_what_the_vendor_does_not_have_is_built(
    installation: Installation, vendor: VendorServer, go: Go
) -> None:
    del vendor.files[plugin_path("libvirt")]
    engine = installation.ensure(vendor.sources)
    assert {name for name, origin in engine.origin.items() if origin == "built"} == {
        "pulumi-resource-libvirt"
    }
    assert any(words.endswith("answered 404 Not Found") for words in installation.said)
    assert go.builds == ["libvirt"]


def test_an_archive_without_published_checksum_is_taken_if_it_runs(
    installation: Installation, vendor: VendorServer
) -> None:
    del vendor.files[CLI_SUMS]
    assert installation.ensure(vendor.sources).origin["pulumi"] == "vendor"


def tamper(vendor: VendorServer) -> str:
    cli = {f"pulumi/{name}": PLUGIN for name in HOST}
    vendor.files[CLI_PATH] = archive({"pulumi/pulumi": "#!/bin/sh\necho evil\n", **cli})
    return "is not what its checksum says"


def truncate(vendor: VendorServer) -> str:
    vendor.truncate.add(CLI_PATH)
    return "broke off"


def stall(vendor: VendorServer) -> str:
    vendor.stall.add(CLI_PATH)
    return "broke off"


def cut_short_at_the_source(vendor: VendorServer) -> str:
    vendor.files[CLI_PATH] = vendor.files[CLI_PATH][:-40]
    del vendor.files[CLI_SUMS]
    return "is damaged"


def wrong_version(vendor: VendorServer) -> str:
    cli = {f"pulumi/{name}": PLUGIN for name in HOST}
    vendor.files[CLI_PATH] = archive({"pulumi/pulumi": "#!/bin/sh\necho v3.1.0\n", **cli})
    del vendor.files[CLI_SUMS]
    return "calls itself 'v3.1.0'"


def wrong_machine(vendor: VendorServer) -> str:
    cli = {f"pulumi/{name}": PLUGIN for name in HOST}
    vendor.files[CLI_PATH] = archive({"pulumi/pulumi": "\x7fELF of another machine", **cli})
    del vendor.files[CLI_SUMS]
    return "pulumi does not run: Exec format error"


def incomplete(vendor: VendorServer) -> str:
    vendor.files[CLI_PATH] = archive({"pulumi/pulumi": CLI, "pulumi/pulumi-language-python": PLUGIN})
    del vendor.files[CLI_SUMS]
    return "does not hold pulumi-language-python-exec"


MISHAPS = [tamper, truncate, stall, cut_short_at_the_source, wrong_version, wrong_machine, incomplete]


@pytest.mark.parametrize("mishap", MISHAPS)
def test_a_bad_download_is_refused_and_leaves_nothing(
    mishap: Callable[[VendorServer], str], installation: Installation, vendor: VendorServer, go: Go
) -> None:
    reason = mishap(vendor)
    go.break_it()
    with pytest.raises(LabError) as failure:
        installation.ensure(vendor.sources)
    assert reason in str(failure.value)
    assert sum(reason in words for words in installation.said) == 1
    # The plugins are whole and stay; of the CLI and its language host there is not a byte.
    plugins = [f"pulumi-resource-{name}" for name in PLUGINS]
    assert installation.files - {path for path in installation.files if path.startswith("go/")} == {
        *(f"bin/{name}" for name in plugins),
        *(f"pieces/{name}.json" for name in plugins),
        "logs/pulumi.log",
    }


@pytest.mark.parametrize("mishap", MISHAPS)
def test_after_a_bad_download_the_piece_is_built(
    mishap: Callable[[VendorServer], str], installation: Installation, vendor: VendorServer, go: Go
) -> None:
    mishap(vendor)
    engine = installation.ensure(vendor.sources)
    assert engine.origin["pulumi"] == "built"
    assert engine.origin["pulumi-resource-libvirt"] == "vendor"


def test_a_broken_transfer_is_tried_twice_and_a_tampered_one_once(
    installation: Installation, vendor: VendorServer, go: Go
) -> None:
    truncate(vendor)
    vendor.files[plugin_path("command")] = archive({"pulumi-resource-command": "#!/bin/sh\necho evil\n"})
    installation.ensure(vendor.sources)
    assert vendor.asked_for(CLI_PATH) == 2
    assert vendor.asked_for(plugin_path("command")) == 1


def test_the_projects_own_checksum_goes_before_the_vendors(
    installation: Installation, vendor: VendorServer, go: Go
) -> None:
    name = Path(CLI_PATH).name
    (installation.toolchain / "checksums.toml").write_text(f'[sha256]\n"{name}" = "{"0" * 64}"\n')
    assert installation.ensure(vendor.sources).origin["pulumi"] == "built"


def test_the_error_of_a_failed_build(installation: Installation, go: Go) -> None:
    go.break_it()
    with pytest.raises(LabError) as failure:
        installation.ensure(Sources(downloads=""))
    log = installation.cache / "engine" / "logs" / "pulumi.log"
    assert str(failure.value) == (
        "`go build` for pulumi failed: main.go:1: no such thing\n"
        f"    All of it is in {log}. Run the same again to go on; it keeps what is done.\n"
        "    It had to be built because downloads are switched off."
    )
    assert "no such thing" in log.read_text()


def test_without_go_and_an_installer_the_error_says_what_to_install(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.host.engine_build._DISK_NEEDED", 0)
    monkeypatch.setattr("lab.host.engine_build._package_installer", lambda: None)
    with pytest.raises(LabError, match=r"needs Go 1\.25\.1 or newer.*\n.*Install Go"):
        installation.ensure(Sources(downloads=""))


def test_a_full_disk_is_noticed_before_building(
    installation: Installation, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.host.engine_build._DISK_NEEDED", 1 << 60)
    with pytest.raises(LabError, match="LVS_DR_LAB_CACHE"):
        installation.ensure(Sources(downloads=""))
    assert go.builds == []


def test_only_a_changed_piece_is_built_again(installation: Installation, go: Go) -> None:
    installation.ensure(Sources(downloads=""))
    (installation.toolchain / "command" / "main.go").write_text("package main\n")
    installation.ensure(Sources(downloads=""))
    assert go.builds[len(PIECES) :] == ["command"]


def test_a_damaged_binary_is_replaced(installation: Installation, vendor: VendorServer) -> None:
    engine = installation.ensure(vendor.sources)
    (engine.bin_dir / "pulumi").write_text("")
    installation.ensure(vendor.sources)
    assert (engine.bin_dir / "pulumi").read_text() == CLI


def test_what_a_killed_run_left_is_cleared_away(installation: Installation, vendor: VendorServer) -> None:
    left = installation.cache / "engine" / "staging-killed"
    left.mkdir(parents=True)
    (left / "half").touch()
    installation.ensure(vendor.sources)
    assert installation.files == everything()


def install_own(folder: Path, version: str) -> None:
    folder.mkdir(parents=True)
    for name in ("pulumi", *HOST):
        (folder / name).write_text(f"#!/bin/sh\necho v{version}\n" if name == "pulumi" else PLUGIN)
        (folder / name).chmod(0o755)


def test_the_users_own_installation_is_used(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_own(tmp_path / "own", RELEASE)
    monkeypatch.setenv("PATH", f"{tmp_path / 'own'}:/usr/bin:/bin")
    for name, version in PLUGINS.items():
        folder = tmp_path / "home" / ".pulumi" / "plugins" / f"resource-{name}-v{version}"
        folder.mkdir(parents=True)
        (folder / f"pulumi-resource-{name}").write_text(PLUGIN)
    engine = installation.ensure(Sources(downloads=""))
    assert engine.origin == dict.fromkeys(NAMES, "present")
    assert (engine.bin_dir / "pulumi").resolve() == tmp_path / "own" / "pulumi"
    assert installation.ensure(Sources(downloads="")) == engine
    assert installation.said == []


def test_another_release_of_the_users_is_passed_over(
    installation: Installation, vendor: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_own(tmp_path / "own", "3.1.0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'own'}:/usr/bin:/bin")
    unfinished = tmp_path / "home" / ".pulumi" / "plugins" / f"resource-command-v{PLUGINS['command']}"
    unfinished.mkdir(parents=True)
    (unfinished / "pulumi-resource-command").write_text(PLUGIN)
    unfinished.with_name(f"{unfinished.name}.partial").touch()
    assert installation.ensure(vendor.sources).origin == dict.fromkeys(NAMES, "vendor")


def test_runs_at_the_same_time_build_once(installation: Installation, go: Go) -> None:
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=installation.ensure, args=(Sources(downloads=""),)) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert len(go.builds) == len(PIECES)


@pytest.fixture
def engine(installation: Installation, vendor: VendorServer) -> Engine:
    return installation.ensure(vendor.sources)


def test_the_environment_puts_engine_and_program_first(engine: Engine, tmp_path: Path) -> None:
    given = {"PATH": "/usr/bin", "SSH_AUTH_SOCK": "/gone", "UV": "/opt/uv/uv"}
    environment = engine.environment(tmp_path / "venv" / "bin", given)
    assert environment == {
        "PATH": f"{engine.bin_dir}:{tmp_path}/venv/bin:/usr/bin:/opt/uv",
        "UV": "/opt/uv/uv",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    assert "SSH_AUTH_SOCK" in given


def test_a_built_language_host_brings_its_python(installation: Installation, go: Go, tmp_path: Path) -> None:
    engine = installation.ensure(Sources(downloads=""))
    environment = engine.environment(tmp_path, {})
    assert environment["PULUMI_PYTHON_CMD"] == str(engine.bin_dir / "pulumi-python")


def test_plugins_are_linked_into_the_home_of_an_environment(engine: Engine, tmp_path: Path) -> None:
    environment = {"PULUMI_HOME": str(tmp_path / "pulumi-home")}
    for _ in range(2):
        engine.plug_into(environment)
    linked = tmp_path / "pulumi-home" / "plugins" / "resource-libvirt-v0.5.4" / "pulumi-resource-libvirt"
    assert linked.resolve() == engine.bin_dir / "pulumi-resource-libvirt"
    assert environment["PULUMI_IGNORE_AMBIENT_PLUGINS"] == "true"

    bare = {"PATH": "/usr/bin"}
    engine.plug_into(bare)
    assert bare == {"PATH": "/usr/bin"}


def test_sources_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Sources.from_environment() == Sources()
    monkeypatch.setenv("LVS_DR_LAB_ENGINE_DOWNLOADS", "http://mirror/pulumi/")
    assert Sources.from_environment().plugin("command").url.startswith("http://mirror/pulumi/plugins/")


def test_the_engine_is_of_the_same_release_as_the_program() -> None:
    project = tomllib.loads((TOOLCHAIN.parent / "pyproject.toml").read_text())
    pins = dict(
        pin.split("==")
        for pin in project["project"]["dependencies"]
        if pin.startswith("pulumi") and "==" in pin
    )
    assert pins == {"pulumi": RELEASE} | {f"pulumi-{name}": version for name, version in PLUGINS.items()}
