"""Every rule at its edges: the last value that passes, the first that does not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.settings import LbAlgo, Settings, SettingsError, load, rules, stack_values

DIRECTOR = {"name": "master", "address": "192.168.1.21", "priority": 150}
SERVER = {"name": "server1", "address": "192.168.1.50", "weight": 1}


def director(**changed: Any) -> dict[str, Any]:
    return {"directors": [{**DIRECTOR, **changed}]}


def server(**changed: Any) -> dict[str, Any]:
    return {"servers": [{**SERVER, **changed}]}


def size(**changed: Any) -> dict[str, Any]:
    return {"sizes": {"client": changed}}


V3 = {"vrrp_version": 3, "auth_type": "none"}

ACCEPTED: list[dict[str, Any]] = [
    {},
    {"cidr": "192.168.0.0/16"},
    {
        "cidr": "10.1.1.0/29",
        "vip": "10.1.1.2",
        **director(address="10.1.1.3"),
        **server(address="10.1.1.4"),
        "client": {"address": "10.1.1.5", "extra_addresses": 1},
    },
    {"gateway": "192.168.1.254"},
    {"nameserver": "9.9.9.9"},
    {"gateway": "192.168.1.254", "network": "bridge", "bridge": "br0", "vip": "192.168.1.1"},
    {"client": {"extra_addresses": 0}},
    {"client": {"address": "192.168.1.53", "extra_addresses": 200}},
    {"client": {"address": "192.168.1.254", "extra_addresses": 0}},
    director(name="a"),
    director(name="a" * 63),
    director(name="web-1"),
    director(name="1"),
    {"vrrp_instance": "V_1.a-B"},
    {"vrrp_instance": "x" * 32},
    {"virtual_router_id": 1},
    {"virtual_router_id": 255},
    {"virtual_router_id": "21"},
    director(priority=1),
    director(priority=254),
    {"advert_int": "1"},
    {"advert_int": 255},
    {**V3, "advert_int": "0.01"},
    {**V3, "advert_int": 40.95},
    {"preempt": "false"},
    {"auth_pass": "a"},
    {"auth_pass": "aB9._%+=:,/-"},
    {"auth_type": "none", "auth_pass": ""},
    {"port": 1},
    {"port": 65535},
    *({"lb_algo": algorithm.value} for algorithm in LbAlgo),
    server(weight=0),
    server(weight=65535),
    {"persistence_timeout": 0},
    {"persistence_timeout": 2678400},
    {"delay_loop": 1},
    {"delay_loop": 3600},
    {"quorum": 7},
    {"check": {"type": "http", "path": "/"}},
    {"check": {"type": "http", "path": "/health?full=1&x=%20", "status": 204}},
    {"check": {"connect_timeout": 1}},
    {"check": {"connect_timeout": 600}},
    {"mail": {"to": ["a@b", "first.last+tag@sub.example.org"]}},
    {"mail": {"from_domain": "x"}},
    {"mail": {"smtp_connect_timeout": 600}},
    {"mail": {"smtp_server": "client"}},
    {"sorry_server": {"name": "sorry", "address": "192.168.1.53"}},
    {"sorry_server": {}},
    {"sorry_server": ""},
    size(memory=rules.SMALLEST_MEMORY),
    size(vcpus=16),
    size(disk=rules.SMALLEST_DISK),
    size(disk=1024),
    {"image": "/srv/guest.qcow2", "image_sha256": "0" * 64},
    {"package_proxy": "http://192.168.1.1:3142"},
    {"libvirt_uri": "qemu+ssh://root@server/system"},
    {"libvirt_uri": "qemu+unix:///system?socket=/run/x"},
    {"virtualization": "kvm"},
    {"virtualization": "qemu"},
    {"network": "isolated"},
    {"network": "bridge", "bridge": "br-lan.7"},
    {"boot_timeout": 10},
    {"boot_timeout": 7200},
    {"servers": '[{"name": "server1", "address": "192.168.1.50"}]'},
    {"mail": '{"to": ["a@b.c"]}'},
]

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"cidr": "192.168.1.7/24"}, "cidr", "host bits set"),
    ({"cidr": "fe80::/64"}, "cidr", "not an IPv4 network"),
    ({"cidr": "192.168.1.0/40"}, "cidr", "not an IPv4 network"),
    ({"cidr": "192.168.1.0/30"}, "cidr", "8 to 29"),
    ({"cidr": "0.0.0.0/7"}, "cidr", "8 to 29"),
    ({"gateway": "router"}, "gateway", "not an IPv4 address"),
    ({"gateway": "10.0.0.1"}, "gateway", "outside cidr"),
    ({"gateway": "192.168.1.0"}, "gateway", "network address"),
    ({"gateway": "192.168.1.255"}, "gateway", "broadcast address"),
    ({"nameserver": "dns"}, "nameserver", "not an IPv4 address"),
    ({"vip": "vip"}, "vip", "not an IPv4 address"),
    ({"vip": "192.168.1.20/24"}, "vip", "not an IPv4 address"),
    ({"vip": "192.168.1.1"}, "vip", "already used by the gateway"),
    ({"vip": "192.168.1.1", "gateway": "192.168.1.254"}, "vip", "already used by the host"),
    (director(address="192.168.2.21"), "directors.0.address", "outside cidr"),
    (server(address=""), "servers.0.address", "not an IPv4 address"),
    ({"client": {"address": "x"}}, "client.address", "not an IPv4 address"),
    ({"client": {"extra_addresses": -1}}, "client.extra_addresses", "0 to 200"),
    ({"client": {"extra_addresses": 201}}, "client.extra_addresses", "0 to 200"),
    ({"client": {"address": "192.168.1.250"}}, "client.extra_addresses", "not a host address"),
    ({"client": {"address": "192.168.1.12"}}, "client.extra_addresses", "192.168.1.20 is vip"),
    ({"directors": []}, "directors", "at least one"),
    ({"servers": []}, "servers", "at least one"),
    (server(name=""), "servers.0.name", "not a host name"),
    (server(name="a" * 64), "servers.0.name", "not a host name"),
    (server(name="-a"), "servers.0.name", "not a host name"),
    (server(name="a-"), "servers.0.name", "not a host name"),
    (server(name="A"), "servers.0.name", "not a host name"),
    (server(name="a.b"), "servers.0.name", "not a host name"),
    (server(name="a\n"), "servers.0.name", "not a host name"),
    (server(name="ñ"), "servers.0.name", "not a host name"),
    (server(name="$(id)"), "servers.0.name", "not a host name"),
    (server(name="localhost"), "servers.0.name", "taken"),
    (server(name="vip"), "servers.0.name", "taken"),
    ({"client": {"name": "master"}}, "client.name", "already the name of directors.0"),
    ({"sorry_server": {"name": "server1", "address": "192.168.1.53"}}, "sorry_server.name", "already"),
    ({"vrrp_instance": ""}, "vrrp_instance", "1 to 32"),
    ({"vrrp_instance": "a b"}, "vrrp_instance", "1 to 32"),
    ({"vrrp_instance": "x" * 33}, "vrrp_instance", "1 to 32"),
    ({"virtual_router_id": 0}, "virtual_router_id", "1 to 255"),
    ({"virtual_router_id": 256}, "virtual_router_id", "1 to 255"),
    (director(priority=0), "directors.0.priority", "1 to 254"),
    (director(priority=255), "directors.0.priority", "1 to 254"),
    ({"vrrp_version": 1}, "vrrp_version", "2 or 3"),
    ({"vrrp_version": 4}, "vrrp_version", "2 or 3"),
    ({"advert_int": "0.5"}, "advert_int", "whole seconds"),
    ({"advert_int": "0"}, "advert_int", "whole seconds"),
    ({"advert_int": "256"}, "advert_int", "whole seconds"),
    ({"advert_int": "soon"}, "advert_int", "not a number"),
    ({"advert_int": "1e0"}, "advert_int", "not a number"),
    ({"advert_int": "1_0"}, "advert_int", "not a number"),
    ({"advert_int": "1 # }"}, "advert_int", "not a number"),
    ({"advert_int": " 1"}, "advert_int", "not a number"),
    ({"advert_int": "nan"}, "advert_int", "not a number"),
    ({"advert_int": "inf"}, "advert_int", "not a number"),
    ({"advert_int": "\u0661"}, "advert_int", "not a number"),
    ({**V3, "advert_int": "0.009"}, "advert_int", "0.01 to 40.95"),
    ({**V3, "advert_int": "40.96"}, "advert_int", "0.01 to 40.95"),
    ({"auth_type": "AH"}, "auth_type", "PASS or none"),
    ({"vrrp_version": 3}, "auth_type", "no password"),
    ({"auth_pass": ""}, "auth_pass", "not be empty"),
    *(({"auth_pass": f"a{sign}b"}, "auth_pass", "one word") for sign in " #!\"'{}$~@\n\t\\ñ"),
    ({"port": 0}, "port", "1 to 65535"),
    ({"port": 65536}, "port", "1 to 65535"),
    ({"port": 22}, "port", "SSH"),
    ({"lb_algo": "RR"}, "lb_algo", "no such scheduler"),
    ({"lb_algo": ""}, "lb_algo", "no such scheduler"),
    (server(weight=-1), "servers.0.weight", "0 to 65535"),
    (server(weight=65536), "servers.0.weight", "0 to 65535"),
    ({"persistence_timeout": -1}, "persistence_timeout", "0 to 2678400"),
    ({"persistence_timeout": 2678401}, "persistence_timeout", "0 to 2678400"),
    ({"delay_loop": 0}, "delay_loop", "1 to 3600"),
    ({"delay_loop": 3601}, "delay_loop", "1 to 3600"),
    ({"quorum": 0}, "quorum", "1 or more"),
    ({"check": {"type": "ping"}}, "check.type", "tcp or http"),
    ({"check": {"connect_timeout": 0}}, "check.connect_timeout", "1 to 600"),
    ({"check": {"connect_timeout": 601}}, "check.connect_timeout", "1 to 600"),
    ({"check": {"type": "http"}}, "check.path", "needs the path"),
    ({"check": {"path": "/"}}, "check.path", "asks for no path"),
    ({"check": {"type": "http", "path": "x"}}, "check.path", "start with /"),
    *(
        ({"check": {"type": "http", "path": f"/a{sign}b"}}, "check.path", "start with /")
        for sign in " \"'{}#!\n$"
    ),
    ({"check": {"status": 99}}, "check.status", "HTTP status"),
    ({"check": {"status": 600}}, "check.status", "HTTP status"),
    ({"mail": {"to": []}}, "mail.to", "at least one"),
    ({"mail": {"to": ["nobody"]}}, "mail.to.0", "not a mail address"),
    ({"mail": {"to": ["a@b.c", "a@-b"]}}, "mail.to.1", "not a mail address"),
    ({"mail": {"to": ["a b@c.d"]}}, "mail.to.0", "not a mail address"),
    ({"mail": {"to": ["a@b.c\n}"]}}, "mail.to.0", "not a mail address"),
    ({"mail": {"from_domain": "a b"}}, "mail.from_domain", "not a domain"),
    ({"mail": {"smtp_server": ""}}, "mail.smtp_server", "not a domain"),
    ({"mail": {"smtp_server": "a..b"}}, "mail.smtp_server", "not a domain"),
    ({"mail": {"smtp_server": "master"}}, "mail.smtp_server", "another machine"),
    ({"mail": {"smtp_server": "localhost"}}, "mail.smtp_server", "another machine"),
    ({"mail": {"smtp_connect_timeout": 0}}, "mail.smtp_connect_timeout", "1 to 600"),
    (size(memory=rules.SMALLEST_MEMORY - 1), "sizes.client.memory", "first boot"),
    (size(vcpus=0), "sizes.client.vcpus", "1 to 16"),
    (size(vcpus=17), "sizes.client.vcpus", "1 to 16"),
    (size(disk=rules.SMALLEST_DISK - 1), "sizes.client.disk", "GiB"),
    (size(disk=1025), "sizes.client.disk", "GiB"),
    ({"image": "guest.qcow2"}, "image", "absolute path"),
    ({"image_sha256": "abc"}, "image_sha256", "64 hex"),
    ({"image_sha256": "0" * 64}, "image_sha256", "given by path"),
    ({"cidr": "127.0.0.0/8"}, "cidr", "loopback"),
    ({"cidr": "224.0.0.0/8"}, "cidr", "multicast"),
    ({"image_sha256": "A" * 64}, "image_sha256", "64 hex"),
    ({"package_proxy": "192.168.1.1:3142"}, "package_proxy", "not an http URL"),
    ({"package_proxy": "http://"}, "package_proxy", "not an http URL"),
    ({"package_proxy": "http://a/'b"}, "package_proxy", "not an http URL"),
    ({"package_proxy": "http://[a"}, "package_proxy", "not an http URL"),
    ({"libvirt_uri": "xen:///"}, "libvirt_uri", "qemu libvirt URI"),
    ({"libvirt_uri": "qemu:///system x"}, "libvirt_uri", "qemu libvirt URI"),
    ({"virtualization": "xen"}, "virtualization", "auto, kvm or qemu"),
    ({"network": "vlan"}, "network", "nat, isolated or bridge"),
    ({"network": "bridge"}, "bridge", "needs the name"),
    ({"bridge": "a/b"}, "bridge", "interface name"),
    ({"bridge": "b" * 16}, "bridge", "interface name"),
    ({"boot_timeout": 9}, "boot_timeout", "10 to 7200"),
    ({"boot_timeout": 7201}, "boot_timeout", "10 to 7200"),
    ({"vip": None}, "vip", "valid string"),
    ({"port": "http"}, "port", "valid integer"),
    ({"port": 80.5}, "port", "valid integer"),
    ({"preempt": "perhaps"}, "preempt", "valid boolean"),
    ({"servers": "server1"}, "servers", "valid tuple"),
    ({"servers": [{"name": "server1"}]}, "servers.0.address", "required"),
    ({"servers": ["server1"]}, "servers.0", "dictionary or instance"),
    ({"Vip": "192.168.1.20"}, "Vip", "no such key"),
    ({"sizes": {"director": {"ram": 1}}}, "sizes.director.ram", "no such key"),
]


@pytest.mark.parametrize("values", ACCEPTED, ids=str)
def test_a_value_at_the_edge_passes(values: dict[str, Any]) -> None:
    load(values)


@pytest.mark.parametrize(("values", "key", "rule"), REFUSED, ids=str)
def test_a_value_beyond_the_edge_is_refused_by_its_rule(values: dict[str, Any], key: str, rule: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(values)
    problems = caught.value.problems
    assert [key for _ in problems] == [problem.key for problem in problems]
    assert rule in problems[0].rule
    assert len(str(problems[0]).splitlines()) == 2


def test_nothing_set_and_the_stack_dev_are_the_same_lab() -> None:
    dev = Path(__file__).parents[2] / "Pulumi.dev.yaml"
    assert load(stack_values(dev.read_text(encoding="utf-8"))) == Settings() == load({})


def test_values_may_come_as_the_engine_passes_them() -> None:
    """The engine hands every value over as text, composites as JSON."""
    plain: dict[str, Any] = {
        "port": 8080,
        "preempt": False,
        "advert_int": 2,
        "servers": [SERVER],
        "check": {"type": "http", "path": "/"},
        "sorry_server": {"name": "sorry", "address": "192.168.1.53"},
    }
    text = {
        "port": "8080",
        "preempt": "false",
        "advert_int": "2",
        "servers": '[{"name":"server1","address":"192.168.1.50","weight":1}]',
        "check": '{"type":"http","path":"/"}',
        "sorry_server": '{"name":"sorry","address":"192.168.1.53"}',
    }
    assert load(plain) == load(text)


def test_a_password_of_digits_reads_the_same_from_file_and_engine() -> None:
    """YAML makes a number of it, the engine a text."""
    assert load({"auth_pass": 12345678}).auth_pass == load({"auth_pass": "12345678"}).auth_pass == "12345678"


def test_settings_do_not_change_after_the_check() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 81  # type: ignore[misc]


def keys(section: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in section.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")


def test_the_manifest_names_no_key_that_the_model_lacks() -> None:
    manifest = yaml.safe_load((Path(__file__).parents[2] / "Pulumi.yaml").read_text(encoding="utf-8"))
    assert {key.split(":")[1] for key in manifest["config"]} == set(Settings.model_fields)
