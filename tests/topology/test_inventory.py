"""The stack output ``inventory``: all that the tools know of a lab."""

import json
from collections.abc import Callable

import pytest

from lab.inventory import Inventory, describe
from lab.topology import Role, Topology

URI = "qemu:///system"


def described(topology: Topology) -> Inventory:
    keys = {machine.name: f"ssh-ed25519 AAAA{machine.name} comment" for machine in topology.machines}
    return Inventory.model_validate(json.loads(json.dumps(describe(topology, URI, keys))))


def test_it_survives_the_way_through_the_engine(tutorial: Topology) -> None:
    inventory = described(tutorial)
    assert [machine.name for machine in inventory.machines] == [
        "master",
        "backup",
        "server1",
        "server2",
        "server3",
        "client",
    ]
    assert (inventory.stack, inventory.vip, inventory.port) == ("dev", "192.168.1.20", 80)
    assert inventory.libvirt_uri == URI


def test_a_machine_tells_what_its_role_is_about(tutorial: Topology) -> None:
    inventory = described(tutorial)
    master, server, client = (inventory.machine(name) for name in ("master", "server1", "client"))
    assert (master.priority, master.weight) == (150, None)
    assert master.packages == ("keepalived", "ipvsadm")
    assert (server.priority, server.weight) == (None, 1)
    assert client.extra_addresses[0] == "192.168.1.101"
    assert master.host_key == "ssh-ed25519 AAAAmaster"


def test_machines_are_found_by_name_and_by_role(tutorial: Topology) -> None:
    inventory = described(tutorial)
    assert [machine.name for machine in inventory.by_role(Role.DIRECTOR)] == ["master", "backup"]
    with pytest.raises(KeyError):
        inventory.machine("server9")


def test_it_holds_no_secret(tutorial: Topology) -> None:
    assert "Venezuel" not in described(tutorial).model_dump_json()


def test_a_subsecond_interval_stays_a_number(planned: Callable[..., Topology]) -> None:
    inventory = described(planned(vrrp_version=3, auth_type="none", advert_int="0.1"))
    assert inventory.advert_int == pytest.approx(0.1)


def test_in_bridge_mode_the_hosts_bridge_is_named(planned: Callable[..., Topology]) -> None:
    assert described(planned(network="bridge", bridge="br0")).bridge == "br0"
    assert described(planned()).bridge == "br-dev"
