"""What changing each configuration key does to a lab that stands: found by running the program twice.

docs/changes.md has the table; ``UPDATE_GOLDEN=1 pytest tests/program/test_changes.py`` writes it again.
"""

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lab.settings import Settings
from tests.program.engine import Recording
from tests.program.test_program import DOMAIN, NETWORK, REMOTE, VOLUME

Run = Callable[..., Recording]

PAGE = Path(__file__).parents[2] / "docs" / "changes.md"
GROUPS = {
    "every machine": {"master", "backup", "server1", "server2", "server3", "client"},
    "the directors": {"master", "backup"},
    "the real servers": {"server1", "server2", "server3"},
}
# What makes the provider replace a thing instead of changing it (schema of pulumi-libvirt 0.5.4).
REPLACES = {
    NETWORK: {"addresses", "bridge", "dhcp", "mode", "name"},
    DOMAIN: {"name", "description", "vcpu", "memory", "type", "cpu", "disks", "consoles", "xml"},
}
DIRECTORS = [
    {"name": "master", "address": "192.168.1.21", "priority": 150},
    {"name": "backup", "address": "192.168.1.22", "priority": 100},
]
SERVERS = [{"name": f"server{n}", "address": f"192.168.1.{49 + n}"} for n in (1, 2, 3)]


def but(rows: list[dict[str, object]], place: int, **values: object) -> str:
    return json.dumps([row | values if n == place else row for n, row in enumerate(rows)])


def moved(rows: list[dict[str, object]]) -> str:
    return json.dumps(
        [row | {"address": str(row["address"]).replace("192.168.1.", "10.9.8.")} for row in rows]
    )


# What is changed, as the table's first column has it: the key, and a part or a neighbour of it.
CHANGES: dict[str, dict[str, str]] = {
    "`cidr`, and all addresses with it": {
        "cidr": "10.9.8.0/24",
        "vip": "10.9.8.20",
        "directors": moved(DIRECTORS),
        "servers": moved(SERVERS),
        "client": '{"address": "10.9.8.100"}',
    },
    "`gateway`": {"gateway": "192.168.1.254"},
    "`nameserver`": {"nameserver": "9.9.9.9"},
    "`vip`": {"vip": "192.168.1.30"},
    "`directors`: a priority": {"directors": but(DIRECTORS, 1, priority=120)},
    "`directors`: an address": {"directors": but(DIRECTORS, 1, address="192.168.1.23")},
    "`directors`: one more": {
        "directors": json.dumps([*DIRECTORS, {"name": "third", "address": "192.168.1.23", "priority": 50}])
    },
    "`servers`: a weight": {"servers": but(SERVERS, 0, weight=3)},
    "`servers`: an address": {"servers": but(SERVERS, 2, address="192.168.1.59")},
    "`servers`: one more": {
        "servers": json.dumps([*SERVERS, {"name": "server4", "address": "192.168.1.53"}])
    },
    "`servers`: one less": {"servers": json.dumps(SERVERS[:2])},
    "`client`: its address": {"client": '{"address": "192.168.1.120"}'},
    "`client`: `extra_addresses`": {"client": '{"extra_addresses": 3}'},
    "`vrrp_instance`": {"vrrp_instance": "interna"},
    "`vrrp_version`, with `auth_type`": {"vrrp_version": "3", "auth_type": "none"},
    "`virtual_router_id`": {"virtual_router_id": "22"},
    "`advert_int`": {"advert_int": "2"},
    "`preempt`": {"preempt": "false"},
    "`auth_type`": {"auth_type": "none"},
    "`auth_pass`": {"auth_pass": "hunter2x"},
    "`port`": {"port": "8080"},
    "`lb_algo`": {"lb_algo": "wlc"},
    "`persistence_timeout`": {"persistence_timeout": "0"},
    "`delay_loop`": {"delay_loop": "5"},
    "`check`": {"check": '{"type": "http", "path": "/"}'},
    "`quorum`": {"quorum": "2"},
    "`sorry_server`": {"sorry_server": '{"name": "sorry", "address": "192.168.1.53"}'},
    "`mail`": {"mail": '{"to": ["class@example.org"]}'},
    "`mail`: `smtp_server`": {"mail": '{"smtp_server": "mail.example.org"}'},
    "`sizes`: `memory`, `vcpus`": {"sizes": '{"server": {"memory": 768, "vcpus": 2}}'},
    "`sizes`: `disk`": {"sizes": '{"server": {"disk": 9}}'},
    "`image`": {"image": "debian"},
    "`image_sha256`, of an `image` by its path": {"image": "/guest.qcow2", "image_sha256": "c" * 64},
    "`package_proxy`": {"package_proxy": "http://192.168.1.1:3142"},
    "`libvirt_uri`": {"libvirt_uri": "qemu+ssh://root@other/system"},
    "`virtualization`": {"virtualization": "qemu"},
    "`network`": {"network": "isolated"},
    "`bridge`, with `network`": {"network": "bridge", "bridge": "br0"},
    "`boot_timeout`": {"boot_timeout": "300"},
}
REMARKS = {
    "`vip`": "the old VIP leaves `lo` of the servers and `eth0` of the directors",
    "`image`": "if that is another image, every machine is rebuilt",
    "`image_sha256`, of an `image` by its path": "it must fit; the machines stay",
    "`libvirt_uri`": "refused while the lab stands, which would be left behind; `make down` first",
    "`boot_timeout`": "counts from the next machine that is built",
}


def effect(before: Recording, after: Recording) -> str:
    """What the engine and the provider make of the difference between two runs, in words."""
    old, new = ({(one.type, one.name): one for one in run.resources} for run in (before, after))

    def machines(keys: Iterable[tuple[str, str]]) -> set[str]:
        return {name.removesuffix("-domain") for kind, name in keys if kind == DOMAIN}

    differs = {
        key: {name for name in one.plain | new[key].plain if one.plain.get(name) != new[key].plain.get(name)}
        - set(one.ignore_changes)
        for key, one in old.items()
        if key in new
    }
    every = machines(old.keys() & new.keys())
    rebuilt = {name for name in every if differs[VOLUME, f"{name}-disk"]}
    if "source" not in old[VOLUME, "base-image"].ignore_changes or differs[VOLUME, "base-image"]:
        rebuilt = every
    segment = bool(differs[NETWORK, "segment"] & REPLACES[NETWORK])
    restarted = {name for name in every if segment or differs[DOMAIN, f"{name}-domain"] & REPLACES[DOMAIN]}
    pushed = {name for name in every if "stdin" in differs[REMOTE, f"{name}-settings"]}
    found = [
        ("the segment is made anew", None if segment else set()),
        ("built", machines(new.keys() - old.keys())),
        ("removed", machines(old.keys() - new.keys())),
        ("rebuilt", rebuilt),
        ("started anew from its disk", restarted - rebuilt),
        ("settings pushed to", pushed - rebuilt - restarted),
        ("the image is chosen again", None if differs["command:local:Command", "guest-image"] else set()),
        ("elsewhere", None if differs["pulumi:providers:libvirt", "hypervisor"] else set()),
    ]
    return "; ".join(
        words if who is None else f"{words}: {_group(who)}" for words, who in found if who is None or who
    )


def _group(names: set[str]) -> str:
    said = []
    for words, group in GROUPS.items():
        if group <= names:
            said.append(words)
            names = names - group
    return ", ".join([*said, *sorted(names)])


def test_every_key_is_in_the_table() -> None:
    assert {re.match(r"`(\w+)`", label)[1] for label in CHANGES} == set(Settings.model_fields)  # type: ignore[index]


def test_the_page_says_what_each_change_does(run: Run, tutorial_run: Recording, tmp_path: Path) -> None:
    own_image = tmp_path / "guest.qcow2"
    own_image.touch()
    rows = ["| what is changed | what `make up` does |", "|---|---|"]
    for label, values in CHANGES.items():
        config = {key: value.replace("/guest.qcow2", str(own_image)) for key, value in values.items()}
        found = effect(tutorial_run, run(config))
        if label not in REMARKS:
            assert found, f"{label} does nothing"
        remark = REMARKS.get(label, "")
        rows.append(f"| {label} | {'; '.join(filter(None, [found, remark]))} |")
    head, begin, rest = PAGE.read_text(encoding="utf-8").partition("<!-- generated -->\n")
    _, end, tail = rest.partition("<!-- end generated -->")
    assert begin
    assert end
    page = "".join([head, begin, *(f"{row}\n" for row in rows), end, tail])
    if os.environ.get("UPDATE_GOLDEN") == "1":
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page


@pytest.mark.parametrize("key", ["gateway", "package_proxy"])
def test_what_a_machine_reads_at_its_first_boot_rebuilds_it(
    run: Run, tutorial_run: Recording, key: str
) -> None:
    found = effect(tutorial_run, run(CHANGES[f"`{key}`"]))
    assert found == "rebuilt: every machine"
