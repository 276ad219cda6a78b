"""The judgement of checks, on facts made up for each case; the real lab has its turn in tests/e2e."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from lab.inventory import Inventory
from lab.operate import sources
from lab.operate.checks import CHECKS, Check, Examination, Outcome, Result, Verdict, base, examine, named
from lab.operate.checks.state import drift_of
from lab.operate.checks.traffic import Experiment, expected_shares
from lab.operate.facts import Facts, dr_fault, understand
from lab.operate.guests import Guests, UnreachableError
from lab.operate.outputs import ipvs_table
from lab.operate.recording import Request
from lab.topology import Role, Topology
from tests.conftest import inventory_of

TABLE = "TCP  192.168.1.20:80 rr persistent 7200\n" + "".join(
    f"  -> 192.168.1.{last}:80 Route 1 0 0\n" for last in (50, 51, 52)
)


def facts(name: str, **values: object) -> Facts:
    role = {"master": Role.DIRECTOR, "backup": Role.DIRECTOR, "client": Role.CLIENT}.get(
        name, Role.REAL_SERVER
    )
    known = {
        "name": name,
        "role": role,
        "uptime": 10.0,
        "service": "active",
        "addresses": {"eth0": ("192.168.1.21/24",), "lo": ("127.0.0.1/8",)},
    }
    return Facts(**(known | values))  # type: ignore[arg-type]


SERVER = {"lo": ("127.0.0.1/8", "192.168.1.20/32"), "eth0": ("192.168.1.50/24",)}
ARP = {"all/arp_ignore": 1, "all/arp_announce": 2, "eth0/arp_ignore": 0, "eth0/arp_announce": 0}


class Told(Examination):
    """An examination whose machines say what the test tells them to."""

    def __init__(self, inventory: Inventory, told: dict[str, Facts], made: Experiment | None = None) -> None:
        super().__init__(Guests(inventory, None))  # type: ignore[arg-type]
        self._told = told
        self._made = made

    async def facts(self, name: str) -> Facts:
        if name not in self._told:
            raise UnreachableError(name, "no answer")
        return self._told[name]

    async def once(self, what: str, make: object) -> Any:
        assert self._made is not None
        return self._made


def look(examination: Examination, check: str, machine: str) -> Verdict:
    (found,) = named([check])
    return asyncio.run(found.look(examination, machine))


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, None),
        ({"addresses": {"lo": ("127.0.0.1/8",)}}, "192.168.1.20/32 is not on lo"),
        ({"addresses": {"lo": ("192.168.1.20/24",)}}, "192.168.1.20/24 on lo, not /32"),
        (
            {"addresses": SERVER | {"eth0": ("192.168.1.50/24", "192.168.1.20/24")}},
            "192.168.1.20 is on eth0 too",
        ),
        ({"arp": ARP | {"all/arp_ignore": 0}}, "arp_ignore is 0, not 1"),
        ({"arp": ARP | {"eth0/arp_ignore": 2}}, "arp_ignore is 2, not 1"),
        ({"arp": ARP | {"all/arp_announce": 0, "lo/arp_announce": 2}}, "arp_announce is 0, not 2"),
        ({"arp": ARP | {"all/arp_ignore": 0, "eth0/arp_ignore": 1}}, None),
        ({"arp": None}, "arp_ignore is 0, not 1"),
    ],
)
def test_direct_routing_settings(changed: dict[str, object], fault: str | None) -> None:
    assert (
        dr_fault(facts("server1", **({"addresses": SERVER, "arp": ARP} | changed)), "192.168.1.20") == fault
    )


@pytest.mark.parametrize(
    ("holders", "failing"),
    [
        ({"master"}, set()),
        ({"backup"}, {"master", "backup"}),
        ({"master", "backup"}, {"backup"}),
        (set(), {"master"}),
    ],
)
def test_the_vip_is_where_the_priority_says(
    inventory: Inventory, holders: set[str], failing: set[str]
) -> None:
    told = {
        name: facts(name, addresses={"eth0": ("192.168.1.20/24",)} if name in holders else {}, vrrp="MASTER")
        for name in ("master", "backup")
    }
    found = {
        name for name in told if look(Told(inventory, told), "vip-holder", name).outcome is Outcome.FAILED
    }
    assert found == failing


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("", "", "rr to 3 servers"),
        (
            "TCP  192.168.1.20:80",
            "TCP  192.168.1.30:80",
            "no virtual server 192.168.1.20:80, only 192.168.1.30:80",
        ),
        (TABLE, "", "an empty table"),
        (" rr ", " wlc ", "the scheduler is wlc, not rr"),
        ("persistent 7200", "", "persistence is 0 s, not 7200 s"),
        ("  -> 192.168.1.51:80 Route 1 0 0\n", "", "server2 is not in it"),
        ("51:80 Route 1", "51:80 Route 0", "server2 has weight 0, not 1"),
        ("51:80 Route", "51:80 Masq", "server2 is forwarded by Masq, not Route"),
        ("192.168.1.52:80", "192.168.1.99:80", "192.168.1.99 is in it"),
        (
            "TCP  192.168.1.20:80",
            "TCP  192.168.1.30:80 rr\nTCP  192.168.1.20:80",
            "a virtual server too many",
        ),
    ],
)
def test_the_table_is_the_topologys(inventory: Inventory, before: str, after: str, words: str) -> None:
    told = facts("master", table=ipvs_table(TABLE.replace(before, after) if before else TABLE))
    verdict = look(Told(inventory, {"master": told}), "ipvs-table", "master")
    assert (verdict.outcome is Outcome.PASSED) is (not before)
    assert words in verdict.detail


def experiment(rows: dict[str, list[str | None]], out_packets: int = 0) -> Experiment:
    requests = [
        Request(at=turn, took=0.1, source=source, server=server, error=None if server else "timeout")
        for source, servers in rows.items()
        for turn, server in enumerate(servers)
    ]
    return Experiment(tuple(requests), "master", in_packets=90, out_packets=out_packets)


EVEN: dict[str, list[str | None]] = {
    f"192.168.1.{100 + place}": [f"server{place % 3 + 1}"] * 2 for place in range(6)
}


def failing(inventory: Inventory, made: Experiment) -> set[str]:
    examination = Told(inventory, {}, made)
    judged = [check for check in CHECKS if check.traffic]
    return {
        check.name
        for check in judged
        for machine in check.on(inventory)
        if asyncio.run(check.look(examination, machine)).outcome is Outcome.FAILED
    }


def test_good_traffic_passes_every_check(inventory: Inventory) -> None:
    assert failing(inventory, experiment(EVEN)) == set()


@pytest.mark.parametrize(
    ("rows", "out_packets", "names"),
    [
        (EVEN | {"192.168.1.100": ["server1", "server2"]}, 0, {"persistence"}),
        (EVEN, 5, {"direct-return"}),
        ({source: ["server1"] * 2 for source in EVEN}, 0, {"distribution", "answers"}),
        (
            {
                source: [None, None] if servers[0] == "server3" else servers
                for source, servers in EVEN.items()
            },
            0,
            {"requests", "answers", "distribution"},
        ),
    ],
)
def test_bad_traffic_fails_the_checks_that_it_is_about(
    inventory: Inventory, rows: dict[str, list[str | None]], out_packets: int, names: set[str]
) -> None:
    assert failing(inventory, experiment(rows, out_packets)) == names


def test_shares_follow_the_weights(planned: Callable[..., Topology]) -> None:
    servers = [
        {"name": f"server{place}", "address": f"192.168.1.{49 + place}", "weight": weight}
        for place, weight in enumerate((3, 1, 0), 1)
    ]
    wrr = inventory_of(planned(servers=servers, lb_algo="wrr"))
    assert expected_shares(wrr, 8) == {"server1": 6.0, "server2": 2.0, "server3": 0.0}
    rr = inventory_of(planned(servers=servers))
    assert expected_shares(rr, 8) == {"server1": 4.0, "server2": 4.0, "server3": 0.0}


def test_fresh_sources_are_nobodys_and_not_pinned(inventory: Inventory) -> None:
    pinned = {f"192.168.1.{last}" for last in range(100, 105)}
    found = sources.fresh_sources(inventory, pinned, 12)
    assert len(set(found)) == 12
    assert found[:5] == [f"192.168.1.{last}" for last in range(105, 110)]
    taken = {machine.address for machine in inventory.machines} | {"192.168.1.1", "192.168.1.20"} | pinned
    assert not taken & set(found[5:])


def test_on_a_segment_that_is_not_the_labs_own_nothing_is_borrowed(inventory: Inventory) -> None:
    shared = inventory.model_copy(update={"private": False})
    assert len(sources.fresh_sources(shared, set(), 30)) == 10


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        ("missing", "/etc/x is missing"),
        (
            "--- a\n+++ b\n@@ -12 +13 @@\n-    priority 150\n+    priority 90\n",
            "/etc/x line 13: `priority 90` instead of `priority 150`",
        ),
        ("--- a\n+++ b\n@@ -3,0 +4 @@\n+    nopreempt\n", "/etc/x line 4: `nopreempt` was added"),
        ("--- a\n+++ b\n@@ -5 +4,0 @@\n-    weight 1\n", "/etc/x line 4: `weight 1` is gone"),
        (
            "--- a\n+++ b\n@@ -9 +9 @@\n-    auth_pass Venezuel\n+    auth_pass otra\n",
            "/etc/x line 9: another auth_pass than rendered",
        ),
    ],
)
def test_drift_in_words(difference: str, words: str) -> None:
    assert drift_of("/etc/x", difference) == words


HUNK = "--- ./etc/x\n+++ /etc/x\n@@ -12 +13 @@\n-a 1\n+a 2\n"


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("@@end\n", None),
        ("", "its files cannot be compared"),
        ("@@none\n", "nothing was ever pushed to it (or it was removed by hand)"),
        ("@@unread\n@@end\n", "keepalived.conf was written after keepalived read it last"),
        (f"@@/etc/x\n{HUNK}@@unread\n@@end\n", "/etc/x line 13: `a 2` instead of `a 1`"),
        (
            f"@@/etc/x\n{HUNK}@@/etc/y\nmissing\n@@end\n",
            "/etc/x line 13: `a 2` instead of `a 1`; /etc/y is missing",
        ),
    ],
)
def test_drift_names_file_and_line(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, printed: str, words: str | None
) -> None:
    examination = Told(inventory, {})

    async def told(machine: str, command: str) -> str:
        return printed

    monkeypatch.setattr(examination, "told", told)
    verdict = look(examination, "drift", "master")
    assert (verdict.outcome is Outcome.PASSED) is (words is None)
    assert words is None or verdict.detail == words


def test_a_check_is_asked_until_it_holds_or_its_time_is_over(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_PAUSE", 0.01)
    asked = 0

    async def third_time(_: Examination, __: str) -> Verdict:
        nonlocal asked
        asked += 1
        return Verdict.of(asked >= 3, f"asked {asked} times")

    async def never(_: Examination, __: str) -> Verdict:
        return Verdict.of(False, "no")

    async def unreachable(_: Examination, name: str) -> Verdict:
        raise UnreachableError(name, "it is off")

    def made(name: str, looking: base.Look) -> Check:
        return Check(name, "It holds.", "this", lambda _: ["master"], looking, within=0.2)

    reported: list[Result] = []
    chosen = [
        made("late", third_time),
        made("bad", never),
        made("lost", unreachable),
        made("reachable", unreachable),
    ]
    results = asyncio.run(examine(Told(inventory, {}), chosen, reported.append))
    outcomes = {result.check.name: result.verdict.outcome for result in results}
    assert outcomes == {
        "late": Outcome.PASSED,
        "bad": Outcome.FAILED,
        "lost": Outcome.UNKNOWN,
        "reachable": Outcome.FAILED,
    }
    assert len(reported) == 4
    assert asked == 3


def test_every_check_says_what_holds_and_what_to_look_at(inventory: Inventory) -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.says.endswith(".")
        assert check.hint
        assert check.on(inventory)


def test_facts_from_a_script_that_was_cut_off(inventory: Inventory) -> None:
    told = understand(inventory.machine("master"), "@@uptime\n12.5\n@@unit\nactive\n@@addresses\n[{")
    assert (told.uptime, told.service, told.addresses, told.table, told.vrrp) == (
        12.5,
        "active",
        {},
        (),
        None,
    )
