"""Mails, archives and pictures."""

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from lab.inventory import Inventory
from lab.operate import diagram, mailbox
from lab.operate.collect import masked
from lab.operate.facts import Facts
from lab.operate.guests import UnreachableError
from lab.operate.status import remarks, row
from lab.topology import Role, Topology
from tests.conftest import inventory_of

MAIL = """\
@@lab-mail@@new/1795431888.M5P321Q1.client
Date: Mon, 23 Nov 2026 11:04:48 +0000
From: backup@laboratorio.com
Subject: [backup] Realserver [192.168.1.50]:tcp:80 of virtual server [192.168.1.20]:tcp:80 - DOWN
To: cgomez.stack@gmail.com

=> CHECK failed on service : HTTP request failed <=

@@lab-mail@@new/1795431890.M77P321Q2.client
Subject: =?utf-8?q?=C3=BC?=

"""


def test_mails_are_read_in_order() -> None:
    first, second = mailbox.understand(MAIL)
    assert first.sender == "backup@laboratorio.com"
    assert first.subject.endswith("- DOWN")
    assert first.date == "2026-11-23 11:04:48"
    assert "CHECK failed" in first.text
    assert second.subject == "ü"
    assert second.date.startswith("20")


def test_an_empty_sink() -> None:
    assert mailbox.understand("") == []


def test_an_archive_holds_no_secrets() -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----"
    text = f"auth_pass Venezuel\n{key}\nrest"
    assert masked(text) == "auth_pass ********\n(private key left out)\nrest"


def told(name: str, role: Role, **values: object) -> Facts:
    known = {"name": name, "role": role, "uptime": 5.0, "service": "active", "addresses": {}}
    return Facts(**(known | values))  # type: ignore[arg-type]


def test_a_live_picture_marks_the_holder_and_the_dead(inventory: Inventory) -> None:
    rows = [
        row(
            inventory,
            inventory.machine("backup"),
            told("backup", Role.DIRECTOR, vrrp="MASTER", addresses={"eth0": ("192.168.1.20/24",)}),
        ),
        row(inventory, inventory.machine("master"), UnreachableError("master", "no answer")),
    ]
    drawn = ET.fromstring(diagram.svg(inventory, rows))
    texts = "".join(drawn.itertext())
    assert "director, MASTER 100" in texts
    assert "not reachable" in texts
    boxes = [box.get("class") for box in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert boxes.count("bad") == 2  # the backup has no virtual server in its table either
    chart = diagram.mermaid(inventory, rows)
    assert "class m_master bad" in chart
    assert chart.startswith("flowchart TB\n")


def test_hostile_names_stay_text(planned: Callable[..., Topology]) -> None:
    inventory = inventory_of(planned())
    odd = inventory.model_copy(update={"lb_algo": '<script>&"'})
    drawn = ET.fromstring(diagram.svg(odd))
    assert '<script>&"' in "".join(drawn.itertext())


@pytest.mark.parametrize(
    ("holders", "words"),
    [((), "No director holds the VIP"), (("master", "backup"), "split brain"), (("master",), "")],
)
def test_remarks_about_the_vip(inventory: Inventory, holders: tuple[str, ...], words: str) -> None:
    rows = [
        row(
            inventory,
            inventory.machine(name),
            told(name, Role.DIRECTOR, addresses={"eth0": ("192.168.1.20/24",)} if name in holders else {}),
        )
        for name in ("master", "backup")
    ]
    assert words in "".join(remarks(inventory, rows))
    assert bool(remarks(inventory, rows)) == bool(words)
