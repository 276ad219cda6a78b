"""What stands in for the tools of services, in front of real tools that only note what they are asked."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "cloud-init" / "services.sh"
TOOLS = ("deb-systemd-helper", "deb-systemd-invoke", "invoke-rc.d", "systemctl")


class FirstBoot:
    """A machine whose packages are being installed: the stand-ins first on the path, then the real tools."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self._log = folder / "log"
        self._stand_ins, self._real = folder / "first-boot", folder / "bin"
        for place in (self._stand_ins, self._real):
            place.mkdir()
        text = SCRIPT.read_text(encoding="utf-8")
        for path in ("/var/lib/systemd", "/etc/systemd", "/lib/systemd/system"):
            (self.root / path[1:]).mkdir(parents=True)
            text = text.replace(path, f"{self.root}{path}")
        for tool in (*TOOLS, "catch-up"):
            self._write(self._stand_ins / tool, text)
        for tool in TOOLS:
            self._write(
                self._real / tool, f'#!/bin/sh\necho "{tool} $*" >> {self._log}\n[ $FAILS != {tool} ]\n'
            )

    @staticmethod
    def _write(file: Path, text: str) -> None:
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)

    def call(self, *words: str, fails: str = "none") -> int:
        """The exit status of a tool that is found as in the set-up of a package; the real one may fail."""
        path = f"{self._stand_ins}:{self._real}:/usr/bin:/bin"
        return subprocess.run(
            ["sh", "-c", '"$@"', "sh", *words], env={"PATH": path, "FAILS": fails}, check=False
        ).returncode

    def asked(self) -> list[str]:
        """What the real tools have been asked since the last time."""
        if not self._log.exists():
            return []
        lines = self._log.read_text(encoding="utf-8").splitlines()
        self._log.unlink()
        return lines

    def set_up(self, unit: str) -> None:
        """What debhelper writes into the postinst of a package with a service."""
        self.call("deb-systemd-helper", "unmask", unit)
        if self.call("deb-systemd-helper", "--quiet", "was-enabled", unit) == 0:
            self.call("deb-systemd-helper", "enable", unit)
        else:
            self.call("deb-systemd-helper", "update-state", unit)
        self.call("systemctl", "--system", "daemon-reload")
        self.call("deb-systemd-invoke", "start", unit)


@pytest.fixture
def machine(tmp_path: Path) -> FirstBoot:
    return FirstBoot(tmp_path)


def test_services_are_enabled_and_started_once_for_all(machine: FirstBoot) -> None:
    machine.set_up("apache2.service")
    machine.set_up("other.service")
    machine.set_up("apache2.service")
    assert machine.asked() == []
    assert machine.call("catch-up") == 0
    assert machine.asked() == [
        "deb-systemd-helper enable apache2.service other.service",
        "deb-systemd-invoke start apache2.service other.service",
    ]


def test_a_service_that_its_package_disables_is_disabled_in_the_end(machine: FirstBoot) -> None:
    """As apache2 does with that of htcacheclean."""
    machine.set_up("cleaner.service")
    assert machine.call("deb-systemd-helper", "debian-installed", "cleaner.service") == 0
    machine.call("deb-systemd-helper", "disable", "cleaner.service")
    assert machine.call("catch-up") == 0
    assert machine.asked() == [
        "deb-systemd-helper enable cleaner.service",
        "deb-systemd-helper disable cleaner.service",
        "deb-systemd-invoke start cleaner.service",
    ]


def test_a_script_of_sysv_is_for_services_without_a_unit(machine: FirstBoot) -> None:
    (machine.root / "lib/systemd/system/apache2.service").touch()
    for service in ("apache2", "ipvsadm"):
        machine.call("invoke-rc.d", "--skip-systemd-native", service, "start")
    machine.call("invoke-rc.d", "ipvsadm", "start")
    assert machine.asked() == [
        "invoke-rc.d --skip-systemd-native ipvsadm start",
        "invoke-rc.d ipvsadm start",
    ]


def test_nothing_to_catch_up_with(machine: FirstBoot) -> None:
    assert machine.call("catch-up") == 0
    assert machine.asked() == []


@pytest.mark.parametrize(
    "there",
    [
        "var/lib/systemd/deb-systemd-helper-enabled/ssh.service.dsh-also",
        "etc/systemd/system/ssh.service",
    ],
)
def test_a_unit_that_is_not_new_is_left_to_the_real_tools(machine: FirstBoot, there: str) -> None:
    file = machine.root / there
    file.parent.mkdir(parents=True)
    file.symlink_to("/dev/null")
    for action in ("unmask", "enable", "disable"):
        assert machine.call("deb-systemd-helper", action, "ssh.service") == 0
    assert machine.call("deb-systemd-helper", "--quiet", "was-enabled", "ssh.service", fails=TOOLS[0]) == 1
    assert machine.call("deb-systemd-helper", "debian-installed", "ssh.service", fails=TOOLS[0]) == 1
    assert machine.asked() == [
        "deb-systemd-helper unmask ssh.service",
        "deb-systemd-helper enable ssh.service",
        "deb-systemd-helper disable ssh.service",
        "deb-systemd-helper --quiet was-enabled ssh.service",
        "deb-systemd-helper debian-installed ssh.service",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("systemctl", "is-active", "apache2.service"),
        ("systemctl", "--system", "restart", "apache2.service"),
        ("deb-systemd-invoke", "restart", "apache2.service"),
        ("deb-systemd-helper", "--user", "enable", "dirmngr.socket"),
        ("deb-systemd-helper", "purge", "apache2.service"),
        ("deb-systemd-helper",),
    ],
)
def test_whatever_else_is_asked_is_answered_by_the_real_tool(
    machine: FirstBoot, words: tuple[str, ...]
) -> None:
    assert machine.call(*words) == 0
    assert machine.call(*words, fails=words[0]) == 1
    assert machine.asked() == [f"{words[0]} {' '.join(words[1:])}"] * 2


def test_a_service_that_does_not_start_leaves_its_package_installed(machine: FirstBoot) -> None:
    machine.set_up("broken.service")
    assert machine.call("catch-up", fails="deb-systemd-invoke") == 0
    assert machine.asked()[-1] == "deb-systemd-invoke start broken.service"


def test_what_cannot_be_enabled_is_an_error(machine: FirstBoot) -> None:
    machine.set_up("apache2.service")
    assert machine.call("catch-up", fails="deb-systemd-helper") == 1
    assert machine.asked() == ["deb-systemd-helper enable apache2.service"]
