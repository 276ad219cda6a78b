"""When a director's table is one that only a hand can have made, and a clock is set."""

import re
from typing import Any

import pytest

from lab.inventory import Inventory
from lab.operate import repair
from lab.operate.guests import Answer, Guests
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


class Clock(Guests):
    """A machine whose clock is ``ahead``, and which is asked while it is as busy as ``doubts`` say."""

    def __init__(self, inventory: Inventory, ahead: float, doubts: list[float]) -> None:
        super().__init__(inventory, None)  # type: ignore[arg-type]
        self.ahead = ahead
        self.doubts = doubts

    async def clock_ahead(self, machine: str, limit: float) -> tuple[float, float]:
        doubt = self.doubts.pop(0)
        # As wrong as it may be, towards nothing.
        return self.ahead - min(doubt, self.ahead), doubt

    async def run(self, machine: str, command: str, **_: Any) -> Answer:
        found = re.search(r"now - (-?[\d.]+)", command)
        assert found, command
        self.ahead -= float(found[1])
        return Answer("", "", 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("ahead", "doubts", "left"),
    [
        (0.1, [0.1], 0.1),
        (1.3, [0.1, 0.1], 0.1),
        # It hid behind the doubt at first.
        (1.3, [1.2, 0.8, 0.1, 0.05], 0.1),
        (1.3, [2.0] * 10, 1.3),
    ],
)
async def test_a_clock_is_set_as_soon_as_it_is_known_to_be_wrong(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, ahead: float, doubts: list[float], left: float
) -> None:
    monkeypatch.setattr(repair, "_CLOCK_AGAIN", 0.0)
    machine = Clock(inventory, ahead, list(doubts))
    await repair.right_clock(machine, "client")
    assert machine.ahead == pytest.approx(left)
    assert machine.doubts == []
