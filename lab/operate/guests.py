"""The machines as the tools reach them: one SSH connection each, opened when first needed and shared.

It outlives the program that opened it (`lab.operate.access`): the next command has no login to wait for.
"""

import asyncio
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from lab.errors import LabError
from lab.inventory import Inventory
from lab.operate.access import Access

T = TypeVar("T")

# Seconds. An emulated guest that boots another beside it needs two for the handshake alone.
CONNECT_TIMEOUT = 10.0
_COMMAND_TIMEOUT = 30.0
# Seconds until a connection that was told to end has ended, and between two looks whether it has.
_HANG_UP_TIMEOUT = 2.0
_GLANCE = 0.01
# Bytes. A line of a journal in JSON may be long.
_LONGEST_LINE = 1024**2
# A clock is asked so often, unless an answer comes within twice this many seconds: then it is known exactly.
_CLOCK_TRIES = 4
_CLOCK_GOOD = 0.15
# Exit status of ssh(1) if it failed itself, and what it says then.
_SSH_FAILED = 255
_BROKE = "the connection broke"
_REASONS = {
    "Connection refused": "SSH is refused (is the machine still booting, or sshd stopped?)",
    "Host key verification failed": "it shows another host key than this lab gave it",
    "Permission denied": "it does not take this lab's key",
    "No route to host": "no route to host",
    "timed out": "it did not answer in time",
    "Connection closed": _BROKE,
    "Connection reset": _BROKE,
}


class UnreachableError(LabError):
    """A machine does not answer by SSH."""

    def __init__(self, machine: str, reason: str) -> None:
        super().__init__(f"{machine} cannot be reached: {reason}.")
        self.machine = machine
        self.reason = reason


class CommandFailedError(LabError):
    """A command ended badly on a machine."""

    def __init__(self, machine: str, command: str, answer: "Answer") -> None:
        words = (answer.stderr or answer.stdout).strip().splitlines()
        first = command.strip().splitlines()[0]
        super().__init__(
            f"{machine}: `{first}` ended with status {answer.status}: "
            f"{' | '.join(words[-3:]) or 'no message'}"
        )
        self.machine = machine
        self.answer = answer


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit status."""

    stdout: str
    stderr: str
    status: int


class Process:
    """A command that runs on a machine; what it prints is read while it does."""

    def __init__(self, machine: str, process: asyncio.subprocess.Process) -> None:
        self._machine = machine
        self._process = process

    async def lines(self) -> AsyncIterator[str]:
        """What it prints, to its end.

        Raises:
            UnreachableError: the connection broke.
        """
        while line := await self._readline():
            yield line
        if await self._process.wait() == _SSH_FAILED:
            raise UnreachableError(self._machine, _BROKE)

    async def answer(self) -> str:
        """Give it an empty line, and wait for the line that it prints for it.

        Raises:
            UnreachableError: the connection broke, it ended, or the time is up.
        """
        try:
            async with asyncio.timeout(_COMMAND_TIMEOUT):
                _given(self._process.stdin).write(b"\n")
                line = await self._readline()
        except TimeoutError:
            raise UnreachableError(self._machine, f"no answer within {_COMMAND_TIMEOUT:.0f} s") from None
        except OSError:
            raise UnreachableError(self._machine, _BROKE) from None
        if not line:
            raise UnreachableError(self._machine, "a command ended before it answered")
        return line.rstrip("\n")

    async def _readline(self) -> str:
        return (await _given(self._process.stdout).readline()).decode(errors="replace")

    async def complaint(self) -> str:
        """What it has printed on standard error when it ended."""
        return (await _given(self._process.stderr).read()).decode(errors="replace")

    def end_input(self) -> None:
        """Tell it that nothing more will come."""
        _given(self._process.stdin).close()

    def close(self) -> None:
        """Give it up; it may have ended already."""
        _kill(self._process)


class Guests:
    """Runs commands on the machines of a lab. Use it as an asynchronous context manager.

    Every command is an ssh(1) that goes through a connection which is there already, or is made by the first
    that needs it and stays for those that come after this program.
    """

    def __init__(
        self, inventory: Inventory, access: Access, *, connect_timeout: float = CONNECT_TIMEOUT
    ) -> None:
        self.inventory = inventory
        self._access = access
        self._connect_timeout = connect_timeout
        self._connections: dict[str, asyncio.Task[None]] = {}
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for opening in self._connections.values():
            opening.cancel()
            with suppress(asyncio.CancelledError, LabError):
                await opening
        self._connections.clear()
        for process in self._processes:
            await _end(process)
        self._processes.clear()

    async def run(
        self,
        machine: str,
        command: str,
        *,
        stdin: str = "",
        timeout: float = _COMMAND_TIMEOUT,
        check: bool = True,
    ) -> Answer:
        """Run a shell command on ``machine`` and wait for its end.

        Args:
            machine: its name in the inventory.
            command: for the login shell of root.
            stdin: what it reads.
            timeout: seconds; the command is abandoned after that.
            check: raise if it ends with another status than 0.

        Raises:
            UnreachableError: no connection, or it broke, or the time is up.
            CommandFailedError: another status than 0 and ``check``.
        """
        await self.connect(machine)
        try:
            async with asyncio.timeout(timeout):
                answer = await self._ssh(machine, "-T", command=command, stdin=stdin)
        except TimeoutError:
            # The connection stays: it ends by itself if it is that which does not answer.
            raise UnreachableError(machine, f"no answer to a command within {timeout:.0f} s") from None
        if answer.status == _SSH_FAILED and not self._is_open(machine):
            raise UnreachableError(machine, _BROKE)
        if check and answer.status != 0:
            raise CommandFailedError(machine, command, answer)
        return answer

    async def process(self, machine: str, command: str) -> Process:
        """Start a command whose output is read while it runs; the caller closes it.

        Raises:
            UnreachableError: no connection.
        """
        await self.connect(machine)
        started = await _start(self._access.ssh(machine, command, options=("-T",)), stdin=True)
        self._processes.append(started)
        return Process(machine, started)

    async def clock_ahead(self, machine: str, limit: float) -> tuple[float, float]:
        """Seconds that the machine's clock is ahead of this computer's, and by how much that may be wrong.

        It is asked again until it surely is less than ``limit`` seconds off, or exactly known.

        Raises:
            UnreachableError: no connection, or it broke.
        """
        # One shell for all tries, and its own clock: starting a program there takes longer than to ask.
        clock = await self.process(machine, "while read -r _; do echo $EPOCHREALTIME; done")
        asked = []
        try:
            for _ in range(_CLOCK_TRIES):
                before = time.time()
                told = float(await clock.answer())
                ahead, doubt = clock_between(before, told, told, time.time())
                asked.append((doubt, ahead))
                if doubt < _CLOCK_GOOD or abs(ahead) + doubt < limit:
                    break
        finally:
            clock.close()
        doubt, ahead = min(asked)
        return ahead, doubt

    async def on_each(
        self, machines: Iterable[str], work: Callable[[str], Awaitable[T]]
    ) -> dict[str, T | LabError]:
        """Do ``work`` for each machine side by side; one that fails gives its error and holds up nobody."""

        async def guarded(machine: str) -> T | LabError:
            try:
                return await work(machine)
            except LabError as error:
                return error

        names = list(machines)
        results = await asyncio.gather(*(guarded(name) for name in names))
        return dict(zip(names, results, strict=True))

    async def connect(self, machine: str) -> None:
        """Open the connection if it is not open.

        Raises:
            UnreachableError: the machine does not answer.
        """
        opening = self._connections.get(machine)
        if opening is None or (
            opening.done() and (opening.cancelled() or opening.exception() or not self._is_open(machine))
        ):
            opening = asyncio.create_task(self._connect(machine))
            # Whoever waited for it may have been cancelled: then nobody hears why it failed.
            opening.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._connections[machine] = opening
        # Shielded: one caller that gives up must not end the connection of the others.
        await asyncio.shield(opening)

    async def forget(self, machine: str) -> None:
        """End the connection, whoever uses it: the machine was switched off or cut off."""
        self._connections.pop(machine, None)
        if not self._is_open(machine):
            return
        await self._ssh(machine, "-O", "exit")
        with suppress(TimeoutError):
            async with asyncio.timeout(_HANG_UP_TIMEOUT):
                # It takes its socket with it, and must not take the one of its successor.
                while self._is_open(machine):
                    await asyncio.sleep(_GLANCE)

    def _is_open(self, machine: str) -> bool:
        return self._access.is_open(self.inventory.machine(machine).address)

    async def _connect(self, machine: str) -> None:
        # A socket alone says little: whoever listened there may have been killed.
        if self._is_open(machine) and (await self._ssh(machine, "-O", "check")).status == 0:
            return
        address = self.inventory.machine(machine).address
        patience = f"ConnectTimeout={math.ceil(self._connect_timeout)}"
        try:
            async with asyncio.timeout(self._connect_timeout):
                # Not -N: of two that open one at the same time the later one would never end.
                opened = await self._ssh(machine, "-T", "-o", patience, command="exit")
        except TimeoutError:
            raise UnreachableError(
                machine, f"{address} did not answer within {self._connect_timeout:g} s"
            ) from None
        if opened.status != 0:
            raise UnreachableError(machine, _reason(opened.stderr))

    async def _ssh(self, machine: str, *options: str, command: str = "", stdin: str = "") -> Answer:
        """Run ssh(1) to its end, which may be that of this call."""
        argv = self._access.ssh(machine, *([command] if command else []), options=options)
        process = await _start(argv, stdin=bool(stdin))
        try:
            printed, said = await process.communicate(stdin.encode() if stdin else None)
        finally:
            await _end(process)
        status = process.returncode or 0
        return Answer(printed.decode(errors="replace"), said.decode(errors="replace"), status)


def clock_between(before: float, first: float, last: float, after: float) -> tuple[float, float]:
    """Seconds that another clock is ahead of this one, and by how much that may be wrong.

    It showed ``first`` and then ``last`` between ``before`` and ``after`` on this one: what the answer took
    of its own is known by its own clock, and only the way there and back is in doubt.
    """
    most, least = first - before, last - after
    return (most + least) / 2, (most - least) / 2


async def _start(argv: Sequence[str], *, stdin: bool) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
        # Ctrl-C is for this program, which may have to take something back through the same connection.
        start_new_session=True,
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill it if it runs, and close its pipes, whose other ends may stay open as long as the connection."""
    _kill(process)
    # Not wait(): that may wait for the pipes.
    while process.returncode is None:
        await asyncio.sleep(_GLANCE)
    # asyncio has no public way to close the pipes of a process.
    process._transport.close()  # type: ignore[attr-defined]


def _kill(process: asyncio.subprocess.Process) -> None:
    """Not by its own methods: they may take the exit status away from asyncio, which complains then."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def _given(stream: T | None) -> T:
    assert stream is not None, "every process is started with pipes"  # noqa: S101
    return stream


def _reason(said: str) -> str:
    """What went wrong, in words for the operator, from those of ssh(1)."""
    for words, reason in _REASONS.items():
        if words in said:
            return reason
    return next((line.rstrip(".").lower() for line in reversed(said.splitlines()) if line), "ssh gave up")
