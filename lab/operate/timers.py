"""What protocol and code promise, in seconds, for a lab as it is configured."""

from lab.inventory import Inventory, InventoryMachine

RFC_V2 = "RFC 3768, 6.1; keepalived vrrp.h, VRRP_TIMER_SKEW"
RFC_V3 = "RFC 5798, 6.1; keepalived vrrp.h, VRRP_TIMER_SKEW"
CHECKERS = "keepalived check_tcp.c, check_api.c: retry 1, delay_before_retry 1 s"

# keepalived's defaults for a TCP_CHECK (keepalived.conf(5)): one retry, a second later.
_RETRY = 1
_DELAY_BEFORE_RETRY = 1.0


def rfc(inventory: Inventory) -> str:
    """Where the timers of this lab's VRRP version are written."""
    return RFC_V2 if inventory.vrrp_version == 2 else RFC_V3


def skew(inventory: Inventory, director: InventoryMachine) -> float:
    """Skew_Time: ``(256 - priority) / 256``, seconds in version 2, advertisement intervals in version 3."""
    share = (256 - (director.priority or 0)) / 256
    return share if inventory.vrrp_version == 2 else share * inventory.advert_int


def master_down(inventory: Inventory, director: InventoryMachine) -> float:
    """Master_Down_Interval: ``3 x Advertisement_Interval + Skew_Time``."""
    return 3 * inventory.advert_int + skew(inventory, director)


def noticed(inventory: Inventory, failing_probe: float) -> float:
    """The longest that a dead real server stays in the table.

    ``delay_loop + T + retry x (delay_before_retry + T)``: it may die right after a good probe.

    Args:
        inventory: for ``delay_loop``.
        failing_probe: T, seconds that one probe takes to fail: none if the connection is refused,
            ``connect_timeout`` if nothing comes back.
    """
    return inventory.delay_loop + failing_probe + _RETRY * (_DELAY_BEFORE_RETRY + failing_probe)
