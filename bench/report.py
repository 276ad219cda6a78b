"""The page and the picture of a run: docs/benchmarks.md, docs/benchmarks.svg."""

import matplotlib as mpl
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import MaxNLocator

from bench.figures import RESULTS, Figure, Growth, Results
from bench.kcli import Kcli
from bench.peer import DESTROY, UP, UP_AGAIN
from bench.templates import TEMPLATES
from bench.vagrant import Vagrant

PAGE = RESULTS.with_suffix(".md")
PICTURE = RESULTS.with_suffix(".svg")
_LAB = "this lab"
_COLOURS = {_LAB: "#0072B2", Vagrant.name: "#E69F00", Kcli.name: "#009E73"}
# What is measured of everyone, and what the lab's own figure of it is called.
_SHARED = {
    UP: "up, six machines, until all servers have answered",
    UP_AGAIN: "up with nothing to do",
    DESTROY: "destroy",
}


def write(results: Results) -> None:
    """Write the page and the picture from what was measured."""
    _draw(results)
    PAGE.write_text(_page(results), encoding="utf-8")


def _page(results: Results) -> str:
    ours = _figure(results, _LAB, UP)
    peers = {name: _figure(results, name, UP) for name in _COLOURS if name != _LAB}
    return TEMPLATES.get_template("benchmarks.md.j2").render(
        results=results,
        growths=growths(results),
        shares={name: ours.median / theirs.median for name, theirs in peers.items() if ours and theirs},
    )


def _figure(results: Results, who: str, what: str) -> Figure | None:
    return results.find(_SHARED[what] if who == _LAB else f"{who}: {what}")


def growths(results: Results) -> list[Growth]:
    """All sizes that were built, that of the tutorial among them."""
    found = list(results.growth)
    if six := _figure(results, _LAB, UP):
        found.append(Growth(machines=6, servers=3, seconds=six.median))
    return sorted(found, key=lambda one: one.machines)


def _draw(results: Results) -> None:
    with mpl.rc_context({"svg.hashsalt": "lvs-dr-lab", "svg.fonttype": "none", "font.size": 13}):
        picture = Picture(figsize=(12, 5), layout="constrained")
        bars, line = picture.subplots(1, 2)
        shown = [who for who in _COLOURS if any(_figure(results, who, what) for what in _SHARED)]
        width = 0.8 / max(len(shown), 1)
        for turn, who in enumerate(shown):
            bars.bar(0, 0, color=_COLOURS[who], label=who)
            for place, what in enumerate(_SHARED):
                if figure := _figure(results, who, what):
                    left = place + (turn - (len(shown) - 1) / 2) * width
                    bars.bar(left, figure.median, width * 0.9, color=_COLOURS[who])
                    words = figure.in_words(figure.median)
                    bars.text(left, figure.median, words, ha="center", va="bottom", fontsize=10)
        bars.set_xticks(range(len(_SHARED)), list(_SHARED))
        bars.set_ylabel("seconds, logarithmic")
        bars.set_yscale("log")
        bars.margins(y=0.15)
        bars.legend(frameon=False)
        known = growths(results)
        line.plot([one.machines for one in known], [one.seconds for one in known], "o-", color=_COLOURS[_LAB])
        for one in known:
            line.annotate(
                f"{one.seconds:.0f} s",
                (one.machines, one.seconds),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
            )
        line.set_xlabel("machines")
        line.set_ylabel("seconds until all servers have answered")
        line.set_ylim(bottom=0)
        line.margins(y=0.15)
        line.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (bars, line):
            axes.spines[["top", "right"]].set_visible(False)
        picture.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    """Write page and picture again from the figures that are there."""
    write(Results.model_validate_json(RESULTS.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
