"""Breaking a lab on purpose, measuring it, and putting it back."""

import asyncio
import json
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from lab.cli import completion, doorway
from lab.cli.common import JsonOption, StackOption, T, beside, out, run, say
from lab.errors import LabError
from lab.operate import repair as repairing
from lab.operate.challenges import CHALLENGES, Challenge
from lab.operate.challenges import runner as challenging
from lab.operate.drills import DRILLS, Drill, runner
from lab.operate.drills.runner import Outcome
from lab.operate.exercise import Logbook
from lab.operate.running import RunningLab, unknown

app = typer.Typer()
drill_app = typer.Typer(no_args_is_help=True, help="Faults and changes, measured against what is promised.")


challenge_app = typer.Typer(no_args_is_help=True, help="Hidden faults to find and to mend.")
app.add_typer(drill_app, name="drill")
app.add_typer(challenge_app, name="challenge")


@app.command()
def board(
    stack: StackOption = "dev",
    port: Annotated[
        int, typer.Option(help="Of the page, on this computer alone.", min=1024, max=65535)
    ] = 8021,
    interval: Annotated[
        float,
        typer.Option(help="Seconds between two requests that the board shows; 0: none of its own.", min=0),
    ] = 0.25,
) -> None:
    """Show the lab live on a web page for the projector; Ctrl-C ends it."""
    # Drills and challenges are in this room too, and need no web server.
    from lab.board.app import serve  # noqa: PLC0415
    from lab.board.feed import Feed  # noqa: PLC0415
    from lab.board.watch import Watch  # noqa: PLC0415

    # The page is for this computer's browser, the lab is in namespaces of its own: the socket goes along.
    listening = doorway.carried_socket() or _listening(port)
    lab = beside(stack, carrying=listening)
    feed = Feed()
    say(f"the board is at http://127.0.0.1:{listening.getsockname()[1]}/ (Ctrl-C ends it)")

    async def work() -> None:
        watching = asyncio.create_task(Watch(lab, feed, interval=interval).run())
        serving = asyncio.create_task(serve(feed, listening))
        # Whichever ends first: the page by Ctrl-C, or the watch by something that nobody thought of.
        await asyncio.wait({watching, serving}, return_when=asyncio.FIRST_COMPLETED)
        failed = watching.exception() if watching.done() and not watching.cancelled() else None
        for task in (watching, serving):
            task.cancel()
        await asyncio.gather(watching, serving, return_exceptions=True)
        if failed:
            raise failed

    run(work())


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise LabError(
            f"port {port} of this computer cannot be used: {error.strerror}.\n    Choose another with --port."
        ) from None


@app.command()
def repair(stack: StackOption = "dev") -> None:
    """Put every machine back to what it was built as, whatever was done to it by hand."""
    lab = beside(stack)

    async def work() -> list[str]:
        async with lab.guests() as guests:
            wrong = await repairing.repair(lab, guests, say)
        return [one.in_words() for one in wrong]

    if wrong := run(work()):
        raise LabError("not everything could be put right.\n    " + "\n    ".join(wrong))
    out.print("The lab is as it was built.")


@drill_app.command(name="list")
def list_drills(as_json: JsonOption = False) -> None:
    """Say which drills there are."""
    if as_json:
        out.print_json(json.dumps([{"name": drill.name, "title": drill.title} for drill in DRILLS]))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("drill", "what happens", "seconds"):
        table.add_column(title)
    for drill in DRILLS:
        table.add_row(drill.name, drill.title, str(drill.seconds))
    out.print(table)


@drill_app.command()
def show(name: completion.DrillArgument) -> None:
    """Explain drill NAME: what it shows, its steps, what is promised."""
    drill = _drill(name)
    out.print(Text(drill.title, style="bold"))
    out.print(drill.shows, markup=False)
    out.print("\n[bold]Steps[/]")
    for number, step in enumerate(drill.steps, 1):
        out.print(f"{number}. {step}", markup=False)


@drill_app.command(name="run")
def run_drills(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", autocompletion=completion.drills)
    ] = None,
    stack: StackOption = "dev",
    everything: Annotated[bool, typer.Option("--all", help="All that this lab is large enough for.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Keep figures and pictures there, also after `down`."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run drills one after the other; ends with 1 if something did not keep its bound."""
    if bool(names) == everything:
        raise LabError(
            "name the drills to run, or say --all.\n    `lab drill list` says which there are.", status=2
        )
    chosen = [_drill(name) for name in names or []]
    lab = beside(stack)
    if everything:
        chosen = [drill for drill in DRILLS if drill.why_not(lab.inventory) is None]
        for drill in DRILLS:
            if reason := drill.why_not(lab.inventory):
                say(f"{drill.name} is left out: {reason}")
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if not as_json:
            _show_outcome(outcome)

    try:
        _play(lab, runner.run_drills(lab, chosen, say, tell, folder))
    finally:
        # Also of a run that was cut off: what has been measured is measured.
        if as_json:
            out.print_json(json.dumps([one.recording.model_dump(mode="json") for one in outcomes]))
    if not all(outcome.kept for outcome in outcomes):
        raise typer.Exit(1)


def _show_outcome(outcome: Outcome) -> None:
    out.print(_measures(outcome))
    for file in outcome.files:
        out.print(Text(f"    {file}", style="dim"), soft_wrap=True)


def _measures(outcome: Outcome) -> Table:
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=Text(f"\n{outcome.recording.title}", style="bold"),
        title_justify="left",
    )
    for title in ("", "measured", "value", "promised", "why"):
        table.add_column(title, overflow="fold")
    for measure in outcome.recording.measures:
        table.add_row(
            Text("kept", style="green") if measure.kept else Text("BROKEN", style="bold red"),
            measure.bound.quantity,
            measure.in_words(),
            measure.bound.in_words(),
            Text(f"{measure.bound.formula}\n{measure.bound.source}", style="dim"),
        )
    return table


@drill_app.command()
def restore(stack: StackOption = "dev") -> None:
    """Put the lab back after a drill that was killed."""
    lab = beside(stack)
    found = _play(lab, runner.restore(lab, say))
    out.print(f"Put back: {found}." if found else "No drill is under way; nothing to do.")


def _play(lab: RunningLab, work: Coroutine[Any, Any, T]) -> T:
    """Run what breaks or mends the lab; if it is cut off before the lab is whole, say so and what to do."""
    try:
        return run(work)
    except KeyboardInterrupt:
        if found := Logbook(lab.directory).current():
            say(f"cut off: {found.in_words()}. `{found.way_back}` puts the lab back.")
        raise


def _drill(name: str) -> Drill:
    for drill in DRILLS:
        if drill.name == name:
            return drill
    raise LabError(unknown("drill", name, [drill.name for drill in DRILLS]), status=2)


@challenge_app.command(name="list")
def list_challenges(as_json: JsonOption = False) -> None:
    """Say which challenges there are."""
    if as_json:
        out.print_json(json.dumps([{"name": one.name, "symptom": one.symptom} for one in CHALLENGES]))
        return
    for one in CHALLENGES:
        out.print(Text.assemble((one.name, "bold"), f"\n    {one.symptom}"))


@challenge_app.command()
def start(name: completion.ChallengeArgument, stack: StackOption = "dev") -> None:
    """Break the lab for challenge NAME and say what somebody reports."""
    challenge = _challenge(name)
    lab = beside(stack)
    _play(lab, challenging.start(lab, challenge, say))
    out.print(Text(f"\n{challenge.symptom}\n", style="bold"))
    out.print(
        "Find the cause and mend it. [bold]lab challenge hint[/] helps, [bold]lab challenge verify[/] judges,"
    )
    out.print("[bold]lab challenge reveal[/] tells, [bold]lab challenge reset[/] puts the lab back.")


@challenge_app.command()
def hint(stack: StackOption = "dev") -> None:
    """Give the next hint."""
    lab = beside(stack)
    number, text = challenging.hint(lab)
    challenge, _ = challenging.current(lab)
    out.print(f"[bold]Hint {number} of {len(challenge.hints)}[/]")
    out.print(text, markup=False)


@challenge_app.command(name="verify")
def verify_challenge(stack: StackOption = "dev") -> None:
    """Say whether the lab works again, and if not, what does not; ends with 1 then."""
    lab = beside(stack)
    challenge, exercise = challenging.current(lab)

    async def judged() -> list[str]:
        async with lab.guests() as guests:
            return [check.says for check in await challenging.judge(guests, lambda _: None)]

    say("looking at the whole lab, up to half a minute")
    if wrong := run(judged()):
        out.print("[bold red]Not yet.[/] This does not hold:")
        for sentence in wrong:
            out.print(f"    {sentence}", markup=False)
        raise typer.Exit(1)
    hints = f"{exercise.hints} of {len(challenge.hints)} hints used"
    out.print(f"[bold green]Solved[/], {hints}. The lab works again.")
    out.print("[bold]lab challenge reveal[/] tells what it was, [bold]lab challenge reset[/] ends it.")


@challenge_app.command()
def reveal(stack: StackOption = "dev") -> None:
    """Tell the cause and a way to mend it."""
    lab = beside(stack)
    challenge, _ = challenging.current(lab)
    out.print(challenge.cause, markup=False)
    out.print("\n[bold]One way to mend it[/]")
    for fix in challenge.solution(lab.inventory):
        where = f"lab ssh {fix.machine}" if fix.machine else "lab exec --"
        out.print(f"{where} {fix.command}", markup=False, soft_wrap=True)


@challenge_app.command()
def reset(stack: StackOption = "dev") -> None:
    """Put the lab back, solved or not."""
    lab = beside(stack)
    name = _play(lab, challenging.reset(lab, say))
    out.print(
        f"Challenge {name} is over; the lab is as it was built." if name else "The lab is as it was built."
    )


def _challenge(name: str) -> Challenge:
    for one in CHALLENGES:
        if one.name == name:
            return one
    raise LabError(unknown("challenge", name, [one.name for one in CHALLENGES]), status=2)
