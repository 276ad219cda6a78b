"""What guests print, as recorded on a real lab, whole, odd and cut off."""

import pytest

from lab.operate import outputs

TABLE = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.168.1.20:80 rr persistent 7200
  -> 192.168.1.50:80              Route   1      0          43        
  -> 192.168.1.51:80              Masq    3      2          76        
TCP  192.168.1.30:8080 wrr
UDP  192.168.1.30:53 rr
"""  # noqa: W291  as ipvsadm pads it

STATS = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  192.168.1.20:80                  1264     6042        0   386209        0
  -> 192.168.1.50:80                   338     1372        7    82925      512
"""

CONNECTIONS = """\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 01:42  FIN_WAIT    192.168.1.238:43281 192.168.1.20:80    192.168.1.51:80
TCP 115:43 ASSURED     192.168.1.211:0    192.168.1.20:80    192.168.1.51:80
TCP 115:36 ASSURED     192.168.1.211:0    192.168.1.20:65535 192.168.1.50:65535
TCP 117:50 ASSURED     192.168.1.90:0     192.168.1.20:80    192.168.1.52:80
TCP 117
"""

ADDRESSES = (
    '[{"ifindex":1,"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},'
    '{"ifindex":2,"ifname":"eth0","addr_info":[{"family":"inet","local":"192.168.1.21","prefixlen":24},'
    '{"family":"inet","local":"192.168.1.20","prefixlen":24,"scope":"global","secondary":true}]}]'
)


def test_a_table_is_read_with_its_destinations() -> None:
    first, second = outputs.ipvs_table(TABLE)
    assert (first.address, first.port, first.scheduler, first.persistent) == ("192.168.1.20", 80, "rr", 7200)
    assert first.destinations == (
        outputs.Destination("192.168.1.50", 80, "Route", 1, 0, 43),
        outputs.Destination("192.168.1.51", 80, "Masq", 3, 2, 76),
    )
    assert (second.port, second.scheduler, second.persistent, second.destinations) == (8080, "wrr", 0, ())


@pytest.mark.parametrize("cut", range(0, len(TABLE), 17))
def test_a_table_cut_off_anywhere_gives_what_is_whole(cut: int) -> None:
    whole = {one for service in outputs.ipvs_table(TABLE) for one in service.destinations}
    for service in outputs.ipvs_table(TABLE[:cut]):
        for one in service.destinations[:-1]:
            assert one in whole


def test_an_empty_table() -> None:
    assert outputs.ipvs_table("") == ()
    assert outputs.ipvs_table("\n".join(TABLE.splitlines()[:3])) == ()


def test_counters_by_address() -> None:
    found = outputs.ipvs_traffic(STATS)
    assert found["192.168.1.20:80"] == outputs.Traffic(1264, 6042, 0, 386209, 0)
    assert found["192.168.1.50:80"].out_packets == 7
    assert set(found) == {"192.168.1.20:80", "192.168.1.50:80"}


def test_templates_that_hold_are_pins_and_those_that_do_not_are_none() -> None:
    assert outputs.pinned_sources(CONNECTIONS) == {
        "192.168.1.211": "192.168.1.51",
        "192.168.1.90": "192.168.1.52",
    }


def test_addresses_by_interface() -> None:
    assert outputs.addresses(ADDRESSES) == {
        "lo": ("127.0.0.1/8",),
        "eth0": ("192.168.1.21/24", "192.168.1.20/24"),
    }


@pytest.mark.parametrize("text", ["", "[", ADDRESSES[:-9], '{"ifname":"eth0"}', '["eth0"]', "null"])
def test_addresses_that_cannot_be_read_are_none(text: str) -> None:
    assert outputs.addresses(text) == {}


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("(externa) Entering MASTER STATE", "MASTER"),
        ("(externa) Entering BACKUP STATE (init)", "BACKUP"),
        ("(my-vrrp 1) Entering FAULT STATE", "FAULT"),
        ("Stopping", "STOP"),
        ("Stopped Keepalived v2.2.7 (01/16,2022)", "STOP"),
        ("Stopping keepalived.service - Keepalive Daemon (LVS and VRRP)...", None),
        ("(externa) received lower priority (100) advert from 192.168.1.22 - discarding", None),
        ("", None),
    ],
)
def test_states_in_the_journal(line: str, state: str | None) -> None:
    assert outputs.vrrp_state(line) == state


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        ("TCP_CHECK on service [192.168.1.52]:tcp:80 failed.", True),
        ("Removing service [192.168.1.52]:tcp:80 from VS [192.168.1.20]:tcp:80", True),
        ("Adding service [192.168.1.52]:tcp:80 to VS [192.168.1.20]:tcp:80", True),
        ("Gained quorum 1+0=1 <= 3 for VS [192.168.1.20]:tcp:80", True),
        ("Activating healthchecker for service [192.168.1.50]:tcp:80 for VS [192.168.1.20]:tcp:80", False),
        ("(externa) Entering MASTER STATE", False),
        ("Startup complete", False),
    ],
)
def test_health_checks_in_the_journal(line: str, is_one: bool) -> None:
    assert outputs.is_health_check(line) is is_one


def test_who_answers_arp_in_the_words_of_both_programs() -> None:
    habets = "42 bytes from 52:54:00:A8:01:15 (192.168.1.20): index=0 time=13.008 msec\n"
    iputils = "Unicast reply from 192.168.1.20 [52:54:00:A8:01:32]  0.7ms\n"
    assert outputs.answering_macs(habets * 2) == {"52:54:00:a8:01:15"}
    assert outputs.answering_macs(habets + iputils) == {"52:54:00:a8:01:15", "52:54:00:a8:01:32"}
    assert outputs.answering_macs("Timeout\n") == set()


def test_the_last_value_of_a_sysctl_counts() -> None:
    text = "# a comment\nnet.ipv4.conf.all.arp_ignore = 1\n-net/ipv4/conf/all/arp_ignore=0\n; another\nodd\n"
    assert outputs.settings_of(text) == {"net.ipv4.conf.all.arp_ignore": "0"}


def test_sections_of_a_script() -> None:
    assert outputs.sections("lost\n@@a\n1\n2\n@@b\n@@c\n3") == {"a": "1\n2", "b": "", "c": "3"}
