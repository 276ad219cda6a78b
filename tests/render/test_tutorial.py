"""The tutorial, directive for directive: written down from its text, found in what the lab renders.

The tables below were copied by hand from the two configurations in the tutorial
(``guia/dr.rst`` of cgomeznt/Keepalived). What the lab adds to them is listed too, with its reason; there
is nothing else in the rendered files.
"""

import pytest

from lab.render import pushes
from lab.topology import Topology
from tests.render.conf import directives, parse

INSTANCE = "vrrp_instance externa"
VIRTUAL_SERVER = "virtual_server 192.168.1.20 80"

# What both directors have, in the tutorial's order: (blocks around it …, directive and value).
COMMON: list[tuple[str, ...]] = [
    ("global_defs", "notification_email", "cgomez.stack@gmail.com"),
    ("global_defs", "smtp_server mysmtp.laboratorio.com"),
    ("global_defs", "smtp_connect_timeout 30"),
    (INSTANCE, "interface eth0"),
    (INSTANCE, "virtual_router_id 21"),
    (INSTANCE, "advert_int 1"),
    (INSTANCE, "authentication", "auth_type PASS"),
    (INSTANCE, "virtual_ipaddress", "192.168.1.20/24"),
    (VIRTUAL_SERVER, "delay_loop 10"),
    (VIRTUAL_SERVER, "protocol TCP"),
    (VIRTUAL_SERVER, "lb_algo rr"),
    (VIRTUAL_SERVER, "lb_kind DR"),
    (VIRTUAL_SERVER, "persistence_timeout 7200"),
    (VIRTUAL_SERVER, "real_server 192.168.1.50 80", "weight 1"),
    (VIRTUAL_SERVER, "real_server 192.168.1.50 80", "TCP_CHECK", "connect_timeout 5"),
    (VIRTUAL_SERVER, "real_server 192.168.1.50 80", "TCP_CHECK", "connect_port 80"),
    (VIRTUAL_SERVER, "real_server 192.168.1.51 80", "weight 1"),
    (VIRTUAL_SERVER, "real_server 192.168.1.51 80", "TCP_CHECK", "connect_timeout 5"),
    (VIRTUAL_SERVER, "real_server 192.168.1.51 80", "TCP_CHECK", "connect_port 80"),
    (VIRTUAL_SERVER, "real_server 192.168.1.52 80", "weight 1"),
    (VIRTUAL_SERVER, "real_server 192.168.1.52 80", "TCP_CHECK", "connect_timeout 5"),
    (VIRTUAL_SERVER, "real_server 192.168.1.52 80", "TCP_CHECK", "connect_port 80"),
]
# "solo cambia notification_email_from, state, priority"
OWN: dict[str, list[tuple[str, ...]]] = {
    "master": [
        ("global_defs", "notification_email_from master@laboratorio.com"),
        (INSTANCE, "state MASTER"),
        (INSTANCE, "priority 150"),
    ],
    "backup": [
        ("global_defs", "notification_email_from backup@laboratorio.com"),
        (INSTANCE, "state BACKUP"),
        (INSTANCE, "priority 100"),
    ],
}
# The one value that is written differently: keepalived would cut it and complain.
PASSWORD_OF_THE_TUTORIAL = "Venezuela21"
PASSWORD = [(INSTANCE, "authentication", "auth_pass Venezuel")]


def added(name: str) -> list[tuple[str, ...]]:
    return [
        # keepalived takes the host name otherwise; mails then say who it was even before that is set.
        ("global_defs", f"router_id {name}"),
        # Off by default: a VIP that moves would not be mailed (keepalived.conf(5)).
        ("global_defs", "smtp_alert_vrrp true"),
    ]


def rendered(topology: Topology, name: str) -> str:
    (director,) = (director for director in topology.directors if director.name == name)
    return pushes.keepalived_conf(topology, director)


@pytest.mark.parametrize("name", ["master", "backup"])
def test_the_tutorials_directives_are_there_one_for_one_and_nothing_contradicts_them(
    tutorial: Topology, name: str
) -> None:
    found = directives(rendered(tutorial, name))
    expected = COMMON + OWN[name] + PASSWORD
    missing = [entry for entry in expected if found.count(entry) != 1]
    assert missing == []
    beside = [entry for entry in found if entry not in expected]
    assert sorted(beside) == sorted(added(name))


@pytest.mark.parametrize("name", ["master", "backup"])
def test_no_directive_is_given_twice_with_two_values(tutorial: Topology, name: str) -> None:
    keywords = [(*path[:-1], path[-1].split()[0]) for path in directives(rendered(tutorial, name))]
    assert len(keywords) == len(set(keywords))


def test_the_password_is_the_part_of_the_tutorials_that_keepalived_uses(tutorial: Topology) -> None:
    (entry,) = PASSWORD
    assert entry[-1] == f"auth_pass {PASSWORD_OF_THE_TUTORIAL.encode()[:8].decode()}"


def test_the_directors_differ_in_what_the_tutorial_says_and_in_their_names(tutorial: Topology) -> None:
    master, backup = (set(directives(rendered(tutorial, name))) for name in ("master", "backup"))
    differing = {path[-1].split()[0] for path in master ^ backup}
    assert differing == {"notification_email_from", "state", "priority", "router_id"}


def test_real_servers_come_in_the_tutorials_order(tutorial: Topology) -> None:
    (service,) = (block for block in parse(rendered(tutorial, "master")).body or () if "80" in block.words)
    servers = [block.words[1] for block in service.body or () if block.words[0] == "real_server"]
    assert servers == ["192.168.1.50", "192.168.1.51", "192.168.1.52"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("lb_kind DR", "lb_kind NAT"),
        ("priority 150", "priority 15"),
        ("    delay_loop 10\n", ""),
        ("advert_int 1", "advert_int 1\n    advert_int 2"),
        ("    lb_algo rr\n", "    lb_algo rr\n    quorum 2\n"),
    ],
)
def test_the_comparison_sees_a_contradiction(tutorial: Topology, before: str, after: str) -> None:
    conf = rendered(tutorial, "master")
    assert before in conf
    found = directives(conf.replace(before, after, 1))
    assert sorted(found) != sorted(COMMON + OWN["master"] + PASSWORD + added("master"))
