"""What the board is told. Each message is one server-sent event: its kind is the event's name.

All times are seconds since the epoch on the operator's clock, also those of the requests, events and
bands that `lab.operate.recording` otherwise counts from the beginning of a recording.
"""

from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, computed_field

from lab.inventory import Inventory
from lab.operate.recording import Band, Event, Measure, Request
from lab.topology import Role

VrrpState = Literal["MASTER", "BACKUP", "FAULT", "STOP"]
Service = Literal["active", "inactive", "failed", "unknown"]
Phase = Literal["running", "done", "failed"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class BoardMachine(_Frozen):
    """One machine as it is drawn."""

    name: str
    role: Role
    address: str
    mac: str
    weight: int | None = None
    priority: int | None = None


class LabMessage(_Frozen):
    """What the lab is made of."""

    kind: Literal["lab"] = "lab"
    stack: str
    vip: str
    url: str
    cidr: str = ""
    virtual_router_id: int
    lb_algo: str
    advert_int: float
    machines: tuple[BoardMachine, ...]

    @classmethod
    def of(cls, inventory: Inventory) -> Self:
        """The message for a lab."""
        return cls(
            stack=inventory.stack,
            vip=inventory.vip,
            url=inventory.url,
            cidr=inventory.cidr,
            virtual_router_id=inventory.virtual_router_id,
            lb_algo=inventory.lb_algo,
            advert_int=inventory.advert_int,
            machines=tuple(
                BoardMachine(
                    name=machine.name,
                    role=machine.role,
                    address=machine.address,
                    mac=machine.mac,
                    weight=machine.weight,
                    priority=machine.priority,
                )
                for machine in inventory.machines
            ),
        )


class MachineState(_Frozen):
    """How one machine is."""

    reachable: bool
    service: Service = "unknown"
    """keepalived on directors, apache2 on servers, the mail sink on the client."""
    vrrp: VrrpState | None = None
    holds_vip: bool = False
    """Directors only: whether the VIP is on the interface of the segment."""
    note: str = ""
    """What is wrong with it, in a few words: ``VIP missing on lo``."""


class TableRow(_Frozen):
    """A real server in the IPVS table of a director."""

    address: str
    weight: int
    active: int
    inactive: int


class StateMessage(_Frozen):
    """How all machines are. Publish one at once when a director changes its VRRP state, too."""

    kind: Literal["state"] = "state"
    at: float
    """When it was looked at."""
    machines: dict[str, MachineState]
    tables: dict[str, tuple[TableRow, ...]] = Field(default_factory=dict)
    """The IPVS table of each director that could be asked."""


class RequestsMessage(_Frozen):
    """Requests that ended; the feed puts together those of 100 ms."""

    kind: Literal["requests"] = "requests"
    requests: tuple[Request, ...]


class EventMessage(_Frozen):
    """Something that happened."""

    kind: Literal["event"] = "event"
    event: Event

    @computed_field  # type: ignore[prop-decorator]
    @property
    def clock(self) -> str:
        """The operator's wall clock when it happened."""
        return datetime.fromtimestamp(self.event.at, UTC).astimezone().strftime("%H:%M:%S")


class DrillStatus(_Frozen):
    """A drill as far as it is."""

    name: str
    title: str
    phase: Phase
    began: float
    seconds: float | None = None
    """About how long it takes, so that the timeline begins with a fitting scale."""
    bands: tuple[Band, ...] = ()
    measures: tuple[Measure, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def kept(self) -> tuple[bool, ...]:
        """For each measure whether it lies within its bound."""
        return tuple(measure.kept for measure in self.measures)


class DrillMessage(_Frozen):
    """The drill that is running or ended last; ``None`` takes its timeline off the board."""

    kind: Literal["drill"] = "drill"
    drill: DrillStatus | None


class VrrpChange(_Frozen):
    """From when on a director was in a state; ``None``: not known, it cannot be reached."""

    at: float
    machine: str
    state: str | None


class Counts(_Frozen):
    """Requests since the feed began, or since another lab was announced."""

    since: float
    answered: dict[str, int]
    """By the name of the server."""
    failed: int


class Snapshot(_Frozen):
    """Everything a page needs that knows nothing yet. Replaces whatever the page knew."""

    kind: Literal["snapshot"] = "snapshot"
    at: float
    """When it was taken: lets the page convert between its own clock and the operator's."""
    lab: LabMessage | None
    state: StateMessage | None
    counts: Counts
    requests: tuple[Request, ...]
    """Of the last minute."""
    events: tuple[EventMessage, ...]
    vrrp: tuple[VrrpChange, ...]
    """Changes within the last minute and the drill, and for each director the one before."""
    drill: DrillStatus | None
    drill_requests: tuple[Request, ...]
    drill_events: tuple[Event, ...]


Message = LabMessage | StateMessage | RequestsMessage | EventMessage | DrillMessage
