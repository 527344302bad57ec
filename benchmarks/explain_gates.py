"""How often the gates of the explanation pass, and how much of the attribution lies on true lesions.

    python benchmarks/explain_gates.py BUNDLE CASE.npz...

The cases are node data (`cohort prepare`) with a lesion mask; everything is measured on the model's grid.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np

from explain.gates import COMPLETENESS_BOUND, CONCENTRATION_BOUND, RANDOMISATION_BOUND, rank_correlation
from explain.integration import excess, integrated_gradients, load_network, shuffled
from explain.views import BODY_SUV
from fedpet.progress import silent
from inference.bundle import Bundle


def measure(bundle: Bundle, path: Path) -> dict[str, float]:
    """One case: the gates' numbers, and the same share for the SUV above the baseline alone."""
    with np.load(path, allow_pickle=False) as case:
        image, clinical = case["image"].astype(np.float32), case["clinical"]
        lesion = case["concepts"][bundle.contract.concepts.index("lesion")] / 255.0
    network = load_network(bundle)
    start = time.process_time()
    credit = integrated_gradients(network, image, clinical, steps=32, progress=silent)
    seconds = time.process_time() - start
    blind = integrated_gradients(shuffled(network, seed=20180), image, clinical, steps=6, progress=silent)
    above = excess(image[0])
    bearing = above > 0
    mass = np.abs(credit.image)
    share = float((mass * lesion).sum() / max(mass.sum(), 1e-12))
    part = float(lesion.sum() / np.count_nonzero(image[0] > BODY_SUV))
    return {
        "completeness error": credit.completeness_error,
        "rank correlation": rank_correlation(
            credit.image[bearing] / above[bearing], blind.image[bearing] / above[bearing]
        ),
        "share on lesions": share,
        "share of SUV on lesions": float((above * lesion).sum() / above.sum()),
        "times their part": share / part,
        "maximum on a lesion": float(lesion.ravel()[mass.argmax()] > 0),
        "CPU s": seconds,
    }


def main() -> None:
    """Measure every case, print medians and the part of the cases that passes each gate."""
    bundle = Bundle.load(Path(sys.argv[1]))
    rows = [measure(bundle, Path(name)) for name in sys.argv[2:]]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    for name, column in values.items():
        low, middle, high = np.percentile(column, (10, 50, 90))
        print(f"{name:26} median {middle:9.4f}   10-90 % {low:9.4f} to {high:9.4f}   mean {column.mean():9.4f}")
    passed = {
        "completeness": values["completeness error"] <= COMPLETENESS_BOUND,
        "randomisation": np.abs(values["rank correlation"]) <= RANDOMISATION_BOUND,
        "localisation": values["times their part"] >= CONCENTRATION_BOUND,
    }
    for name, column in passed.items():
        print(f"{name:26} passes in {column.sum()} of {len(column)}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
