"""Every file the lab renders for the tutorial and its variants, by the name of its golden file."""

from typing import Any

from lab.keys import derive
from lab.render import guest, pushes
from lab.render.domain import stylesheet
from lab.settings import load
from lab.topology import Director, Machine, RealServer, Topology, plan

SECRET = "0f" * 32
IMAGE = "a" * 64
SORRY = {"name": "sorry", "address": "192.168.1.53"}
VARIANTS: dict[str, dict[str, Any]] = {
    "vrrp3": {"vrrp_version": 3, "auth_type": "none", "advert_int": "0.1"},
    "nopreempt": {"preempt": False},
    "no-password": {"auth_type": "none"},
    "http-check": {"check": {"type": "http", "path": "/health?full=1", "status": 204, "connect_timeout": 3}},
    "no-persistence": {"persistence_timeout": 0},
    "sorry-server": {"quorum": 2, "sorry_server": SORRY},
    "one-director": {"directors": [{"name": "solo", "address": "192.168.1.21", "priority": 254}]},
    "nine-servers": {
        "lb_algo": "wrr",
        "servers": [
            {"name": f"web-{place}", "address": f"192.168.1.{59 + place}", "weight": place - 1}
            for place in range(1, 10)
        ],
    },
    "port-8080": {"port": 8080, "sorry_server": SORRY},
    "other-segment": {
        "cidr": "10.20.0.0/16",
        "gateway": "10.20.255.254",
        "nameserver": "10.20.0.2",
        "vip": "10.20.7.1",
        "directors": [{"name": "a", "address": "10.20.1.1", "priority": 2}],
        "servers": [{"name": "b", "address": "10.20.2.1"}],
        "client": {"name": "c", "address": "10.20.3.1", "extra_addresses": 0},
        "package_proxy": "http://10.20.0.2:3142",
        "mail": {
            "to": ["one@example.org", "two@example.org"],
            "smtp_alert_vrrp": False,
            "smtp_server": "mail.example.org",
            "from_domain": "example.org",
        },
    },
}


def seed(topology: Topology, machine: Machine, *, package_proxy: str = "", image: str = IMAGE) -> guest.Seed:
    return guest.seed(
        topology,
        machine,
        login_key=derive(SECRET, "login").public,
        host_key=derive(SECRET, f"host {machine.name}"),
        image_id=image,
        package_proxy=package_proxy,
    )


def without_private_key(text: str, machine: Machine) -> str:
    """``text`` fit for a file under version control: nobody should find a key block in it."""
    quoted = derive(SECRET, f"host {machine.name}").private.replace("\n", "\\n")
    assert text.count(quoted) == 1
    return text.replace(quoted, f"(private host key of {machine.name})\\n")


def files_of(topology: Topology, machine: Machine, package_proxy: str = "") -> dict[str, str]:
    """All that one machine is told."""
    documents = seed(topology, machine, package_proxy=package_proxy)
    found = {
        "user-data.yaml": without_private_key(documents.user_data, machine),
        "network-config.yaml": documents.network_config,
        "meta-data.yaml": documents.meta_data,
        "hosts": pushes.hosts(topology, machine),
        "push.sh": pushes.script(topology, machine),
        "ready.sh": pushes.ready_script(machine, 1800),
    }
    if isinstance(machine, Director):
        found["keepalived.conf"] = pushes.keepalived_conf(topology, machine)
    if isinstance(machine, RealServer):
        found |= {
            path.rsplit("/", 1)[1]: text for path, text in pushes.server_files(topology, machine).items()
        }
    return {f"{machine.name}/{name}": text for name, text in found.items()}


# Beside keepalived.conf of every director, the files that a variant is about.
ABOUT = {
    "sorry-server": ("sorry/", "master/push.sh", "server1/hosts"),
    "port-8080": ("server1/push.sh", "server1/lvs-dr.conf", "sorry/lvs-dr.conf", "master/push.sh"),
    "other-segment": ("a/", "b/", "c/"),
    "nine-servers": ("client/hosts",),
}


def cases() -> dict[str, str]:
    """Rendered text by the name of its golden file."""
    plain = plan(load({}), "dev")
    found = {}
    for machine in (*plain.directors, plain.real_servers[0], plain.client):
        for name, text in files_of(plain, machine).items():
            found[f"render/tutorial/{name}"] = text
    found["render/tutorial/domain.xslt"] = stylesheet(
        "/var/lib/libvirt/images/lvs-dr-lab-dev", "/var/log/c.log"
    )
    for variant, values in VARIANTS.items():
        topology = plan(load(values), "dev")
        for machine in topology.machines:
            for name, text in files_of(topology, machine, values.get("package_proxy", "")).items():
                if name.endswith("/keepalived.conf") or name.startswith(ABOUT.get(variant, ("-",))):
                    found[f"render/{variant}/{name}"] = text
    return found
