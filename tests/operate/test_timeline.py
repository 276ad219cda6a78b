"""What is seen on a drill's slide, read back from the SVG."""

import math
import re
import struct
from collections.abc import Callable, Iterator
from itertools import count, cycle
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from lab.operate.recording import Band, Bound, Event, Measure, Recording, Request
from lab.operate.timeline import draw

MINUS = "\N{MINUS SIGN}"
SVG = "{http://www.w3.org/2000/svg}"
SERVERS = ("server1", "server2", "server3")
SOURCES = tuple(f"192.168.1.{last}" for last in range(101, 110))


def measure(
    quantity: str, value: float | None, low: float | None, high: float | None, unit: str = "s"
) -> Measure:
    bound = Bound(quantity=quantity, low=low, high=high, unit=unit, formula="-", source="-")
    return Measure(bound=bound, value=value)


def traffic(
    seconds: float,
    fails: Callable[[float, str], bool] = lambda at, server: False,
    *,
    interval: float = 0.1,
    begin: float = 1.4,
    servers: tuple[str, ...] = SERVERS,
) -> tuple[Request, ...]:
    """One request each ``interval``, each source pinned to a server; those that fail hang for a second."""

    def made() -> Iterator[Request]:
        for place, source in zip(count(), cycle(SOURCES), strict=False):
            at = round(begin + place * interval, 4)
            if at >= seconds:
                return
            server = servers[SOURCES.index(source) % len(servers)]
            if fails(at, server):
                yield Request(at=at, took=1.001, source=source, server=None, error="timeout")
            else:
                yield Request(at=at, took=0.012, source=source, server=server)

    return tuple(made())


def vrrp(at: float, machine: str, state: str) -> Event:
    return Event(at=at, machine=machine, kind="vrrp", text=f"(externa) Entering {state} STATE", state=state)


def event(at: float, machine: str, kind: str, text: str) -> Event:
    return Event(at=at, machine=machine, kind=kind, text=text)


def check(at: float, machine: str, words: str) -> Event:
    return event(at, machine, "check", words)


HEALTHY = (vrrp(0, "master", "MASTER"), vrrp(0, "backup", "BACKUP"))

CRASH = Recording(
    drill="crash-failover",
    title="Crash failover: the master loses its power",
    stack="dev",
    began=1795431347.25,
    seconds=7.0,
    interval=0.1,
    directors=("master", "backup"),
    servers=SERVERS,
    requests=traffic(7.0, lambda at, _: 1.69 < at < 5.2),
    events=(
        *HEALTHY,
        event(1.66, "master", "action", "master has lost its power"),
        Event(at=1.66, machine="master", kind="vrrp", text="OFF", state="OFF"),
        vrrp(5.16, "backup", "MASTER"),
    ),
    bands=(Band(begin=4.07, end=5.57, label="promised: 2.41 to 3.91 s"),),
    measures=(measure("clients without an answer", 3.5, 2.409375, 3.909375),),
)

_REMOVED = "Removing service [192.168.1.50]:tcp:80 from VS [192.168.1.20]:tcp:80"
_FAILED = "TCP_CHECK on service [192.168.1.50]:tcp:80 failed after 1 retries."

SILENT = CRASH.model_copy(
    update={
        "drill": "server-silent",
        "title": "A server that says nothing: its firewall drops port 80",
        "seconds": 27.7,
        "requests": traffic(27.7, lambda at, server: server == "server1" and 2.46 < at < 21.64),
        "events": (
            *HEALTHY,
            event(2.46, "server1", "action", "server1 drops what comes to port 80"),
            check(21.53, "master", _FAILED),
            check(21.64, "master", _REMOVED),
            check(25.77, "backup", _FAILED),
            check(25.82, "backup", _REMOVED),
        ),
        "bands": (Band(begin=2.46, end=23.46, label="promised: gone within 21 s"),),
        "measures": (
            measure("until master takes it out", 19.177, 10, 22),
            measure("until backup takes it out", 23.363, 10, 22),
            measure("seconds in which requests fail", 19.2, 9, 23),
        ),
    }
)

QUIET = CRASH.model_copy(
    update={
        "drill": "who-is-master",
        "title": "Who is master",
        "seconds": 9.4,
        "interval": 0.5,
        "requests": traffic(9.4, interval=0.5),
        "events": (
            *HEALTHY,
            event(3.45, "client", "action", "listening to advertisements"),
            event(7.9, "client", "action", "the password can be read: Venezuel"),
        ),
        "bands": (),
        "measures": (
            measure("directors that hold the VIP", 1, 1, 1, ""),
            measure("seconds between advertisements", 1.001, 0.8, 1.25),
            measure("priority that is advertised", 150, 150, 150, ""),
        ),
    }
)

NINE = CRASH.model_copy(
    update={
        "drill": "nine",
        "seconds": 14.0,
        "servers": tuple(f"web{number}" for number in range(1, 10)),
        "directors": ("alpha", "beta", "gamma"),
        "requests": traffic(
            14.0, lambda at, _: 6 < at < 9.2, servers=tuple(f"web{number}" for number in range(1, 10))
        ),
        "events": (
            vrrp(0, "alpha", "MASTER"),
            vrrp(0, "beta", "BACKUP"),
            event(5.9, "alpha", "action", "the cable of alpha is out"),
            vrrp(6.2, "alpha", "FAULT"),
            vrrp(9.1, "beta", "MASTER"),
            vrrp(9.1, "gamma", "BACKUP"),
            event(10, "alpha", "restore", "no longer: the cable of alpha is out"),
        ),
        "bands": (
            Band(begin=8.3, end=9.8, label="promised: 2.41 to 3.91 s"),
            Band(begin=8.3, end=13, label="promised: all is well within 7.1 s"),
        ),
        "measures": tuple(measure(f"quantity {number}", number, 0, 6.5) for number in range(9)),
    }
)

CROWDED = QUIET.model_copy(
    update={
        "drill": "expire-nodest",
        "title": "A server is removed under a running download, with and without expire_nodest_conn",
        "seconds": 16.9,
        "requests": traffic(16.9, interval=0.3),
        "events": (
            *HEALTHY,
            event(2.92, "server1", "action", "server1 offers a large file"),
            event(3.35, "server2", "action", "server2 offers a large file"),
            event(3.74, "server3", "action", "server3 offers a large file"),
            event(4.08, "master", "action", "net.ipv4.vs.expire_nodest_conn = 0 on master"),
            event(5.05, "master", "action", "server2 is taken out of the table of master"),
            check(6.5, "backup", _REMOVED),
            event(13.37, "master", "restore", "no longer: server2 is taken out of the table of master"),
            event(13.65, "master", "action", "net.ipv4.vs.expire_nodest_conn = 1 on master"),
            event(14.48, "master", "action", "server1 is taken out of the table of master"),
            event(15.05, "master", "restore", "no longer: server1 is taken out of the table of master"),
        ),
    }
)


class Text(NamedTuple):
    """A text of the SVG and the box it fills, in the SVG's points."""

    words: str
    left: float
    right: float
    top: float
    bottom: float
    baseline: float

    def meets(self, other: "Text") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


class Slide:
    """An SVG as it is read back."""

    def __init__(self, file: Path) -> None:
        self.root = ET.fromstring(file.read_bytes())
        self.texts = [self._text(element) for element in self.root.iter(f"{SVG}text")]
        self.words = [text.words for text in self.texts]
        ticks = [text for text in self.texts if re.fullmatch(MINUS + r"?[\d.]+", text.words)]
        lowest = max(tick.bottom for tick in ticks)
        scale = [
            (float(tick.words.replace(MINUS, "-")), (tick.left + tick.right) / 2)
            for tick in ticks
            if tick.bottom > lowest - 3
        ]
        (first, left), *_, (last, right) = sorted(scale)
        self._second = (right - left) / (last - first)
        self._zero = left - first * self._second

    @staticmethod
    def _text(element: ET.Element) -> Text:
        style = element.get("style", "")
        size = re.search(r"([\d.]+)px", style)
        anchor = re.search(r"text-anchor: (\w+)", style)
        assert size is not None
        weight = "bold" if re.search(r"\b(700|bold)\b", style) else "normal"
        font = FontProperties(size=float(size[1]), weight=weight)
        words = element.text or ""
        width, height, below = text_to_path.get_text_width_height_descent(words, font, ismath=False)
        x, y = float(element.get("x", "nan")), float(element.get("y", "nan"))
        x -= {"start": 0, "middle": width / 2, "end": width}[anchor[1] if anchor else "start"]
        return Text(words, x, x + width, y - height + below, y + below, y)

    def seconds(self, x: float) -> float:
        return (x - self._zero) / self._second

    def groups(self, name: str) -> list[ET.Element]:
        return [group for group in self.root.iter(f"{SVG}g") if group.get("id") == name]

    def marks(self, name: str) -> list[float]:
        """Where on the time axis the markers of a group are."""
        return sorted(
            self.seconds(float(mark.get("x", "nan")))
            for group in self.groups(name)
            for mark in group.iter(f"{SVG}use")
        )

    def spans(self, name: str) -> list[tuple[float, float]]:
        """From when to when the paths of a group reach."""
        found = []
        for group in self.groups(name):
            for path in group.iter(f"{SVG}path"):
                numbers = re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path.get("d", ""))
                across = [float(x) for x, _ in numbers]
                found.append((self.seconds(min(across)), self.seconds(max(across))))
        return found

    def poles(self) -> list[tuple[float, float, float]]:
        """The lines of events: where, and from where to where they go, in points."""
        found = []
        for kind in ("action", "restore", "check"):
            for group in self.groups(kind):
                for path in group.iter(f"{SVG}path"):
                    ends = re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path.get("d", ""))
                    heights = [float(y) for _, y in ends]
                    found.append((float(ends[0][0]), min(heights), max(heights)))
        return found

    def has(self, words: str) -> bool:
        return any(words in text for text in self.words)


@pytest.fixture
def slide(tmp_path: Path) -> Callable[[Recording], Slide]:
    return lambda recording: Slide(draw(recording, tmp_path / "drill")[0])


def test_every_request_stands_where_it_was_begun(slide: Callable[[Recording], Slide]) -> None:
    drawn = slide(CRASH)
    for server in SERVERS:
        begun = [request.at - 1.66 for request in CRASH.requests if request.server == server]
        assert drawn.marks(f"answers {server}") == pytest.approx(begun, abs=0.01)
    begun = [request.at - 1.66 for request in CRASH.requests if request.server is None]
    assert len(begun) == 35
    assert drawn.marks("failed") == pytest.approx(begun, abs=0.01)
    waited = sorted(drawn.spans("waited"))
    assert [begin for begin, _ in waited] == pytest.approx(begun, abs=0.01)
    assert {round(end - begin, 1) for begin, end in waited} == {1.0}
    assert "seconds since the first action" in drawn.words
    assert {"7 answers", "35 failed"} <= set(drawn.words)


def test_the_outage_has_a_bracket_with_its_length(slide: Callable[[Recording], Slide]) -> None:
    drawn = slide(CRASH)
    assert drawn.spans("outage") == [pytest.approx((0.04, 3.54), abs=0.01)]
    assert "longest time without any answer: 3.50 s" in drawn.words


def test_an_outage_without_end_is_said_to_have_none(slide: Callable[[Recording], Slide]) -> None:
    forever = traffic(7.0, lambda at, _: at > 2.95)
    endless = (measure("clients without an answer", math.inf, 0, 3.9),)
    drawn = slide(CRASH.model_copy(update={"requests": forever, "measures": endless}))
    # The first failure is at 3.0 s, the recording ends at 7.0 s, zero is at 1.66 s.
    assert drawn.spans("outage") == [pytest.approx((1.34, 5.34), abs=0.01)]
    assert "no answer any more: 4.00 s until the recording ended" in drawn.words
    assert drawn.has("no end seen; promised: at most 3.90 s. ✗ The promise was broken.")


def test_one_measure_is_a_sentence(slide: Callable[[Recording], Slide]) -> None:
    assert slide(CRASH).has(
        "Clients without an answer: 3.50 s; promised: 2.41 to 3.91 s. ✓ The promise was kept."
    )


def test_several_measures_are_a_list_with_words_beside_the_marks(slide: Callable[[Recording], Slide]) -> None:
    drawn = slide(SILENT)
    rows: dict[float, list[str]] = {}
    for text in sorted(drawn.texts, key=lambda text: text.left):
        rows.setdefault(round(text.baseline), []).append(text.words)
    assert ["✓ kept", "until master takes it out", "19.18 s", "promised: 10.00 to 22.00 s"] in rows.values()
    assert ["✗ broken", "until backup takes it out", "23.36 s", "promised: 10.00 to 22.00 s"] in rows.values()


def test_of_too_many_measures_the_broken_ones_are_shown(slide: Callable[[Recording], Slide]) -> None:
    drawn = slide(NINE)
    assert {"quantity 7", "quantity 8"} <= set(drawn.words)
    assert "and 5 more: all kept" in drawn.words


def test_a_drill_that_promises_nothing_says_how_many_were_answered(
    slide: Callable[[Recording], Slide],
) -> None:
    assert slide(CRASH.model_copy(update={"measures": ()})).has("35 of 56 requests were not answered.")
    assert slide(QUIET.model_copy(update={"measures": ()})).has("All 16 requests were answered.")


def test_directors_have_bars_from_state_to_state(slide: Callable[[Recording], Slide]) -> None:
    drawn = slide(CRASH)
    assert drawn.spans("state master MASTER") == [pytest.approx((-1.66, 0), abs=0.01)]
    assert drawn.spans("state master OFF")[0] == pytest.approx((0, 5.34), abs=0.01)
    assert drawn.spans("state backup BACKUP") == [pytest.approx((-1.66, 3.5), abs=0.01)]
    assert drawn.spans("state backup MASTER") == [pytest.approx((3.5, 5.34), abs=0.01)]
    assert sorted(word for word in drawn.words if word.isupper()) == ["BACKUP", "MASTER", "MASTER", "OFF"]


def test_a_state_that_nothing_tells_is_unknown(slide: Callable[[Recording], Slide]) -> None:
    drawn = slide(NINE)
    assert drawn.spans("state gamma unknown") == [pytest.approx((-5.9, 3.2), abs=0.02)]
    assert "unknown" in drawn.words


def test_a_state_of_another_keepalived_is_drawn_too(slide: Callable[[Recording], Slide]) -> None:
    assert "INIT" in slide(CRASH.model_copy(update={"events": (vrrp(1, "master", "INIT"),)})).words


def test_promises_are_shaded(slide: Callable[[Recording], Slide]) -> None:
    drawn = slide(CRASH)
    assert drawn.spans("promised") == [pytest.approx((2.41, 3.91), abs=0.01)]
    assert "promised: 2.41 to 3.91 s" in drawn.words


def test_a_promise_beyond_the_end_is_cut_and_its_words_are_whole(slide: Callable[[Recording], Slide]) -> None:
    late = (Band(begin=6.5, end=90, label="promised: gone within 88 s"),)
    drawn = slide(CRASH.model_copy(update={"bands": late}))
    assert drawn.spans("promised")[0][1] < 5.5
    assert "promised: gone within 88 s" in drawn.words


def test_what_happened_stands_at_its_time(slide: Callable[[Recording], Slide]) -> None:
    drawn = slide(SILENT)
    assert "server1 drops what comes to port 80" in drawn.words
    assert drawn.spans("action")[0] == pytest.approx((0, 0), abs=0.02)
    # A failed check and the removal that follows from it are one label, at the time of the first.
    assert {"master removes 192.168.1.50", "backup removes 192.168.1.50"} <= set(drawn.words)
    assert sorted({round(begin, 2) for begin, _ in drawn.spans("check")}) == pytest.approx(
        [19.07, 23.31], abs=0.05
    )


def test_without_an_action_time_begins_with_the_recording(slide: Callable[[Recording], Slide]) -> None:
    drawn = slide(CRASH.model_copy(update={"events": ()}))
    assert "seconds since the recording began" in drawn.words
    assert drawn.marks("failed")[0] == pytest.approx(1.7, abs=0.01)


def test_nothing_failing_draws_no_failure(slide: Callable[[Recording], Slide]) -> None:
    drawn = slide(QUIET)
    assert drawn.marks("failed") == []
    assert drawn.groups("outage") == []
    assert {"no answer", "0 failed"} <= set(drawn.words)


@pytest.mark.parametrize(
    "recording", [CRASH, SILENT, QUIET, NINE, CROWDED], ids=lambda recording: recording.drill
)
def test_no_text_lies_upon_another_or_beside_the_slide(
    recording: Recording, slide: Callable[[Recording], Slide]
) -> None:
    drawn = slide(recording)
    texts = [text for text in drawn.texts if text.words]
    assert [
        (one.words, other.words)
        for place, one in enumerate(texts)
        for other in texts[:place]
        if one.meets(other)
    ] == []
    assert [text.words for text in texts if text.left < 0 or text.right > 1152 or text.bottom > 648] == []


@pytest.mark.parametrize("recording", [SILENT, CROWDED], ids=lambda recording: recording.drill)
def test_no_pole_goes_through_the_label_of_another(
    recording: Recording, slide: Callable[[Recording], Slide]
) -> None:
    drawn = slide(recording)
    told = [event.text for event in recording.events if event.kind in ("action", "restore")]
    labels = [text for text in drawn.texts if text.words in told or " removes " in text.words]
    assert len(labels) >= len(told)
    assert [
        text.words
        for text in labels
        for x, top, bottom in drawn.poles()
        if text.left < x < text.right and top < text.bottom and text.top < bottom
    ] == []


def test_the_footer_says_where_the_figures_come_from(slide: Callable[[Recording], Slide]) -> None:
    assert slide(CRASH).has(
        "stack dev · 56 requests from 9 addresses · one every 0.1 s: the resolution of every figure · "
        "2026-11-23 10:55:47 UTC"
    )


def test_those_who_cannot_see_it_are_told(slide: Callable[[Recording], Slide]) -> None:
    root = slide(SILENT).root
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == SILENT.title
    assert "Until backup takes it out: 23.36 s" in (root.findtext(f"{SVG}desc") or "")


def test_the_same_recording_gives_the_same_bytes(tmp_path: Path) -> None:
    first = draw(SILENT, tmp_path / "first")
    with mpl.rc_context({"font.size": 30, "font.family": "serif", "axes.linewidth": 5, "svg.hashsalt": None}):
        second = draw(SILENT, tmp_path / "second")
        assert mpl.rcParams["font.size"] == 30
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_files_are_named_as_asked_and_the_picture_is_wide(tmp_path: Path) -> None:
    vector, pixels = draw(CRASH, tmp_path / "keepalived-2.2.7")
    assert (vector.name, pixels.name) == ("keepalived-2.2.7.svg", "keepalived-2.2.7.png")
    assert struct.unpack(">II", pixels.read_bytes()[16:24]) == (1920, 1080)


def test_no_requests_at_all(slide: Callable[[Recording], Slide]) -> None:
    bare = {"requests": (), "events": (), "bands": (), "measures": (), "directors": ("solo",), "seconds": 0.0}
    drawn = slide(CRASH.model_copy(update=bare))
    assert {"No requests were made.", "0 answers", "solo", "unknown"} <= set(drawn.words)


def test_who_is_not_known_has_a_row(slide: Callable[[Recording], Slide]) -> None:
    def answer(at: float, name: str) -> Request:
        return Request(at=at, took=0.01, source=SOURCES[0], server=name)

    known = traffic(3.0)
    drawn = slide(
        CRASH.model_copy(
            update={"requests": (*known, answer(3.1, "<h1>It works!</h1> & more"), answer(3.2, ""))}
        )
    )
    assert {"<h1>It works!</h1…", "(no name)", "1 answer"} <= set(drawn.words)
    many = (*known, *(answer(3.1 + place / 100, f"page {place}") for place in range(200)))
    drawn = slide(CRASH.model_copy(update={"requests": many}))
    assert {"page 0", "page 1", "198 others"} <= set(drawn.words)


def test_long_and_hostile_texts_are_shortened_and_shown_as_they_are(
    slide: Callable[[Recording], Slide],
) -> None:
    texts = (
        event(2.0, "server1", "action", "a very long tale " * 40),
        event(4.0, "lab", "action", "costs $x^2$ & <b>\x00\nmore"),
    )
    drawn = slide(CRASH.model_copy(update={"events": texts, "title": "Price: $1 & <more> " * 20}))
    assert any(words.startswith("server1: a very long") and words.endswith("…") for words in drawn.words)
    assert "costs $x^2$ & <b> more" in drawn.words
    assert drawn.has("Price: $1 & <more> Price")
    assert max(text.right for text in drawn.texts) < 1152


def test_twenty_minutes_stay_small(tmp_path: Path) -> None:
    hour = CRASH.model_copy(
        update={
            "seconds": 1200.0,
            "requests": traffic(1200.0, lambda at, _: 700 < at < 720),
            "events": (
                *HEALTHY,
                event(700, "master", "action", "master has lost its power"),
                *(check(float(at), "master", _REMOVED) for at in range(20, 1200, 20)),
            ),
        }
    )
    vector, _ = draw(hour, tmp_path / "long")
    assert vector.stat().st_size < 1_000_000
    drawn = Slide(vector)
    assert drawn.spans("outage") == [pytest.approx((0.1, 20.0), abs=1)]
    # Too many health checks for labels: only their poles are left, and the footer says what they are.
    assert not drawn.has("removes")
    assert len(drawn.spans("check")) == 59
    assert drawn.has("dotted: health checks")
