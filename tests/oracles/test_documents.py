"""cloud-init and netplan on the documents of the first boot."""

import configparser
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests import golden
from tests.oracles.tools import lacking, need

USER_DATA = sorted(name for name in golden.names("render") if name.endswith("/user-data.yaml"))
NETWORK = sorted(name for name in golden.names("render") if name.endswith("/network-config.yaml"))
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cloud_init(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs cloud-init: the computer's own, or Debian's unpacked.

    It is never installed for this: on a computer it would set that up anew at its next boot.
    """
    command, environment = ["cloud-init"], dict(os.environ)
    if not shutil.which("cloud-init"):
        folder = tmp_path_factory.mktemp("cloud-init")
        folder.chmod(0o755)
        fetch = subprocess.run(
            ["apt-get", "-q", "download", "cloud-init"],
            check=False,
            cwd=folder,
            capture_output=True,
            text=True,
        )
        packages = list(folder.glob("*.deb"))
        if fetch.returncode != 0 or not packages:
            lacking(f"cloud-init is neither here nor to be had: {fetch.stderr.strip()[-200:]}")
        subprocess.run(["dpkg-deb", "-x", packages[0], folder], check=True)
        environment["PYTHONPATH"] = str(folder / "usr/lib/python3/dist-packages")
        command = ["/usr/bin/python3", "-m", "cloudinit.cmd.main"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], check=False, capture_output=True, text=True, timeout=60, env=environment
        )

    probe = run("--version")
    if probe.returncode != 0:
        lacking(f"cloud-init does not run (tests/packages.txt lists what it needs): {probe.stderr[-300:]}")
    return run


@pytest.mark.parametrize("name", USER_DATA)
def test_cloud_init_accepts_the_user_data(cloud_init: Run, name: str) -> None:
    done = cloud_init("schema", "--config-file", str(golden.HERE / name))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid" in done.stdout
    assert "deprecat" not in (done.stdout + done.stderr).lower()


def test_cloud_init_refuses_what_is_wrong(cloud_init: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "user-data.yaml"
    good = (golden.HERE / USER_DATA[0]).read_text(encoding="utf-8")
    wrong.write_text(good + "no_such_key_at_all: true\npackage_update: perhaps\n", encoding="utf-8")
    assert cloud_init("schema", "--config-file", str(wrong)).returncode != 0


def generated(document: str, folder: Path) -> tuple[str, dict[str, str]]:
    """What netplan says to a network-config, and the files it makes of it, by name."""
    plan = folder / "etc/netplan/50-cloud-init.yaml"
    plan.parent.mkdir(parents=True)
    plan.touch(mode=0o600)
    plan.write_text(yaml.safe_dump({"network": yaml.safe_load(document)}), encoding="utf-8")
    done = subprocess.run(
        [need("netplan", "netplan.io"), "generate", "--root-dir", folder],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    made = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("run/systemd/network/*")}
    return done.stdout + done.stderr, made


@pytest.mark.parametrize("name", NETWORK)
def test_netplan_makes_of_it_what_was_meant(name: str, tmp_path: Path) -> None:
    document = (golden.HERE / name).read_text(encoding="utf-8")
    said, made = generated(document, tmp_path)
    assert said == ""
    # The drop-in that keeps the VIP on a director hangs on this name (cloud-init/user-data.yaml.j2).
    assert set(made) == {"10-netplan-eth0.network", "10-netplan-eth0.link"}
    asked = yaml.safe_load(document)["ethernets"]["eth0"]
    lines = made["10-netplan-eth0.network"].splitlines()
    addresses = [line.removeprefix("Address=") for line in lines if line.startswith("Address=")]
    assert addresses == asked["addresses"]
    assert f"Gateway={asked['routes'][0]['via']}" in lines
    assert f"DNS={asked['nameservers']['addresses'][0]}" in lines
    assert "LinkLocalAddressing=no" in lines
    assert "IPv6AcceptRA=no" in lines
    assert not any(line.startswith("DHCP=") and line != "DHCP=no" for line in lines)
    link = configparser.ConfigParser()
    link.read_string(made["10-netplan-eth0.link"])
    assert link["Link"]["Name"] == "eth0"
    assert asked["match"]["macaddress"] in made["10-netplan-eth0.link"]


def test_netplan_refuses_what_is_wrong(tmp_path: Path) -> None:
    document = (golden.HERE / NETWORK[0]).read_text(encoding="utf-8").replace("set-name", "set-nam")
    said, made = generated(document, tmp_path)
    assert "set-nam" in said
    assert made == {}
