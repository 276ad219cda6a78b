"""Drills about the VIP: who holds it, how it moves, what keeps it from moving."""

import re
from collections.abc import Callable

from lab.inventory import Inventory
from lab.operate import timers
from lab.operate.checks.state import arp_answers
from lab.operate.drills.base import Drill, count_bound
from lab.operate.drills.stage import Stage
from lab.operate.faults import (
    cable_pulled,
    conf_edited,
    file_written,
    packets_dropped,
    power_cut,
    service_stopped,
)
from lab.operate.recording import Bound

# Seconds on top of a protocol's bound for the client to find the new owner of the VIP: the gratuitous ARP,
# and the probe's own resolution.
CLIENT = 0.3


def crash_bound(inventory: Inventory, quantity: str = "clients without an answer") -> Bound:
    """How long a VIP is gone when its holder dies without a word."""
    down = timers.master_down(inventory, inventory.directors[1])
    return Bound(
        quantity=quantity,
        # The last advertisement was sent up to an interval before the crash.
        low=max(0.0, down - inventory.advert_int - 0.2),
        high=down + CLIENT,
        formula="3 x advert_int + skew of the backup, less what had passed since the last advertisement",
        source=timers.rfc(inventory),
    )


def _crash_band(stage: Stage, at: float) -> None:
    """Mark when the backup must take over from a master that died at ``at``."""
    bound = crash_bound(stage.inventory)
    stage.band(
        at + (bound.low or 0), at + (bound.high or 0), f"promised: {bound.low:.2f} to {bound.high:.2f} s"
    )


def _unnoticed(quantity: str) -> Bound:
    """A master that lives hands over without a gap."""
    return Bound(
        quantity=quantity,
        low=0,
        high=0.5,
        formula="the new master announces itself before the old one lets go",
        source="keepalived vrrp.c: gratuitous ARP on the transition",
    )


class WhoIsMaster(Drill):
    """Looking only."""

    name = "who-is-master"
    title = "Who is master"
    shows = (
        "The VIP is on one director. Its advertisements go to 224.0.0.18 each advert_int, with the priority "
        "and, in VRRP version 2, the password for everybody to read."
    )
    steps = (
        "master: ip -br address show eth0",
        "client: tcpdump -v -nni eth0 -c 4 'ip proto 112'",
        "both directors: journalctl -u keepalived -g Entering",
    )
    seconds = 12
    interval = 0.5

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """One holder, one advertisement an interval, with its priority."""
        highest = inventory.directors[0].priority
        source = timers.rfc(inventory)
        return (
            count_bound("directors that hold the VIP", 1, 1, "one", source),
            Bound(
                quantity="seconds between advertisements",
                low=inventory.advert_int * 0.8,
                high=inventory.advert_int * 1.2 + 0.05,
                formula="advert_int",
                source=source,
            ),
            count_bound(
                "priority that is advertised", highest, highest, "the highest of all directors", source
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Read the addresses, then listen to the segment."""
        told = [await stage.facts(director.name) for director in stage.directors]
        holders = sum(one.holds(stage.inventory.vip) for one in told)
        wait = int(5 * stage.inventory.advert_int) + 6
        stage.act("listening to advertisements", stage.client.name)
        text = await stage.run(
            stage.client.name,
            f"timeout {wait} tcpdump -v -nn -tt -c 4 -i eth0 'ip proto 112' 2>/dev/null || true",
        )
        times = [float(at) for at in re.findall(r"^(\d+\.\d+) IP ", text, re.MULTILINE)]
        priorities = {int(priority) for priority in re.findall(r"prio (\d+)", text)}
        if secret := re.search(r'auth "([^"]*)', text):
            stage.act(f"the password can be read: {secret[1]}", stage.client.name)
        gaps = len(times) - 1
        return {
            "directors that hold the VIP": float(holders),
            "seconds between advertisements": (times[-1] - times[0]) / gaps if gaps > 0 else None,
            "priority that is advertised": float(priorities.pop()) if len(priorities) == 1 else None,
        }


class GracefulFailover(Drill):
    """The master says goodbye."""

    name = "graceful-failover"
    title = "Graceful failover: keepalived is stopped on the master"
    shows = (
        "A director that leaves in order sends an advertisement of priority 0; the backup waits only its "
        "skew time, then takes the VIP and tells the segment by gratuitous ARP."
    )
    steps = (
        "master: systemctl stop keepalived",
        "client: ip neighbour show VIP (the hardware address changes)",
        "master: systemctl start keepalived",
    )
    seconds = 12
    directors = 2

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """The skew time."""
        skew = timers.skew(inventory, inventory.directors[1])
        source = timers.rfc(inventory)
        return (
            Bound(
                quantity="from priority 0 to the new master",
                low=skew - 0.1,
                high=skew + CLIENT,
                formula="skew of the backup",
                source=source,
            ),
            Bound(
                quantity="clients without an answer",
                low=0,
                high=skew + CLIENT,
                formula="skew of the backup",
                source=source,
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Stop it, wait for the backup."""
        at = await stage.inject(service_stopped(stage.master.name, "keepalived"))
        gone = await stage.transition(stage.master.name, "STOP", 10, after=at)
        begin = gone if gone is not None else at
        skew = timers.skew(stage.inventory, stage.backup)
        stage.band(begin, begin + skew + CLIENT, f"promised: within {skew + CLIENT:.2f} s")
        taken = await stage.transition(stage.backup.name, "MASTER", 15, after=at)
        await stage.answered(10, after=taken or at)
        return {
            "from priority 0 to the new master": None if taken is None or gone is None else taken - gone,
            "clients without an answer": await stage.outage(at - 0.5),
        }


class CrashFailover(Drill):
    """The master dies."""

    name = "crash-failover"
    title = "Crash failover: the master loses its power"
    shows = (
        "Nobody says goodbye: the backup waits until three advertisements and its skew time have passed in "
        "silence, then takes the VIP."
    )
    steps = (
        "here: virsh destroy DOMAIN-OF-MASTER",
        "client: requests until they are answered again",
        "here: virsh start DOMAIN-OF-MASTER",
    )
    seconds = 15
    directors = 2

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """The master down interval."""
        return (crash_bound(inventory), crash_bound(inventory, "from the crash to the new master"))

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Cut the power, wait for the backup."""
        at = await stage.inject(power_cut(stage.lab, stage.master.name))
        stage.is_now(stage.master.name, "OFF")
        _crash_band(stage, at)
        taken = await stage.transition(stage.backup.name, "MASTER", 20, after=at)
        await stage.answered(10, after=taken or at)
        return {
            "clients without an answer": await stage.outage(at - 0.5),
            "from the crash to the new master": None if taken is None else taken - at,
        }


class LinkFailure(Drill):
    """The cable of the master is pulled, and put back."""

    name = "link-failure"
    title = "Link failure: the master's cable is out, then in again"
    shows = (
        "keepalived sees that its interface is down and goes to FAULT, which gives up the VIP. For the "
        "backup it is like a crash. When the link is back the higher priority takes over again, and no "
        "client notices."
    )
    steps = (
        "here: virsh domif-setlink DOMAIN MAC down",
        "master (console): journalctl -u keepalived: Entering FAULT STATE",
        "here: virsh domif-setlink DOMAIN MAC up",
    )
    seconds = 25
    directors = 2

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """As for a crash; then the way back."""
        down = timers.master_down(inventory, inventory.directors[0])
        return (
            crash_bound(inventory),
            Bound(
                quantity="from FAULT to MASTER after the link is back",
                low=down - 0.3,
                high=down + 1.5,
                formula="3 x advert_int + skew of the master, and the time to see the link",
                source=timers.rfc(inventory),
            ),
            _unnoticed("clients without an answer on the way back"),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Down, wait, up, wait."""
        fault = cable_pulled(stage.lab, stage.master.name)
        at = await stage.inject(fault)
        _crash_band(stage, at)
        taken = await stage.transition(stage.backup.name, "MASTER", 15, after=at)
        await stage.answered(10, after=taken or at)
        crash = await stage.outage(at - 0.5)
        back = await stage.take_back(fault)
        again = await stage.transition(stage.master.name, "MASTER", 25, after=back)
        await stage.answered(10, after=again or back)
        return {
            "clients without an answer": crash,
            "from FAULT to MASTER after the link is back": None if again is None else again - back,
            "clients without an answer on the way back": await stage.outage(back),
        }


class Failback(Drill):
    """The old master comes back, with and without leave to take over."""

    name = "failback"
    title = "Failback: the old master returns, first with preemption, then without"
    shows = (
        "`state MASTER` does not make a director master: it listens for a master down interval and then its "
        "priority decides. With nopreempt it leaves the VIP where it is."
    )
    steps = (
        "master: systemctl stop keepalived; systemctl start keepalived",
        "master: state BACKUP and nopreempt in keepalived.conf; stop and start again",
        "both: journalctl -u keepalived -g Entering",
    )
    seconds = 45
    directors = 2

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """A master down interval; then never."""
        down = timers.master_down(inventory, inventory.directors[0])
        source = timers.rfc(inventory)
        return (
            Bound(
                quantity="from its start to MASTER",
                low=down - 0.1,
                high=down + 0.6,
                formula="3 x advert_int + skew of the master",
                source=source,
            ),
            _unnoticed("clients without an answer at the takeover"),
            count_bound("takeovers with nopreempt", 0, 0, "Preempt_Mode is false", source),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Twice away and back."""
        master, backup = stage.master.name, stage.backup.name
        stopped = service_stopped(master, "keepalived")
        at = await stage.inject(stopped)
        await stage.transition(backup, "MASTER", 15, after=at)
        await stage.calm()
        back = await stage.take_back(stopped)
        listening = await stage.transition(master, "BACKUP", 15, after=back)
        again = await stage.transition(master, "MASTER", 25, after=back)
        await stage.calm()
        gap = await stage.outage(back)
        edited = await conf_edited(
            stage.guests, master, f"{master} has nopreempt", _nopreempt, then="restart"
        )
        at = await stage.inject(edited)
        # The restart itself is the way out and back.
        await stage.transition(backup, "MASTER", 15, after=at)
        after = await stage.transition(master, "BACKUP", 15, after=at) or stage.now()
        wait = timers.master_down(stage.inventory, stage.master) + 2
        stolen = await stage.transition(master, "MASTER", wait, after=after)
        return {
            "from its start to MASTER": None if again is None or listening is None else again - listening,
            "clients without an answer at the takeover": gap,
            "takeovers with nopreempt": 0.0 if stolen is None else 1.0,
        }


def _nopreempt(text: str) -> str:
    return re.sub(r"^( *)state \w+$", r"\1state BACKUP\n\1nopreempt", text, count=1, flags=re.MULTILINE)


class SubSecond(Drill):
    """VRRP version 3 with ten advertisements a second."""

    name = "sub-second"
    title = "Sub-second failover: VRRP version 3, ten advertisements a second"
    shows = (
        "Version 3 counts in hundredths of a second and scales the skew time too, so that a dead master is "
        "noticed in a third of a second. It has no authentication."
    )
    steps = (
        "both directors: version 3, advert_int 0.1, no authentication block; systemctl restart keepalived",
        "here: virsh domif-setlink DOMAIN-OF-MASTER MAC down",
    )
    seconds = 35
    directors = 2
    interval = 0.05

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """Three tenths of a second and the skew."""
        fast = inventory.model_copy(update={"vrrp_version": 3, "advert_int": 0.1})
        return (crash_bound(fast),)

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Reconfigure both, then pull the cable."""
        for director in reversed(stage.directors):
            edited = await conf_edited(
                stage.guests, director.name, f"{director.name} speaks VRRP 3 at 0.1 s", _fast, then="restart"
            )
            await stage.inject(edited)
        begin = stage.now()
        await stage.until_asked(lambda: self._settled(stage), 30)
        await stage.calm()
        at = await stage.inject(cable_pulled(stage.lab, stage.master.name))
        bound = self.bounds(stage.inventory)[0]
        stage.band(at, at + (bound.high or 0), f"promised: within {bound.high:.2f} s")
        taken = await stage.transition(stage.backup.name, "MASTER", 10, after=max(at, begin))
        await stage.answered(10, after=taken or at)
        return {"clients without an answer": await stage.outage(at - 0.2)}

    @staticmethod
    async def _settled(stage: Stage) -> bool:
        vip = stage.inventory.vip
        return (await stage.facts(stage.master.name)).holds(vip) and not (
            await stage.facts(stage.backup.name)
        ).holds(vip)


def _fast(text: str) -> str:
    text = re.sub(r"^( *)advert_int .*$", r"\1advert_int 0.1", text, flags=re.MULTILINE)
    text = re.sub(r"^ *version \d\n", "", text, flags=re.MULTILINE)
    text = re.sub(
        r"^( *)interface eth0$", r"\1interface eth0\n\1version 3", text, count=1, flags=re.MULTILINE
    )
    return re.sub(r"^ *authentication \{.*?\}\n", "", text, flags=re.MULTILINE | re.DOTALL)


class SplitBrain(Drill):
    """The backup is deaf to advertisements."""

    name = "split-brain"
    title = "Split brain: a firewall on the backup drops VRRP"
    shows = (
        "A backup that hears nothing believes the master dead: both hold the VIP and both answer ARP for it. "
        "When it hears again, the lower priority gives way at the next advertisement."
    )
    steps = (
        "backup: nft: drop ip protocol 112 on input",
        "client: arping -c 3 -I eth0 VIP (two hardware addresses)",
        "backup: take the rule away",
    )
    seconds = 20
    directors = 2

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """A master down interval to break, an advertisement to heal."""
        down = timers.master_down(inventory, inventory.directors[1])
        source = timers.rfc(inventory)
        return (
            Bound(
                quantity="until both are master",
                # The rule is in force a moment before the command that made it has ended.
                low=down - inventory.advert_int - 0.7,
                high=down + 0.3,
                formula="3 x advert_int + skew of the backup, less up to one advert_int",
                source=source,
            ),
            count_bound("directors that hold the VIP meanwhile", 2, 2, "both", source),
            Bound(
                quantity="until one gives way",
                low=0,
                high=inventory.advert_int + 0.5,
                formula="one advert_int",
                source=source,
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Deafen, look, heal."""
        backup = stage.backup.name
        fault = packets_dropped(backup, "input", "ip protocol 112", "VRRP advertisements")
        at = await stage.inject(fault)
        dropped = stage.now()
        both = await stage.transition(backup, "MASTER", 20, after=at)
        told = [await stage.facts(director.name) for director in stage.directors[:2]]
        macs = await arp_answers(stage.guests)
        stage.act(f"{len(macs)} hardware addresses answer ARP for the VIP", stage.client.name)
        back = await stage.take_back(fault)
        healed = await stage.transition(backup, "BACKUP", 15, after=back)
        return {
            "until both are master": None if both is None else both - dropped,
            "directors that hold the VIP meanwhile": float(
                sum(one.holds(stage.inventory.vip) for one in told)
            ),
            "until one gives way": None if healed is None else healed - back,
        }


class AuthMismatch(Drill):
    """Another password, and another that is the same."""

    name = "auth-mismatch"
    title = "Password mismatch: what differs in the first eight bytes, and what after them"
    shows = (
        "Advertisements with another password are ignored, so both directors become master. Only eight bytes "
        "are sent and compared: what differs after them is the same password."
    )
    steps = (
        "backup: auth_pass otra; systemctl reload keepalived: received an invalid passwd",
        "backup: the right eight characters and more behind them; reload",
    )
    seconds = 30
    directors = 2

    def why_not(self, inventory: Inventory) -> str | None:
        """Only version 2 has passwords."""
        if not inventory.authenticated:
            return "it needs authentication (VRRP 2, lvs-dr-lab:auth_type PASS)"
        return super().why_not(inventory)

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """Two masters, then one."""
        down = timers.master_down(inventory, inventory.directors[1])
        return (
            Bound(
                quantity="until both are master",
                low=down - inventory.advert_int - 0.7,
                # An emulated director needs a second or two to read its configuration again.
                high=down + 2,
                formula="the reload, then 3 x advert_int + skew of the backup",
                source=timers.rfc(inventory),
            ),
            count_bound(
                "masters with a difference after the eighth byte",
                1,
                1,
                "eight bytes are compared",
                "keepalived vrrp.h, VRRP_AUTH_LEN 8; RFC 2338, 5.3.10",
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Wrong, then longer."""
        backup = stage.backup.name
        other = await conf_edited(
            stage.guests,
            backup,
            f"{backup} has another password",
            lambda text: _password(text, lambda _: "otra"),
        )
        at = await stage.inject(other)
        asked = stage.now()
        both = await stage.transition(backup, "MASTER", 20, after=at)
        back = await stage.take_back(other)
        await stage.transition(backup, "BACKUP", 20, after=back)
        longer = await conf_edited(
            stage.guests,
            backup,
            f"the password of {backup} goes on after its eighth byte",
            lambda text: _password(text, lambda known: known.ljust(8, "-")[:8] + "XYZ"),
        )
        await stage.inject(longer)
        loaded = stage.now()
        wait = timers.master_down(stage.inventory, stage.backup) + 1.5
        await stage.transition(backup, "MASTER", wait, after=loaded)
        told = [await stage.facts(director.name) for director in stage.directors]
        return {
            "until both are master": None if both is None else both - asked,
            "masters with a difference after the eighth byte": float(
                sum(one.holds(stage.inventory.vip) for one in told)
            ),
        }


class NetworkdRestart(Drill):
    """Ubuntu's best known way to lose a VIP."""

    name = "networkd-restart"
    title = "systemd-networkd is restarted, with and without KeepConfiguration"
    shows = (
        "systemd-networkd removes addresses it did not set: without KeepConfiguration a restart takes the "
        "VIP from the master, and keepalived gives up mastership. With it nothing happens."
    )
    steps = (
        "master: systemctl restart systemd-networkd",
        "master: take /etc/systemd/network/*/keep-vip.conf away, restart it again",
    )
    seconds = 25
    directors = 2

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """Nothing; then a loss."""
        return (
            count_bound(
                "transitions with KeepConfiguration=static",
                0,
                0,
                "addresses set by others are kept",
                "systemd.network(5)",
            ),
            count_bound(
                "transitions without it",
                1,
                None,
                "the VIP is deleted, keepalived notices and leaves MASTER",
                "keepalived issue 836, 2.0 and later",
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Restart it twice."""
        master = stage.master.name
        at = stage.act("systemd-networkd is restarted, KeepConfiguration=static", master)
        await stage.run(master, "systemctl restart systemd-networkd")
        await stage.watch(4)
        kept = self._transitions(stage, at)
        drop_in = "/etc/systemd/network/10-netplan-eth0.network.d/keep-vip.conf"
        # "no" is the default: it is what a machine without the drop-in has.
        await stage.inject(
            file_written(
                master,
                drop_in,
                "[Network]\nKeepConfiguration=no\n",
                "systemd-networkd is restarted, KeepConfiguration=no",
                "systemctl restart systemd-networkd",
            )
        )
        at = stage.now() - 3
        await stage.event(lambda event: event.kind == "vrrp", 12, after=at)
        await stage.watch(2)
        return {
            "transitions with KeepConfiguration=static": float(kept),
            "transitions without it": float(self._transitions(stage, at)),
        }

    @staticmethod
    def _transitions(stage: Stage, after: float) -> int:
        return sum(event.kind == "vrrp" and event.at >= after for event in stage.events)


class SmtpName(Drill):
    """A mail server's name that nobody resolves."""

    name = "smtp-name"
    title = "A mail server that DNS does not answer for"
    shows = (
        "keepalived looks up smtp_server while it reads its configuration, and waits. When DNS is silent a "
        "reload stops the advertisements of a healthy master, and the backup takes over."
    )
    steps = (
        "master: an unknown smtp_server, and answers of DNS dropped",
        "master: systemctl reload keepalived",
        "backup: Entering MASTER STATE",
    )
    seconds = 50
    directors = 2

    def bounds(self, inventory: Inventory) -> tuple[Bound, ...]:
        """Two lookups of two tries of five seconds."""
        down = timers.master_down(inventory, inventory.directors[1])
        return (
            Bound(
                quantity="until the backup takes over",
                low=down - inventory.advert_int - 0.2,
                high=25 + down,
                formula="up to two lookups one after the other, then 3 x advert_int + skew of the backup",
                source="keepalived global_parser.c, smtpserver_handler; resolv.conf(5): 5 s, 2 attempts",
            ),
            Bound(
                quantity="seconds with two masters",
                low=0,
                high=25,
                formula="until the master has given up the lookup",
                source="resolv.conf(5)",
            ),
        )

    async def run(self, stage: Stage) -> dict[str, float | None]:
        """Deafen the resolver, reload."""
        master, backup = stage.master.name, stage.backup.name
        await stage.inject(packets_dropped(master, "input", "udp sport 53", "answers of DNS"))
        edited = await conf_edited(
            stage.guests,
            master,
            f"{master} reloads with a mail server that nobody knows",
            lambda text: re.sub(r"(smtp_server) \S+", r"\1 mail.unknown.example", text),
        )
        at = await stage.inject(edited)
        taken = await stage.transition(backup, "MASTER", 45, after=at)
        back = await stage.transition(backup, "BACKUP", 40, after=taken or at) if taken else None
        return {
            "until the backup takes over": None if taken is None else taken - at,
            "seconds with two masters": None if taken is None or back is None else back - taken,
        }


def _password(text: str, change: Callable[[str], str]) -> str:
    return re.sub(r"(auth_pass) (\S+)", lambda found: f"{found[1]} {change(found[2])}", text)
