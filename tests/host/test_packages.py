"""Which system packages are missing and how they get installed: apt and dpkg are played by scripts."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.host import packages
from lab.host.packages import DEBIAN_IMAGE, HYPERVISOR, Package, install, missing

QEMU = Package("qemu-utils", "qemu-img", "images")
SSH = Package("openssh-client", "ssh", "reaches the machines")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put scripts, and nothing else but the shell's own tools, in the search path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(packages, "_ADMIN_PATH", "/nowhere")

    def put(**scripts: str) -> None:
        for name, script in {
            "env": 'while case $1 in *=*) ;; *) false;; esac; do shift; done; exec "$@"'
        }.items():
            scripts.setdefault(name, script)
        for name, script in scripts.items():
            file = folder / name.replace("_", "-")
            file.write_text(f'#!/bin/sh\necho "{file.name} $*" >> {tmp_path}/calls\n{script}\n')
            file.chmod(0o755)

    return put


def calls(tmp_path: Path, tool: str) -> list[str]:
    log = tmp_path / "calls"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if line.startswith(f"{tool} ")]


DPKG_KNOWS_SSH = "case $* in *openssh-client) printf installed;; *) exit 1;; esac"
CANDIDATES = "echo '  Candidate: 1.0'"
NO_CANDIDATES = "echo '  Candidate: (none)'"


def test_dpkg_says_what_is_missing(tools: Callable[..., None]) -> None:
    tools(apt_get="", dpkg_query=DPKG_KNOWS_SSH)
    assert missing([QEMU, SSH]) == [QEMU]


def test_a_removed_package_with_leftover_configuration_is_missing(tools: Callable[..., None]) -> None:
    tools(apt_get="", dpkg_query="printf config-files")
    assert missing([SSH]) == [SSH]


def test_elsewhere_the_commands_are_looked_for(tools: Callable[..., None]) -> None:
    tools(ssh="")
    assert missing([QEMU, SSH]) == [QEMU]


def test_elsewhere_what_is_missing_is_named_and_nothing_is_tried(tools: Callable[..., None]) -> None:
    tools(dnf="exit 1")
    with pytest.raises(LabError, match=r"qemu-img \(Debian: qemu-utils\)"):
        install([QEMU], print)


def test_nothing_missing_nothing_run(tools: Callable[..., None], tmp_path: Path) -> None:
    tools(apt_get="", dpkg_query="", sudo="")
    said: list[str] = []
    install([], said.append)
    assert said == []
    assert not (tmp_path / "calls").exists()


def test_what_will_be_installed_is_said_first(
    tools: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(apt_get="", dpkg_query="exit 1", apt_cache=CANDIDATES, sudo="exit 1")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said: list[str] = []
    install([QEMU], said.append)
    assert said == ["installing with apt-get: qemu-utils"]
    (run,) = calls(tmp_path, "apt-get")
    assert run.endswith("install --yes --no-install-recommends qemu-utils")
    assert not calls(tmp_path, "sudo")


def test_an_ordinary_user_goes_through_sudo(
    tools: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(apt_get="", dpkg_query="exit 1", apt_cache=CANDIDATES, sudo='exec "$@"')
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    install([QEMU], print)
    (run,) = calls(tmp_path, "sudo")
    assert "DEBIAN_FRONTEND=noninteractive apt-get" in run


def test_without_sudo_the_user_is_told(tools: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    tools(apt_get="", dpkg_query="exit 1", apt_cache=CANDIDATES)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="sudo is missing"):
        install([QEMU], print)


def test_a_machine_without_package_lists_fetches_them(
    tools: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(apt_get="", dpkg_query="exit 1", apt_cache=NO_CANDIDATES)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    install([QEMU], print)
    assert ["update" in run for run in calls(tmp_path, "apt-get")] == [True, False]


def test_stale_lists_are_renewed_once(
    tools: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_before_update = f"case $* in *update) : > {tmp_path}/new;; *) [ -e {tmp_path}/new ];; esac"
    tools(apt_get=fails_before_update, dpkg_query="exit 1", apt_cache=CANDIDATES)
    # The colon and bracket of the script are the shell's own; nothing else is in the search path.
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    install([QEMU], print)
    assert ["update" in run for run in calls(tmp_path, "apt-get")] == [False, True, False]


def test_a_failure_quotes_apt(tools: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    tools(apt_get="echo 'E: no space left' >&2; exit 100", dpkg_query="exit 1", apt_cache=CANDIDATES)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said: list[str] = []
    with pytest.raises(LabError, match="E: no space left"):
        install([QEMU], said.append)


def test_every_package_is_listed_once_with_its_purpose() -> None:
    names = [package.name for package in (*HYPERVISOR, *DEBIAN_IMAGE)]
    assert len(names) == len(set(names))
    assert all(package.purpose for package in (*HYPERVISOR, *DEBIAN_IMAGE))


@pytest.mark.parametrize("package", [*HYPERVISOR, *DEBIAN_IMAGE], ids=lambda package: package.name)
def test_an_installed_package_brings_what_the_list_says(package: Package) -> None:
    assert package.present, f"the test machine lacks {package.name}"
    import shutil

    if package.provides.startswith("/"):
        assert Path(package.provides).exists()
    else:
        assert shutil.which(package.provides, path=packages._search_path())
