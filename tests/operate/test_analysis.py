"""Figures from requests and events whose course is known."""

import math
import random

import pytest

from lab.operate.analysis import (
    Outage,
    Span,
    failures_window,
    longest_outage,
    outages,
    shares,
    states,
)
from lab.operate.recording import Event, Request


def ok(at: float, server: str = "server1", source: str = "10.0.0.1", took: float = 0.01) -> Request:
    return Request(at=at, took=took, source=source, server=server)


def lost(at: float, source: str = "10.0.0.1", took: float = 1.0) -> Request:
    return Request(at=at, took=took, source=source, server=None, error="timeout")


def vrrp(at: float, state: str, machine: str = "master") -> Event:
    return Event(at=at, machine=machine, kind="vrrp", text=state, state=state)


# A crash at 2.0 s, ten requests a second, the backup answers from 5.5 s on.
CRASH = [lost(at / 10) if 20 < at < 55 else ok(at / 10, f"server{at % 3 + 1}") for at in range(100)]
# Every third client hangs from 3.0 s until 21.0 s.
SILENT = [
    lost(at / 10, f"10.0.0.{at % 3}")
    if at % 3 == 0 and 30 <= at < 210
    else ok(at / 10, f"server{at % 3}", f"10.0.0.{at % 3}")
    for at in range(300)
]


def test_an_outage_lasts_from_the_first_failure_to_the_next_answer() -> None:
    assert outages(CRASH) == [Outage(begin=2.1, end=5.5, failed=34)]
    assert longest_outage(CRASH) == pytest.approx(3.4)


def test_nothing_fails() -> None:
    answered = [ok(at / 10) for at in range(30)]
    assert outages(answered) == []
    assert longest_outage(answered) == 0.0
    assert failures_window(answered, 0.0) is None


def test_no_requests() -> None:
    assert outages([]) == []
    assert longest_outage([]) == 0.0
    assert failures_window([], 0.0) is None
    assert shares([], 0, 9) == {}


def test_requests_may_come_in_the_order_in_which_they_end() -> None:
    by_end = sorted(CRASH, key=lambda request: request.at + request.took)
    assert [request.at for request in by_end] != [request.at for request in CRASH]
    assert outages(by_end) == outages(CRASH)


def test_a_hanging_request_does_not_stretch_the_outage() -> None:
    # Given up at 2.1 s, but the one begun at 1.2 s was answered.
    assert outages([ok(1.0), lost(1.1, took=1.0), ok(1.2)]) == [Outage(1.1, 1.2, 1)]


def test_a_slow_answer_counts_when_it_was_asked_for() -> None:
    # The answer to the request of 1.0 s came at 1.9 s, amid the failures: it was not begun among them.
    assert outages([ok(1.0, took=0.9), lost(1.1), lost(1.2), ok(2.0)]) == [Outage(1.1, 2.0, 2)]


def test_an_outage_that_never_ends() -> None:
    found = outages([ok(1.0), lost(1.1), lost(1.2)])
    assert found == [Outage(1.1, None, 2)]
    assert found[0].seconds == math.inf
    assert longest_outage([ok(1.0), lost(1.1), lost(1.2)]) == math.inf


def test_a_single_failure_at_the_very_end_never_ends_either() -> None:
    assert outages([*CRASH, lost(10.0)]) == [Outage(2.1, 5.5, 34), Outage(10.0, None, 1)]
    assert longest_outage([*CRASH, lost(10.0)]) == math.inf


def test_everything_fails() -> None:
    assert outages([lost(0.5), lost(0.7)]) == [Outage(0.5, None, 2)]


def test_each_outage_is_its_own_and_they_are_in_order() -> None:
    requests = [ok(0.0), lost(0.1), ok(0.2), lost(0.3), lost(0.4), ok(0.5)]
    assert outages(requests) == [Outage(0.1, 0.2, 1), Outage(0.3, 0.5, 2)]
    assert longest_outage(requests) == pytest.approx(0.2)


@pytest.mark.parametrize("turned", [False, True])
def test_one_answer_among_requests_of_one_instant_is_enough(turned: bool) -> None:
    both = [lost(1.0), ok(1.0)]
    if turned:
        both.reverse()
    assert outages(both) == []
    assert outages([ok(0.8), lost(0.9), *both, ok(1.1)]) == [Outage(0.9, 1.0, 1)]
    assert outages([ok(0.9), *both, lost(1.1), ok(1.2)]) == [Outage(1.1, 1.2, 1)]


def test_two_failures_of_one_instant_are_two() -> None:
    assert outages([ok(0.9), lost(1.0), lost(1.0), ok(1.1)]) == [Outage(1.0, 1.1, 2)]


def test_what_is_answered_in_an_outage_is_never_begun_in_it() -> None:
    chance = random.Random(20)
    for _ in range(200):
        requests = [
            ok(chance.randrange(30) / 10) if chance.random() < 0.5 else lost(chance.randrange(30) / 10)
            for _ in range(chance.randrange(1, 25))
        ]
        answered = [request.at for request in requests if request.server]
        failed = [request.at for request in requests if not request.server and request.at not in answered]
        found = outages(requests)
        for outage in found:
            assert outage.seconds > 0
            assert not [at for at in answered if outage.begin <= at < (outage.end or math.inf)]
            assert outage.end is None or outage.end in answered
        inside = [[at for at in failed if outage.begin <= at < (outage.end or math.inf)] for outage in found]
        assert [len(times) for times in inside] == [outage.failed for outage in found]
        assert sorted(at for times in inside for at in times) == sorted(failed)


def test_an_answer_without_a_name_is_an_answer() -> None:
    assert outages([lost(1.0), ok(1.1, server=""), lost(1.2), ok(1.3)]) == [
        Outage(1.0, 1.1, 1),
        Outage(1.2, 1.3, 1),
    ]


def test_since_leaves_out_what_was_begun_before() -> None:
    requests = [lost(0.1), lost(0.2), lost(0.9), ok(1.0), lost(2.0), ok(2.1)]
    assert longest_outage(requests) == pytest.approx(0.9)
    assert longest_outage(requests, 1.0) == pytest.approx(0.1)
    # In the middle of an outage: from the first request that is left.
    assert longest_outage(requests, 0.5) == pytest.approx(0.1)
    assert longest_outage(requests, 3.0) == 0.0
    # What is begun at that very instant belongs to it.
    assert longest_outage([lost(1.0), ok(1.5)], 1.0) == 0.5


def test_where_only_some_fail_the_window_tells_and_the_outage_does_not() -> None:
    assert failures_window(SILENT, 3.0) == (3.0, 20.7)
    assert longest_outage(SILENT) == pytest.approx(0.1)


def test_the_window_begins_at_since() -> None:
    assert failures_window(SILENT, 10.0) == (10.2, 20.7)
    assert failures_window(SILENT, 20.7) == (20.7, 20.7)
    assert failures_window(SILENT, 20.8) is None


def test_shares_count_answers_of_a_span() -> None:
    requests = [ok(1.0, "server2"), ok(1.1, "server1"), lost(1.2), ok(1.3, "server2"), ok(2.0, "server3")]
    assert shares(requests, 1.0, 2.0) == {"server1": 1, "server2": 2}
    assert list(shares(requests, 1.0, 2.0)) == ["server1", "server2"]


def test_spans_that_follow_each_other_count_each_answer_once() -> None:
    before, after = shares(CRASH, 0.0, 6.0), shares(CRASH, 6.0, 10.0)
    assert sum(before.values()) + sum(after.values()) == 100 - 34


def test_requests_before_the_clocks_were_matched_count() -> None:
    # A client's clock that is converted a moment late begins below zero.
    assert outages([lost(-0.2), ok(-0.1)]) == [Outage(-0.2, -0.1, 1)]


def test_a_generator_is_enough() -> None:
    assert outages(request for request in CRASH) == outages(CRASH)
    assert longest_outage(request for request in CRASH) == longest_outage(CRASH)


def test_states_follow_each_other_without_gaps() -> None:
    events = [vrrp(0.0, "MASTER"), vrrp(2.0, "STOP"), vrrp(2.5, "STOP"), vrrp(4.0, "BACKUP")]
    assert states(reversed(events), "master", 9.0) == [
        Span(0.0, 2.0, "MASTER"),
        Span(2.0, 4.0, "STOP"),
        Span(4.0, 9.0, "BACKUP"),
    ]


def test_before_its_first_event_a_state_is_unknown() -> None:
    assert states([vrrp(2.0, "MASTER")], "master", 3.0) == [Span(0, 2.0, "unknown"), Span(2.0, 3.0, "MASTER")]
    assert states([vrrp(2.0, "MASTER")], "backup", 3.0) == [Span(0, 3.0, "unknown")]


def test_states_outside_the_recording() -> None:
    assert states([vrrp(-1.0, "BACKUP"), vrrp(9.0, "MASTER")], "master", 5.0) == [Span(0, 5.0, "BACKUP")]


def test_of_two_states_at_one_instant_the_later_told_holds() -> None:
    at_once = [vrrp(0.0, "MASTER"), vrrp(2.0, "FAULT"), vrrp(2.0, "BACKUP")]
    assert states(at_once, "master", 5.0) == [Span(0.0, 2.0, "MASTER"), Span(2.0, 5.0, "BACKUP")]
    and_back = [vrrp(0.0, "MASTER"), vrrp(2.0, "FAULT"), vrrp(2.0, "MASTER")]
    assert states(and_back, "master", 5.0) == [Span(0.0, 5.0, "MASTER")]


def test_other_events_do_not_change_a_state() -> None:
    action = Event(at=1.0, machine="master", kind="action", text="x", state="FAULT")
    told_nothing = Event(at=1.5, machine="master", kind="vrrp", text="x")
    assert states([vrrp(0.0, "MASTER"), action, told_nothing], "master", 2.0) == [Span(0.0, 2.0, "MASTER")]
