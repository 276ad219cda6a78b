#!/usr/bin/python3 -IS
"""cloud-init's launcher for guests whose processor is emulated.

cloud-init is started four times at a boot and spends most of each start on importing itself. Here its first
start leaves a process behind that has done so; those that follow are forked from it. It ends with the last.
"""

# Imports are few and small: each start pays for them.
import marshal
import os
import signal
import socket
import sys
from collections.abc import Callable

SOCKET = "/run/lab-cloud-init"
STAGES = ("init", "modules")
LAST = "--mode=final"
# Seconds after which nobody waits for the last stage any more.
PATIENCE = 1800


def ask() -> int | None:
    """Have the waiting process do what this one was started for: its exit status, None if there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(SOCKET)
        except OSError:
            return None
        socket.send_fds(connection, [marshal.dumps([sys.argv, dict(os.environ)])], [0, 1, 2])
        answer = connection.recv(16)
    return int(answer) if answer else 1


def wait_for_stages(main: Callable[[], object]) -> None:
    """Leave a process behind that runs ``main`` in a fork of itself for each that asks."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    remove()
    listener.bind(SOCKET)
    os.chmod(SOCKET, 0o600)
    listener.listen(1)
    if os.fork():
        listener.close()
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    signal.alarm(PATIENCE)
    arguments: list[str] = []
    while LAST not in arguments:
        connection, _ = listener.accept()
        data, streams, _, _ = socket.recv_fds(connection, 1 << 17, 3)
        arguments, environment = marshal.loads(data)
        if os.fork() == 0:
            signal.alarm(0)
            listener.close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            os.environ.clear()
            os.environ.update(environment)
            sys.argv = arguments
            status = run(main)
            connection.send(b"%d" % status)
            os._exit(status)
        for stream in streams:
            os.close(stream)
        connection.close()
        os.wait()
    remove()
    os._exit(0)


def remove() -> None:
    """Nobody waits any more."""
    try:
        os.unlink(SOCKET)
    except FileNotFoundError:
        pass


def run(main: Callable[[], object]) -> int:
    """What ``main`` ends with, as an exit status."""
    try:
        status = main()
    except SystemExit as end:
        status = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    return status if isinstance(status, int) else int(status is not None)


def launch() -> int:
    """Ask, or do it here."""
    stage = len(sys.argv) > 1 and sys.argv[1] in STAGES
    if stage and (status := ask()) is not None:
        return status
    # Left out at first (-S): where the packages lie.
    import site

    site.main()
    from cloudinit.cmd.main import main  # type: ignore[import-not-found]

    if stage and "--local" in sys.argv:
        wait_for_stages(main)
    return run(main)


if __name__ == "__main__":
    sys.exit(launch())
