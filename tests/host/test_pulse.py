"""Guests that do not answer: which are at work?"""

import pytest

from lab.host.pulse import at_work

# As `virsh domstats --vcpu` prints it, in nanoseconds.
STATS = """\
Domain: '{domain}'
  vcpu.current=1
  vcpu.maximum=1
  vcpu.0.state=1
  vcpu.0.time={time:.0f}
  vcpu.0.wait=0
  vcpu.0.delay={delay:.0f}
"""


@pytest.mark.parametrize(
    ("ran", "waited", "expected"),
    [
        (0.06, 0.0, False),
        (0.06, 0.14, False),
        (4.9, 0.0, True),
        # Its computer is busy with other things: it would like to.
        (0.4, 4.5, True),
    ],
)
def test_a_guest_at_work_is_told_from_one_that_waits_in_vain(
    ran: float, waited: float, expected: bool
) -> None:
    clock = {"time": 100e9, "delay": 200e9}

    def virsh(*arguments: str) -> str:
        assert arguments[:2] == ("domstats", "--vcpu")
        return STATS.format(domain=arguments[2], **clock)

    def pause(seconds: float) -> None:
        assert seconds == 5
        clock["time"] += ran * 1e9
        clock["delay"] += waited * 1e9

    assert at_work(virsh, ["lvs-dr-lab-dev.server1"], pause) is expected


def test_one_at_work_is_enough() -> None:
    looks: list[str] = []

    def virsh(*arguments: str) -> str:
        looks.append(arguments[2])
        busy = arguments[2] == "busy" and looks.count("busy") == 2
        return STATS.format(domain=arguments[2], time=5e9 if busy else 0, delay=0)

    assert at_work(virsh, ["idle", "busy"], lambda _: None)
