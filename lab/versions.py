"""What a lab is made of: versions of this project, the engine's parts, the image and the guests' packages."""

from importlib.metadata import version

# The plugins have the versions of their packages.
_HERE = ("lvs-dr-lab", "pulumi", "pulumi-libvirt", "pulumi-command")

FILE = "versions.json"
"""Where the output rests among the stack's own files."""

Versions = dict[str, str | dict[str, dict[str, str]]]


def versions(image: str, guests: dict[str, str]) -> Versions:
    """The output ``versions``.

    Args:
        image: name of the system that the guests run.
        guests: by machine, what its readiness gate printed: a line for each package, name and version.
    """
    return {
        **{name: version(name) for name in _HERE},
        "image": image,
        "machines": {name: _packages(printed) for name, printed in guests.items()},
    }


def _packages(printed: str) -> dict[str, str]:
    lines = (line.split() for line in printed.splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}
