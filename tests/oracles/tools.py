"""The tools of the oracles, and namespaces to run them in."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import pytest

_END = "--- end of answer, status "


def need(tool: str, package: str) -> str:
    """Path of ``tool``. Without it a test is skipped, and fails in CI, where nothing may be skipped."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return shutil.which(tool, path=path) or lacking(
        f"{tool} is missing: apt-get install {package} (tests/packages.txt lists all)"
    )


def lacking(reason: str) -> NoReturn:
    """Skip for ``reason``; in CI fail for it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Namespaces:
    """A shell in network, mount and PID namespaces of its own; when it goes, all it started goes.

    ``names`` become the addressees of ``on``: a network namespace each, whose ``eth0`` is plugged into
    one bridge. /etc/hosts is the given file, in these namespaces alone.
    """

    def __init__(self, hosts: Path, names: tuple[str, ...]) -> None:
        self._hosts = hosts
        self._names = names

    def __enter__(self) -> Self:
        namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._shell = subprocess.Popen(
            [need("unshare", "util-linux"), *([] if os.geteuid() == 0 else ["-r"]), *namespaces, "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        )
        try:
            self.run(f"mount --bind '{self._hosts}' /etc/hosts")
            self.run("ip link set lo up")
            self.run("ip link add lan type bridge && ip link set lan up")
            for name in self._names:
                self._plug(name)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._shell.kill()
        self._shell.wait(timeout=10)
        for pipe in (self._shell.stdin, self._shell.stdout):
            if pipe:
                pipe.close()

    def _plug(self, name: str) -> None:
        self.run(f"unshare --net sleep 600 & {name}=$!")
        until(
            lambda: self.run(f"readlink /proc/${name}/ns/net") != self.run("readlink /proc/$$/ns/net"),
            within=10,
            what=f"a network namespace for {name}",
        )
        self.run(f"ip link add port-{name} type veth peer name eth0 netns ${name}")
        self.run(f"ip link set port-{name} master lan up")
        for command in ("ip link set lo up", "ip link set eth0 up"):
            self.on(name, command)

    def run(self, command: str, *, check: bool = True) -> str:
        """Output of a shell command in here; what it starts with ``&`` goes on.

        Raises:
            AssertionError: its status is not 0, unless ``check`` is off.
        """
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f'{command}\necho "{_END}$?"\n')
        lines = []
        for line in self._shell.stdout:
            if line.startswith(_END):
                assert not check or line == f"{_END}0\n", f"{command}: {''.join(lines)}{line}"
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"the namespaces are gone: {command}: {''.join(lines)}")

    def on(self, name: str, command: str, *, check: bool = True) -> str:
        """Output of ``command`` on one of the machines."""
        return self.run(f"nsenter --target ${name} --net {command}", check=check)


def until(holds: Callable[[], bool], *, within: float, what: str) -> float:
    """Wait for something; the seconds it took.

    Raises:
        AssertionError: it did not come in time.
    """
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < within, f"no {what} within {within} s"
        time.sleep(0.02)
    return time.monotonic() - begun
