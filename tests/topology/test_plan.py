"""Who is who: the topology that the settings lead to."""

import dataclasses
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from lab.settings import load
from lab.topology import Names, Role, Topology, boot_queues, plan, warnings

Planned = Callable[..., Topology]


def test_the_tutorial_has_its_six_machines_and_addresses(tutorial: Topology) -> None:
    seen = {machine.name: (str(machine.address), machine.role.value) for machine in tutorial.machines}
    assert seen == {
        "master": ("192.168.1.21", "director"),
        "backup": ("192.168.1.22", "director"),
        "server1": ("192.168.1.50", "real-server"),
        "server2": ("192.168.1.51", "real-server"),
        "server3": ("192.168.1.52", "real-server"),
        "client": ("192.168.1.100", "client"),
    }
    assert str(tutorial.service.vip) == "192.168.1.20"
    assert tutorial.url == "http://192.168.1.20/"


def test_the_client_has_nine_more_addresses(tutorial: Topology) -> None:
    assert [str(address) for address in tutorial.client.extra_addresses] == [
        f"192.168.1.{last}" for last in range(101, 110)
    ]


def test_a_mac_shows_the_address_it_belongs_to(tutorial: Topology) -> None:
    macs = {machine.name: machine.mac for machine in tutorial.machines}
    assert macs["master"] == "52:54:00:a8:01:15"
    assert macs["client"] == "52:54:00:a8:01:64"
    assert len(set(macs.values())) == 6


def test_the_highest_priority_starts_as_master(planned: Planned) -> None:
    directors = [
        {"name": f"d{place}", "address": f"192.168.1.{20 + place}", "priority": priority}
        for place, priority in enumerate((10, 200, 100), start=1)
    ]
    topology = planned(directors=directors)
    assert [director.state for director in topology.directors] == ["BACKUP", "MASTER", "BACKUP"]


def test_without_preemption_nobody_starts_as_master(planned: Planned) -> None:
    """keepalived.conf(5): nopreempt needs an initial state of BACKUP."""
    assert {director.state for director in planned(preempt=False).directors} == {"BACKUP"}


def test_servers_boot_first_and_the_client_last(tutorial: Topology) -> None:
    assert [machine.name for machine in tutorial.machines] == [
        "server1",
        "server2",
        "server3",
        "master",
        "backup",
        "client",
    ]


def test_the_first_eight_bytes_of_the_password_count_and_that_is_said() -> None:
    settings = load({})
    assert plan(settings, "dev").router.auth_pass == "Venezuel"
    assert warnings(settings) == [
        "auth_pass has 11 characters; keepalived uses the first 8, so the lab writes just those."
    ]


@pytest.mark.parametrize("password", ["Venezuel", "a"])
def test_a_password_that_fits_is_nothing_to_warn_of(password: str) -> None:
    settings = load({"auth_pass": password})
    assert plan(settings, "dev").router.auth_pass == password
    assert warnings(settings) == []


def test_no_authentication_means_no_password_and_no_warning() -> None:
    settings = load({"auth_type": "none"})
    assert plan(settings, "dev").router.auth_pass is None
    assert warnings(settings) == []


def test_a_quorum_that_is_never_reached_is_said() -> None:
    found = warnings(load({"quorum": 4, "auth_pass": "short"}))
    assert found == ["quorum is 4, more than all weights together: it is never reached."]
    assert warnings(load({"quorum": 3, "auth_pass": "short"})) == []


def test_the_gateway_is_the_first_address_unless_set(planned: Planned) -> None:
    assert str(planned().segment.gateway) == "192.168.1.1"
    assert str(planned().segment.nameserver) == "192.168.1.1"
    moved = planned(gateway="192.168.1.254")
    assert (str(moved.segment.gateway), str(moved.segment.nameserver)) == ("192.168.1.254", "192.168.1.254")
    assert str(planned(nameserver="9.9.9.9").segment.nameserver) == "9.9.9.9"


def test_a_host_bridge_counts_in_bridge_mode_alone(planned: Planned) -> None:
    assert planned(bridge="br0").segment.host_bridge == ""
    assert planned(network="bridge", bridge="br0").segment.host_bridge == "br0"


def test_the_sorry_server_serves_pages_but_takes_no_share(planned: Planned) -> None:
    topology = planned(sorry_server={"name": "sorry", "address": "192.168.1.53"})
    assert topology.sorry_server is not None
    assert topology.sorry_server.role is Role.SORRY_SERVER
    assert topology.sorry_server not in topology.real_servers
    assert topology.sorry_server in topology.web_servers
    assert topology.sorry_server in topology.machines


def test_every_name_of_the_segment_resolves_and_the_mail_server_is_the_client(tutorial: Topology) -> None:
    table = {name: str(address) for address, names in tutorial.hosts for name in names}
    assert table == {
        "vip": "192.168.1.20",
        "master": "192.168.1.21",
        "backup": "192.168.1.22",
        "server1": "192.168.1.50",
        "server2": "192.168.1.51",
        "server3": "192.168.1.52",
        "client": "192.168.1.100",
        "mysmtp.laboratorio.com": "192.168.1.100",
    }


def test_another_port_shows_in_the_url(planned: Planned) -> None:
    assert planned(port=8080).url == "http://192.168.1.20:8080/"


def test_the_same_settings_give_the_same_topology() -> None:
    assert plan(load({}), "dev") == plan(load({}), "dev")


def test_a_topology_does_not_change(tutorial: Topology) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tutorial.client.address = IPv4Address("10.0.0.1")  # type: ignore[misc]


@pytest.mark.parametrize("stack", ["dev", "a-very-long-stack-name", "With_Capitals.and-dots", "x" * 100, "ñ"])
def test_a_bridge_name_is_one_the_kernel_takes(stack: str) -> None:
    bridge = Names(stack).bridge
    assert len(bridge) <= 15
    assert bridge.isascii()
    assert "/" not in bridge


def test_stacks_share_no_name_on_the_hypervisor() -> None:
    """The names of one stack's machines must not look like those of another's."""
    machines = ("master", "x-master", "backup")
    stacks = ("dev", "dev-x", "dev.x", "dev_x", "Dev", "prod")
    names = [Names(stack).domain(machine) for stack in stacks for machine in machines]
    names += [Names(stack).prefix for stack in stacks]
    assert len(set(names)) == len(names)
    assert len({Names(stack).bridge for stack in stacks}) == len(stacks)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 100])
def test_no_more_machines_boot_at_a_time_than_may(tutorial: Topology, limit: int) -> None:
    waits = boot_queues(tutorial.machines, limit)
    names = [machine.name for machine in tutorial.machines]
    assert [name for name in names if name not in waits] == names[:limit]
    # Each is followed by one at most: as many queues as there were at the beginning.
    assert len(set(waits.values())) == len(waits)
    assert all(names.index(first) < names.index(second) for second, first in waits.items())


def test_queues_end_at_about_the_same_time(tutorial: Topology) -> None:
    assert boot_queues(tutorial.machines, 2) == {
        "server3": "server1",
        "master": "server2",
        "backup": "master",
        "client": "server3",
    }
