"""Commands on machines: OpenSSH's client against a server that does as it is told."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh
import psutil
import pytest
import pytest_asyncio

from lab.inventory import Inventory, describe
from lab.keys import derive
from lab.operate.access import Access
from lab.operate.guests import CommandFailedError, Guests, UnreachableError
from lab.topology import Topology

SECRET = "0f" * 32
LOGIN = derive(SECRET, "login")
HOST = derive(SECRET, "host master")

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


class Machine:
    """An SSH server on the loopback interface; counts logins."""

    def __init__(self) -> None:
        self.logins = 0
        self.port = 0
        self._connections: list[asyncssh.SSHServerConnection] = []
        self._shells: dict[asyncio.subprocess.Process, asyncio.Event] = {}
        self._listener: asyncssh.SSHAcceptor | None = None

    async def start(self) -> None:
        self._listener = await asyncssh.listen(
            "127.0.0.21",
            self.port,
            server_host_keys=[asyncssh.import_private_key(HOST.private)],
            authorized_client_keys=asyncssh.import_authorized_keys(LOGIN.public),
            process_factory=self._run,
            encoding=None,
            acceptor=self._accept,
        )
        self.port = self._listener.get_port()

    def _accept(self, connection: asyncssh.SSHServerConnection) -> None:
        self.logins += 1
        self._connections.append(connection)

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        shell = await asyncio.create_subprocess_exec(
            *("sh", "-c", process.command or "exit"), stdin=-1, stdout=-1, stderr=-1, start_new_session=True
        )
        ended = self._shells[shell] = asyncio.Event()
        assert shell.stdin
        assert shell.stdout
        assert shell.stderr
        feeding = asyncio.create_task(self._feed(process.stdin, shell.stdin))
        try:
            await asyncio.gather(
                self._pass(shell.stdout, process.stdout), self._pass(shell.stderr, process.stderr)
            )
            process.exit(await shell.wait())
        except OSError:
            # Whoever wanted to know is gone.
            await shell.wait()
        finally:
            feeding.cancel()
            ended.set()

    async def _feed(self, source: Any, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await self._pass(source, sink)
        sink.close()

    async def _pass(self, source: Any, sink: Any) -> None:
        while some := await source.read(65536):
            sink.write(some)
            await sink.drain()

    async def lose_power(self) -> None:
        """Every connection is gone, and no new one is taken; nothing runs any more."""
        assert self._listener is not None
        self._listener.close()
        for connection in self._connections:
            connection.abort()
        self._connections.clear()
        for shell, ended in self._shells.items():
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            await ended.wait()
        self._shells.clear()


@pytest_asyncio.fixture
async def machine() -> AsyncIterator[Machine]:
    started = Machine()
    await started.start()
    yield started
    await started.lose_power()


def inventory_of(topology: Topology, host_key: str) -> Inventory:
    """The tutorial's lab on loopback addresses: master is 127.0.0.21."""
    keys = {machine.name: host_key for machine in topology.machines}
    described = Inventory.model_validate(describe(topology, "qemu:///system", keys))
    moved = tuple(
        one.model_copy(update={"address": f"127.0.0.{one.address.split('.')[-1]}"})
        for one in described.machines
    )
    return described.model_copy(update={"machines": moved})


@pytest.fixture
def inventory(tutorial: Topology) -> Inventory:
    return inventory_of(tutorial, HOST.public)


def write(access: Access, inventory: Inventory, machine: Machine, *, key: str = LOGIN.private) -> None:
    access.write(inventory, key)
    written = access.config.read_text(encoding="utf-8")
    access.config.write_text(f"Port {machine.port}\nHostKeyAlias master\n\n{written}", encoding="utf-8")


@pytest_asyncio.fixture
async def access(machine: Machine, inventory: Inventory, tmp_path: Path) -> AsyncIterator[Access]:
    made = Access(tmp_path / "ssh")
    write(made, inventory, machine)
    yield made
    await asyncio.to_thread(made.hang_up)


@pytest_asyncio.fixture
async def guests(inventory: Inventory, access: Access) -> AsyncIterator[Guests]:
    async with Guests(inventory, access) as opened:
        yield opened


async def test_a_command_gets_its_input_and_gives_output_errors_and_status(guests: Guests) -> None:
    answer = await guests.run("master", "cat; echo 'ñ' >&2; exit 3", stdin="one\ntwo\n", check=False)
    assert (answer.stdout, answer.stderr, answer.status) == ("one\ntwo\n", "ñ\n", 3)
    assert (await guests.run("master", "cat")).stdout == ""


async def test_a_status_that_is_not_zero_is_an_error_with_the_last_words(guests: Guests) -> None:
    with pytest.raises(CommandFailedError, match="master: `echo no >&2; exit 255` ended with status 255: no"):
        await guests.run("master", "echo no >&2; exit 255")


async def test_what_is_no_text_does_not_stop_it(guests: Guests) -> None:
    assert (await guests.run("master", r"printf 'a\377b'")).stdout == "a\N{REPLACEMENT CHARACTER}b"


async def test_one_login_serves_all_that_is_asked_at_once_and_later_by_others(
    guests: Guests, machine: Machine, inventory: Inventory, access: Access
) -> None:
    said = await asyncio.gather(*(guests.run("master", f"echo {number}") for number in range(20)))
    assert [int(answer.stdout) for answer in said] == list(range(20))
    async with Guests(inventory, access) as others:
        await others.run("master", "true")
    plain = await asyncio.create_subprocess_exec(*access.ssh("master", "true"))
    assert await plain.wait() == 0
    assert machine.logins == 1


async def test_lines_come_while_the_command_runs(guests: Guests) -> None:
    process = await guests.process("master", "echo first; read answer; echo $answer; exit 1")
    lines = process.lines()
    assert await anext(lines) == "first\n"
    process.end_input()
    assert [line async for line in lines] == ["\n"]
    process.close()


async def test_a_process_answers_line_by_line(guests: Guests) -> None:
    process = await guests.process("master", "n=0; while read -r _; do n=$((n+1)); echo $n; done")
    assert [await process.answer() for _ in "123"] == ["1", "2", "3"]
    process.end_input()
    with pytest.raises(UnreachableError, match="ended before it answered"):
        await process.answer()


async def test_what_is_given_up_ends_there_too(guests: Guests, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    process = await guests.process("master", f"echo begun; cat; touch {ended}")
    assert await anext(process.lines()) == "begun\n"
    process.close()
    async with asyncio.timeout(10):
        while not ended.exists():
            await asyncio.sleep(0.02)


async def test_a_command_that_takes_too_long_leaves_the_others_alone(
    guests: Guests, machine: Machine
) -> None:
    patient = asyncio.create_task(guests.run("master", "sleep 1; echo done"))
    with pytest.raises(UnreachableError, match=r"no answer to a command within 0 s"):
        await guests.run("master", "sleep 20", timeout=0.3)
    assert (await patient).stdout == "done\n"
    assert machine.logins == 1


async def test_a_machine_without_power_is_said_to_be_lost_and_found_when_it_is_back(
    guests: Guests, machine: Machine
) -> None:
    process = await guests.process("master", "echo here; sleep 20")
    lines = process.lines()
    await anext(lines)
    hanging = asyncio.create_task(guests.run("master", "sleep 20"))
    await asyncio.sleep(0.3)
    await machine.lose_power()
    with pytest.raises(UnreachableError, match="the connection broke"):
        await hanging
    with pytest.raises(UnreachableError, match="the connection broke"):
        await anext(lines)
    with pytest.raises(UnreachableError, match="SSH is refused"):
        await guests.run("master", "true")
    await machine.start()
    await guests.run("master", "true")


async def test_a_connection_that_is_forgotten_is_made_anew_by_whoever_comes(
    guests: Guests, machine: Machine, inventory: Inventory, access: Access
) -> None:
    await guests.run("master", "true")
    await guests.forget("master")
    assert not access.is_open("127.0.0.21")
    async with Guests(inventory, access) as others:
        await others.run("master", "true")
    await guests.run("master", "true")
    assert machine.logins == 2
    await guests.forget("backup")


async def test_the_socket_of_a_connection_that_was_killed_is_no_hindrance(
    guests: Guests, machine: Machine, access: Access
) -> None:
    await guests.run("master", "true")
    [keeper] = [
        one
        for one in psutil.process_iter(["cmdline"])
        if str(access.shared) in " ".join(one.info["cmdline"] or [])
    ]
    keeper.kill()
    keeper.wait()
    assert access.is_open("127.0.0.21")
    async with Guests(guests.inventory, access) as others:
        await others.run("master", "true")
    assert machine.logins == 2


async def test_why_a_machine_cannot_be_reached(
    machine: Machine, inventory: Inventory, tutorial: Topology, access: Access
) -> None:
    async with Guests(inventory, access) as guests:
        with pytest.raises(UnreachableError, match=r"^backup cannot be reached: SSH is refused"):
            await guests.connect("backup")
        write(access, inventory, machine, key=derive(SECRET, "another").private)
        with pytest.raises(UnreachableError, match="it does not take this lab's key"):
            await guests.connect("master")
        write(access, inventory_of(tutorial, derive(SECRET, "another").public), machine)
        with pytest.raises(UnreachableError, match="it shows another host key than this lab gave it"):
            await guests.connect("master")


async def test_a_machine_that_takes_connections_and_says_nothing_is_given_up(
    inventory: Inventory, access: Access, machine: Machine
) -> None:
    await machine.lose_power()
    silent = await asyncio.start_server(lambda *_: None, "127.0.0.21", machine.port)
    async with silent, Guests(inventory, access, connect_timeout=0.5) as guests:
        with pytest.raises(UnreachableError, match=r"127\.0\.0\.21 did not answer within 0\.5 s"):
            await guests.connect("master")


async def test_ctrl_c_leaves_the_connection_to_what_must_be_taken_back(
    machine: Machine, access: Access, inventory: Inventory, tmp_path: Path
) -> None:
    """A terminal sends it to the whole process group, and OpenSSH would end with the program."""
    (tmp_path / "inventory.json").write_text(inventory.model_dump_json(), encoding="utf-8")
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", INTERRUPTED, str(tmp_path)), stdout=-1, start_new_session=True
    )
    assert program.stdout is not None
    assert await program.stdout.readline() == b"asking\n"
    os.killpg(program.pid, signal.SIGINT)
    assert (await program.stdout.read()).decode().split() == ["taken", "back"]
    assert machine.logins == 1


INTERRUPTED = """
import asyncio, sys
from pathlib import Path
from lab.inventory import Inventory
from lab.operate.access import Access
from lab.operate.guests import Guests

async def main(folder):
    inventory = Inventory.model_validate_json((folder / "inventory.json").read_text())
    async with Guests(inventory, Access(folder / "ssh")) as guests:
        process = await guests.process("master", "echo asking; sleep 20")
        try:
            async for line in process.lines():
                print(line, end="", flush=True)
        finally:
            print((await guests.run("master", "echo taken back")).stdout, end="", flush=True)

try:
    asyncio.run(main(Path(sys.argv[1])))
except KeyboardInterrupt:
    pass
"""
