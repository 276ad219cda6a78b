"""Whether a guest that does not answer is at work: then it boots slowly, and is not to be given up."""

import re
import time
from collections.abc import Callable, Collection

from lab.host.leftovers import Virsh

# Seconds that are looked at. A guest that waits in vain uses a twentieth of its processor at most, one that
# boots all that it can get.
_LOOK = 5.0
_BUSY = 1 / 3
_NANO = 1e-9


def at_work(virsh: Virsh, domains: Collection[str], pause: Callable[[float], None] = time.sleep) -> bool:
    """Whether any of the domains wants a processor for more than a third of the time.

    What a virtual processor wants is what it got and what it had to wait for because the computer had other
    things to do (``vcpu.N.time`` and ``vcpu.N.delay``, virsh(1) domstats): a busy computer makes no guest
    look idle.
    """
    before = {domain: _wanted(virsh, domain) for domain in domains}
    pause(_LOOK)
    return any(_wanted(virsh, domain) - seconds > _BUSY * _LOOK for domain, seconds in before.items())


def _wanted(virsh: Virsh, domain: str) -> float:
    """Seconds that the virtual processors of a domain have run or waited to run since it was started."""
    told = virsh("domstats", "--vcpu", domain)
    return _NANO * sum(int(number) for number in re.findall(r"vcpu\.\d+\.(?:time|delay)=(\d+)", told))
