"""The page that a trainer puts on the projector, and the feed that keeps it live."""

from lab.board.app import build, serve
from lab.board.feed import Feed
from lab.board.messages import (
    BoardMachine,
    DrillMessage,
    DrillStatus,
    EventMessage,
    LabMessage,
    MachineState,
    Message,
    RequestsMessage,
    Snapshot,
    StateMessage,
    TableRow,
)

__all__ = [
    "BoardMachine",
    "DrillMessage",
    "DrillStatus",
    "EventMessage",
    "Feed",
    "LabMessage",
    "MachineState",
    "Message",
    "RequestsMessage",
    "Snapshot",
    "StateMessage",
    "TableRow",
    "build",
    "serve",
]
