"""A long fuzz run of fedpet.imaging: N damaged studies from SEED on, each loaded and inspected.

Prints how many came to which end, the slowest case and the peak of memory; exits with 1 where any case raised anything
but a refusal, took longer than `LIMIT_S`, or left or wrote a file where it should not. A case is repeated by its
number: `python -m benchmarks.imaging_fuzz 1 NUMBER`. Run: `python -m benchmarks.imaging_fuzz [N [SEED]]`.
"""

from __future__ import annotations

import logging
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support import dicom_factory, dicom_fuzzer

LIMIT_S = 20


def overtime(_signal: int, _frame: object) -> None:
    """What the alarm of a case does."""
    raise TimeoutError(f"more than {LIMIT_S} s")


def tried(fuzz: Any, fuzzer: Any, seed: int) -> tuple[str, str]:  # noqa: ANN401  as above
    """What came of one case and what it was."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        folder = Path(place)
        (folder / "scratch").mkdir()
        tempfile.tempdir = str(folder / "scratch")
        signal.alarm(LIMIT_S)
        try:
            source, label = fuzzer.write(seed, folder)
            there = sorted(folder.rglob("*"))
            result = fuzz.outcome(source)
        finally:
            signal.alarm(0)
            tempfile.tempdir = None
        if sorted(folder.rglob("*")) != there:
            raise AssertionError("files were left or written elsewhere")
    return result, label


def main() -> None:
    """Run the cases."""
    count, first = (int(sys.argv[1]) if len(sys.argv) > 1 else 1000), (int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    fuzz = dicom_fuzzer
    fuzzer = fuzz.Fuzzer(dicom_factory)
    signal.signal(signal.SIGALRM, overtime)
    warnings.simplefilter("ignore")
    logging.disable()
    ends: Counter[str] = Counter()
    slowest = (0.0, 0, "")
    for seed in range(first, first + count):
        before = time.monotonic()
        try:
            result, label = tried(fuzz, fuzzer, seed)
        except Exception:  # noqa: BLE001  whatever comes out is what is looked for
            result, label = "FAULT", ""
            print(f"case {seed}:\n{traceback.format_exc()}")
        ends[result] += 1
        slowest = max(slowest, (time.monotonic() - before, seed, label))
    print(dict(ends.most_common()))
    print(f"slowest: {slowest[0]:.2f} s, case {slowest[1]} ({slowest[2]})")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    sys.exit(ends["FAULT"] > 0)


if __name__ == "__main__":
    main()
