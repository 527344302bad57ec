"""CPU time of starting: `import fedpet`, the first use of its names, `fedpet --version` and `fedpet --help`.

Each is a fresh process; user and system time of the median of `REPEATS` runs, with what an empty process costs.

Run: `python -m benchmarks.start_up`.
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.figures import Comparison, report

REPEATS = 9
STARTS = {
    "an empty process": ("-c", "pass"),
    "import fedpet": ("-c", "import fedpet"),
    "fedpet.load_study": ("-c", "import fedpet; fedpet.load_study"),
    "fedpet.predict": ("-c", "import fedpet; fedpet.predict"),
    "fedpet --version": ("-m", "app.cli", "--version"),
    "fedpet --help": ("-m", "app.cli", "--help"),
}


def cpu_seconds(arguments: tuple[str, ...]) -> float:
    """User and system time of one process."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: S603  this Python
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def main() -> None:
    """Print the medians; the ways take turns, so that a busy machine slows them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(REPEATS):
        for name, arguments in STARTS.items():
            seconds[name].append(cpu_seconds(arguments))
    report(Comparison("starting", "CPU s", "an empty process", seconds))


if __name__ == "__main__":
    main()
