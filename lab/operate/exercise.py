"""The one exercise that may be under way in a lab: who does what to it, and the way back.

Written down before a fault is made, so that a lab is never left broken without a trace: the next command
knows, and `lab drill restore` or `lab challenge reset` takes back what stands here.
"""

import fcntl
import getpass
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from lab.errors import LabError
from lab.host.stack import write_private
from lab.operate.faults import Fault

Kind = Literal["drill", "challenge"]
_BACK = {"drill": "lab drill restore", "challenge": "lab challenge reset"}


class Exercise(BaseModel):
    """What is under way."""

    kind: Kind
    name: str
    by: str
    """Who began it: user and process."""
    since: float
    """Seconds since the epoch."""
    faults: list[Fault] = []
    """In the order they were made; taken back in the opposite one."""
    hints: int = 0
    """Challenges: how many hints were given."""

    def in_words(self) -> str:
        """For an error."""
        clock = datetime.fromtimestamp(self.since, UTC).astimezone().strftime("%H:%M:%S")
        return f"{self.kind} {self.name}, begun at {clock} by {self.by}"

    @property
    def way_back(self) -> str:
        """The command that puts the lab back."""
        return _BACK[self.kind]


class Logbook:
    """Where the exercise of a stack is written down."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "exercise.json"
        self._lock = directory / "exercise.lock"

    def current(self) -> Exercise | None:
        """What is under way, or was when its process died."""
        try:
            return Exercise.model_validate_json(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            raise LabError(
                f"{self._file} is damaged: what was done to the lab is not known.\n"
                "    `lab repair` puts the lab back whatever was done; delete the file then."
            ) from None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one at work on the lab's faults.

        Raises:
            LabError: another process is; says what it does and since when.
        """
        self._lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._lock.open("a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found = self.current()
                what = found.in_words() if found else "another exercise, which is just beginning"
                raise LabError(f"this lab is in use: {what}.\n    Wait for its end.") from None
            yield

    def refuse_if_open(self) -> None:
        """Refuse to begin anything in a lab that was never put back. To be called with the lock held.

        Raises:
            LabError: an exercise was never ended; says how to.
        """
        if found := self.current():
            raise LabError(
                f"the lab is still in an exercise: {found.in_words()}.\n"
                f"    `{found.way_back}` puts the lab back first."
            )

    def begin(self, kind: Kind, name: str) -> Exercise:
        """Write down that an exercise begins. To be called with the lock held.

        Raises:
            LabError: one was never ended; says how to.
        """
        self.refuse_if_open()
        exercise = Exercise(
            kind=kind, name=name, by=f"{getpass.getuser()} (process {os.getpid()})", since=time.time()
        )
        self.write(exercise)
        return exercise

    def write(self, exercise: Exercise) -> None:
        """Keep the exercise as it is now."""
        write_private(self._file, exercise.model_dump_json(indent=1) + "\n")

    def end(self) -> None:
        """The lab is whole again."""
        self._file.unlink(missing_ok=True)
