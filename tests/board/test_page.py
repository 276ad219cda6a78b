"""The page in a real browser: what a room sees, and what a keyboard and a screen reader get."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from lab.board import BoardMachine, DrillMessage, Feed, LabMessage, serve
from lab.topology import Role
from tests.board.fake import FakeLab, crash_drill, lab, measured, past_drill, past_traffic

CHROMIUM = Path("/usr/bin/chromium")

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    if not CHROMIUM.exists():
        pytest.fail(
            f"{CHROMIUM} is not there: the board is looked at in Chromium. `apt-get install chromium`"
        )
    async with async_playwright() as playwright:
        # Tests run as root, where Chromium's sandbox does not.
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        await launched.close()


@dataclass
class Board:
    """A server, the page that shows it, and what the browser complained about."""

    page: Page
    feed: Feed
    fake: FakeLab
    port: int
    server: asyncio.Task[None]
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def stop(self) -> None:
        self.server.cancel()
        await asyncio.gather(self.server, return_exceptions=True)

    def start_again(self, feed: Feed) -> None:
        self.feed = feed
        self.server = asyncio.create_task(serve(feed, listening(self.port)))

    def text(self, selector: str) -> Any:
        return expect(self.page.locator(selector), selector)

    def machine(self, name: str) -> Any:
        return self.page.locator(f'.machine[data-machine="{name}"]')


def listening(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


Opener = Callable[..., Awaitable[Board]]


@pytest_asyncio.fixture(loop_scope="module")
async def open_board(browser: Browser) -> AsyncIterator[Opener]:
    boards: list[Board] = []
    contexts: list[BrowserContext] = []

    async def opened(
        shown: LabMessage | None = None,
        *,
        before: Callable[[FakeLab], object] = lambda _: None,
        size: tuple[int, int] = (1280, 720),
        **look: Any,
    ) -> Board:
        feed = Feed()
        fake = FakeLab(feed, shown or lab())
        before(fake)
        fake.announce()
        sock = listening()
        port = sock.getsockname()[1]
        server = asyncio.create_task(serve(feed, sock))
        context = await browser.new_context(viewport={"width": size[0], "height": size[1]}, **look)
        contexts.append(context)
        page = await context.new_page()
        board = Board(page, feed, fake, port, server)
        boards.append(board)
        page.on("console", lambda message: board.complaints.append(message.text))
        page.on("pageerror", lambda error: board.complaints.append(str(error)))
        page.on("request", lambda request: board.asked.append(request.url))
        await page.goto(f"http://127.0.0.1:{port}/")
        await board.text("#link").to_have_text("live")
        return board

    yield opened
    for context in contexts:
        await context.close()
    for board in boards:
        await board.stop()
    for board in boards:
        complaints = [one for one in board.complaints if "ERR_CONNECTION_REFUSED" not in one]
        assert complaints == []
        assert [url for url in board.asked if not url.startswith(f"http://127.0.0.1:{board.port}/")] == []


async def centre(locator: Any) -> tuple[float, float]:
    box = await locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


async def sits_on(board: Board, director: str) -> bool:
    x, y = await centre(board.page.locator("#vip"))
    box = await board.machine(director).locator(".box").bounding_box()
    return abs(x - box["x"] - box["width"] / 2) < 3 and abs(y - box["y"]) < 3


async def test_a_calm_lab(open_board: Opener) -> None:
    board = await open_board(before=lambda fake: past_traffic(fake, time.time()))
    await board.text("#holder").to_have_text("VIP 192.168.1.20 is on master")
    await board.text("#failures").to_have_text("0")
    await board.text("#facts").to_contain_text("scheduler rr")
    assert await sits_on(board, "master")
    for server in ("server1", "server2", "server3"):
        await expect(board.machine(server).locator(".word")).to_have_text("up, weight 1")
    await expect(board.machine("backup").locator(".word")).to_have_text("BACKUP")
    rows = await board.page.locator("#counters li").all_inner_texts()
    assert [row.split()[:2] for row in rows][3] == ["no", "answer"]
    assert sum(int(row.split()[-1]) for row in rows) == 300


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
async def test_the_badge_moves_to_the_new_director(open_board: Opener, motion: str) -> None:
    board = await open_board(reduced_motion=motion)
    assert await sits_on(board, "master")
    board.fake.power_cut("master")
    board.fake.enter("backup", "MASTER")
    board.fake.tell()
    deadline = time.monotonic() + 1.5
    while not await sits_on(board, "backup"):
        assert time.monotonic() < deadline, "the badge is not on the backup after 1.5 s"
        await asyncio.sleep(0.05)
    await board.text("#holder").to_have_text("VIP 192.168.1.20 is on backup")
    await board.text("#announce").to_have_text("The VIP moved from master to backup.")
    await board.text("#moved").to_contain_text("moved from master at ")
    await expect(board.machine("master").locator(".word")).to_have_text("unreachable")
    await expect(board.machine("backup")).to_have_attribute("aria-label", re.compile("holds the VIP.*MASTER"))


async def test_reduced_motion_moves_nothing(open_board: Opener) -> None:
    board = await open_board(reduced_motion="reduce")
    for _ in range(10):
        board.fake.ask()
        await asyncio.sleep(0.05)
    await expect(board.page.locator(".route.request.warm").first).to_be_attached()
    assert (
        await board.page.evaluate("getComputedStyle(document.querySelector('#vip')).transitionDuration")
        == "0s"
    )
    assert await pixels(board, "#flow") == 0


async def test_packets_fly(open_board: Opener) -> None:
    board = await open_board()
    for _ in range(10):
        board.fake.ask()
        await asyncio.sleep(0.06)
    assert await pixels(board, "#flow") > 0


async def pixels(board: Board, canvas: str) -> int:
    """How many are painted."""
    return int(
        await board.page.evaluate(
            """(selector) => {
                const canvas = document.querySelector(selector);
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                let painted = 0;
                for (let place = 3; place < data.length; place += 4) if (data[place]) painted += 1;
                return painted;
            }""",
            canvas,
        )
    )


async def test_nobody_holds_the_vip(open_board: Opener) -> None:
    board = await open_board()
    board.fake.power_cut("master")
    board.fake.tell()
    await board.text("#holder").to_have_text("VIP 192.168.1.20 is on no director")
    await expect(board.page.locator("#vip")).to_have_attribute(
        "aria-label", "VIP 192.168.1.20 on no director"
    )


async def test_split_brain_is_called_so(open_board: Opener) -> None:
    board = await open_board()
    board.fake.change("backup", vrrp="MASTER", holds_vip=True)
    board.fake.tell()
    await board.text("#holder").to_have_text("Split brain: master and backup")
    await expect(board.page.locator(".vip")).to_have_count(2)
    board.fake.change("backup", vrrp="BACKUP", holds_vip=False)
    board.fake.tell()
    await expect(board.page.locator(".vip")).to_have_count(1)


async def test_servers_say_how_they_are(open_board: Opener) -> None:
    board = await open_board(lab(4))
    fake = board.fake
    fake.remove("server1")
    fake.weights["server2"] = 0
    fake.power_cut("server3")
    fake.change("server4", note="VIP missing on lo")
    fake.tell()

    async def said(name: str, *words: str) -> None:
        for selector, text in zip((".word", ".more"), words, strict=False):
            await expect(board.machine(name).locator(selector)).to_have_text(text)

    await said("server1", "removed from table")
    await said("server2", "weight 0: draining")
    await said("server3", "unreachable", "still in the table")
    await said("server4", "up, weight 1", "VIP missing on lo")


async def test_the_sorry_server_stands_by_until_it_is_needed(open_board: Opener) -> None:
    board = await open_board(lab(1, sorry=True))
    word = board.machine("sorry").locator(".word")
    await expect(word).to_have_text("standing by")
    board.fake.change("server1", service="failed")
    board.fake.tell()
    await expect(board.machine("server1").locator(".word")).to_have_text("web server failed")
    await expect(board.machine("server1").locator(".more")).to_have_text("still in the table")
    board.fake.remove("server1")
    board.fake.weights["sorry"] = 1
    board.fake.tell()
    await expect(word).to_have_text("answering for all")


async def test_events_and_failures(open_board: Opener) -> None:
    board = await open_board()
    board.fake.enter("backup", "MASTER")
    board.fake.remove("server2")
    for _ in range(3):
        board.fake.answer(None, error="refused")
    board.fake.answer("server1")
    items = board.page.locator("#events li")
    await expect(items).to_have_count(3)
    await expect(items.nth(2)).to_contain_text("Entering MASTER STATE")
    await expect(items.nth(2)).to_contain_text(re.compile(r"\d\d:\d\d:\d\d"))
    await expect(items.nth(0)).to_contain_text("Removing service [192.168.1.51]:tcp:80")
    await board.text("#failures").to_have_text("3")
    row = board.page.locator("#counters li.failed .number")
    await expect(row.first).to_have_text("3")


async def test_the_log_keeps_two_hundred(open_board: Opener) -> None:
    board = await open_board()
    for number in range(230):
        board.fake.event("lab", "action", f"step {number}")
    items = board.page.locator("#events li")
    await expect(items.first).to_contain_text("step 229")
    await expect(items).to_have_count(200)


async def test_a_drill_from_beginning_to_end(open_board: Opener) -> None:
    board = await open_board()
    await board.text("#time-title").to_have_text("The last minute")
    drill = crash_drill(time.time())
    board.feed.publish(DrillMessage(drill=drill))
    board.fake.ask()
    board.fake.answer(None, error="timeout")
    await board.text("#time-title").to_have_text("Crash failover: the master loses its power")
    await board.text("#time-note").to_have_text(re.compile(r"\d s: 1 of 2 unanswered"))
    assert await pixels(board, "#timeline") > 0
    board.feed.publish(DrillMessage(drill=measured(drill, value=9.0)))
    await board.text("#time-note").to_contain_text("done")
    measures = board.page.locator("#measures li")
    await expect(measures).to_have_count(2)
    await expect(measures.first).to_contain_text("broken")
    await expect(measures.first).to_contain_text("9.00 s")
    await expect(measures.first).to_contain_text("promised: 2.41 to 3.91 s")
    await board.page.keyboard.press("t")
    await board.text("#time-title").to_have_text("The last minute")
    board.feed.publish(DrillMessage(drill=None))
    await expect(board.page.locator("#time-toggle")).to_be_hidden()


async def test_who_opens_it_during_a_drill_sees_all_of_it(open_board: Opener) -> None:
    board = await open_board(before=lambda fake: past_drill(fake, time.time()))
    await board.text("#time-note").to_have_text(re.compile(r"1[23] s: 33 of 12\d unanswered"))
    await board.text("#failures").to_have_text("33")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_light_and_dark(open_board: Opener, scheme: str) -> None:
    board = await open_board(color_scheme=scheme)
    other = "dark" if scheme == "light" else "light"
    root = expect(board.page.locator("html"))
    await root.to_have_attribute("data-theme", scheme)
    assert (await brightness(board) > 0.5) is (scheme == "light")
    await board.page.keyboard.press("d")
    await root.to_have_attribute("data-theme", other)
    assert (await brightness(board) > 0.5) is (scheme != "light")
    await board.page.reload()
    await root.to_have_attribute("data-theme", other)
    await board.page.click("#theme")
    await root.to_have_attribute("data-theme", scheme)


async def brightness(board: Board) -> float:
    colour = await board.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 765


async def test_it_can_be_used_by_keyboard(open_board: Opener) -> None:
    board = await open_board()
    keyboard = board.page.keyboard
    seen = []
    for _ in range(20):
        await keyboard.press("Tab")
        seen.append(
            await board.page.evaluate(
                "(({ dataset, id, className: c }) => dataset.machine ?? (id || c))(document.activeElement)"
            )
        )
        if seen[-1] == "events":
            break
    machines = ["master", "backup", "client", "server1", "server2", "server3"]
    assert seen == ["skip", "theme", "help", *machines, "events"]
    await board.machine("server1").focus()
    await board.text("#detail").to_contain_text("192.168.1.50")
    await board.text("#detail").to_contain_text("52:54:00:a8:01:32")
    stroke = "getComputedStyle(document.activeElement.querySelector('.box')).stroke"
    assert await board.page.evaluate(stroke) == "rgb(0, 96, 192)"
    await keyboard.press("?")
    await expect(board.page.locator("#keys")).to_be_visible()
    for words in ("dark or light", "full screen", "timeline", "moving requests"):
        await board.text("#keys").to_contain_text(words)
    await keyboard.press("Escape")
    await expect(board.page.locator("#keys")).to_be_hidden()
    await keyboard.press("e")
    assert await board.page.evaluate("document.activeElement.id") == "events"


async def test_it_comes_back_by_itself(open_board: Opener) -> None:
    board = await open_board()
    board.fake.event("master", "vrrp", "before", state="MASTER")
    await expect(board.page.locator("#events li")).to_have_count(1)
    await board.stop()
    await board.text("#link").to_have_text("connection lost", timeout=2000)
    await board.text("#banner").to_contain_text("What is shown is old. Trying again.")
    await board.text("#announce").to_have_text("Connection lost. What is shown may be old.")
    feed = Feed()
    fake = FakeLab(feed, lab(4))
    fake.change("master", vrrp="BACKUP", holds_vip=False)
    fake.change("backup", vrrp="MASTER", holds_vip=True)
    fake.announce()
    fake.event("backup", "vrrp", "after", state="MASTER")
    board.start_again(feed)
    await board.text("#link").to_have_text("live")
    await board.text("#holder").to_have_text("VIP 192.168.1.20 is on backup")
    await expect(board.page.locator("#events li")).to_have_count(1)
    await board.text("#events").to_contain_text("after")
    await expect(board.machine("server4")).to_be_attached()
    await board.text("#announce").to_contain_text("The VIP moved from master to backup.")


HOSTILE = "<img src=x onerror=alert(1)>"


async def test_hostile_names_are_only_words(open_board: Opener) -> None:
    good = lab(2)
    bad = BoardMachine(name=HOSTILE, role=Role.REAL_SERVER, address="'\"><script>", mac="&amp;", weight=1)
    shown = good.model_copy(update={"machines": (*good.machines, bad), "stack": "<b>dev</b>"})
    board = await open_board(shown)
    board.fake.event(HOSTILE, "<i>kind</i>", "<script>alert(2)</script>", state="<u>X</u>")
    board.fake.answer(HOSTILE)
    board.fake.answer("constructor")
    board.feed.publish(DrillMessage(drill=crash_drill(time.time(), title=HOSTILE)))
    await board.text("#stack").to_have_text("<b>dev</b>")
    item = board.page.locator("#events li").first
    await expect(item).to_contain_text(HOSTILE)
    await expect(item).to_contain_text("<script>alert(2)</script>")
    await expect(item).to_contain_text("<u>X</u>")
    await board.text("#time-title").to_have_text(HOSTILE)
    await board.text("#counters").to_contain_text(HOSTILE)
    await board.text("#counters").to_contain_text("constructor")
    label = await board.page.evaluate(
        "() => [...document.querySelectorAll('.machine')].map((one) => one.ariaLabel).join()"
    )
    assert HOSTILE in label
    assert await board.page.locator("img, #events b, #events i, #events u, body script").count() == 0


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080), (1024, 768)], ids=str)
@pytest.mark.parametrize(
    ("servers", "directors", "sorry"),
    [(1, 1, False), (3, 2, False), (5, 2, True), (9, 3, False), (9, 3, True)],
)
async def test_everything_fits(
    open_board: Opener, size: tuple[int, int], servers: int, directors: int, sorry: bool
) -> None:
    def before(fake: FakeLab) -> None:
        past_traffic(fake, time.time(), rate=3)
        fake.remove("server1")
        fake.tell()

    board = await open_board(lab(servers, directors, sorry=sorry), before=before, size=size)
    page = board.page
    boxes = await page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(".machine")].map((machine) => {
            const { x, y, width, height } = machine.querySelector(".box").getBoundingClientRect();
            return [machine.dataset.machine, [x, y, x + width, y + height]];
        }))"""
    )
    assert len(boxes) == servers + directors + 1 + sorry
    panel = await rectangle(page, "#topology")
    for name, one in boxes.items():
        assert within(one, panel), f"{name} leaves the picture"
        for other, two in boxes.items():
            assert name == other or apart(one, two), f"{name} overlaps {other}"
    drops = await page.evaluate(
        """() => [...document.querySelectorAll(".drop")].map((drop) => {
            const { x, y, width, height } = drop.getBoundingClientRect();
            return [x, y + 2, x + width, y + height - 2];
        })"""
    )
    assert len(drops) == len(boxes)
    for drop in drops:
        assert all(apart(drop, box) for box in boxes.values()), "a wire runs below a box"
    spilled = await page.evaluate(
        """() => [...document.querySelectorAll(".machine")].flatMap((machine) => {
            const box = machine.querySelector(".box").getBoundingClientRect();
            return [...machine.querySelectorAll("text")].filter((text) => {
                const { left, right, top, bottom } = text.getBoundingClientRect();
                const beside = left < box.left || right > box.right + 1;
                return text.textContent && (beside || top < box.top - 1 || bottom > box.bottom + 2);
            }).map((text) => `${machine.dataset.machine}: ${text.textContent}`);
        })"""
    )
    assert spilled == []
    panels = [await rectangle(page, f"#{name}-panel") for name in ("topology", "time", "counters", "events")]
    panels.append(await rectangle(page, "header"))
    for place, one in enumerate(panels):
        assert within(one, (0, 0, *size)), "a panel leaves the screen"
        for two in panels[place + 1 :]:
            assert apart(one, two), "two panels overlap"
    cut = await page.evaluate(
        """() => [...document.querySelectorAll("#facts, #holder, #counters .number, .legend, h2, #link")]
            .filter((one) => one.scrollWidth > one.clientWidth + 1)
            .map((one) => one.id + one.textContent)"""
    )
    assert cut == []


async def rectangle(page: Page, selector: str) -> tuple[float, float, float, float]:
    box = await page.locator(selector).bounding_box()
    assert box is not None
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


def within(inner: Any, outer: Any) -> bool:
    return bool(
        inner[0] >= outer[0] - 1
        and inner[1] >= outer[1] - 1
        and inner[2] <= outer[2] + 1
        and inner[3] <= outer[3] + 1
    )


def apart(one: Any, two: Any) -> bool:
    return bool(one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1])


async def test_a_load_test_does_not_melt_it(open_board: Opener) -> None:
    board = await open_board()
    for _ in range(20):
        for _ in range(50):
            board.fake.ask()
        await asyncio.sleep(0.1)
    await board.text("#time-note").to_contain_text("only 20 of ")
    began = time.monotonic()
    await board.page.evaluate(
        "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    assert time.monotonic() - began < 10

    async def counted() -> int:
        return sum(map(int, await board.page.locator("#counters li .all").all_inner_texts()))

    # A busy host shows the last of them late.
    deadline = time.monotonic() + 20
    while await counted() != 1000 and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert await counted() == 1000


async def test_a_silent_lab_is_not_taken_for_a_fresh_one(open_board: Opener) -> None:
    board = await open_board()
    board.fake.tell(at=time.time() - 30)
    await board.text("#link").to_have_text("no news")
    await board.text("#banner").to_have_text(re.compile(r"Nobody has looked at the lab for 3\d s"))
    board.fake.tell()
    await board.text("#link").to_have_text("live")
