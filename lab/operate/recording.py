"""What a measurement writes down: requests, events and the bound they are held against.

Times are seconds since the recording began, on the operator's clock: what the guests' clocks say was
converted before it came here.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Request(BaseModel):
    """One request that a client made to the VIP."""

    model_config = ConfigDict(frozen=True)

    at: float
    """When the connection was begun."""
    took: float
    """Seconds until the answer was read, or until it was given up."""
    source: str
    """The client address it came from."""
    server: str | None
    """Name of the server that answered."""
    error: str | None = None
    """Why there was no answer: ``timeout``, ``refused``, ``reset`` or the system's words."""


class Event(BaseModel):
    """Something that happened on a machine or that the drill did."""

    model_config = ConfigDict(frozen=True)

    at: float
    machine: str
    """The machine; ``lab`` for what the drill did."""
    kind: str
    """``vrrp`` (state changes), ``check`` (real servers that come and go), ``action``, ``restore``."""
    text: str
    state: str | None = None
    """With ``vrrp`` the new state: ``MASTER``, ``BACKUP``, ``FAULT`` or ``STOP``."""


class Bound(BaseModel):
    """What protocol and code promise of one quantity, and where that is written."""

    model_config = ConfigDict(frozen=True)

    quantity: str
    low: float | None = None
    high: float | None = None
    unit: str = "s"
    formula: str
    source: str

    def in_words(self) -> str:
        """What is promised, for a table."""
        if self.low is not None and self.low == self.high:
            text = f"{self.low:g}"
        elif self.high is None:
            text = f"at least {self.low or 0:g}"
        elif not self.low:
            text = f"at most {self.high:.2f}"
        else:
            text = f"{self.low:.2f} to {self.high:.2f}"
        return f"{text} {self.unit}".strip()


class Measure(BaseModel):
    """A bound and what was seen."""

    model_config = ConfigDict(frozen=True)

    bound: Bound
    value: float | None
    """``None``: it never happened."""

    def in_words(self) -> str:
        """The value with its unit."""
        if self.value is None:
            return "never"
        if not self.bound.unit and self.value == round(self.value):
            return f"{self.value:.0f}"
        return f"{self.value:.2f} {self.bound.unit}".strip()

    @property
    def kept(self) -> bool:
        """Whether the value lies within its bound."""
        if self.value is None:
            return False
        low, high = self.bound.low, self.bound.high
        return (low is None or self.value >= low) and (high is None or self.value <= high)


class Band(BaseModel):
    """The span of time in which the bound says that something must have ended."""

    model_config = ConfigDict(frozen=True)

    begin: float
    end: float
    label: str


class Recording(BaseModel):
    """One drill as it went, enough to draw and to judge it."""

    model_config = ConfigDict(frozen=True)

    drill: str
    title: str
    stack: str
    began: float
    """Seconds since the epoch."""
    seconds: float
    """How long it was recorded."""
    interval: float
    """Seconds between two requests: the resolution of every figure taken from them."""
    directors: tuple[str, ...]
    servers: tuple[str, ...]
    requests: tuple[Request, ...] = ()
    events: tuple[Event, ...] = ()
    bands: tuple[Band, ...] = ()
    measures: tuple[Measure, ...] = ()

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        file.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> "Recording":
        """Read what `save` wrote."""
        return cls.model_validate_json(file.read_text(encoding="utf-8"))
