"""A drill on one slide: who answered when, what each director thought it was, and what was promised."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.operate.analysis import outages
from lab.operate.recording import Event, Recording, Request

# Okabe and Ito: told apart by colour-blind people too; the rows and markers differ besides.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_FAILED = "#D55E00"
_STATES: dict[str, dict[str, Any]] = {
    "MASTER": {"facecolor": "#E69F00", "edgecolor": "#7a5200"},
    "BACKUP": {"facecolor": "#dbeafe", "edgecolor": "#64748b"},
    "FAULT": {"facecolor": "#ffffff", "edgecolor": _FAILED, "hatch": "////"},
    "OFF": {"facecolor": "#1e293b", "edgecolor": "#1e293b"},
    "STOP": {"facecolor": "#ffffff", "edgecolor": "#64748b", "hatch": "...."},
    "unknown": {"facecolor": "#f1f5f9", "edgecolor": "#cbd5e1"},
}
_DPI = 120
# More points than this would make an SVG of megabytes: they are drawn as pixels in it.
_MANY = 4000
_LABEL_LENGTH = 46


def draw(recording: Recording, file_without_suffix: Path) -> tuple[Path, Path]:
    """Write the picture as SVG and as PNG; the same recording gives the same bytes.

    Returns:
        The two files.
    """
    with mpl.rc_context({"svg.hashsalt": "lvs-dr-lab", "svg.fonttype": "none", "font.size": 12}):
        figure = _figure(recording)
        vector = file_without_suffix.with_name(file_without_suffix.name + ".svg")
        pixels = file_without_suffix.with_name(file_without_suffix.name + ".png")
        about = {"Title": recording.title, "Description": " ".join(_verdicts(recording)), "Date": None}
        figure.savefig(vector, format="svg", metadata=about)
        figure.savefig(pixels, format="png", metadata={"Title": recording.title, "Software": None})
    return vector, pixels


def _figure(recording: Recording) -> Figure:
    verdicts = _verdicts(recording)
    lines = len(verdicts)
    figure = Figure(figsize=(16, 9), dpi=_DPI, facecolor="white")
    top = 0.86 - 0.032 * lines
    grid = figure.add_gridspec(
        2,
        1,
        height_ratios=(len(recording.servers) + 1.6, 0.9 * len(recording.directors)),
        left=0.09,
        right=0.98,
        top=top,
        bottom=0.1,
        hspace=0.08,
    )
    answers = figure.add_subplot(grid[0])
    states = figure.add_subplot(grid[1], sharex=answers)
    zero = _zero(recording)
    _draw_requests(answers, recording, zero)
    _draw_bands(answers, recording, zero)
    _draw_events(answers, recording, zero)
    _draw_states(states, recording, zero)
    answers.set_xlim(-zero, recording.seconds - zero)
    answers.tick_params(labelbottom=False)
    states.set_xlabel("seconds since the first action" if zero else "seconds")
    figure.text(0.02, 0.955, recording.title, fontsize=22, fontweight="bold", va="center")
    for place, verdict in enumerate(verdicts):
        colour = "#166534" if verdict.startswith("✓") else "#b91c1c"
        figure.text(0.02, 0.91 - 0.032 * place, verdict, fontsize=13.5, va="center", color=colour)
    figure.text(0.02, 0.02, _footer(recording), fontsize=10, color="#475569", va="center")
    return figure


def _zero(recording: Recording) -> float:
    return min((event.at for event in recording.events if event.kind == "action"), default=0.0)


def _verdicts(recording: Recording) -> list[str]:
    """What was measured against what was promised, a line each."""
    return [
        f"{'✓ kept' if measure.kept else '✗ broken'}: {measure.bound.quantity}: {measure.in_words()}, "
        f"promised {measure.bound.in_words()}"
        for measure in recording.measures
    ]


def _footer(recording: Recording) -> str:
    sources = len({request.source for request in recording.requests})
    began = datetime.fromtimestamp(recording.began, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"stack {recording.stack} · {len(recording.requests)} requests from {sources} addresses, "
        f"one each {recording.interval:g} s: that is the resolution · {began}"
    )


def _draw_requests(axes: Axes, recording: Recording, zero: float) -> None:
    names = [*recording.servers, *_strangers(recording)]
    rows = {name: len(names) - place for place, name in enumerate(names)}
    many = len(recording.requests) > _MANY
    for place, name in enumerate(names):
        times = [request.at - zero for request in recording.requests if request.server == name]
        axes.plot(
            times,
            [rows[name]] * len(times),
            linestyle="",
            marker=_MARKERS[place % len(_MARKERS)],
            markersize=5,
            color=_COLOURS[place % len(_COLOURS)],
            rasterized=many,
        )
    failed = [request for request in recording.requests if request.server is None]
    axes.hlines(
        [0] * len(failed),
        [request.at - zero for request in failed],
        [request.at + request.took - zero for request in failed],
        color=_FAILED,
        linewidth=1,
        alpha=0.35,
        rasterized=many,
    )
    axes.plot(
        [request.at - zero for request in failed],
        [0] * len(failed),
        linestyle="",
        marker="x",
        markersize=7,
        markeredgewidth=1.6,
        color=_FAILED,
        rasterized=many,
    )
    _draw_longest_outage(axes, recording.requests, zero)
    axes.set_yticks([*rows.values(), 0], [*rows, "no answer"], fontsize=14)
    axes.set_ylim(-0.9, len(names) + 1.5)
    axes.grid(axis="x", color="#e2e8f0")
    axes.set_axisbelow(True)


def _strangers(recording: Recording) -> list[str]:
    """Who answered without being one of the lab's servers."""
    known = set(recording.servers)
    return sorted({request.server for request in recording.requests if request.server} - known)


def _draw_longest_outage(axes: Axes, requests: Sequence[Request], zero: float) -> None:
    ended = [outage for outage in outages(requests) if math.isfinite(outage.seconds)]
    longest = max(ended, key=lambda outage: outage.seconds, default=None)
    if longest is None or longest.end is None or longest.failed < 2:
        return
    begin, end = longest.begin - zero, longest.end - zero
    axes.annotate(
        "", (begin, -0.45), (end, -0.45), arrowprops={"arrowstyle": "|-|", "color": _FAILED, "linewidth": 1.6}
    )
    axes.text(
        (begin + end) / 2,
        -0.68,
        f"nobody answers for {longest.seconds:.2f} s",
        ha="center",
        va="center",
        color=_FAILED,
        fontsize=12,
        fontweight="bold",
    )


def _draw_bands(axes: Axes, recording: Recording, zero: float) -> None:
    for band in recording.bands:
        axes.axvspan(band.begin - zero, band.end - zero, color="#fde68a", alpha=0.45, linewidth=0, zorder=0)
        axes.text(
            band.end - zero,
            -0.2,
            f" {band.label}",
            fontsize=11,
            color="#7a5200",
            va="center",
        )


def _draw_events(axes: Axes, recording: Recording, zero: float) -> None:
    shown = [event for event in recording.events if event.kind in ("action", "restore", "check")]
    height = len(recording.servers) + 1.35
    reached = [-math.inf, -math.inf, -math.inf]
    # A label needs about this many seconds of the axis for each of its letters.
    letter = recording.seconds / 150
    for event in shown:
        at = event.at - zero
        minor = event.kind == "check"
        axes.axvline(
            at,
            color="#94a3b8" if minor else "#334155",
            linewidth=0.8 if minor else 1.4,
            linestyle=":" if minor else "--",
        )
        if minor and sum(one.kind == "check" for one in shown) > 8:
            continue
        text = _shortened(event)
        level = min(
            range(len(reached)),
            key=lambda row: (reached[row] > at, reached[row] if reached[row] > at else row),
        )
        right = at + letter * len(text) > recording.seconds - zero
        reached[level] = at + letter * len(text)
        axes.text(
            at,
            height - 0.24 * level,
            f"{text} " if right else f" {text}",
            fontsize=9 if minor else 11,
            color="#475569" if minor else "#0f172a",
            ha="right" if right else "left",
            va="center",
        )


def _shortened(event: Event) -> str:
    text = (
        event.text
        if event.machine == "lab" or event.machine in event.text
        else f"{event.machine}: {event.text}"
    )
    return text if len(text) <= _LABEL_LENGTH else text[: _LABEL_LENGTH - 1] + "…"


def _draw_states(axes: Axes, recording: Recording, zero: float) -> None:
    for place, director in enumerate(reversed(recording.directors)):
        for begin, end, state in _spans(recording, director):
            left, length = begin - zero, end - begin
            axes.barh(place, length, left=left, height=0.66, linewidth=1, **_STATES[state])
            if length > recording.seconds / 18:
                colour = "white" if state == "OFF" else "black"
                axes.text(
                    left + length / 2, place, state, ha="center", va="center", fontsize=11, color=colour
                )
    axes.set_yticks(range(len(recording.directors)), list(reversed(recording.directors)), fontsize=14)
    axes.set_ylim(-0.6, len(recording.directors) - 0.4)
    axes.grid(axis="x", color="#e2e8f0")
    axes.set_axisbelow(True)


def _spans(recording: Recording, director: str) -> list[tuple[float, float, str]]:
    """From when to when a director was in which state; states that follow themselves are one span."""
    found: list[tuple[float, float, str]] = []
    state, since = "unknown", 0.0
    for event in recording.events:
        if event.kind == "vrrp" and event.machine == director and event.state not in (None, state):
            if event.at > since:
                found.append((since, event.at, state))
            state, since = event.state or "unknown", max(0.0, event.at)
    return [*found, (since, recording.seconds, state)]
