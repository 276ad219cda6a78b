"""The page and the picture of a run: docs/benchmarks.md, docs/benchmarks.svg."""

import matplotlib as mpl
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import MaxNLocator

from bench.figures import RESULTS, Growth, Results
from bench.templates import TEMPLATES

PAGE = RESULTS.with_suffix(".md")
PICTURE = RESULTS.with_suffix(".svg")
_LAB, _PEER = "#0072B2", "#E69F00"
_PAIRS = (
    ("up, six machines", "up, six machines, until all servers have answered", "Vagrant: up, six machines"),
    ("up again", "up with nothing to do", "Vagrant: up with nothing to do"),
    ("destroy", "destroy", "Vagrant: destroy"),
)


def write(results: Results) -> None:
    """Write the page and the picture from what was measured."""
    _draw(results)
    PAGE.write_text(_page(results), encoding="utf-8")


def _page(results: Results) -> str:
    ours, theirs = results.find(_PAIRS[0][1]), results.find(_PAIRS[0][2])
    return TEMPLATES.get_template("benchmarks.md.j2").render(
        results=results,
        growths=growths(results),
        share=ours.median / theirs.median if ours and theirs else None,
    )


def growths(results: Results) -> list[Growth]:
    """All sizes that were built, that of the tutorial among them."""
    found = list(results.growth)
    if six := results.find(_PAIRS[0][1]):
        found.append(Growth(machines=6, servers=3, seconds=six.median))
    return sorted(found, key=lambda one: one.machines)


def _draw(results: Results) -> None:
    with mpl.rc_context({"svg.hashsalt": "lvs-dr-lab", "svg.fonttype": "none", "font.size": 13}):
        picture = Picture(figsize=(12, 5), layout="constrained")
        bars, line = picture.subplots(1, 2)
        places = [pair for pair in _PAIRS if results.find(pair[1])]
        for place, (_, ours, theirs) in enumerate(places):
            for shift, name, colour in ((-0.2, ours, _LAB), (0.2, theirs, _PEER)):
                if figure := results.find(name):
                    bars.bar(place + shift, figure.median, 0.36, color=colour)
                    words = figure.in_words(figure.median)
                    bars.text(place + shift, figure.median, words, ha="center", va="bottom")
        bars.bar(0, 0, color=_LAB, label="this lab")
        bars.bar(0, 0, color=_PEER, label="Vagrant, vagrant-libvirt")
        bars.set_xticks(range(len(places)), [pair[0] for pair in places])
        bars.set_ylabel("seconds, logarithmic")
        bars.set_yscale("log")
        bars.margins(y=0.15)
        bars.legend(frameon=False)
        known = growths(results)
        line.plot([one.machines for one in known], [one.seconds for one in known], "o-", color=_LAB)
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
