"""Downloads a file slowly and says how it goes, a line at a time: ``server NAME``, ``bytes N``, ``end WHY``.

Runs on the client as ``python3 -c``; ends when its standard input does. Options, as one JSON argument:
``address``, ``port``, ``path``, ``source``, ``rate`` (bytes a second).
"""

import json
import select
import socket
import sys
import time


def main() -> None:
    """Read, wait, read on."""
    options = json.loads(sys.argv[1])
    connection = socket.socket()
    # A small window: the server must not be able to send everything at once.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    connection.bind((options["source"], 0))
    connection.settimeout(20)
    try:
        connection.connect((options["address"], options["port"]))
        connection.sendall(f"GET {options['path']} HTTP/1.0\r\n\r\n".encode())
        read(connection, options["rate"])
    except OSError as error:
        print("end", error.strerror or error)  # noqa: T201  its output is its purpose


def read(connection: socket.socket, rate: int) -> None:
    """Take a tenth of a second's bytes ten times a second."""
    head, named, total = b"", False, 0
    while True:
        data = connection.recv(rate // 10)
        if not data:
            print("end complete")  # noqa: T201
            return
        total += len(data)
        if not named:
            head += data
            _, blank, body = head.partition(b"\r\n\r\n")
            if blank and b"\n" in body:
                named = True
                print("server", body.partition(b"\n")[0].decode("ascii", "replace"))  # noqa: T201
        print("bytes", total)  # noqa: T201
        if select.select([sys.stdin], [], [], 0)[0] and not sys.stdin.read(1):
            return
        time.sleep(0.1)


if __name__ == "__main__":
    main()
