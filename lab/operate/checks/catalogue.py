"""Every check of the lab, in the order it is reported."""

from collections.abc import Callable, Sequence

from lab.inventory import Inventory
from lab.operate.checks import state, traffic
from lab.operate.checks.base import Check
from lab.topology import Role


def _roles(*roles: Role) -> Callable[[Inventory], Sequence[str]]:
    def names(inventory: Inventory) -> list[str]:
        return [machine.name for machine in inventory.machines if machine.role in roles]

    return names


def _everywhere(inventory: Inventory) -> list[str]:
    return [machine.name for machine in inventory.machines]


def _client(inventory: Inventory) -> list[str]:
    return [inventory.client.name]


_WEB = _roles(Role.REAL_SERVER, Role.SORRY_SERVER)
_DIRECTORS = _roles(Role.DIRECTOR)

CHECKS: tuple[Check, ...] = (
    Check(
        "reachable",
        "Every machine answers by SSH.",
        "`lab console NAME` shows what it does; `make up` starts a machine that is off.",
        _everywhere,
        state.reachable,
    ),
    Check(
        "services",
        "keepalived, apache2 and the mail sink run.",
        "`systemctl status` and `journalctl -u` of that service, on that machine.",
        _everywhere,
        state.service,
    ),
    Check(
        "vip-holder",
        "The VIP is on one director, the one with the highest priority.",
        "`journalctl -u keepalived` on the directors; do they hear each other (`tcpdump -ni eth0 vrrp`)?",
        _DIRECTORS,
        state.vip_holder,
        within=20,
    ),
    Check(
        "ipvs-table",
        "The IPVS table of every director is the lab's.",
        "`ipvsadm -Ln` there; `journalctl -u keepalived` says why a server was taken out.",
        _DIRECTORS,
        state.ipvs_table,
        within=30,
    ),
    Check(
        "dr-settings",
        "Every web server has the VIP as /32 on lo and keeps quiet about it by ARP.",
        "`ip address show lo` and `sysctl -a | grep -e arp_ignore -e arp_announce` there.",
        _WEB,
        state.dr_settings,
        within=5,
    ),
    Check(
        "dr-files",
        "A reboot of a web server brings the same settings back.",
        "/etc/sysctl.d and /etc/systemd/network there.",
        _WEB,
        state.dr_files,
        within=3,
    ),
    Check(
        "arp",
        "Only the director with the VIP answers ARP for it.",
        "`arping -c 3 -I eth0 VIP` on the client shows hardware addresses; they end like the IP addresses.",
        _client,
        state.arp,
        within=15,
    ),
    Check(
        "drift",
        "The configuration of every machine is what was rendered.",
        "The file and line it names; `lab repair` puts it back.",
        _everywhere,
        state.drift,
        within=3,
    ),
    Check(
        "mail",
        "The directors know the mail server by name without DNS, and it answers.",
        "/etc/hosts of the director; `systemctl status mail-sink` on the client.",
        _DIRECTORS,
        state.mail,
        within=30,
    ),
    Check(
        "clocks",
        "No clock is more than a second off.",
        "`timedatectl` there; a machine that was paused or starved is late.",
        _everywhere,
        state.clock,
        within=20,
    ),
    Check(
        "requests",
        "Every request to the VIP is answered.",
        "the checks above; `lab capture NAME` shows where a request ends.",
        _client,
        traffic.judged(traffic.no_failures),
        traffic=True,
    ),
    Check(
        "answers",
        "Each real server answers through the VIP.",
        "the VIP on its lo, apache2 on it, its line in `ipvsadm -Ln` of the master.",
        _roles(Role.REAL_SERVER),
        traffic.judged(traffic.answers),
        traffic=True,
    ),
    Check(
        "distribution",
        "New clients are spread as the scheduler promises.",
        "`ipvsadm -Ln` on the master: weights and scheduler.",
        _client,
        traffic.judged(traffic.distribution),
        traffic=True,
    ),
    Check(
        "persistence",
        "A client stays with the server it met first.",
        "`ipvsadm -Lcn` on the master: the templates are the lines with port 0.",
        _client,
        traffic.judged(traffic.persistence),
        traffic=True,
    ),
    Check(
        "direct-return",
        "Answers go from the server to the client, not through the director.",
        "`ipvsadm -Ln --stats` on the master: OutPkts must be 0.",
        _client,
        traffic.judged(traffic.direct_return),
        traffic=True,
    ),
)


def named(names: Sequence[str]) -> tuple[Check, ...]:
    """The checks called ``names``; all of them if there are none.

    Raises:
        KeyError: no check is called so; the argument is the name.
    """
    if not names:
        return CHECKS
    by_name = {check.name: check for check in CHECKS}
    return tuple(by_name[name] for name in names)
