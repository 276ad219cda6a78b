"""The board on the real lab, in a real browser: a failover is seen when it happens."""

import os
import re
import signal
import subprocess
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, sync_playwright

from tests.e2e.harness import LAB, TheLab, eventually

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2700)]

# Seconds. What is promised on a quiet host; and what must hold where browser, board and six emulated guests
# share two processors that others may use too.
PROMISED = 1.5
LATEST = 3.0
# Resolves with the browser's time when the backup is drawn as MASTER.
WATCH = """
() => new Promise(done => {
    const word = document.querySelector('.machine[data-machine="backup"] .word');
    const look = () => { if (word.textContent === 'MASTER') { watcher.disconnect(); done(Date.now()); } };
    const watcher = new MutationObserver(look);
    watcher.observe(word, {childList: true, characterData: true, subtree: true});
    look();
})
"""


def _lateness(lab: TheLab, page: Page, url: str) -> float:
    """Seconds from the moment the backup took the VIP to the moment the page said so."""
    lab.beside("sh", "-c", "ssh master systemctl stop keepalived &")
    seen: float = page.evaluate(WATCH) / 1000
    page.wait_for_timeout(1000)
    changes = httpx.get(f"{url}/api/snapshot").json()["vrrp"]
    moved: float = max(
        change["at"] for change in changes if (change["machine"], change["state"]) == ("backup", "MASTER")
    )
    return seen - moved


def test_a_failover_is_seen_on_the_page_when_it_happens(lab: TheLab, tmp_path: Path) -> None:
    log = tmp_path / "board.log"
    with log.open("w") as out:
        board = subprocess.Popen(
            [str(LAB), "board", "--port", "18021"],
            cwd=lab.tree,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    url = "http://127.0.0.1:18021"
    try:
        eventually(lambda: "the board is at" in log.read_text(), 60, "the board says where it is")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            complaints: list[str] = []
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(url)
            word = page.locator('.machine[data-machine="master"] .word', has_text="MASTER")
            word.wait_for(timeout=120_000)
            page.wait_for_function(
                "() => document.querySelectorAll('#counters li').length >= 3", timeout=60_000
            )
            late = [_lateness(lab, page, url)]
            # A host that was busy at the wrong moment gets another chance; a slow board gains nothing by it.
            while late[-1] > PROMISED and len(late) < 3:
                lab.on("master", "systemctl start keepalived")
                word.wait_for(timeout=60_000)
                page.locator('.machine[data-machine="backup"] .word', has_text="BACKUP").wait_for()
                late.append(_lateness(lab, page, url))
            page.screenshot(path=str(tmp_path / "failover.png"))
            browser.close()
        said = ", ".join(f"{seconds:.2f}" for seconds in late)
        lab.note(f"board: a failover is on the page after the VIP moved, in seconds: {said}")
        assert min(late) <= LATEST
        assert complaints == []
    finally:
        os.killpg(board.pid, signal.SIGINT)
        ended = board.wait(30)
        lab.on("master", "systemctl start keepalived")
    assert ended in (0, 130), log.read_text()
    assert not re.search(r"Traceback|Task exception", log.read_text())
    eventually(lambda: lab.holder() == ["master"], 60, "the master is back")
