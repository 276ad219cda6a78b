"""Values that somebody means badly, in every setting that is text: refused, or taken to the letter."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from lab.inventory import Inventory, describe
from lab.keys import derive
from lab.render import guest, pushes
from lab.render.templates import HERE_END
from lab.settings import Settings, SettingsError, load
from lab.topology import Topology, plan
from tests.conftest import SECRET
from tests.render import conf

TRICKS = (
    *(
        "$(reboot)",
        "`reboot`",
        "${HOME}",
        "; reboot",
        "&& reboot",
        "| reboot",
        "> /etc/passwd",
        "\\",
        "'",
        '"',
    ),
    *(
        "{{ 7 * 7 }}",
        "{% raw %}",
        "{# c #}",
        "}",
        "{",
        "# c",
        "! c",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "\x1b[2J",
        " ",
    ),
    *(
        "%s",
        "%n",
        "!!python/object/apply:os.system [reboot]",
        "&anchor",
        "*anchor",
        "null",
        "true",
        "no",
        "0x1f",
    ),
    *(
        "1e3",
        "- a",
        "a: b",
        "---",
        HERE_END,
        f"\n{HERE_END}\nreboot\n",
        "é",
        "\u202e",
        "\u2028",
        "\uff54",
        "a" * 500,
    ),
    *(
        "include /etc/shadow",
        "notify /bin/reboot",
        "../../etc",
        "//",
        "@",
        "-",
        "--help",
        "-oProxyCommand=reboot",
    ),
)
# Alone, or beside something that is right: most rules are about the whole word.
ANYTHING = st.one_of(
    st.sampled_from(TRICKS),
    st.text(max_size=12),
    st.builds(
        lambda *parts: "".join(parts),
        st.sampled_from(("", "a", "/a", "web", "http://a/", "x@example.org", "qemu:///")),
        st.one_of(st.sampled_from(TRICKS), st.text(max_size=4)),
        st.sampled_from(("", "b", ".org", "/")),
    ),
)
TEXTS = sorted(name for name, field in Settings.model_fields.items() if field.annotation is str)
DIRECTOR = {"name": "master", "address": "192.168.1.21", "priority": 150}
SERVER = {"name": "server1", "address": "192.168.1.50"}
# Where a value of a composite setting goes in.
PARTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "directors.0.name": lambda text: {"directors": [DIRECTOR | {"name": text}]},
    "directors.0.address": lambda text: {"directors": [DIRECTOR | {"address": text}]},
    "servers.0.name": lambda text: {"servers": [SERVER | {"name": text}]},
    "servers.0.address": lambda text: {"servers": [SERVER | {"address": text}]},
    "client.name": lambda text: {"client": {"name": text}},
    "client.address": lambda text: {"client": {"address": text}},
    "sorry_server.name": lambda text: {"sorry_server": {"name": text, "address": "192.168.1.53"}},
    "sorry_server.address": lambda text: {"sorry_server": {"name": "sorry", "address": text}},
    "check.type": lambda text: {"check": {"type": text, "path": "/"}},
    "check.path": lambda text: {"check": {"type": "http", "path": text}},
    "mail.to": lambda text: {"mail": {"to": [text]}},
    "mail.from_domain": lambda text: {"mail": {"from_domain": text}},
    "mail.smtp_server": lambda text: {"mail": {"smtp_server": text}},
} | {name: (lambda text, name=name: {name: text}) for name in TEXTS}

# Of these every value that is accepted is one of the lab's own words.
CHOICES = {"auth_type", "check.type"}

often = settings(max_examples=40, deadline=None, derandomize=True)


def loaded(key: str, text: str) -> Settings | None:
    """The settings with ``text`` for ``key``; ``None`` if they are refused, and then in a decent way."""
    # As the engine passes it: what is composite is JSON.
    values = {
        name: json.dumps(value) if not isinstance(value, str) else value
        for name, value in PARTS[key](text).items()
    }
    try:
        return load(values)
    except SettingsError as error:
        said = str(error)
        assert said.startswith("lvs-dr-lab:")
        assert all(line.isprintable() for line in said.split("\n")), said
        assert all(len(line) < 400 for line in said.split("\n")), said
        return None


def leaves(model: type[BaseModel], above: str = "") -> set[str]:
    """Names of all settings that hold text."""
    found = set()
    for name, field in model.model_fields.items():
        text = str(field.annotation)
        inner = next((part for part in _models(field.annotation)), None)
        if inner:
            place = f"{name}.0" if text.startswith("tuple") else name
            found |= leaves(inner, f"{above}{place}.")
        elif field.annotation is str or text == "tuple[str, ...]":
            found.add(above + name)
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return [one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)]


def test_every_setting_that_is_text_is_tried() -> None:
    assert leaves(Settings) == set(PARTS)


def files_of(topology: Topology, proxy: str) -> dict[str, str]:
    """Everything that is rendered for the machines."""
    key = derive(SECRET, "test")
    found = {}
    for machine in topology.machines:
        seed = guest.seed(
            topology, machine, login_key=key.public, host_key=key, image_id="test", package_proxy=proxy
        )
        found |= {f"{machine.name}/{name}": text for name, text in seed.files().items()}
        found[f"{machine.name}/ready"] = pushes.ready_script(machine, 60)
    for director in topology.directors:
        found[f"{director.name}/push"] = pushes.director_script(topology, director)
        found[f"{director.name}/conf"] = pushes.keepalived_conf(topology, director)
    for server in topology.real_servers:
        found[f"{server.name}/push"] = pushes.server_script(topology, server)
    found["client/push"] = pushes.client_script(topology, topology.client)
    return found


@pytest.mark.parametrize("key", sorted(PARTS))
def test_text_is_refused_or_carried_through_to_the_letter(key: str) -> None:
    right = load(PARTS[key](_right(key)))
    shape = skeleton(files_of(plan(right, "dev"), right.package_proxy))

    @often
    @given(ANYTHING)
    def carried(text: str) -> None:
        asked = loaded(key, text)
        if asked is None:
            return
        topology = plan(asked, "dev")
        files = files_of(topology, asked.package_proxy)
        for name, content in files.items():
            if name.endswith(("push", "ready")):
                # Every file in it ends where it should, and nothing but files follows the value.
                assert len(re.findall(rf"^{HERE_END}$", content, re.MULTILINE)) == content.count(
                    f"<<'{HERE_END}'"
                )
                assert "\r" not in content
        if key not in CHOICES and (text or key != "package_proxy"):
            assert skeleton(files) == shape, f"{key} = {text!r} changes more than a word"
        inventory = describe(topology, asked.libvirt_uri, {machine.name: "" for machine in topology.machines})
        assert Inventory.model_validate_json(json.dumps(inventory)).libvirt_uri == asked.libvirt_uri
        if key == "package_proxy" and text:
            assert yaml.safe_load(files["client/user-data"])["apt"]["http_proxy"] == text
        if key == "image":
            assert shlex.split(shlex.join([text])) == [text]

    carried()


def _right(key: str) -> str:
    """A value that is accepted and shows in the files wherever one does."""
    return {
        "check.type": "http",
        "check.path": "/a",
        "mail.to": "x@example.org",
        "mail.from_domain": "example.org",
        "mail.smtp_server": "mail.example.org",
        "package_proxy": "http://a/",
        "vrrp_instance": "a",
        "auth_pass": "a",
    }.get(key) or _default(key)


def _default(key: str) -> str:
    head, *rest = key.split(".")
    if head in ("directors", "servers"):
        return {"directors": DIRECTOR, "servers": SERVER}[head][rest[-1]]  # type: ignore[return-value]
    if head == "sorry_server":
        return {"name": "sorry", "address": "192.168.1.53"}[rest[0]]
    value: Any = Settings()
    for name in (head, *rest):
        value = getattr(value, name)
    return str(value)


def skeleton(files: dict[str, str]) -> list[object]:
    """What an accepted word may not change: which directives, keys and lines there are."""
    found: list[object] = []
    for name, content in files.items():
        kind = name.split("/")[1]
        if kind == "conf":
            found.append([(len(path), len(path[-1].split())) for path in conf.directives(content)])
        elif kind in ("user-data", "network-config"):
            found.append(_keys(yaml.safe_load(content)))
        else:
            found.append((kind, len(content.splitlines())))
    return found


def _keys(document: Any) -> object:
    match document:
        case dict():
            return {key: _keys(value) for key, value in document.items()}
        case list():
            return [_keys(value) for value in document]
    return type(document).__name__


@often
@given(st.sampled_from(TRICKS))
def test_a_here_document_is_never_expanded(text: str) -> None:
    """The way in which files reach a machine, with a text that no setting would let through."""
    from lab.render.templates import _heredoc

    line = " ".join(text.splitlines()) if HERE_END in text else text.replace("\0", "").replace("\r", "")
    if line == HERE_END:
        with pytest.raises(ValueError, match="holds the line"):
            _heredoc(line)
        return
    done = subprocess.run(
        ["sh"], input=f"cat {_heredoc(line)}\n", capture_output=True, text=True, check=True, timeout=10
    )
    assert done.stdout == (line if line.endswith("\n") else line + "\n")
