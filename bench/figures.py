"""Figures: what was measured, how often, and on what."""

import platform
import statistics
import subprocess
from pathlib import Path

import psutil
from pydantic import BaseModel, Field

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.json"


class Figure(BaseModel):
    """One quantity as it was measured, once or several times."""

    name: str
    unit: str
    samples: list[float]
    target: float | None = None
    """What it should be at most."""

    @property
    def median(self) -> float:
        """The middle one of the samples."""
        return statistics.median(self.samples)

    def in_words(self, value: float) -> str:
        """One value of it with its unit."""
        digits = 0 if value >= 100 or (not self.unit and value == round(value)) else 2 if value < 10 else 1
        return f"{value:.{digits}f} {self.unit}".strip()

    @property
    def met(self) -> bool | None:
        """Whether the median is within the target; ``None`` without one."""
        return None if self.target is None else self.median <= self.target


class Growth(BaseModel):
    """How long `up` took for labs of several sizes."""

    machines: int
    servers: int
    seconds: float


class Results(BaseModel):
    """All that one run of the benchmark found."""

    machine: dict[str, str]
    when: str
    figures: list[Figure] = Field(default_factory=list)
    growth: list[Growth] = Field(default_factory=list)
    boots: dict[str, list[float]] = Field(default_factory=dict)
    """Seconds from the start of a machine to cloud-init's end, by name, for each lab of six."""
    notes: list[str] = Field(default_factory=list)

    def add(self, name: str, unit: str, *samples: float, target: float | None = None) -> None:
        """Add samples of a quantity to those that are there, and write everything down."""
        if figure := self.find(name):
            figure.samples += samples
        else:
            self.figures.append(Figure(name=name, unit=unit, samples=list(samples), target=target))
        self.save()

    def find(self, name: str) -> Figure | None:
        """The figure of that name."""
        return next((figure for figure in self.figures if figure.name == name), None)

    def save(self) -> None:
        """Write it beside the page: a run that is cut off leaves what it had."""
        RESULTS.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next(
        (line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if "model name" in line), "?"
    )
    return {
        "processor": f"{model}, {psutil.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "qemu": _first_line("qemu-system-x86_64", "--version"),
        "libvirt": _first_line("libvirtd", "--version"),
    }


def _first_line(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout else "?"
