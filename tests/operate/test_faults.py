"""Faults: that each has a way back, and what becomes of a configuration that is edited."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.inventory import Inventory
from lab.operate import faults
from lab.operate.challenges import CHALLENGES
from lab.operate.challenges.base import Cast
from lab.operate.drills import DRILLS, servers, vrrp
from lab.operate.drills.forwarding import _scheduler
from lab.operate.exercise import Logbook
from lab.operate.guests import Answer, Guests, UnreachableError
from lab.operate.running import RunningLab
from lab.render.pushes import keepalived_conf
from lab.topology import Topology


class Recorded(Guests):
    """Machines that answer with the rendered configuration and remember what they were told."""

    def __init__(self, inventory: Inventory, topology: Topology) -> None:
        super().__init__(inventory, None)  # type: ignore[arg-type]
        self.told: list[tuple[str, str, str]] = []
        self._confs = {director.name: keepalived_conf(topology, director) for director in topology.directors}

    async def run(self, machine: str, command: str, **options: Any) -> Answer:
        self.told.append((machine, command, options.get("stdin", "")))
        return Answer(self._confs.get(machine, ""), "", 0)

    async def forget(self, machine: str) -> None:
        """There is no connection."""


@pytest.fixture
def guests(inventory: Inventory, tutorial: Topology) -> Recorded:
    return Recorded(inventory, tutorial)


@pytest.fixture
def lab(inventory: Inventory, tmp_path: Path) -> RunningLab:
    return RunningLab(inventory, None, tmp_path)  # type: ignore[arg-type]


@pytest.fixture
def conf(tutorial: Topology) -> str:
    return keepalived_conf(tutorial, tutorial.directors[1])


def test_an_edit_that_changes_nothing_is_refused(guests: Recorded) -> None:
    with pytest.raises(LabError, match="not as this expects it"):
        asyncio.run(faults.conf_edited(guests, "master", "nothing", lambda text: text))


def test_an_edited_configuration_goes_through_standard_input_and_comes_back(
    lab: RunningLab, guests: Recorded
) -> None:
    fault = asyncio.run(
        faults.conf_edited(guests, "master", "x", lambda text: text.replace("priority 150", "priority 7"))
    )
    assert "priority 7" in fault.stdin
    assert "auth_pass" not in fault.do
    asyncio.run(faults.inject(lab, guests, fault))
    asyncio.run(faults.take_back(lab, guests, fault))
    (_, put, given), (_, back, _) = guests.told[-2:]
    assert given == fault.stdin
    assert put.endswith("systemctl reload keepalived")
    assert "/var/lib/lvs-dr-lab/rendered/etc/keepalived/keepalived.conf" in back


def test_nopreempt_and_its_state(conf: str) -> None:
    edited = vrrp._nopreempt(conf)
    assert "    state BACKUP\n    nopreempt\n" in edited


def test_version_3_has_no_password(conf: str) -> None:
    edited = vrrp._fast(conf)
    assert "    version 3\n" in edited
    assert "    advert_int 0.1\n" in edited
    assert "auth" not in edited
    assert edited.count("{") == edited.count("}")
    assert vrrp._fast(edited).count("version 3") == 1


def test_tcp_checks_become_http_checks(conf: str) -> None:
    edited = servers._http_get(conf)
    assert "TCP_CHECK" not in edited
    assert edited.count("HTTP_GET {") == 3
    assert edited.count("connect_timeout") == conf.count("connect_timeout")
    assert edited.count("{") == edited.count("}")


def test_one_server_becomes_the_sorry_server(conf: str) -> None:
    edited = servers.sorry_instead(conf, "192.168.1.52", 80)
    assert "    sorry_server 192.168.1.52 80\n" in edited
    assert "real_server 192.168.1.52" not in edited
    assert edited.count("real_server 192.168.1.5") == 2
    assert edited.count("{") == edited.count("}")


def test_weights_by_server(conf: str, inventory: Inventory) -> None:
    chosen = tuple(machine for machine in inventory.machines if machine.weight is not None)
    edited = _scheduler(conf, "wrr", chosen, {"server1": 3, "server2": 1, "server3": 2})
    assert "lb_algo wrr" in edited
    assert "persistence_timeout" not in edited
    assert [line.split()[1] for line in edited.splitlines() if "weight" in line] == ["3", "1", "2"]


@pytest.mark.parametrize("challenge", CHALLENGES, ids=lambda one: one.name)
def test_a_challenge_has_faults_with_a_way_back_and_a_solution(
    challenge: Any, lab: RunningLab, guests: Recorded
) -> None:
    assert challenge.why_not(lab.inventory) is None
    made = asyncio.run(challenge.faults(Cast(lab, guests)))
    assert made
    for fault in made:
        assert fault.do
        assert fault.undo
        assert lab.inventory.machine(fault.machine)
    solution = challenge.solution(lab.inventory)
    assert solution
    for fix in solution:
        assert fix.machine == "" or lab.inventory.machine(fix.machine)
    assert len(challenge.hints) >= 3
    told = challenge.name + challenge.symptom
    assert not [fault for fault in made if fault.title in told], "the symptom gives the answer away"


@pytest.mark.parametrize("drill", DRILLS, ids=lambda one: one.name)
def test_a_drill_promises_something_and_says_where_that_is_written(drill: Any, inventory: Inventory) -> None:
    assert drill.why_not(inventory) is None
    bounds = drill.bounds(inventory)
    assert bounds
    assert len({bound.quantity for bound in bounds}) == len(bounds)
    for bound in bounds:
        assert bound.formula
        assert bound.source
        assert bound.low is not None or bound.high is not None
        assert bound.low is None or bound.high is None or bound.low <= bound.high


def test_a_small_lab_is_told_what_it_lacks(inventory: Inventory) -> None:
    small = inventory.model_copy(
        update={
            "machines": tuple(
                one for one in inventory.machines if one.name in ("master", "server1", "client")
            )
        }
    )
    reasons = {drill.name: drill.why_not(small) for drill in DRILLS}
    assert reasons["crash-failover"] == "it needs 2 directors, this lab has 1"
    assert reasons["server-stopped"] == "it needs 2 real-servers, this lab has 1"
    assert reasons["who-is-master"] is None


def test_one_exercise_at_a_time(tmp_path: Path) -> None:
    logbook = Logbook(tmp_path)
    with logbook.held():
        exercise = logbook.begin("drill", "crash-failover")
        with (
            pytest.raises(
                LabError, match=r"this lab is in use: drill crash-failover, begun at .* by "
            ) as refused,
            Logbook(tmp_path).held(),
        ):
            pass
        assert str(os.getpid()) in str(refused.value)
    # The process is gone, the fault is not.
    with logbook.held(), pytest.raises(LabError, match="`lab drill restore` puts the lab back first"):
        logbook.begin("challenge", "whisper")
    assert logbook.current() == exercise
    logbook.end()
    assert logbook.current() is None


def test_what_was_done_survives_the_process(tmp_path: Path, lab: RunningLab) -> None:
    logbook = Logbook(tmp_path)
    exercise = logbook.begin("challenge", "every-third")
    exercise.faults = [faults.power_cut(lab, "master"), faults.service_stopped("server1", "apache2")]
    logbook.write(exercise)
    read = Logbook(tmp_path).current()
    assert read is not None
    assert [fault.machine for fault in read.faults] == ["master", "server1"]
    assert (tmp_path / "exercise.json").stat().st_mode & 0o077 == 0


def test_a_damaged_logbook_is_named(tmp_path: Path) -> None:
    (tmp_path / "exercise.json").write_text("{", encoding="utf-8")
    with pytest.raises(LabError, match=r"exercise\.json is damaged"):
        Logbook(tmp_path).current()


@pytest.mark.parametrize("answers", [True, False])
def test_a_machine_that_answers_again_is_not_reset(
    lab: RunningLab, guests: Recorded, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    hermit = next(one for one in CHALLENGES if one.name == "hermit")
    [fault] = asyncio.run(hermit.faults(Cast(lab, guests)))
    told: list[tuple[str, ...]] = []

    async def virsh(self: RunningLab, *arguments: str) -> str:
        told.append(arguments)
        return ""

    async def connect(self: Guests, machine: str) -> None:
        if not answers:
            raise UnreachableError(machine, "no answer")

    monkeypatch.setattr(RunningLab, "virsh", virsh)
    monkeypatch.setattr(Guests, "connect", connect)
    asyncio.run(faults.take_back(lab, guests, fault))
    assert told == ([] if answers else [("reset", "lvs-dr-lab-dev.server3")])
