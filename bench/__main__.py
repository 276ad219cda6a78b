"""``python -m bench``: measure, then write docs/benchmarks.md. About an hour and a half by emulation."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bench import ours, peer, report
from bench.figures import RESULTS, Results, machine
from bench.kcli import Kcli
from bench.vagrant import Vagrant
from lab.host import lifecycle

PARTS = ("lab", "gaps", "peers", "growth")


def say(text: str) -> None:
    """One line with the time of day."""
    typer.echo(f"{time.strftime('%H:%M:%S')} {text}")


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that goes when the part is over."""
    folder = Path(tempfile.mkdtemp(prefix="lab-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(PARTS)}; all if none.")] = None,
    ups: Annotated[int, typer.Option(help="How often the lab is built.", min=1)] = 3,
    runs: Annotated[int, typer.Option(help="How often everything else is measured.", min=1)] = 3,
    sizes: Annotated[str, typer.Option(help="Machines of the labs that grow.")] = "3,9,12",
) -> None:
    """Measure the lab, how it grows, and its peers, one after the other, with nothing else at work."""
    wanted = parts or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        raise typer.BadParameter(f"{', '.join(unknown)}: choose of {', '.join(PARTS)}")
    lifecycle.install(say)
    results = Results(machine=machine(), when=time.strftime("%Y-%m-%d"))
    if {"lab", "gaps"} & set(wanted):
        for turn in range(ups):
            with scratch() as folder:
                bench = ours.Bench(folder / "lab", results, say)
                with bench.up() as seconds:
                    say(f"up, six machines: {seconds:.0f} s")
                    results.add("up, six machines, until all servers have answered", "s", seconds, target=290)
                    if turn == ups - 1:
                        if "lab" in wanted:
                            measure_standing(bench, runs)
                        if "gaps" in wanted:
                            measure_gaps(bench, runs)
    if "peers" in wanted:
        for kind in (Vagrant, Kcli):
            measure_peer(kind, results)
    if "growth" in wanted:
        say("growth")
        with scratch() as folder:
            ours.grow(folder, results, say, [int(size) for size in sizes.split(",")])
    report.write(results)
    say(f"written: {report.PAGE}, {RESULTS.name}")


def measure_standing(bench: ours.Bench, runs: int) -> None:
    """What a lab that stands costs, and what changing it takes."""
    say("memory, nothing to do, a changed weight, one more server")
    bench.memory()
    bench.no_op(runs)
    bench.weight(runs)
    bench.fourth_server()


def measure_peer(kind: type[peer.Peer], results: Results) -> None:
    """What a peer takes. Its trouble does not cost the figures of the lab: it is said and noted."""
    say(kind.name)
    with scratch() as folder:
        try:
            peer.measure(kind, folder / "peer", results, say)
        except (RuntimeError, subprocess.SubprocessError) as error:
            say(str(error))
            results.notes.append(f"{kind.name} did not build its lab in this run")


def measure_gaps(bench: ours.Bench, runs: int) -> None:
    """What clients see of failures."""
    say("gaps, VRRP 2 at 1 s")
    bench.gaps(runs, "VRRP 2 at 1 s")
    say("gaps, VRRP 3 at 100 ms")
    bench.gaps(runs, "VRRP 3 at 100 ms", vrrp_version=3, advert_int="0.1", auth_type="none")


if __name__ == "__main__":
    typer.run(main)
