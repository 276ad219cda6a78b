"""What is pushed: that a shell reads it, that files arrive whole, that steps come in the right order."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.render import pushes
from lab.render.templates import HERE_END, render
from lab.topology import Topology
from tests.render.cases import cases

Planned = Callable[..., Topology]
SCRIPTS = {name: text for name, text in cases().items() if name.endswith(".sh")}
SHELLS = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell)]
# Only bash waits without starting a program.
READINGS = [
    (shell, name) for name in SCRIPTS for shell in (["bash"] if name.endswith("/ready.sh") else SHELLS)
]


@pytest.mark.parametrize(("shell", "name"), READINGS)
def test_a_shell_reads_the_script(shell: str, name: str) -> None:
    done = subprocess.run([shell, "-n"], input=SCRIPTS[name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_cut_off_on_its_way_does_nothing(name: str) -> None:
    """It comes through ssh: all of it is a function, and the call is its last line."""
    lines = SCRIPTS[name].splitlines()
    assert lines[-2:] == ["}", "main"]
    assert [line for line in lines if line == "main() {"] == ["main() {"]
    before = lines[: lines.index("main() {")]
    assert all(line.startswith("#") or line in ("set -eu", "set -u") for line in before)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_command_of_a_script_eats_the_rest_of_it(name: str) -> None:
    """Standard input is the script: what reads it must get another one."""
    readers = ("systemctl", "keepalived -t", "ipvsadm", "networkctl", "sysctl -q")
    for line in SCRIPTS[name].split(HERE_END)[::2]:
        for command in line.splitlines():
            if any(word in command for word in readers) and not command.lstrip().startswith(("#", "echo")):
                assert "</dev/null" in command, command


def embedded(text: str) -> dict[str, str]:
    """The files inside a script, by the path they are first written to."""
    found = {}
    lines = iter(text.splitlines(keepends=True))
    for line in lines:
        if line.rstrip().endswith(f"<<'{HERE_END}'"):
            path = line.split(">")[1].split("<<")[0].strip().strip('"')
            body = []
            for inner in lines:
                if inner.rstrip("\n") == HERE_END:
                    break
                body.append(inner)
            found[path] = "".join(body)
    return found


def test_a_director_gets_its_files_whole(tutorial: Topology) -> None:
    for director in tutorial.directors:
        assert embedded(pushes.script(tutorial, director)) == {
            "/etc/hosts.new": pushes.hosts(tutorial, director),
            "$conf.new": pushes.keepalived_conf(tutorial, director),
        }


def test_a_real_server_gets_its_files_whole(tutorial: Topology) -> None:
    server = tutorial.real_servers[0]
    files = pushes.server_files(tutorial, server)
    found = embedded(pushes.script(tutorial, server))
    assert found["/etc/sysctl.d/60-lvs-dr.conf"] == files["/etc/sysctl.d/60-lvs-dr.conf"]
    assert (
        found["/etc/systemd/network/05-lvs-dr.network.new"] == files["/etc/systemd/network/05-lvs-dr.network"]
    )
    assert found["$site.new"] == files["/etc/apache2/conf-enabled/lvs-dr.conf"]
    assert found["/etc/hosts.new"] == pushes.hosts(tutorial, server)


def in_order(text: str, *steps: str) -> None:
    places = [text.index(step) for step in steps]
    assert places == sorted(places), steps


def test_a_director_is_checked_before_it_is_changed(tutorial: Topology) -> None:
    in_order(
        pushes.script(tutorial, tutorial.directors[0]),
        'cat > "$conf.new"',
        '[ -s "$conf.new" ]',
        'keepalived -t -f "$conf.new"',
        'mv -f "$conf.new" "$conf"\n',
        "systemctl reload-or-restart keepalived",
        "until ipvsadm -Ln",
    )


def test_the_names_are_there_before_keepalived_looks_them_up(tutorial: Topology) -> None:
    in_order(
        pushes.script(tutorial, tutorial.directors[0]), "mv -f /etc/hosts.new /etc/hosts", "keepalived -t"
    )


def test_a_real_server_has_its_arp_settings_before_the_vip(tutorial: Topology) -> None:
    in_order(
        pushes.script(tutorial, tutorial.real_servers[0]),
        "sysctl -q -p /etc/sysctl.d/60-lvs-dr.conf",
        "/proc/sys/net/ipv4/conf/all/",
        "05-lvs-dr.network",
        "networkctl reload",
        "ip addr replace 192.168.1.20/32 dev lo",
    )


def test_the_arp_settings_are_those_of_the_kernels_document(tutorial: Topology) -> None:
    files = pushes.server_files(tutorial, tutorial.real_servers[0])
    lines = files["/etc/sysctl.d/60-lvs-dr.conf"].splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "net.ipv4.conf.all.arp_ignore = 1",
        "net.ipv4.conf.all.arp_announce = 2",
    ]
    assert "Address=192.168.1.20/32\n" in files["/etc/systemd/network/05-lvs-dr.network"]


def test_a_file_that_would_end_its_here_document_is_refused() -> None:
    with pytest.raises(ValueError, match=HERE_END):
        render("push-client.sh.j2", hosts=f"a\n{HERE_END}\nb\n")


FAKE_KEEPALIVED = """#!/bin/sh
cat {answer}
exit {status}
"""


def push_in(folder: Path, text: str, answer: str, status: int) -> subprocess.CompletedProcess[str]:
    """Run a director's script with the paths and the tools of a folder."""
    tools = folder / "bin"
    tools.mkdir(parents=True)
    (folder / "answer").write_text(answer, encoding="utf-8")
    fakes = {
        "keepalived": FAKE_KEEPALIVED.format(answer=folder / "answer", status=status),
        "systemctl": f'#!/bin/sh\necho "$@" >> {folder}/systemctl.log\n',
        "ipvsadm": "#!/bin/sh\necho 'TCP  192.168.1.20:80 rr persistent 7200'\n",
    }
    for name, body in fakes.items():
        (tools / name).write_text(body, encoding="utf-8")
        (tools / name).chmod(0o755)
    etc = folder / "etc"
    (etc / "keepalived").mkdir(parents=True)
    (etc / "keepalived/keepalived.conf").write_text("in force\n", encoding="utf-8")
    return subprocess.run(
        ["sh", "-s"],
        input=text.replace("/etc/", f"{etc}/"),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
        env={"PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin"},
    )


GOOD = "Configuration file {conf}.new validated\n"


def test_a_configuration_that_passes_is_put_in_force(tutorial: Topology, tmp_path: Path) -> None:
    director = tutorial.directors[0]
    done = push_in(tmp_path, pushes.script(tutorial, director), "", 0)
    assert (done.returncode, done.stderr) == (0, "")
    conf = tmp_path / "etc/keepalived/keepalived.conf"
    assert conf.read_text(encoding="utf-8") == pushes.keepalived_conf(tutorial, director)
    assert conf.stat().st_mode & 0o777 == 0o640
    assert not conf.with_name("keepalived.conf.new").exists()
    assert (tmp_path / "etc/hosts").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "systemctl.log").read_text(encoding="utf-8") == "reload-or-restart keepalived\n"


@pytest.mark.parametrize(
    ("answer", "status"),
    [("(Line 3) Unknown keyword 'x'\n", 5), ("(Line 3) Truncating auth_pass to 8 characters\n", 0), ("", 4)],
)
def test_a_configuration_that_fails_leaves_the_one_in_force(
    tutorial: Topology, tmp_path: Path, answer: str, status: int
) -> None:
    """An exit status of 0 is not enough: anything keepalived says is a refusal."""
    done = push_in(tmp_path, pushes.script(tutorial, tutorial.directors[0]), answer, status)
    assert done.returncode == 1
    assert done.stderr.startswith("master: keepalived refuses its new configuration")
    assert answer in done.stderr
    conf = tmp_path / "etc/keepalived/keepalived.conf"
    assert conf.read_text(encoding="utf-8") == "in force\n"
    assert conf.with_name("keepalived.conf.refused").exists()
    assert not (tmp_path / "systemctl.log").exists()


def test_waiting_for_a_machine_tells_how_its_boot_went(tutorial: Topology, tmp_path: Path) -> None:
    """Ready, not ready in time, ready but with errors: each in its own words."""
    root = tmp_path / "root"
    text = pushes.ready_script(tutorial.client, 1)
    for path in ("/var/lib/cloud", "/run/cloud-init", "/var/log"):
        (root / path[1:]).mkdir(parents=True)
        text = text.replace(path, f"{root}{path}")
    (root / "var/log/cloud-init-output.log").write_text(
        "E: Unable to locate package arping\n", encoding="utf-8"
    )
    (root / "run/cloud-init/result.json").write_text('{"v1": {"errors": ["apt"]}}\n', encoding="utf-8")

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-s"], input=text, capture_output=True, text=True, check=False, timeout=20
        )

    late = run()
    assert late.returncode == 1
    assert "client: cloud-init has not finished within 1 s." in late.stderr
    assert "Unable to locate package arping" in late.stderr
    assert "boot_timeout" in late.stderr
    (root / "var/lib/cloud/instance").mkdir()
    (root / "var/lib/cloud/instance/boot-finished").touch()
    badly = run()
    assert badly.returncode == 1
    assert "client: cloud-init finished with errors:" in badly.stderr
    assert "Unable to locate package arping" in badly.stderr
    (root / "run/cloud-init/result.json").write_text('{"v1": {"errors": []}}\n', encoding="utf-8")
    well = run()
    assert (well.returncode, well.stderr) == (0, "")
    # This computer stands in for the guest: it has a kernel, and python3 at least.
    assert {"linux", "python3"} <= {line.split()[0] for line in well.stdout.splitlines()}
