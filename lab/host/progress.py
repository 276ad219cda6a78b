"""What the engine is doing, told in the lab's words.

The engine writes its events to a file, one JSON object a line (`pulumi up --event-log`). This module
follows that file: it tells when a machine boots, is ready and has its settings, and keeps what the
engine warned of and failed at.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.say import Say

_UNCHANGED = "same"
_PAST = {"create": "created", "update": "updated", "replace": "replaced", "delete": "deleted"}
_STEPS = {
    "domain": ("booting", "started"),
    "ready": (None, "ready"),
    "settings": ("settings on their way", "settings in force"),
}
# The engine says these about plugins that were built here; nobody can act on them.
_NOISE = ("from $PATH at", "is expected to have version")


@dataclass
class Story:
    """What has happened in one run of the engine."""

    say: Say
    changes: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    _begun: dict[str, float] = field(default_factory=dict)
    _heard: set[str] = field(default_factory=set)

    def hear(self, event: dict[str, Any]) -> None:
        """Take in one engine event; unknown kinds are passed over."""
        if found := event.get("resourcePreEvent"):
            self._step(found["metadata"], before=True)
        elif found := event.get("resOutputsEvent"):
            self._step(found["metadata"], before=False)
        elif found := event.get("diagnosticEvent"):
            self._diagnostic(found)
        elif found := event.get("summaryEvent"):
            self.changes.update(found.get("resourceChanges") or {})

    def _step(self, metadata: dict[str, Any], *, before: bool) -> None:
        if metadata["op"] in (_UNCHANGED, "refresh"):
            return
        machine, _, part = resource_name(metadata["urn"]).rpartition("-")
        if not machine or part not in _STEPS:
            return
        begun, done = _STEPS[part]
        if metadata["op"].startswith("delete") or metadata["op"].startswith("discard"):
            if part == "domain" and not before:
                self.say(f"{machine}: removed")
            return
        if before:
            self._begun.setdefault(f"{machine}-{part}", time.monotonic())
            if begun and part != "settings":
                self.say(f"{machine}: {begun}")
        elif part == "ready":
            seconds = time.monotonic() - self._begun.get(f"{machine}-ready", time.monotonic())
            self.say(f"{machine}: {done} after {seconds:.0f} s")
        elif part == "settings":
            self.say(f"{machine}: {done}")

    def _diagnostic(self, event: dict[str, Any]) -> None:
        message = event.get("message", "").strip()
        if event.get("ephemeral") or not message or message in self._heard:
            return
        if event["severity"] == "error":
            self._heard.add(message)
            name = resource_name(event["urn"]) if event.get("urn") else ""
            self.errors.append(f"{name}: {message}" if name else message)
        elif event["severity"] == "warning" and not any(noise in message for noise in _NOISE):
            self._heard.add(message)
            self.say(message.removeprefix("warning: "))

    @property
    def built(self) -> bool:
        """Whether anything was made, a machine perhaps."""
        return any(self.changes[kind] for kind in ("create", "replace"))

    def summary(self) -> str:
        """What changed, in a few words."""
        changed = {kind: count for kind, count in self.changes.items() if kind != _UNCHANGED and count}
        if not changed:
            return "nothing changed"
        return ", ".join(f"{count} {_PAST.get(kind, kind)}" for kind, count in sorted(changed.items()))


def resource_name(urn: str) -> str:
    """The resource's own name: the last part of its URN."""
    return urn.rsplit("::", 1)[-1]


def follow(file: Path, alive: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """Yield the events in ``file`` as they are written, until ``alive`` says that its writer has ended."""
    rest = ""
    while not file.exists() and alive():
        time.sleep(0.05)
    if not file.exists():
        return
    with file.open(encoding="utf-8") as stream:
        while True:
            # Asked before reading: what is written after the answer "no" does not exist.
            going_on = alive()
            rest += stream.read()
            *lines, rest = rest.split("\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)
            if not going_on:
                return
            time.sleep(0.1)
