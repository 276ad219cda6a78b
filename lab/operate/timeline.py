"""A drill on one slide: who answered when, what each director thought it was, and what was promised.

Lengths on the slide are inches, sizes of letters points. Texts are measured before they are placed, so that
none lies upon another.
"""

import html
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from matplotlib.transforms import blended_transform_factory

from lab.operate.analysis import Outage, answered, in_order, outages, states
from lab.operate.recording import Event, Measure, Recording, Request

# The same bytes everywhere: a trainer's own matplotlibrc does not count, and "$" in an event is no formula.
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "lvs-dr-lab",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.edgecolor": "#94a3b8",
    "hatch.linewidth": 1.6,
}
_WIDTH, _HEIGHT, _DPI = 16.0, 9.0, 120
_MARGIN = 0.4
_INK, _PALE, _LINE = "#0f172a", "#475569", "#e2e8f0"

# Okabe and Ito's colours are told apart by colour-blind people too; vermilion is kept for what failed. There
# is one marker more than colours, so the eighth server does not look like the first.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_FAILED, _KEPT, _BROKEN = "#D55E00", "#00664b", "#b03a00"
_BAND, _BAND_INK = "#fdf0c4", "#6b4a00"
_STATES: dict[str, dict[str, Any]] = {
    "MASTER": {"facecolor": "#1e3a5f", "edgecolor": "#1e3a5f"},
    "BACKUP": {"facecolor": "#d6e6f5", "edgecolor": "#7c93ad"},
    "FAULT": {"facecolor": "white", "edgecolor": _FAILED, "hatch": "//"},
    "STOP": {"facecolor": "white", "edgecolor": "#94a3b8", "hatch": "\\\\"},
    "OFF": {"facecolor": "#e2e8f0", "edgecolor": "#94a3b8", "hatch": "xx"},
}
_NO_STATE = {"facecolor": "#f1f5f9", "edgecolor": "#cbd5e1"}
_POLES: dict[str, dict[str, Any]] = {
    "action": {"color": _INK, "linewidth": 1.6, "linestyle": (0, (5, 2))},
    "restore": {"color": "#00664b", "linewidth": 1.6, "linestyle": (0, (5, 2, 1, 2))},
    "check": {"color": "#94a3b8", "linewidth": 1.1, "linestyle": (0, (1, 2))},
}

# More points than this would make an SVG of megabytes: they become pixels in it.
_MANY = 3000
# Answers of so many servers that the lab does not know get a row of their own, the others share one.
_STRANGERS = 3
_MOST_MEASURES = 5
# More health checks than this keep their poles and lose their texts.
_MOST_CHECKS = 8
# So many labels are arranged with care.
_FEW = 12
_LEVELS, _LEVEL = 6, 0.27
_ROOMS = (5.6, 3.6, 2.4, 1.6)
_LANES = 12
_NAME_SIZE, _LIST, _SMALL = 15.0, 15.0, 13.0
_BOTTOM = 1.1
_NO_ANSWER = "no answer"


@dataclass(frozen=True)
class _Time:
    """The axis: recorded seconds, seconds as they are shown, and inches from the slide's left edge."""

    begin: float
    end: float
    last: float
    """When the recording ended; the axis goes on a little."""
    zero: float
    left: float
    right: float

    def shown(self, at: float) -> float:
        return at - self.zero

    def inches(self, at: float) -> float:
        return self.left + (at - self.begin) / (self.end - self.begin) * (self.right - self.left)

    def seconds(self, inches: float) -> float:
        """What is shown at a place."""
        share = (inches - self.left) / (self.right - self.left)
        return self.shown(self.begin + share * (self.end - self.begin))

    def has(self, at: float) -> bool:
        return self.begin <= at <= self.end


@dataclass(frozen=True)
class _Row:
    """The answers of one server, or of all for whom no row is left."""

    name: str
    times: tuple[float, ...]
    colour: str
    marker: str


@dataclass(frozen=True)
class _Label:
    """What stands at the pole of an event."""

    at: float
    kind: str
    text: str

    @property
    def size(self) -> float:
        return 11.0 if self.kind == "check" else 13.0


@dataclass(frozen=True)
class _Flag:
    """A label at its pole: on which side of it (1 is right), how much of the text, how high."""

    label: _Label
    pole: float
    side: int
    texts: tuple[str, ...]
    """What may stand there, the longest first; the first one does."""
    level: int = -1

    @property
    def text(self) -> str:
        """What stands there; nothing at a bare pole."""
        return self.texts[0] if self.texts else ""

    @property
    def end(self) -> float:
        """Where the text ends that begins at the pole."""
        return self.pole + self.side * (_length(self.text, self.label.size) + 0.12 if self.texts else 0.0)

    @property
    def span(self) -> tuple[float, float]:
        """The text from left to right."""
        return min(self.pole, self.end), max(self.pole, self.end)

    def holds(self, other: "_Flag") -> bool:
        """Whether the other's pole goes through the text, unless that is higher."""
        left, right = self.span
        return left + 0.01 < other.pole < right - 0.01

    def meets(self, other: "_Flag") -> bool:
        """Whether the texts cannot stand on one level."""
        (left, right), (begin, end) = self.span, other.span
        return left < end + 0.12 and begin < right + 0.12


def draw(recording: Recording, file_without_suffix: Path) -> tuple[Path, Path]:
    """Write the picture as SVG and as PNG; the same recording gives the same bytes.

    It sets matplotlib's parameters while it works, so two threads must not draw at once.

    Args:
        recording: the drill.
        file_without_suffix: where; ``.svg`` and ``.png`` are appended. The directory exists.

    Returns:
        The SVG and the PNG.

    Raises:
        OSError: they cannot be written.
    """
    vector = file_without_suffix.with_name(file_without_suffix.name + ".svg")
    pixels = file_without_suffix.with_name(file_without_suffix.name + ".png")
    title = _plain(recording.title)
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = _figure(recording)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Title": title, "Creator": "lvs-dr-lab", "Date": None})
        figure.savefig(pixels, format="png", metadata={"Title": title, "Software": None})
    vector.write_text(_described(text.getvalue(), recording), encoding="utf-8", newline="\n")
    return vector, pixels


def _described(svg: str, recording: Recording) -> str:
    """The SVG with a description for those who cannot see it."""
    words = html.escape(" ".join([*_sentences(recording), _footer(recording)]), quote=False)
    return svg.replace("</title>", f"</title>\n <desc>{words}</desc>", 1).replace(
        "<svg ", '<svg role="img" ', 1
    )


def _figure(recording: Recording) -> Figure:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI, facecolor="white")
    rows = _rows(recording)
    time = _time(recording, [*(row.name for row in rows), *recording.directors, _NO_ANSWER])
    flags = _placed(_labels(recording, time), time)
    levels = 1 + max((flag.level for flag in flags), default=-1)
    top = _draw_header(figure, recording) - _LEVEL * levels - 0.1
    middle = _BOTTOM + _director_height(recording) * max(1, len(recording.directors))
    answers = _axes(figure, time, middle + 0.1, top)
    directors = _axes(figure, time, _BOTTOM, middle)
    _draw_flags(figure, flags, top)
    room = _draw_bands(figure, recording, time, top)
    _draw_answers(answers, recording, rows, time, room)
    _draw_states(directors, recording, time)
    _draw_scale(figure, answers, directors, time, top)
    footer = _fitted(_footer(recording), _WIDTH - 2 * _MARGIN, 11.5)
    _write(figure, _MARGIN, 0.24, footer, 11.5, color=_PALE)
    return figure


def _director_height(recording: Recording) -> float:
    return min(0.56, 1.4 / max(1, len(recording.directors)))


def _axes(figure: Figure, time: _Time, bottom: float, top: float) -> Axes:
    """A panel whose y is inches from its bottom. Transparent: what is drawn on the slide lies below it."""
    place = (
        time.left / _WIDTH,
        bottom / _HEIGHT,
        (time.right - time.left) / _WIDTH,
        (top - bottom) / _HEIGHT,
    )
    axes = figure.add_axes(place, facecolor="none")
    axes.set_xlim(time.shown(time.begin), time.shown(time.end))
    axes.set_ylim(0, top - bottom)
    axes.set_yticks([])
    return axes


def _write(figure: Figure, x: float, y: float, text: str, size: float, **how: Any) -> None:
    """Text at a place of the slide, in inches; ``y`` is its middle."""
    look: dict[str, Any] = {"va": "center", "color": _INK, "transform": figure.dpi_scale_trans} | how
    figure.text(x, y, text, fontsize=size, **look)


@lru_cache(maxsize=4096)
def _length(text: str, size: float, *, bold: bool = False) -> float:
    """How many inches a text takes."""
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def _plain(text: str, letters: int = 200) -> str:
    """Text from elsewhere on one line, without what XML forbids."""
    shown = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return shown if len(shown) <= letters else shown[: letters - 1].rstrip() + "…"


def _fitted(text: str, inches: float, size: float, *, bold: bool = False) -> str:
    """The text, shortened to what fits."""
    text = shown = _plain(text)
    while len(text) > 1 and _length(shown, size, bold=bold) > inches:
        text = text[:-1].rstrip(" ,:;")
        shown = text + "…"
    return shown


def _time(recording: Recording, names: Iterable[str]) -> _Time:
    """The axis; zero is the first action, the left margin is as wide as the names need."""
    begin = min((0.0, *(request.at for request in recording.requests)))
    end = max((begin + 1.0, recording.seconds, *(request.at for request in recording.requests)))
    actions = [event.at for event in recording.events if event.kind == "action" and begin <= event.at <= end]
    widest = max(_length(_name(name), _NAME_SIZE, bold=True) for name in names)
    air = (end - begin) / 100
    left = _MARGIN + widest + 0.2
    return _Time(begin - air, end + air, end, min(actions, default=0.0), left, _WIDTH - 1.55)


def _name(name: str) -> str:
    """The name of a machine; the unknown may call themselves anything."""
    return _plain(name, 18) or "(no name)"


def _draw_header(figure: Figure, recording: Recording) -> float:
    """Title and verdicts; returns where they end."""
    size = 26.0
    room = _WIDTH - 2 * _MARGIN
    title = _plain(recording.title)
    while size > 20 and _length(title, size, bold=True) > room:
        size -= 1
    title = _fitted(title, room, size, bold=True)
    _write(figure, _MARGIN, _HEIGHT - 0.45, title, size, fontweight="bold")
    y = _HEIGHT - 0.98
    if len(recording.measures) > 1:
        return _draw_list(figure, recording.measures, y)
    colour = _PALE
    if recording.measures:
        colour = _KEPT if recording.measures[0].kept else _BROKEN
    _write(figure, _MARGIN, y, _fitted(_sentences(recording)[0], room, 17), 17, color=colour)
    return y - 0.25


def _sentences(recording: Recording) -> list[str]:
    """What was measured against what was promised."""
    if recording.measures:
        return [_sentence(measure) for measure in recording.measures]
    total = len(recording.requests)
    failed = sum(not answered(request) for request in recording.requests)
    if not total:
        return ["No requests were made."]
    return [
        f"{failed} of {total} requests were not answered."
        if failed
        else f"All {total} requests were answered."
    ]


def _sentence(measure: Measure) -> str:
    quantity = _plain(measure.bound.quantity)
    held = "✓ The promise was kept." if measure.kept else "✗ The promise was broken."
    promised = measure.bound.in_words()
    return f"{quantity[:1].upper()}{quantity[1:]}: {_value(measure)}; promised: {promised}. {held}"


def _mark(measure: Measure) -> str:
    return "✓ kept" if measure.kept else "✗ broken"


def _value(measure: Measure) -> str:
    """What was measured; an outage that did not end has no length."""
    return measure.in_words() if measure.value is None or math.isfinite(measure.value) else "no end seen"


def _draw_list(figure: Figure, measures: Sequence[Measure], y: float) -> float:
    """One line for each measure, in columns; of too many the broken ones first."""
    shown = list(measures)
    if len(shown) > _MOST_MEASURES:
        shown = sorted(measures, key=lambda one: one.kept)[: _MOST_MEASURES - 1]
    table = [
        (
            _mark(one),
            _fitted(one.bound.quantity, 8.0, _LIST),
            _value(one),
            f"promised: {one.bound.in_words()}",
        )
        for one in shown
    ]
    if rest := len(measures) - len(shown):
        broken = sum(not one.kept for one in measures) - sum(not one.kept for one in shown)
        table.append(("", f"and {rest} more: {f'{broken} broken' if broken else 'all kept'}", "", ""))
    x = _MARGIN
    looks: tuple[dict[str, Any], ...] = ({"fontweight": "bold"}, {}, {"fontweight": "bold"}, {"color": _PALE})
    for column, look in zip(zip(*table, strict=True), looks, strict=True):
        for line, cell in enumerate(column):
            verdict = {"color": _BROKEN if table[line][0].startswith("✗") else _KEPT}
            text = _fitted(cell, _WIDTH - 0.1 - x, _LIST)
            _write(
                figure, x, y - 0.3 * line, text, _LIST, **(verdict | look if "fontweight" in look else look)
            )
        x += max(_length(cell, _LIST, bold="fontweight" in look) for cell in column) + 0.3
    return y - 0.3 * (len(table) - 1) - 0.25


def _footer(recording: Recording) -> str:
    sources = len({request.source for request in recording.requests})
    began = datetime.fromtimestamp(recording.began, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    parts = [
        f"stack {_plain(recording.stack, 40)}",
        f"{_counted(len(recording.requests), 'request')} from {_counted(sources, 'address', 'addresses')}",
        f"one every {recording.interval:g} s: the resolution of every figure",
        began,
    ]
    if any(event.kind == "check" for event in recording.events):
        parts.insert(3, "dotted: health checks")
    return " · ".join(parts)


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _labels(recording: Recording, time: _Time) -> list[_Label]:
    """What happened, in words; health checks of one machine that fall together are one label."""
    found = [
        _Label(event.at, event.kind, _told(event))
        for event in recording.events
        if event.kind in ("action", "restore") and time.has(event.at)
    ]
    near = (time.end - time.begin) / 120
    together: dict[str, list[list[Event]]] = {}
    for event in sorted(recording.events, key=lambda event: event.at):
        if event.kind == "check" and time.has(event.at):
            groups = together.setdefault(event.machine, [])
            if groups and event.at - groups[-1][0].at < near:
                groups[-1].append(event)
            else:
                groups.append([event])
    checks = [_check(group) for groups in together.values() for group in groups]
    return found + sorted(checks, key=lambda label: label.at)


def _told(event: Event) -> str:
    text = _plain(event.text)
    return text if event.machine == "lab" or event.machine in text else f"{_name(event.machine)}: {text}"


# What keepalived logs of a check, and the same for a slide; what trainees look for comes first.
_CHECKS = (
    (re.compile(r"Removing ((?:sorry |alternate )?)(?:service|server) \[([^]]+)\].*"), r"removes \1\2"),
    (re.compile(r"Adding ((?:sorry |alternate )?)(?:service|server) \[([^]]+)\].*"), r"adds \1\2"),
    (re.compile(r"Gained quorum.*"), "gained quorum"),
    (re.compile(r"Lost quorum.*"), "lost quorum"),
    (re.compile(r"(\w+_CHECK) on service \[([^]]+)\]\S* (failed|success).*"), r"\1 of \2: \3"),
)


def _check(events: Sequence[Event]) -> _Label:
    """One label for health checks of one machine, of its most telling kind."""
    said: list[tuple[int, str]] = []
    for event in events:
        for rank, (pattern, words) in enumerate(_CHECKS):
            if found := pattern.match(event.text):
                said.append((rank // 2, found.expand(words)))
                break
        else:
            said.append((len(_CHECKS), _plain(event.text)))
    best = min(rank for rank, _ in said)
    texts = list(dict.fromkeys(text for rank, text in said if rank == best))
    more = f" and {len(texts) - 1} more" if len(texts) > 1 else ""
    return _Label(events[0].at, "check", f"{_name(events[0].machine)} {texts[0]}{more}")


def _placed(labels: Sequence[_Label], time: _Time) -> list[_Flag]:
    """Labels with places where none lies upon another; what finds no place keeps a bare pole."""
    checks = sum(label.kind == "check" for label in labels)
    sides: list[tuple[_Flag, _Flag]] = []
    for label in sorted(labels, key=lambda label: label.at):
        texts = tuple(dict.fromkeys(_fitted(label.text, room, label.size) for room in _ROOMS))
        if label.kind == "check" and checks > _MOST_CHECKS:
            texts = ()
        flag = _Flag(label, time.inches(label.at), 1, texts)
        sides.append((_inside(flag), _inside(replace(flag, side=-1))))
    # Right of their poles up to one of them, left from there on; then whatever else is better.
    count = len(sides)
    step = 1 if count <= _FEW else count // 3
    turns = [[0] * turn + [1] * (count - turn) for turn in range(count, -1, -step)]
    return min((_improved(turn, sides) for turn in turns), key=_cost)


def _inside(flag: _Flag) -> _Flag:
    """The flag with the texts that the slide has room for."""
    while flag.texts and not 0.1 <= flag.end <= _WIDTH - 0.1:
        flag = replace(flag, texts=flag.texts[1:])
    return flag


def _improved(turn: list[int], sides: Sequence[tuple[_Flag, _Flag]]) -> list[_Flag]:
    """The best arrangement that differs from ``turn`` in no label, or in some of a few labels."""
    best = _arranged([pair[way] for pair, way in zip(sides, turn, strict=True)])
    for place in range(len(turn) if len(turn) <= _FEW else 0):
        other = [*turn[:place], 1 - turn[place], *turn[place + 1 :]]
        arranged = _arranged([pair[way] for pair, way in zip(sides, other, strict=True)])
        if _cost(arranged) < _cost(best):
            best, turn = arranged, other
    return best


def _cost(flags: Sequence[_Flag]) -> tuple[int, ...]:
    """What is bad about an arrangement, the worst first."""
    mute = [flag for flag in flags if not flag.texts]
    return (
        sum(flag.label.kind != "check" for flag in mute),
        len(mute),
        sum(len(flag.label.text) - len(flag.text) for flag in flags if flag.texts),
        max((flag.level for flag in flags), default=0),
        sum(flag.level for flag in flags),
    )


def _arranged(flags: Sequence[_Flag]) -> list[_Flag]:
    """Each flag as low as it can be, and higher than those whose poles it would cut."""
    waiting, placed = list(flags), list[_Flag]()
    while waiting:
        free = [one for one in waiting if not any(one.holds(other) for other in waiting if other is not one)]
        if not free:
            # Each cuts another's pole: the longest text gives way, that of a check before any other.
            longest = min(waiting, key=lambda one: (one.label.kind != "check", -len(one.text)))
            waiting[waiting.index(longest)] = replace(longest, texts=longest.texts[1:])
            continue
        flag = free[0]
        waiting.remove(flag)
        lowest = 1 + max((other.level for other in placed if flag.holds(other)), default=-1)
        taken = {other.level for other in placed if flag.meets(other)}
        level = next((level for level in range(lowest, _LEVELS) if level not in taken), None)
        if not flag.texts or level is None:
            placed.append(replace(flag, texts=()))
        else:
            placed.append(replace(flag, level=level))
    return placed


def _draw_flags(figure: Figure, flags: Iterable[_Flag], top: float) -> None:
    """Poles below everything else, with their texts above the panels."""
    for flag in flags:
        look = _POLES[flag.label.kind]
        _draw_pole(figure, flag.pole, (_BOTTOM, top), gid=flag.label.kind, **look)
        if flag.texts:
            middle = top + _LEVEL * (flag.level + 0.5)
            solid = look | {"linestyle": "solid", "gid": flag.label.kind}
            _draw_pole(figure, flag.pole, (top, middle + 0.11), **solid)
            colour = _PALE if flag.label.kind == "check" else look["color"]
            aligned = "left" if flag.side > 0 else "right"
            x = flag.pole + flag.side * 0.07
            _write(figure, x, middle, flag.text, flag.label.size, ha=aligned, color=colour)


def _draw_pole(figure: Figure, x: float, ends: tuple[float, float], **look: Any) -> None:
    how: dict[str, Any] = {"transform": figure.dpi_scale_trans, "zorder": -1} | look
    figure.add_artist(Line2D([x, x], ends, **how))


def _draw_bands(figure: Figure, recording: Recording, time: _Time, top: float) -> float:
    """Promises: shaded through both panels, told in the upper one; returns the inches the words take."""
    reached: list[float] = []
    for band in sorted(recording.bands, key=lambda band: band.begin):
        begin, end = max(band.begin, time.begin), min(band.end, time.end)
        if begin > end:
            continue
        left, right = time.inches(begin), time.inches(end)
        shade = Rectangle((left, _BOTTOM), right - left, top - _BOTTOM, linewidth=0.5, gid="promised")
        shade.set(transform=figure.dpi_scale_trans, zorder=-2, facecolor=_BAND, edgecolor=_BAND_INK)
        figure.add_artist(shade)
        text = _fitted(band.label, time.right - time.left - 0.3, _SMALL)
        length = _length(text, _SMALL) + 0.2
        # In the middle of its span, or as near to that as the panel allows.
        start = min(max((left + right - length) / 2, time.left + 0.05), time.right - length - 0.05)
        lane = next((place for place, end in enumerate(reached) if end < start), len(reached))
        reached[lane : lane + 1] = [start + length]
        edge = "none" if length < right - left else _BAND_INK
        paper = {"facecolor": _BAND, "edgecolor": edge, "pad": 2.5, "linewidth": 0.6}
        y = top - 0.32 * (lane + 0.5) - 0.05
        _write(figure, start + length / 2, y, text, _SMALL, color=_BAND_INK, ha="center", bbox=paper)
    return 0.32 * len(reached) + (0.1 if reached else 0.0)


def _rows(recording: Recording) -> list[_Row]:
    """A row for each server of the lab, then those for answers from elsewhere."""
    times: dict[str, list[float]] = {name: [] for name in recording.servers}
    for request in in_order(recording.requests):
        if request.server is not None:
            times.setdefault(request.server, []).append(request.at)
    strangers = sorted(times.keys() - set(recording.servers))
    if len(strangers) > _STRANGERS:
        several = [at for name in strangers[_STRANGERS - 1 :] for at in times.pop(name)]
        times[f"{len(strangers) - _STRANGERS + 1} others"] = sorted(several)
    return [
        _Row(name, tuple(found), _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)])
        for place, (name, found) in enumerate(times.items())
    ]


def _draw_answers(axes: Axes, recording: Recording, rows: Sequence[_Row], time: _Time, room: float) -> None:
    """Who answered when, over the requests that nobody answered; ``room`` inches at the top are taken."""
    failed = [request for request in in_order(recording.requests) if not answered(request)]
    outage = _longest(recording.requests, time)
    floor = 0.53 if outage else 0.0
    free = axes.get_ylim()[1] - room - floor
    # Failed requests need height for their lanes.
    pitch = free / (len(rows) + 1)
    if failed:
        pitch = min(free / (len(rows) + 1.7), (free - 0.55) / max(1, len(rows)))
    ceiling = floor + free - pitch * len(rows)
    many = len(recording.requests) > _MANY
    for place, row in enumerate(reversed(rows)):
        y = ceiling + pitch * (place + 0.5)
        axes.axhline(y - pitch / 2, color=_LINE, linewidth=0.8, zorder=0)
        _draw_row(axes, row, time, y, pitch, many)
        _name_row(axes, y, pitch, _name(row.name), _counted(len(row.times), "answer"))
    colour = _FAILED if failed else _PALE
    _name_row(axes, (ceiling + floor) / 2, ceiling - floor, _NO_ANSWER, f"{len(failed)} failed", colour)
    _draw_failed(axes, failed, time, (floor + 0.1, ceiling - 0.12), many)
    if outage:
        _draw_outage(axes, outage, time, floor)


def _draw_row(axes: Axes, row: _Row, time: _Time, y: float, pitch: float, many: bool) -> None:
    """A marker for each answer, as large as the time between two allows."""
    apart = (time.right - time.left) / max(1, len(row.times)) * 72
    axes.plot(
        [time.shown(at) for at in row.times],
        [y] * len(row.times),
        linestyle="",
        marker=row.marker,
        markersize=min(9.0, max(4.5, 0.75 * apart), pitch * 30),
        markeredgecolor="#333333",
        markeredgewidth=0.0 if many else 0.4,
        color=row.colour,
        rasterized=many,
        gid=f"answers {_name(row.name)}",
    )


def _name_row(axes: Axes, y: float, pitch: float, name: str, count: str = "", colour: str = _INK) -> None:
    """Words on either side of a row."""
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    how: dict[str, Any] = {"xycoords": beside, "textcoords": "offset points", "va": "center", "color": colour}
    most = max(7.0, pitch * 65)
    axes.annotate(
        name, (0, y), (-10, 0), ha="right", fontsize=min(_NAME_SIZE, most), fontweight="bold", **how
    )
    axes.annotate(count, (1, y), (8, 0), ha="left", fontsize=min(_SMALL, most), **how)


def _draw_failed(
    axes: Axes, failed: Sequence[Request], time: _Time, between: tuple[float, float], many: bool
) -> None:
    """A cross where each was begun and a line as long as it was waited for; what overlaps goes in lanes."""
    lanes = _lanes(failed)
    bottom, top = between
    step = min(0.12, (top - bottom) / max(lanes, default=1) if max(lanes, default=0) else 0.12)
    middle = (bottom + top) / 2 + step * max(lanes, default=0) / 2
    heights = [middle - step * lane for lane in lanes]
    axes.hlines(
        heights,
        [time.shown(request.at) for request in failed],
        [time.shown(request.at + request.took) for request in failed],
        color=_FAILED,
        linewidth=1.2,
        alpha=0.5,
        rasterized=many,
        gid="waited",
    )
    axes.plot(
        [time.shown(request.at) for request in failed],
        heights,
        linestyle="",
        marker="x",
        markersize=6,
        markeredgewidth=1.8,
        color=_FAILED,
        rasterized=many,
        gid="failed",
    )


def _lanes(requests: Iterable[Request]) -> list[int]:
    """For each request the first lane that those before it have left when it begins."""
    free: list[float] = []
    found = []
    for request in requests:
        lane = next((place for place, end in enumerate(free) if end <= request.at), len(free))
        if lane == _LANES:
            lane = min(range(_LANES), key=free.__getitem__)
        free[lane : lane + 1] = [request.at + request.took]
        found.append(lane)
    return found


def _longest(requests: Iterable[Request], time: _Time) -> Outage | None:
    """The longest time without an answer, as far as it is seen."""
    return max(
        outages(requests),
        key=lambda outage: min(time.last, outage.begin + outage.seconds) - outage.begin,
        default=None,
    )


def _draw_outage(axes: Axes, outage: Outage, time: _Time, height: float) -> None:
    """A bracket under the crosses, with its length."""
    end = time.last if outage.end is None else outage.end
    left, right = time.shown(outage.begin), time.shown(end)
    y = height - 0.06
    ends = [left] if outage.end is None else [left, right]
    axes.plot([left, right], [y, y], color=_FAILED, linewidth=2.2, solid_capstyle="butt", gid="outage")
    axes.vlines(ends, y - 0.08, y + 0.08, color=_FAILED, linewidth=2.2)
    text = f"longest time without any answer: {outage.seconds:.2f} s"
    if outage.end is None:
        text = f"no answer any more: {end - outage.begin:.2f} s until the recording ended"
    half = _length(text, _SMALL, bold=True) / 2 + 0.12
    middle = (time.inches(outage.begin) + time.inches(end)) / 2
    middle = min(max(middle, time.left + half), time.right - half)
    paper = {"facecolor": "white", "edgecolor": _FAILED, "linewidth": 0.8, "pad": 3}
    how: dict[str, Any] = {
        "ha": "center",
        "va": "center",
        "fontweight": "bold",
        "color": _BROKEN,
        "bbox": paper,
    }
    axes.text(time.seconds(middle), y - 0.27, text, fontsize=_SMALL, **how)


def _draw_states(axes: Axes, recording: Recording, time: _Time) -> None:
    """A bar for each director, from state to state."""
    pitch = _director_height(recording)
    for place, director in enumerate(reversed(recording.directors)):
        y = pitch * (place + 0.5)
        _name_row(axes, y, pitch, _name(director))
        for span in states(recording.events, director, time.last):
            look = _STATES.get(span.state, _NO_STATE) | {
                "gid": f"state {_name(director)} {_plain(span.state)}"
            }
            corner = (time.shown(span.begin), y - pitch * 0.38)
            axes.add_patch(Rectangle(corner, span.end - span.begin, pitch * 0.76, linewidth=1, **look))
            length = time.inches(span.end) - time.inches(span.begin)
            _name_state(axes, time.shown((span.begin + span.end) / 2), y, span.state, length)


def _name_state(axes: Axes, x: float, y: float, state: str, room: float) -> None:
    """The state's name in its bar, in the largest letters that fit; none if none do."""
    look = _STATES.get(state, _NO_STATE)
    how: dict[str, Any] = {"ha": "center", "va": "center", "color": _INK}
    if state == "MASTER":
        how |= {"color": "white", "fontweight": "bold"}
    if "hatch" in look:
        how["bbox"] = {"facecolor": look["facecolor"], "edgecolor": "none", "pad": 2}
    for size in (13.0, 11.0, 9.0):
        if _length(state, size, bold=state == "MASTER") + 0.12 <= room:
            axes.text(x, y, state, fontsize=size, **how)
            return


def _draw_scale(figure: Figure, answers: Axes, directors: Axes, time: _Time, top: float) -> None:
    """Seconds under the lower panel, a grid below both."""
    for axes in (answers, directors):
        axes.tick_params(axis="x", length=0, labelbottom=axes is directors, labelsize=14, labelcolor=_INK)
    for tick in directors.get_xticks():
        at = float(tick) + time.zero
        if time.has(at):
            _draw_pole(figure, time.inches(at), (_BOTTOM, top), color=_LINE, linewidth=0.8, zorder=-1.5)
    since = "the first action" if time.zero else "the recording began"
    directors.set_xlabel(f"seconds since {since}", fontsize=14, color=_INK)
