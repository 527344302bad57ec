"""How often the SUV witness catches faults planted in PET headers, and how often it takes good headers for faulty.

    python -m benchmarks.suv_witness [--seeds 200]

Headers are drawn at random as scanners write them (doses, weights, times, frames, beds, dialects), from seeds that the
tests do not use; each fault is planted in them in turn. A fault is caught when the check warns, when it fails, or when
the SUV is refused. Intervals are exact (Clopper-Pearson, 95 %). These are headers of our own: the faults follow public
reports, their frequency in hospitals is not known.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter

from scipy.stats import binomtest

from fedpet.core.errors import SuvError
from fedpet.imaging.suv.calibration import calibrate_suv
from tests.support import dicom_factory, header_faults

FIRST_SEED = 10_000  # the tests use those from 0


def level(slices: list) -> str:  # type: ignore[type-arg]  # of the test factories, which are not typed
    """The level of the check, or "refused"."""
    try:
        return calibrate_suv(slices).checks()[1].level.value
    except SuvError:
        return "refused"


def share(n: int, of: int) -> str:
    """Written as n of N (low to high %)."""
    between = binomtest(n, of).proportion_ci(method="exact")
    return f"{n} of {of} ({100 * between.low:.1f} to {100 * between.high:.1f} %)"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    seeds = range(FIRST_SEED, FIRST_SEED + parser.parse_args().seeds)
    warnings.simplefilter("ignore")  # pydicom names the values that are planted
    good = Counter(level(header_faults.good(dicom_factory, seed)) for seed in seeds)
    print(f"good headers not passed: {share(len(seeds) - good['pass'], len(seeds))}")
    print("| fault | caught | warn | fail | refused |\n|---|---|---|---|---|")
    for fault in header_faults.FAULTS:
        seen = Counter(level(header_faults.faulty(dicom_factory, seed, fault)) for seed in seeds)
        counts = " | ".join(str(seen[name]) for name in ("warn", "fail", "refused"))
        print(f"| {fault} | {share(len(seeds) - seen['pass'], len(seeds))} | {counts} |")


if __name__ == "__main__":
    main()
