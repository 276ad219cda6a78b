"""Joins standard input and output to a TCP port: ``python -m lab.operate.relay ADDRESS PORT``.

For ssh's ProxyCommand: run beside the machines, it lets a program on the outside reach one of them.
"""

import os
import socket
import sys
import threading


def main() -> None:
    """Copy both ways until either side ends."""
    connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=15)
    connection.settimeout(None)

    def outward() -> None:
        while data := os.read(0, 65536):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    threading.Thread(target=outward, daemon=True).start()
    while data := connection.recv(65536):
        os.write(1, data)


if __name__ == "__main__":
    main()
