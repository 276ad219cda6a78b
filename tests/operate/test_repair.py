"""When a director's table is one that only a hand can have made."""

import pytest

from lab.inventory import Inventory
from lab.operate.outputs import ipvs_table
from lab.operate.repair import _changed_by_hand

AS_BUILT = """\
TCP  192.168.1.20:80 rr persistent 7200
  -> 192.168.1.50:80              Route   1      0          0
  -> 192.168.1.51:80              Route   1      0          0
  -> 192.168.1.52:80              Route   1      0          0
"""


def changed(inventory: Inventory, text: str) -> bool:
    table = ipvs_table(text)
    return _changed_by_hand(inventory, table[0] if table else None)


def test_a_table_as_it_was_built_is_left_alone(inventory: Inventory) -> None:
    assert not changed(inventory, AS_BUILT)


def test_a_server_that_is_missing_is_keepaliveds_business(inventory: Inventory) -> None:
    assert not changed(inventory, "".join(AS_BUILT.splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("built", "now"),
    [
        (" persistent 7200", ""),
        ("rr persistent", "wrr persistent"),
        ("Route   1", "Route   9"),
        ("Route ", "Masq  "),
        ("192.168.1.52:80", "192.168.1.99:80"),
        (AS_BUILT, ""),
    ],
)
def test_what_a_hand_has_changed_is_seen(inventory: Inventory, built: str, now: str) -> None:
    assert changed(inventory, AS_BUILT.replace(built, now, 1))
