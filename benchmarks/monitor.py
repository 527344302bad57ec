"""How often `fedpet monitor` finds a planted drift, and how often it alarms without one.

    python -m benchmarks.monitor [STREAMS]

Streams of 100 cases with their outcomes, drawn from simulated patients of all centres, against a reference of 400 other
draws from them. An alarm of a sound stream is any finding on its page.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
from scipy.stats import binomtest

from inference.monitoring import compare
from tests.support.monitored_streams import PLANTED, START, Population

_CASES, _REFERENCE = 100, 400


def main() -> None:
    """Draw the streams; print the rates with their 95 % intervals."""
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    population, rng = Population(3000), np.random.default_rng(1)
    until = START.replace(year=START.year + 1)
    kinds, alarmed = Counter[str](), 0
    for _ in range(streams):
        report = compare(population.stream(_CASES, rng), population.reference(_REFERENCE, rng), until=until, level=0.8)
        alarmed += bool(report.findings)
        kinds.update({one.kind for one in report.findings})
    _show("sound: any finding", alarmed, streams)
    print(f"{'':38}by kind: {dict(kinds)}")
    for name, (planted, kind, place) in PLANTED.items():
        found = 0
        for _ in range(streams):
            cases = population.stream(_CASES, rng, **planted)
            report = compare(cases, population.reference(_REFERENCE, rng), until=until, level=0.8)
            found += any((one.kind, one.name) == (kind, place) for one in report.findings)
        _show(name, found, streams)


def _show(name: str, count: int, total: int) -> None:
    interval = binomtest(count, total).proportion_ci(method="wilson")
    print(f"{name:38}{count / total:6.1%} ({interval.low:.1%} to {interval.high:.1%})")


if __name__ == "__main__":
    main()
