"""The engine's events, told in the lab's words."""

import json
from pathlib import Path
from typing import Any

from lab.host.progress import Story, follow

URN = "urn:pulumi:dev::lvs-dr-lab::lvs-dr-lab:index:Lab$command:remote:Command::"


def step(kind: str, op: str, name: str) -> dict[str, Any]:
    return {kind: {"metadata": {"op": op, "urn": URN + name}}}


def told(*events: dict[str, Any]) -> list[str]:
    said: list[str] = []
    story = Story(said.append)
    for event in events:
        story.hear(event)
    return said


def test_a_machine_boots_is_ready_and_has_its_settings() -> None:
    said = told(
        step("resourcePreEvent", "create", "server1-domain"),
        step("resOutputsEvent", "create", "server1-domain"),
        step("resourcePreEvent", "create", "server1-ready"),
        step("resOutputsEvent", "create", "server1-ready"),
        step("resourcePreEvent", "update", "server1-settings"),
        step("resOutputsEvent", "update", "server1-settings"),
    )
    assert said == ["server1: booting", "server1: ready after 0 s", "server1: settings in force"]


def test_what_stays_as_it_is_makes_no_news() -> None:
    assert told(step("resourcePreEvent", "same", "master-domain"), step("resOutputsEvent", "same", "x")) == []


def test_a_machine_name_may_hold_hyphens() -> None:
    assert told(step("resOutputsEvent", "create", "web-one-settings")) == ["web-one: settings in force"]


def test_a_removed_machine_is_told_once() -> None:
    said = told(
        step("resourcePreEvent", "delete", "client-domain"),
        step("resOutputsEvent", "delete", "client-domain"),
    )
    assert said == ["client: removed"]


def test_a_warning_is_said_once_and_noise_never() -> None:
    def warning(message: str) -> dict[str, Any]:
        return {"diagnosticEvent": {"severity": "warning", "message": message}}

    said = told(
        warning("warning: auth_pass has 11 characters"),
        warning("warning: auth_pass has 11 characters"),
        warning("using pulumi-resource-x from $PATH at /somewhere"),
    )
    assert said == ["auth_pass has 11 characters"]


def test_an_error_names_its_resource_and_progress_does_not_count() -> None:
    story = Story(lambda _: None)
    story.hear(
        {"diagnosticEvent": {"severity": "error", "message": "refused\n", "urn": URN + "master-settings"}}
    )
    story.hear({"diagnosticEvent": {"severity": "error", "message": "attempt 3", "ephemeral": True}})
    assert story.errors == ["master-settings: refused"]


def test_the_summary_counts_what_changed() -> None:
    story = Story(lambda _: None)
    assert story.summary() == "nothing changed"
    story.hear({"summaryEvent": {"resourceChanges": {"same": 40, "update": 2, "create": 1}}})
    assert story.summary() == "1 created, 2 updated"


def test_events_are_followed_to_the_last_even_when_a_line_comes_in_two_parts(tmp_path: Path) -> None:
    file = tmp_path / "events"
    line = json.dumps({"n": 1}) + "\n" + json.dumps({"n": 2}) + "\n"
    file.write_text(line[:12], encoding="utf-8")
    asked = 0

    def alive() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            file.write_text(line, encoding="utf-8")
        return asked < 3

    assert list(follow(file, alive)) == [{"n": 1}, {"n": 2}]


def test_an_engine_that_ends_without_a_word_ends_the_story(tmp_path: Path) -> None:
    assert list(follow(tmp_path / "never", lambda: False)) == []
