"""Scripts that set a booted machine up over SSH, and those that wait for it.

Each is one self-contained ``sh`` script with its files inside, so that it can go through the standard
input: nothing of it shows in a process list, and a preview shows what will change.
"""

from lab.render.guest import PACKAGES
from lab.render.templates import render
from lab.topology import Client, Director, Machine, RealServer, Topology


def keepalived_conf(topology: Topology, director: Director) -> str:
    """``/etc/keepalived/keepalived.conf`` of a director (keepalived.conf(5))."""
    return render(
        "keepalived.conf.j2",
        director=director,
        mail=topology.mail,
        router=topology.router,
        segment=topology.segment,
        service=topology.service,
        real_servers=topology.real_servers,
        sorry_server=topology.sorry_server,
    )


def hosts(topology: Topology, machine: Machine) -> str:
    """``/etc/hosts`` of a machine."""
    return render("hosts.j2", machine=machine, hosts=topology.hosts)


def server_files(topology: Topology, server: RealServer) -> dict[str, str]:
    """The files that make a web server fit for Direct Routing, by path."""
    return {
        "/etc/sysctl.d/60-lvs-dr.conf": render("lvs-dr.sysctl.j2"),
        "/etc/systemd/network/05-lvs-dr.network": render("lvs-dr.network.j2", service=topology.service),
        "/etc/apache2/conf-enabled/lvs-dr.conf": render(
            "lvs-dr.apache.j2", service=topology.service, server=server
        ),
    }


def director_script(topology: Topology, director: Director) -> str:
    """Stage the configuration of a director, check it, put it in force, see that IPVS has it."""
    return render(
        "push-director.sh.j2",
        director=director,
        service=topology.service,
        hosts=hosts(topology, director),
        keepalived_conf=keepalived_conf(topology, director),
    )


def server_script(topology: Topology, server: RealServer) -> str:
    """Set the ARP rules of a real server, then give it the VIP and its page."""
    files = server_files(topology, server)
    return render(
        "push-server.sh.j2",
        server=server,
        service=topology.service,
        hosts=hosts(topology, server),
        sysctl=files["/etc/sysctl.d/60-lvs-dr.conf"],
        network=files["/etc/systemd/network/05-lvs-dr.network"],
        apache=files["/etc/apache2/conf-enabled/lvs-dr.conf"],
    )


def client_script(topology: Topology, client: Client) -> str:
    """Give the client the names of the segment."""
    return render("push-client.sh.j2", hosts=hosts(topology, client))


def ready_script(machine: Machine, timeout: int) -> str:
    """Wait up to ``timeout`` seconds until cloud-init is done; fail with its log if it did badly.

    Prints a line for the kernel and for each package that the role is made of: its name and its version.
    """
    return render("ready.sh.j2", machine=machine, timeout=timeout, packages=PACKAGES[machine.role])


def script(topology: Topology, machine: Machine) -> str:
    """The settings of a machine of any role, as its own kind of script.

    Raises:
        TypeError: it is of no kind that has settings.
    """
    match machine:
        case Director():
            return director_script(topology, machine)
        case RealServer():
            return server_script(topology, machine)
        case Client():
            return client_script(topology, machine)
    raise TypeError(machine)
