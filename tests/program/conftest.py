from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lab.host import doctor
from lab.host.doctor import Facts
from tests.program import engine
from tests.program.engine import Recording
from tests.settings.test_errors import ROOMY

Run = Callable[..., Recording]


@pytest.fixture(scope="session")
def tutorial_run() -> Recording:
    """The program on the tutorial's configuration, on a computer with KVM."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "observe", lambda *_: Facts(**ROOMY))
        return engine.run()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the program: ``run({"port": "8080"}, host={"kvm": False}, stack="dev")``."""

    def runner(
        config: dict[str, str] | None = None, *, host: dict[str, Any] | None = None, **more: Any
    ) -> Recording:
        facts = replace(Facts(**ROOMY), **(host or {}))
        monkeypatch.setattr(doctor, "observe", lambda *_: facts)
        return engine.run(config=config, **more)

    return runner
