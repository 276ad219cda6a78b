"""The machines as the tools reach them: one SSH connection each, opened when first needed and shared."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import asyncssh

from lab.errors import LabError
from lab.inventory import Inventory
from lab.operate.access import Access

T = TypeVar("T")

# Seconds. An emulated guest that boots another beside it needs two for the handshake alone.
CONNECT_TIMEOUT = 10.0
_COMMAND_TIMEOUT = 30.0
_KEEPALIVE = 5
# A clock is asked so often, unless an answer comes within twice this many seconds: then it is known exactly.
_CLOCK_TRIES = 4
_CLOCK_GOOD = 0.15


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

    def __init__(self, machine: str, process: asyncssh.SSHClientProcess[str]) -> None:
        self._machine = machine
        self._process = process

    async def lines(self) -> AsyncIterator[str]:
        """What it prints, to its end.

        Raises:
            UnreachableError: the connection broke.
        """
        try:
            async for line in self._process.stdout:
                yield line
        except (asyncssh.Error, OSError) as error:
            raise UnreachableError(self._machine, _reason(error)) from None

    async def answer(self) -> str:
        """Give it an empty line, and wait for the line that it prints for it.

        Raises:
            UnreachableError: the connection broke, it ended, or the time is up.
        """
        try:
            async with asyncio.timeout(_COMMAND_TIMEOUT):
                self._process.stdin.write("\n")
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise UnreachableError(self._machine, f"no answer within {_COMMAND_TIMEOUT:.0f} s") from None
        except (asyncssh.Error, OSError) as error:
            raise UnreachableError(self._machine, _reason(error)) from None
        if not line:
            raise UnreachableError(self._machine, "a command ended before it answered")
        return line.rstrip("\n")

    async def complaint(self) -> str:
        """What it has printed on standard error when it ended."""
        return await self._process.stderr.read()

    def end_input(self) -> None:
        """Tell it that nothing more will come."""
        self._process.stdin.write_eof()

    def close(self) -> None:
        """Give it up; it may have ended already."""
        self._process.close()


class Guests:
    """Runs commands on the machines of a lab. Use it as an asynchronous context manager."""

    def __init__(
        self, inventory: Inventory, access: Access, *, connect_timeout: float = CONNECT_TIMEOUT
    ) -> None:
        self.inventory = inventory
        self._access = access
        self._connect_timeout = connect_timeout
        self._connections: dict[str, asyncio.Task[asyncssh.SSHClientConnection]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for opening in self._connections.values():
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                opening.result().abort()
            else:
                opening.cancel()
                with suppress(asyncio.CancelledError, LabError):
                    await opening
        self._connections.clear()

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
        connection = await self._connection(machine)
        given: dict[str, Any] = {"input": stdin} if stdin else {"stdin": asyncssh.DEVNULL}
        try:
            async with asyncio.timeout(timeout):
                done = await connection.run(command, encoding="utf-8", errors="replace", **given)
        except TimeoutError:
            self.forget(machine)
            raise UnreachableError(machine, f"no answer to a command within {timeout:.0f} s") from None
        except (asyncssh.Error, OSError) as error:
            self.forget(machine)
            raise UnreachableError(machine, _reason(error)) from None
        if done.exit_status is None:
            self.forget(machine)
            raise UnreachableError(machine, "the connection broke while a command ran")
        answer = Answer(str(done.stdout or ""), str(done.stderr or ""), done.exit_status)
        if check and answer.status != 0:
            raise CommandFailedError(machine, command, answer)
        return answer

    async def process(self, machine: str, command: str) -> Process:
        """Start a command whose output is read while it runs; the caller closes it.

        Raises:
            UnreachableError: no connection.
        """
        connection = await self._connection(machine)
        try:
            return Process(
                machine, await connection.create_process(command, encoding="utf-8", errors="replace")
            )
        except (asyncssh.Error, OSError) as error:
            self.forget(machine)
            raise UnreachableError(machine, _reason(error)) from None

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
                doubt = (time.time() - before) / 2
                asked.append((doubt, told - before - doubt))
                if doubt < _CLOCK_GOOD or abs(asked[-1][1]) + doubt < limit:
                    break
        except UnreachableError:
            self.forget(machine)
            raise
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
        await self._connection(machine)

    def forget(self, machine: str) -> None:
        """Drop the connection: the machine was switched off or cut off."""
        opening = self._connections.pop(machine, None)
        if opening and opening.done() and not opening.cancelled() and opening.exception() is None:
            opening.result().abort()

    async def _connection(self, machine: str) -> asyncssh.SSHClientConnection:
        opening = self._connections.get(machine)
        if opening is not None and opening.done() and (opening.cancelled() or opening.exception()):
            opening = None
        if opening is not None and opening.done() and opening.result().is_closed():
            opening = None
        if opening is None:
            opening = asyncio.create_task(self._connect(machine))
            # Whoever waited for it may have been cancelled: then nobody hears why it failed.
            opening.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._connections[machine] = opening
        # Shielded: one caller that gives up must not end the connection of the others.
        return await asyncio.shield(opening)

    async def _connect(self, machine: str) -> asyncssh.SSHClientConnection:
        address = self.inventory.machine(machine).address
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await asyncssh.connect(
                    address,
                    username=self.inventory.user,
                    client_keys=[str(self._access.key)],
                    known_hosts=str(self._access.known_hosts),
                    config=None,
                    agent_path=None,
                    # What resists quantum computers costs an emulated guest a fifth of a second a login.
                    kex_algs=["curve25519-sha256"],
                    keepalive_interval=_KEEPALIVE,
                    keepalive_count_max=3,
                )
        except TimeoutError:
            raise UnreachableError(
                machine, f"{address} did not answer within {self._connect_timeout:g} s"
            ) from None
        except (asyncssh.Error, OSError) as error:
            raise UnreachableError(machine, _reason(error)) from None


def _reason(error: Exception) -> str:
    """What went wrong, in words for the operator."""
    if isinstance(error, ConnectionRefusedError):
        return "SSH is refused (is the machine still booting, or sshd stopped?)"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return "it shows another host key than this lab gave it"
    if isinstance(error, asyncssh.PermissionDenied):
        return "it does not take this lab's key"
    if isinstance(error, asyncssh.ConnectionLost):
        return "the connection broke"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
