"""First boot: YAML that says what was meant, and a fingerprint that follows it."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from lab.keys import derive
from lab.render.guest import FIRST_BOOT, PACKAGES, Seed
from lab.topology import Topology
from tests.render.cases import IMAGE, SECRET, SORRY, seed

Planned = Callable[..., Topology]


def documents(topology: Topology, name: str, **options: Any) -> tuple[dict[str, Any], dict[str, Any], Seed]:
    (machine,) = (machine for machine in topology.machines if machine.name == name)
    found = seed(topology, machine, **options)
    return yaml.safe_load(found.user_data), yaml.safe_load(found.network_config), found


@pytest.mark.parametrize("name", ["master", "server1", "client", "sorry"])
def test_a_machine_gets_its_name_its_keys_and_its_packages(planned: Planned, name: str) -> None:
    topology = planned(sorry_server=SORRY)
    (machine,) = (machine for machine in topology.machines if machine.name == name)
    user_data, _, found = documents(topology, name)
    assert found.user_data.startswith("#cloud-config\n")
    assert user_data["hostname"] == name
    assert user_data["packages"] == list(PACKAGES[machine.role])
    key = derive(SECRET, f"host {name}")
    assert user_data["ssh_keys"] == {"ed25519_private": key.private, "ed25519_public": key.public}
    (root,) = user_data["users"]
    assert root["ssh_authorized_keys"] == [derive(SECRET, "login").public]
    assert user_data["ssh_pwauth"] is False
    assert yaml.safe_load(found.meta_data) == {
        "instance-id": f"{name}-{found.fingerprint}",
        "local-hostname": name,
    }


def test_the_package_lists_are_those_of_the_lab() -> None:
    assert {role.value: packages for role, packages in PACKAGES.items()} == {
        "director": ("keepalived", "ipvsadm"),
        "real-server": ("apache2",),
        "sorry-server": ("apache2",),
        "client": ("curl", "tcpdump", "arping", "python3", "python3-aiosmtpd"),
    }


def test_nothing_upgrades_a_guest_behind_the_trainees_back(tutorial: Topology) -> None:
    user_data, _, _ = documents(tutorial, "master")
    assert user_data["package_upgrade"] is False
    assert 'APT::Periodic::Enable "0";' in user_data["apt"]["conf"]


def test_a_director_keeps_the_vip_over_a_restart_of_networkd(tutorial: Topology) -> None:
    user_data, _, _ = documents(tutorial, "backup")
    files = {entry["path"]: entry["content"] for entry in user_data["write_files"]}
    assert files["/etc/systemd/network/10-netplan-eth0.network.d/keep-vip.conf"] == (
        "[Network]\nKeepConfiguration=static\n"
    )


def test_no_real_server_has_the_vip_before_its_arp_settings(tutorial: Topology) -> None:
    user_data, network, found = documents(tutorial, "server1")
    assert "192.168.1.20" not in found.user_data + found.network_config
    written = {entry["path"]: entry["content"] for entry in user_data["write_files"]}
    assert {path for path in written if not path.startswith(FIRST_BOOT)} == {
        "/etc/apt/apt.conf.d/95first-boot",
        "/etc/hosts",
        "/etc/ssh/sshd_config.d/10-lvs-dr-lab.conf",
        "/var/www/html/index.html",
    }
    assert written["/var/www/html/index.html"] == "server1\n"
    assert written["/etc/hosts"] == "127.0.0.1 localhost\n127.0.1.1 server1\n"
    assert network["ethernets"]["eth0"]["addresses"] == ["192.168.1.50/24"]


def test_a_machine_addresses_itself(tutorial: Topology) -> None:
    _, network, _ = documents(tutorial, "client")
    assert network["version"] == 2
    assert network["ethernets"]["eth0"] == {
        "match": {"macaddress": "52:54:00:a8:01:64"},
        "set-name": "eth0",
        "dhcp4": False,
        "dhcp6": False,
        "accept-ra": False,
        "link-local": [],
        "addresses": [f"192.168.1.{last}/24" for last in range(100, 110)],
        "routes": [{"to": "0.0.0.0/0", "via": "192.168.1.1"}],
        "nameservers": {"addresses": ["192.168.1.1"]},
    }


@pytest.mark.parametrize(
    "name", ["123", "0", "on", "no", "null", "true", "1e3", "0x1f", "2024-01-01", "0o7", "1-2"]
)
def test_a_legal_name_that_looks_like_something_else_stays_a_name(planned: Planned, name: str) -> None:
    topology = planned(servers=[{"name": name, "address": "192.168.1.50"}])
    user_data, _, found = documents(topology, name)
    assert user_data["hostname"] == name
    written = {entry["path"]: entry["content"] for entry in user_data["write_files"]}
    assert written["/var/www/html/index.html"] == f"{name}\n"
    assert yaml.safe_load(found.meta_data) == {
        "instance-id": f"{name}-{found.fingerprint}",
        "local-hostname": name,
    }


@pytest.mark.parametrize(
    "proxy",
    [
        "http://proxy:3142/a#b",
        "http://u:p%40@[fe80::1]:1/x?y=1&z={{1}}",
        "http://p/*anchor",
        "http://p/%7B{%",
    ],
)
def test_a_legal_proxy_that_looks_like_markup_survives_literally(planned: Planned, proxy: str) -> None:
    topology = planned(package_proxy=proxy)
    user_data, _, _ = documents(topology, "server1", package_proxy=proxy)
    assert user_data["apt"]["http_proxy"] == proxy
    assert "http_proxy" not in documents(topology, "server1")[0]["apt"]


def test_the_same_input_gives_the_same_fingerprint(tutorial: Topology) -> None:
    assert documents(tutorial, "master")[2] == documents(tutorial, "master")[2]


def test_whatever_the_first_boot_depends_on_changes_the_fingerprint(planned: Planned) -> None:
    def fingerprint(topology: Topology, **options: Any) -> str:
        return documents(topology, "server1", **options)[2].fingerprint

    plain = fingerprint(planned())
    others = [
        fingerprint(planned(), image="b" * 64),
        fingerprint(planned(), package_proxy="http://proxy:3142"),
        fingerprint(planned(nameserver="9.9.9.9")),
        fingerprint(planned(gateway="192.168.1.254")),
        fingerprint(planned(servers=[{"name": "server1", "address": "192.168.1.60"}])),
    ]
    assert plain not in others
    assert len(set(others)) == len(others)
    assert len(plain) == 8


def test_what_is_pushed_later_does_not_rebuild_a_machine(planned: Planned) -> None:
    plain = documents(planned(), "server1", image=IMAGE)[2]
    pushed = planned(port=8080, lb_algo="wlc", vip="192.168.1.30", quorum=2, auth_pass="other")
    assert documents(pushed, "server1", image=IMAGE)[2] == plain
