"""Drills: one fault or change each, measured against what protocol and code promise."""

from lab.operate.drills.base import Drill
from lab.operate.drills.forwarding import (
    ConnectionSync,
    CurlFromDirector,
    DirectRouting,
    Drain,
    ExpireNodest,
    Persistence,
    Schedulers,
)
from lab.operate.drills.servers import (
    Alpha,
    ArpProblem,
    ServerHangs,
    ServerSilent,
    ServerStopped,
    ServerWithoutVip,
    SorryServer,
)
from lab.operate.drills.vrrp import (
    AuthMismatch,
    CrashFailover,
    Failback,
    GracefulFailover,
    LinkFailure,
    NetworkdRestart,
    SmtpName,
    SplitBrain,
    SubSecond,
    WhoIsMaster,
)

# In the order of a course.
DRILLS: tuple[Drill, ...] = (
    WhoIsMaster(),
    GracefulFailover(),
    CrashFailover(),
    LinkFailure(),
    Failback(),
    SubSecond(),
    ServerStopped(),
    ServerSilent(),
    ServerHangs(),
    ServerWithoutVip(),
    ArpProblem(),
    DirectRouting(),
    Persistence(),
    Schedulers(),
    Drain(),
    ExpireNodest(),
    SorryServer(),
    Alpha(),
    SplitBrain(),
    AuthMismatch(),
    ConnectionSync(),
    NetworkdRestart(),
    SmtpName(),
    CurlFromDirector(),
)

__all__ = ["DRILLS", "Drill"]
