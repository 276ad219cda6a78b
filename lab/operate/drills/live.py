"""What a running drill tells of itself: a file that grows line by line, for whoever watches."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from lab.operate.recording import Band, Event, Measure, Request


class LiveDrill(BaseModel):
    """How far a drill is. All times are seconds since the epoch."""

    name: str
    title: str
    phase: Literal["running", "done", "failed"]
    began: float
    seconds: float | None = None
    """About how long it takes."""
    bands: tuple[Band, ...] = ()
    measures: tuple[Measure, ...] = ()


def live_file(directory: Path) -> Path:
    """The file of the stack that keeps its files in ``directory``; it tells of the last drill."""
    return directory / "drill.jsonl"


class Teller:
    """Writes that file: lines of ``[kind, what]``, kinds ``drill``, ``request`` and ``event``."""

    def __init__(self, directory: Path, began: float) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = live_file(directory).open("w", encoding="utf-8", buffering=1)
        self._began = began

    def drill(self, drill: LiveDrill) -> None:
        """The drill began, has another band, or ended."""
        moved = tuple(
            band.model_copy(update={"begin": band.begin + self._began, "end": band.end + self._began})
            for band in drill.bands
        )
        self._write("drill", drill.model_copy(update={"bands": moved}))

    def hear(self, told: Request | Event) -> None:
        """A request or an event, in seconds since the drill began."""
        kind = "request" if isinstance(told, Request) else "event"
        self._write(kind, told.model_copy(update={"at": told.at + self._began}))

    def close(self) -> None:
        """End the file; it stays until the next drill."""
        self._file.close()

    def _write(self, kind: str, told: BaseModel) -> None:
        self._file.write(json.dumps([kind, told.model_dump(mode="json")]) + "\n")
