"""Ctrl-C while a drill puts the lab back: what was begun is ended."""

import asyncio
from pathlib import Path

import pytest

from lab.cli import teaching
from lab.inventory import Inventory
from lab.operate.drills.runner import _to_the_end
from lab.operate.exercise import Logbook
from lab.operate.running import RunningLab


def test_a_wait_that_is_cut_off_waits_on_and_is_cut_off_then() -> None:
    done: list[str] = []
    said: list[str] = []

    async def restoring(begun: asyncio.Event) -> None:
        begun.set()
        await asyncio.sleep(0.05)
        done.append("whole")

    async def main() -> None:
        begun = asyncio.Event()
        drill = asyncio.create_task(_to_the_end(restoring(begun), said.append))
        await begun.wait()
        drill.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drill

    asyncio.run(main())
    assert done == ["whole"]
    assert said == ["the lab is being put back: half a minute more"]


@pytest.mark.parametrize("is_open", [True, False])
def test_what_is_cut_off_all_the_same_says_the_way_back(
    inventory: Inventory, tmp_path: Path, capsys: pytest.CaptureFixture[str], is_open: bool
) -> None:
    lab = RunningLab(inventory, None, tmp_path)  # type: ignore[arg-type]
    if is_open:
        Logbook(tmp_path).begin("drill", "arp-problem")

    async def cut_off() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teaching._play(lab, cut_off())
    said = " ".join(capsys.readouterr().err.split())
    assert ("cut off: drill arp-problem" in said) is is_open
    assert ("`lab drill restore` puts the lab back" in said) is is_open
