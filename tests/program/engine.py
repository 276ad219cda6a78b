"""An engine that builds nothing and writes down what it is asked to build.

Pulumi's own mock monitor shows a test little more than types and inputs. This one keeps the whole
request: parents, dependencies, ``deletedWith``, options, and which parts of an input are secret.
"""

import asyncio
import contextvars
import hashlib
import json
import logging
import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
from google.protobuf import empty_pb2, json_format
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.config import set_all_config
from pulumi.runtime.stack import run_in_stack

PROJECT_DIR = Path(__file__).parents[2]
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"
IMAGE = {"path": "/cache/guest.qcow2", "sha256": "c" * 64, "name": "Ubuntu 24.04 (test)"}
STACK_SECRET = "0f" * 32


@dataclass(frozen=True)
class Secret:
    """A value that the engine seals."""

    value: Any


def opened(value: Any) -> Any:
    """``value`` with every seal broken."""
    match value:
        case Secret(inner):
            return opened(inner)
        case dict():
            return {key: opened(inner) for key, inner in value.items()}
        case list():
            return [opened(inner) for inner in value]
    return value


def exposed(value: Any) -> Iterator[str]:
    """Every text in ``value`` that no seal covers."""
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield key
                yield from exposed(inner)
        case list():
            for inner in value:
                yield from exposed(inner)


def _sealed(value: Any) -> Any:
    match value:
        case {"4dabf18193072939515e22adb298388d": signature, **rest} if signature == _SECRET:
            return Secret(_sealed(rest["value"]))
        case dict():
            return {key: _sealed(inner) for key, inner in value.items()}
        case list():
            return [_sealed(inner) for inner in value]
    return value


@dataclass(frozen=True)
class Resource:
    """One registration."""

    type: str
    name: str
    urn: str
    parent: str
    inputs: dict[str, Any]
    dependencies: frozenset[str]
    deleted_with: str
    provider: str
    ignore_changes: tuple[str, ...]
    additional_secret_outputs: tuple[str, ...]
    create_timeout: str
    delete_before_replace: bool
    retain_on_delete: bool
    protect: bool

    @property
    def plain(self) -> dict[str, Any]:
        """The inputs as the provider gets them."""
        found = opened(self.inputs)
        assert isinstance(found, dict)
        return found


@dataclass
class Recording:
    """What a run of the program asked for."""

    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def of(self, type_: str) -> dict[str, Resource]:
        """Resources of a type, by name."""
        return {resource.name: resource for resource in self.resources if resource.type == type_}

    def named(self, name: str, type_: str = "") -> Resource:
        (found,) = (r for r in self.resources if r.name == name and type_ in ("", r.type))
        return found

    def path(self, resource: Resource) -> str:
        """Names from the lab down to ``resource``."""
        by_urn = {found.urn: found for found in self.resources}
        above = by_urn.get(resource.parent)
        return f"{self.path(above)}/{resource.name}" if above else resource.name


class _Mocks(mocks.Mocks):
    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise AssertionError(f"the program calls {args.token}")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs = dict(args.inputs)
        if args.name == "secret":
            outputs["stdout"] = pulumi.Output.secret(STACK_SECRET)
        elif args.name == "guest-image":
            outputs["stdout"] = json.dumps(IMAGE)
        elif args.name.endswith("-ready"):
            outputs["stdout"] = f"linux 6.1.0\n{args.name.removesuffix('-ready')}-package 1.2-3\n"
        # An id follows from the inputs, as with a real provider a rebuilt machine has another one.
        digest = hashlib.sha256(repr(sorted(outputs)).encode()).hexdigest()[:6]
        return f"{args.name}-id-{digest}", outputs


class _Monitor(mocks.MockMonitor):
    def __init__(self, recording: Recording) -> None:
        super().__init__(_Mocks())
        self.recording = recording

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  gRPC's name
        if request.type != "pulumi:pulumi:Stack":
            self.recording.resources.append(
                Resource(
                    type=request.type,
                    name=request.name,
                    urn=self.make_urn(request.parent, request.type, request.name),
                    parent=request.parent,
                    inputs=_sealed(json_format.MessageToDict(request.object)),
                    dependencies=frozenset(request.dependencies),
                    deleted_with=request.deletedWith,
                    provider=request.provider,
                    ignore_changes=tuple(request.ignoreChanges),
                    additional_secret_outputs=tuple(request.additionalSecretOutputs),
                    create_timeout=request.customTimeouts.create,
                    delete_before_replace=request.deleteBeforeReplace,
                    retain_on_delete=request.retainOnDelete,
                    protect=request.protect,
                )
            )
        return super().RegisterResource(request)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        if "pulumi:pulumi:Stack" in request.urn:
            self.recording.outputs = _sealed(json_format.MessageToDict(request.outputs))
        return super().RegisterResourceOutputs(request)


class _Listener(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__()
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def run(
    program: Callable[[], object] | None = None,
    *,
    config: dict[str, str] | None = None,
    secret_keys: tuple[str, ...] = (),
    stack: str = "dev",
) -> Recording:
    """Run ``__main__.py`` (or ``program``) and return what it asked for.

    Args:
        program: instead of ``__main__.py``.
        config: the stack's configuration, without the namespace, as text as the engine passes it.
        secret_keys: those of its keys that the engine holds sealed.
        stack: name of the stack.
    """
    recording = Recording()
    run_in = contextvars.Context()
    run_in.run(_run, program or _main, config or {}, secret_keys, stack, recording)
    return recording


def _main() -> None:
    runpy.run_path(str(PROJECT_DIR / "__main__.py"), run_name="__main__")


def _run(
    program: Callable[[], object],
    config: dict[str, str],
    secret_keys: tuple[str, ...],
    stack: str,
    recording: Recording,
) -> None:
    logger = logging.Logger("engine")
    logger.addHandler(_Listener(recording.messages))
    monitor = _Monitor(recording)
    # As set_mocks does, less the root resource: that is made in the event loop the program runs in.
    settings.configure(
        mocks.MockSettings(
            monitor=monitor,
            monitor_features=set(monitor.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures),
            engine=mocks.MockEngine(logger),
            project="lvs-dr-lab",
            stack=stack,
            dry_run=False,
            organization=None,
        )
    )
    set_all_config(
        {f"lvs-dr-lab:{key}": value for key, value in config.items()},
        [f"lvs-dr-lab:{key}" for key in secret_keys],
    )

    def quietly() -> None:
        program()

    asyncio.run(run_in_stack(quietly))


assert rpc._special_sig_key == _SIGNATURE
assert rpc._special_secret_sig == _SECRET
