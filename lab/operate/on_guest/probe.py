"""Makes HTTP requests from several source addresses and writes one JSON line for each that ends.

Runs on the client as ``python3 -c``. Every request gets a connection of its own and never waits for
another: one that hangs does not delay the next. It ends when its standard input does, so it cannot
outlive the SSH connection that started it.

Options, as one JSON argument: ``address``, ``port``, ``path``, ``sources`` (taken in turn), ``interval``
(s between two requests), ``give_up`` (s), ``count`` (requests in all, 0 for no end), ``one_by_one``
(wait for each answer before the next).
"""

import contextlib
import errno
import json
import os
import selectors
import socket
import sys
import time
from typing import Any

ERRORS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EADDRNOTAVAIL: "no such source address",
}


def in_words(error: OSError) -> str:
    """Why a request failed."""
    return ERRORS.get(error.errno or 0, str(error))


class Attempt:
    """One request under way."""

    def __init__(self, options: dict[str, Any], source: str) -> None:
        self.source = source
        self.begun = time.monotonic()
        self.until = self.begun + options["give_up"]
        self.received = b""
        self.error: str | None = None
        self.request = (
            f"GET {options['path']} HTTP/1.0\r\nHost: {options['address']}\r\nConnection: close\r\n\r\n"
        ).encode()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        try:
            self.socket.bind((source, 0))
            self.socket.connect((options["address"], options["port"]))
        except BlockingIOError:
            pass
        except OSError as error:
            self.error = in_words(error)

    def go_on(self, selector: selectors.BaseSelector) -> bool:
        """Send or receive what can be; whether the request has ended."""
        try:
            if self.request:
                return self.send(selector)
            data = self.socket.recv(65536)
        except BlockingIOError:
            return False
        except OSError as error:
            self.error = in_words(error)
            return True
        self.received += data
        return not data

    def send(self, selector: selectors.BaseSelector) -> bool:
        """Send the request, or learn that the connection failed; whether it has ended."""
        if failed := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.error = in_words(OSError(failed, os.strerror(failed)))
            return True
        self.request = self.request[self.socket.send(self.request) :]
        if not self.request:
            selector.modify(self.socket, selectors.EVENT_READ, self)
        return False

    def line(self) -> str:
        """What is written of it."""
        head, _, body = self.received.partition(b"\r\n\r\n")
        words = head.split(None, 2)
        server = None
        if self.error is None:
            if len(words) < 2:
                self.error = "no answer"
            elif words[1] != b"200":
                self.error = "status " + words[1].decode("ascii", "replace")
            else:
                server = body.decode("utf-8", "replace").strip()[:64]
        took = time.monotonic() - self.begun
        return json.dumps([round(self.begun, 4), round(took, 4), self.source, server, self.error])


class Prober:
    """Begins requests when they are due and hears of those under way."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.selector = selectors.DefaultSelector()
        self.selector.register(sys.stdin, selectors.EVENT_READ, None)
        self.under_way: set[Attempt] = set()
        self.begun = 0
        self.due = time.monotonic()

    def more(self) -> bool:
        """Whether another request is to be begun."""
        return not self.options["count"] or self.begun < self.options["count"]

    def may_begin(self) -> bool:
        """Whether another may be begun as soon as it is due."""
        return self.more() and not (self.options["one_by_one"] and self.under_way)

    def begin(self, now: float) -> None:
        """Begin a request from the source whose turn it is."""
        sources = self.options["sources"]
        attempt = Attempt(self.options, sources[self.begun % len(sources)])
        self.begun += 1
        # Late by more than one turn: those are left out, not made up for in a burst.
        self.due = max(self.due + self.options["interval"], now - self.options["interval"])
        self.under_way.add(attempt)
        if attempt.error:
            self.end(attempt)
        else:
            self.selector.register(attempt.socket, selectors.EVENT_WRITE, attempt)

    def end(self, attempt: Attempt) -> None:
        """Write a request down and forget it."""
        self.under_way.discard(attempt)
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(attempt.socket)
        attempt.socket.close()
        sys.stdout.write(attempt.line() + "\n")
        sys.stdout.flush()

    def wait(self, now: float) -> bool:
        """Wait until something happens or is due; whether to go on."""
        waits = [attempt.until - now for attempt in self.under_way]
        if self.may_begin():
            waits.append(self.due - now)
        for key, _ in self.selector.select(max(0.0, min(waits, default=1.0))):
            if key.data is None:
                if not os.read(0, 4096):
                    return False
            elif key.data in self.under_way and key.data.go_on(self.selector):
                self.end(key.data)
        return True

    def run(self) -> None:
        """Ask until all requests are made or nobody listens any more."""
        while self.under_way or self.more():
            now = time.monotonic()
            if self.may_begin() and now >= self.due:
                self.begin(now)
                continue
            if not self.wait(now):
                return
            now = time.monotonic()
            for attempt in [one for one in self.under_way if one.until <= now]:
                attempt.error = "timeout"
                self.end(attempt)


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"monotonic": time.monotonic()}) + "\n")
    sys.stdout.flush()
    Prober(json.loads(sys.argv[1])).run()
