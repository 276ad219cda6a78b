"""The challenges."""

import re
from collections.abc import Callable
from typing import Literal

from lab.inventory import Inventory
from lab.operate.challenges.base import Cast, Challenge, Fix
from lab.operate.faults import (
    CONF,
    RENDERED,
    Fault,
    address_removed,
    address_widened,
    conf_edited,
    file_written,
    packets_dropped,
)


def _replaced(pattern: str, replacement: str) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, replacement, text, flags=re.MULTILINE)


async def _on_every_director(
    cast: Cast, title: str, edit: Callable[[str], str], then: Literal["reload", "restart"] = "reload"
) -> list[Fault]:
    """The same edit of every keepalived.conf, the master's last: no failover hides what it does."""
    return [
        await conf_edited(cast.guests, director.name, title, edit, then=then)
        for director in reversed(cast.inventory.directors)
    ]


def _edit(director: str, expression: str) -> Fix:
    """keepalived.conf changed by sed(1), and put in force."""
    return Fix(director, f"sed -i -E '{expression}' {CONF} && systemctl reload keepalived")


class EveryThird(Challenge):
    """One server without the VIP."""

    name = "every-third"
    symptom = (
        "Some of our customers get nothing but time-outs, always the same ones. For everybody else the site "
        "is fine, and the monitoring says that all web servers are up."
    )
    hints = (
        "Ask from several addresses of the client. Which server never answers?",
        "`ipvsadm -Lcn` on the master: which server do the connections in SYN_RECV go to?",
        "Look at the frames that arrive at that server, and at the addresses it calls its own.",
    )
    cause = (
        "The VIP was missing on lo of one real server. With Direct Routing the destination address of a "
        "packet stays the VIP, so a server that does not have it drops the packet. TCP_CHECK connects to the "
        "server's own address and sees nothing wrong."
    )
    servers = 2

    async def faults(self, cast: Cast) -> list[Fault]:
        """Take it from the last server."""
        return [address_removed(cast.servers[-1], f"{cast.vip}/32")]

    def solution(self, inventory: Inventory) -> list[Fix]:
        """Give it back."""
        return [Fix(inventory.real_servers[-1].name, f"ip address add {inventory.vip}/32 dev lo")]


class Poacher(Challenge):
    """ARP settings on lo alone."""

    name = "poacher"
    symptom = (
        "Somebody followed a guide from the internet and set up a web server again. Since then one server "
        "gets far more than its share at times, the director's counters stand still, and on other days all "
        "is well."
    )
    hints = (
        "Who answers when the client asks by ARP for the VIP? Ask twice, from an empty neighbour table.",
        "Read all arp_ignore and arp_announce of the server that answers and should not.",
        "The kernel uses the larger of conf/all and conf/INTERFACE, where the request came in.",
    )
    cause = (
        "arp_ignore and arp_announce were set for lo only. ARP requests come in by eth0, and the kernel "
        "takes max(all, eth0): the server answered for the VIP, and whoever believed it went past the "
        "director."
    )

    async def faults(self, cast: Cast) -> list[Fault]:
        """The guide's sysctl file, in force now and after a reboot."""
        guide = "".join(
            f"net.ipv4.conf.{where}.{key} = {value if where == 'lo' else 0}\n"
            for where in ("lo", "all", "eth0")
            for key, value in (("arp_ignore", 1), ("arp_announce", 2))
        )
        path = "/etc/sysctl.d/60-lvs-dr.conf"
        return [
            file_written(
                cast.servers[0],
                path,
                guide,
                "the ARP settings of a server are on lo only",
                f"sysctl -q -p {path}",
            )
        ]

    def solution(self, inventory: Inventory) -> list[Fix]:
        """Both on all."""
        path = "/etc/sysctl.d/60-lvs-dr.conf"
        lines = "net.ipv4.conf.all.arp_ignore = 1\\nnet.ipv4.conf.all.arp_announce = 2\\n"
        return [Fix(inventory.real_servers[0].name, f"printf '{lines}' > {path} && sysctl -p {path}")]


class Hermit(Challenge):
    """The VIP with the segment's prefix on lo."""

    name = "hermit"
    symptom = (
        "We gave a web server its VIP back by hand, as the ticket said. Now it is gone altogether: no SSH, "
        "no ping, no web pages. It is not switched off: the hypervisor says that it runs."
    )
    hints = (
        "The network does not lead there any more. `lab console NAME` does not need one.",
        "`ip address show lo` and `ip route show table local` on the server.",
        "Every address of the prefix on a loopback interface is the machine's own.",
    )
    cause = (
        "The VIP was put on lo with the prefix length of the segment. On a loopback interface that makes "
        "every address of the segment local: what the server sends to anybody there comes back to itself."
    )
    servers = 2

    async def faults(self, cast: Cast) -> list[Fault]:
        """Done a moment later, for the connection that asks for it is the last that works."""
        server = cast.lab.machine(cast.servers[-1])
        wide = address_widened(server.name, cast.vip, cast.inventory.vip_prefix_length)
        return [
            wide.model_copy(
                update={
                    "do": f"nohup sh -c 'sleep 1; {wide.do}' >/dev/null 2>&1 &",
                    # SSH does not lead there: off and on, and the boot sets the right address.
                    "undo": f"reset {server.domain}",
                    "undo_by": "virsh",
                    "boots": True,
                }
            )
        ]

    def solution(self, inventory: Inventory) -> list[Fix]:
        """On the console, or by a reset."""
        return [Fix("", f"virsh reset {inventory.machine(inventory.real_servers[-1].name).domain}")]


class TwoKings(Challenge):
    """Another VRID."""

    name = "two-kings"
    symptom = (
        "The switch logs that one address keeps moving between two ports. Users see connections break off "
        "every now and then."
    )
    hints = (
        "Which directors hold the VIP?",
        "They both think that they are alone. `tcpdump -vni eth0 vrrp` on the client shows what each says.",
        "A VRRP router listens to its own virtual router only. Compare the vrid of the advertisements.",
    )
    cause = (
        "The backup had another virtual_router_id: to each director the other one's advertisements are about "
        "some other virtual router, so both were master of their own."
    )
    directors = 2

    async def faults(self, cast: Cast) -> list[Fault]:
        """One more on the backup."""
        other = cast.inventory.virtual_router_id % 255 + 1
        edit = _replaced(r"virtual_router_id \d+", f"virtual_router_id {other}")
        return [
            await conf_edited(cast.guests, cast.backup, "the backup has another VRID", edit, then="restart")
        ]

    def solution(self, inventory: Inventory) -> list[Fix]:
        """The same as the master's."""
        backup = inventory.directors[1].name
        number = inventory.virtual_router_id
        return [_edit(backup, rf"s/(virtual_router_id) .*/\1 {number}/")]


class Whisper(Challenge):
    """Two differences of the password, one of which matters."""

    name = "whisper"
    symptom = (
        "After the security audit both directors got a new password for VRRP. Each of them says that the "
        "other one's is wrong, and they both answer for the VIP."
    )
    hints = (
        "`journalctl -u keepalived` on both: what do they say of the advertisements they receive?",
        "`tcpdump -vni eth0 vrrp` shows the passwords as they are sent.",
        "Only eight bytes are sent and compared. One of the two differences does not matter.",
    )
    cause = (
        "The passwords differed twice: once after the eighth byte, which nobody ever sends, and once before "
        "it, which makes each director ignore the other."
    )
    directors = 2

    def why_not(self, inventory: Inventory) -> str | None:
        """Only version 2 has passwords."""
        if not inventory.authenticated:
            return "it needs authentication (VRRP 2, lvs-dr-lab:auth_type PASS)"
        return super().why_not(inventory)

    async def faults(self, cast: Cast) -> list[Fault]:
        """A long tail on the master, another second letter on the backup."""
        longer = _replaced(r"(auth_pass \S{8})\S*", r"\1-2026")
        wrong = _replaced(r"(auth_pass \S)\S", r"\1_")
        return [
            await conf_edited(cast.guests, cast.master, "the master's password is longer", longer),
            await conf_edited(cast.guests, cast.backup, "the backup's password differs", wrong),
        ]

    def solution(self, inventory: Inventory) -> list[Fix]:
        """The rendered one."""
        backup = inventory.directors[1].name
        return [Fix(backup, f"cp {RENDERED}{CONF} {CONF} && systemctl reload keepalived")]


class Favourite(Challenge):
    """Persistence for the whole segment."""

    name = "favourite"
    symptom = (
        "The balancing is broken: since yesterday's change all new customers of an office land on the same "
        "web server, the others have nothing to do. All servers are healthy."
    )
    hints = (
        "Ask from several addresses of the client. Is it really every one?",
        "`ipvsadm -Ln` on the master: read the line of the virtual server to its end.",
        "A persistence template may stand for more than one address: its netmask says for how many.",
    )
    cause = (
        "persistence_granularity was set to the whole segment: one template bound all its clients to the "
        "server that the first of them had met. The scheduler never got a say."
    )
    servers = 2

    def why_not(self, inventory: Inventory) -> str | None:
        """Nothing is bound without persistence."""
        if not inventory.persistence_timeout or inventory.lb_algo not in ("rr", "wrr"):
            return "it needs persistence and the scheduler rr or wrr"
        return super().why_not(inventory)

    async def faults(self, cast: Cast) -> list[Fault]:
        """On every director."""
        edit = _replaced(r"^( *)(persistence_timeout .*)$", r"\1\2\n\1persistence_granularity 255.255.255.0")
        return await _on_every_director(cast, "all clients are one", edit, "restart")

    def solution(self, inventory: Inventory) -> list[Fix]:
        """Away with it."""
        return [
            Fix(director.name, f"sed -i /persistence_granularity/d {CONF} && systemctl restart keepalived")
            for director in inventory.directors
        ]


class Elsewhere(Challenge):
    """virtual_server is not the VIP."""

    name = "elsewhere"
    symptom = (
        "Nobody can reach the site: connection refused, at once. The VIP answers to ping, and all web "
        "servers work."
    )
    hints = (
        "Who refuses? `tcpdump -eni eth0 port 80` on the master and on a server.",
        "`ipvsadm -Ln` on the master: which address does it balance?",
        "keepalived does not mind if virtual_server and virtual_ipaddress are strangers to each other.",
    )
    cause = (
        "virtual_server named another address than virtual_ipaddress. The director had the VIP but no table "
        "for it, so its own kernel answered: nothing listens there. `keepalived -t` finds nothing wrong."
    )

    async def faults(self, cast: Cast) -> list[Fault]:
        """The last digit doubled, on every director."""
        wrong = _neighbour(cast.inventory)
        edit = _replaced(rf"virtual_server {re.escape(cast.vip)} ", f"virtual_server {wrong} ")
        return await _on_every_director(cast, "the virtual server is not the VIP", edit)

    def solution(self, inventory: Inventory) -> list[Fix]:
        """The VIP."""
        return [
            _edit(director.name, rf"s/virtual_server [0-9.]+/virtual_server {inventory.vip}/")
            for director in inventory.directors
        ]


def _neighbour(inventory: Inventory) -> str:
    """An address of the segment that nobody has."""
    taken = {machine.address for machine in inventory.machines} | {inventory.vip, inventory.gateway}
    head, _, last = inventory.vip.rpartition(".")
    candidates = (f"{head}.{(int(last) + step) % 254 + 1}" for step in range(1, 250))
    return next(address for address in candidates if address not in taken)


class Deaf(Challenge):
    """A firewall against VRRP."""

    name = "deaf"
    symptom = (
        "Since the new firewall rules were rolled out, the VIP is on both directors. The configuration of "
        "keepalived was not touched on either."
    )
    hints = (
        "Does each director hear the other one's advertisements? They arrive, but at keepalived?",
        "VRRP is IP protocol 112, to 224.0.0.18: neither TCP nor UDP.",
        "`nft list ruleset` on the director that should be backup.",
    )
    cause = (
        "A rule dropped IP protocol 112 on the backup. tcpdump sees packets before the firewall does, so "
        "they seemed to arrive; keepalived never got one and took the VIP too."
    )
    directors = 2

    async def faults(self, cast: Cast) -> list[Fault]:
        """On the backup."""
        return [packets_dropped(cast.backup, "input", "ip protocol 112", "VRRP advertisements")]

    def solution(self, inventory: Inventory) -> list[Fix]:
        """Away with the table."""
        return [Fix(inventory.directors[1].name, "nft delete table inet lab_fault")]


class AllGone(Challenge):
    """Health checks on the wrong port."""

    name = "all-gone"
    symptom = (
        "The site is down. Every web server answers when it is asked directly, but the directors say that "
        "none of them is alive."
    )
    hints = (
        "`ipvsadm -Ln`, then `journalctl -u keepalived` on the master: why was each server removed?",
        "What does the health check connect to? `ss -ltn` on a server shows what it would find.",
        "connect_port need not be the port of the real server.",
    )
    cause = (
        "connect_port of every TCP_CHECK was a port where nothing listens. The checks failed, all servers "
        "were removed, and an empty table refuses every client."
    )

    async def faults(self, cast: Cast) -> list[Fault]:
        """On every director."""
        port = cast.inventory.port + 8000 if cast.inventory.port < 50000 else 1
        edit = _replaced(r"connect_port \d+", f"connect_port {port}")
        return await _on_every_director(cast, "checks go to a port where nothing listens", edit)

    def solution(self, inventory: Inventory) -> list[Fix]:
        """The port of the service."""
        return [
            _edit(director.name, rf"s/(connect_port) [0-9]+/\1 {inventory.port}/")
            for director in inventory.directors
        ]


class NoNews(Challenge):
    """The mail server's name is gone."""

    name = "no-news"
    symptom = (
        "Last night a web server died, and nobody got a mail. keepalived is configured to send one, and the "
        "mail server works."
    )
    hints = (
        "`lab mail` shows what arrived. What does keepalived say when it reads its configuration?",
        "smtp_server is a name. Who resolves it on the director, and when?",
        "`getent hosts NAME` on the directors, then /etc/hosts.",
    )
    cause = (
        "The line of the mail server was missing in /etc/hosts of the directors. keepalived looks the name "
        "up once, when it reads its configuration, says nothing more about it, and never sends a mail."
    )

    async def faults(self, cast: Cast) -> list[Fault]:
        """Out of /etc/hosts, and read again."""
        name = cast.inventory.smtp_server
        return [
            Fault(
                machine=director.name,
                title="the mail server's name is not known",
                do=f"sed -i 's/ {re.escape(name)}$//; s/ {re.escape(name)} / /' /etc/hosts",
                undo=f"cp {RENDERED}/etc/hosts /etc/hosts",
            )
            for director in cast.inventory.directors
        ]

    def solution(self, inventory: Inventory) -> list[Fix]:
        """Back into it, and read again."""
        client = inventory.client
        line = f"{client.address} {inventory.smtp_server}"
        return [
            Fix(director.name, f"echo '{line}' >> /etc/hosts && systemctl reload keepalived")
            for director in inventory.directors
        ]


class OneWay(Challenge):
    """NAT instead of DR."""

    name = "one-way"
    symptom = (
        "Every request times out, for every client. Packet captures on the web servers show requests, and "
        "answers too."
    )
    hints = (
        "Compare the destination address of a request on the client, on the master and on a server.",
        "`ipvsadm -Ln` on the master: how does it forward?",
        "The column Forward says Masq. What is the client to make of an answer from a stranger?",
    )
    cause = (
        "lb_kind was NAT on the master: it rewrote the destination to the server's address. The server "
        "answered the client directly, from its own address, and the client knows of no such connection."
    )

    async def faults(self, cast: Cast) -> list[Fault]:
        """On the master only."""
        edit = _replaced(r"lb_kind DR", "lb_kind NAT")
        return [
            await conf_edited(cast.guests, cast.master, "the master forwards by NAT", edit, then="restart")
        ]

    def solution(self, inventory: Inventory) -> list[Fix]:
        """DR."""
        master = inventory.directors[0].name
        return [Fix(master, f"sed -i 's/lb_kind NAT/lb_kind DR/' {CONF} && systemctl restart keepalived")]


class Usurper(Challenge):
    """The wrong priority."""

    name = "usurper"
    symptom = (
        "The strong director idles and the weak one, which is meant for emergencies, does all the work. "
        "Restarting keepalived on the strong one does not help."
    )
    hints = (
        "`state MASTER` is in its configuration. Does that decide anything?",
        "`tcpdump -vni eth0 vrrp` on the client: which priority is advertised?",
        "Compare the priorities in both configurations.",
    )
    cause = (
        "The backup had the higher priority. `state` only says what a director assumes when it starts; the "
        "election is by priority, and the higher one preempts."
    )
    directors = 2

    async def faults(self, cast: Cast) -> list[Fault]:
        """The backup goes above the master."""
        highest = cast.inventory.directors[0].priority or 0
        edit = _replaced(r"priority \d+", f"priority {min(254, highest + 50)}")
        master = _replaced(r"priority \d+", f"priority {highest - 1}") if highest >= 254 else None
        found = [await conf_edited(cast.guests, cast.backup, "the backup has the higher priority", edit)]
        if master:
            found.append(
                await conf_edited(cast.guests, cast.master, "the master has a lower priority", master)
            )
        return found

    def solution(self, inventory: Inventory) -> list[Fix]:
        """As rendered."""
        return [
            _edit(director.name, rf"s/( priority) [0-9]+/\1 {director.priority}/")
            for director in inventory.directors[:2]
        ]


CHALLENGES: tuple[Challenge, ...] = (
    EveryThird(),
    AllGone(),
    TwoKings(),
    Elsewhere(),
    Poacher(),
    Usurper(),
    Deaf(),
    Whisper(),
    Favourite(),
    NoNews(),
    OneWay(),
    Hermit(),
)
