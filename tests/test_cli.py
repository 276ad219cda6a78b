"""The command line: a user's mistake is a sentence and an exit status, never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab import cli
from lab.cli import doorway, looking
from lab.host import lifecycle
from lab.inventory import Inventory
from lab.operate.drills import DRILLS

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory that the command takes for its project, with nothing built."""
    (tmp_path / "Pulumi.yaml").write_text("name: lvs-dr-lab\n", encoding="utf-8")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n", encoding="utf-8")
    return tmp_path


# Under the name that the command has when it is installed.
RUN = "import sys; sys.argv[0] = 'lab'; from lab.cli import main; main()"


def lab(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "LVS_DR_LAB_CACHE": str(checkout / "cache"),
        "PYTHONPATH": str(PROJECT),
        "TERM": "dumb",
        "COLUMNS": "60",
    }
    for name in ("LVS_DR_LAB_STACK", "PULUMI_BACKEND_URL"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("che", ["check"]),
        ("drill run crash", ["crash-failover"]),
        ("drill show crash-failover split", []),
        ("challenge start deaf", ["deaf"]),
        ("check vip", ["vip-holder"]),
        ("check arp vip", ["vip-holder"]),
        ("ssh server", ["server1", "server2", "server3"]),
        ("logs ma", ["master"]),
    ],
)
def test_tab_completes_commands_and_names(
    checkout: Path, inventory: Inventory, monkeypatch: pytest.MonkeyPatch, typed: str, offered: list[str]
) -> None:
    kept = checkout / ".lab/stacks/dev/inventory.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(inventory.model_dump_json(), encoding="utf-8")
    monkeypatch.setenv("_LAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"lab {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
    done = lab(checkout)
    assert done.stdout.split() == offered, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shell"], "error stack dev is not up.\n    `make up` builds it.\n"),
        (["ssh", "master"], "error stack dev is not up.\n    `make up` builds it.\n"),
        (["exec", "--", "true"], "error stack dev is not up.\n    `make up` builds it.\n"),
        (["ssh", "master", "--stack", "other"], "error stack other is not up.\n    `make up` builds it.\n"),
    ],
)
def test_without_a_lab_it_says_how_to_get_one(checkout: Path, arguments: list[str], said: str) -> None:
    done = lab(checkout, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", said)


def test_up_of_a_stack_that_has_no_configuration(checkout: Path) -> None:
    done = lab(checkout, "up", "--stack", "nowhere")
    assert done.returncode == 1
    assert "error stack nowhere has no configuration: Pulumi.nowhere.yaml does not exist." in done.stderr
    assert "dev" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(file.name for file in checkout.iterdir()) == ["Pulumi.dev.yaml", "Pulumi.yaml"]


def test_up_with_a_broken_configuration_touches_nothing(checkout: Path) -> None:
    (checkout / "Pulumi.dev.yaml").write_text("config: {lvs-dr-lab:vip: 10.0.0.1}\n", encoding="utf-8")
    done = lab(checkout, "up")
    assert done.returncode == 1
    assert "error lvs-dr-lab:vip = 10.0.0.1: lies outside cidr 192.168.1.0/24.\n" in done.stderr
    assert "    Choose a free address of 192.168.1.0/24.\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(file.name for file in checkout.iterdir()) == ["Pulumi.dev.yaml", "Pulumi.yaml"]


def test_up_with_a_file_that_is_not_yaml(checkout: Path) -> None:
    (checkout / "Pulumi.dev.yaml").write_text("config: [\n", encoding="utf-8")
    done = lab(checkout, "up")
    assert done.returncode == 1
    assert "configuration file cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("times", [1, 2])
def test_down_of_what_was_never_up_is_no_error_and_leaves_nothing(checkout: Path, times: int) -> None:
    for _ in range(times):
        done = lab(checkout, "down")
        assert done.returncode == 0, done.stderr
        assert "nothing to take down" in done.stderr
    assert not (checkout / ".lab" / "dev.lock").exists()
    assert not (checkout / ".lab" / "stacks").exists()


def test_a_command_that_does_not_exist(checkout: Path) -> None:
    done = lab(checkout, "upp")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_help_names_the_commands(checkout: Path) -> None:
    done = lab(checkout, "--help")
    assert done.returncode == 0
    building = ("setup", "up", "bundle", "down", "image")
    for command in (*building, "shell", "ssh", "exec", "status", "check", "drill"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "arpp"], "error there is no check arpp. Did you mean arp?"),
        (["drill", "show", "crash"], "error there is no drill crash. Did you mean crash-failover?"),
        (
            ["drill", "run", "crashfailover"],
            "error there is no drill crashfailover. Did you mean crash-failover?",
        ),
        (["drill", "run"], "error name the drills to run, or say --all."),
        (["challenge", "start", "wisper"], "error there is no challenge wisper. Did you mean whisper?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    checkout: Path, arguments: list[str], said: str
) -> None:
    done = lab(checkout, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(said), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("what", ["drill", "challenge"])
def test_lists_need_no_lab(checkout: Path, what: str) -> None:
    done = lab(checkout, what, "list", "--json")
    assert done.returncode == 0, done.stderr
    entries = json.loads(done.stdout)
    assert len(entries) >= 10
    assert len({entry["name"] for entry in entries}) == len(entries)


def test_every_drill_explains_itself(checkout: Path) -> None:
    for drill in DRILLS:
        assert drill.title
        assert drill.shows.endswith(".")
        assert len(drill.steps) >= 2
    shown = lab(checkout, "drill", "show", DRILLS[0].name)
    assert shown.returncode == 0, shown.stderr
    assert DRILLS[0].title in shown.stdout


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab that stands, as far as the command line looks."""
    monkeypatch.setattr(looking, "existing", lambda name: SimpleNamespace())


@pytest.mark.usefixtures("built")
def test_exec_without_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["lab", "exec"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("error nothing to run.")


def test_an_interrupted_up_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lifecycle, "up", interrupted)
    monkeypatch.setattr(sys, "argv", ["lab", "up"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130
    said = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in said
    assert "make up" in said


def test_building_is_refused_in_the_shell_beside_the_machines(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = checkout / ".lab" / "stacks" / "dev"
    stack.mkdir(parents=True)
    (stack / "hypervisor-kind").write_text("embedded\n", encoding="utf-8")
    monkeypatch.setenv(doorway.BESIDE, "dev")
    for command in ("up", "down"):
        done = lab(checkout, command)
        assert done.returncode == 1
        assert done.stderr.startswith("error this is the shell beside the machines"), done.stderr
