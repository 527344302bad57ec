"""Ways of one computation side by side: every run of each, its median, and the ratio to that of a reference."""

from __future__ import annotations

import json
import os
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

FILE: Final = "FEDPET_FIGURES"  # environment variable: where a run of all benchmarks wants the figures of one
FEWEST = 5  # runs of which a median is taken


@dataclass(frozen=True)
class Comparison:
    """Ways that took turns on one machine.

    Attributes:
        title: what was computed.
        unit: of the runs, for example "CPU s".
        reference: the way whose median the others are divided by.
        runs: every run by way.
        missing: why a way was not measured.
        notes: what else was found, one sentence each.
    """

    title: str
    unit: str
    reference: str
    runs: dict[str, list[float]]
    missing: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        few = {way: len(runs) for way, runs in self.runs.items() if len(runs) < FEWEST}
        if few or self.reference not in self.runs:
            raise ValueError(f"{self.title}: a reference, and {FEWEST} runs of each way are needed, not {few}")

    def median(self, way: str) -> float:
        """The median of a way, in `unit`."""
        return statistics.median(self.runs[way])

    def ratio(self, way: str) -> float:
        """The median of a way over that of the reference."""
        return self.median(way) / self.median(self.reference)

    def markdown(self) -> str:
        """A table: median, lowest and highest run, their number, the ratio."""
        lines = [
            f"| {self.title} | median, {self.unit} | lowest to highest | runs | ratio |",
            "|---|---|---|---|---|",
        ]
        for way, runs in self.runs.items():
            spread = f"{_figure(min(runs))} to {_figure(max(runs))}"
            lines.append(f"| {way} | {_figure(self.median(way))} | {spread} | {len(runs)} | {self.ratio(way):.2f} |")
        lines += [f"| {way} | not measured: {why} | | | |" for way, why in self.missing.items()]
        return "\n".join([*lines, "", f"Ratios to: {self.reference}.", *self.notes]) + "\n"

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Comparison:
        """The inverse of `dataclasses.asdict`, after JSON."""
        return cls(**{**data, "notes": tuple(data["notes"])})


def _figure(value: float) -> str:
    """Three digits, never as a power of ten."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def report(*comparisons: Comparison) -> None:
    """Print tables; where `FILE` names a file, write the figures there, too."""
    for one in comparisons:
        print(one.markdown())
    if os.environ.get(FILE):
        Path(os.environ[FILE]).write_text(json.dumps([asdict(one) for one in comparisons]), encoding="utf-8")


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    named = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(named, os.uname().machine)
