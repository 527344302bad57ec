"""The quantities of the lesion table against the truth of simulated patients.

    python -m benchmarks.lesion_table_truth [--patients N] [--seed S] [--fidelity coarse|standard] [--anatomy KIND]

Patients are drawn from the eight centres in turn; lesions are delineated by rules, as for a model of the table. The
truth is what was drawn: active volumes without necrosis, without brain metastases. SUVpeak is compared with the drawn
mean uptake of the hottest lesion, which it need not equal. Volumes and counts are compared as ln(1 + x), as a model
reads them; flags by sensitivity and specificity. Intervals are 95 % (bootstrap over patients).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.lesions.delineation import delineate
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.quantification import measure_table
from training.simulation.cohort import SimulatedCase, scan
from training.simulation.node_data import unwritten_study
from training.simulation.patients.centres import SITES
from training.simulation.patients.risk import DEFAULT_SIGNAL, image_features

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.simulation.patients.population import Patient

    Floats = NDArray[np.float64]

_SEED = 9107  # of no test, no rule and no network
_ORGAN = {"primary": "lung", "lung": "lung", "node": "nodes", "liver": "liver", "bone": "bone", "adrenal": "adrenal"}
_LOGARITHMS = ("_ml", "_g", "_count")
_FLAGS = ("liver_lesion",)


@dataclass(frozen=True)
class Measured:
    """One patient: the table's quantities, the drawn ones, CPU seconds of the table beyond the usual quantities."""

    found: Mapping[str, float | None]
    drawn: Mapping[str, float]
    seconds: float


def drawn_quantities(patient: Patient) -> dict[str, float]:
    """What was drawn, by the names of the table."""
    lesions = [one for one in patient.lesions if one.kind != "brain"]
    features, anatomy = image_features(patient), patient.anatomy
    burden = {f"{organ}_ml": 0.0 for organ in _ORGAN.values()}
    for one in lesions:
        burden[f"{_ORGAN[one.kind]}_ml"] += one.active_ml
    return {
        "tmtv_ml": features.tmtv_ml,
        "tlg_g": features.tlg,
        "lesion_count": float(features.lesions),
        "dmax_mm": features.dmax_mm,
        "largest_ml": max((one.active_ml for one in lesions), default=0.0),
        "suv_peak": max((one.suv for one in lesions), default=0.0),
        "necrotic_share": features.necrosis,
        **burden,
        "liver_lesion": float(features.liver_metastases),
        "marrow_to_liver": features.marrow_to_liver,
        "spleen_to_liver": anatomy.spleen / anatomy.liver,
    }


def measure(case: SimulatedCase) -> Measured:
    """Render, delineate and measure one patient."""
    one = scan(case)
    study = unwritten_study(one.patient, one.pet, one.ct, encoding=one.encoding, seed=case.seed, pseudonym="P-0")
    analysis = StudyAnalysis(study)
    found = delineate(study.pet, analysis.anatomy).lesions
    quantities = quantify(study.pet, found, method="suv4", anatomy=analysis.anatomy)
    _ = analysis.references
    start = time.process_time()
    table = measure_table(analysis, found, quantities=quantities)
    return Measured(table.values(), drawn_quantities(one.patient), time.process_time() - start)


def agreement(name: str, measured: Sequence[Measured]) -> str:
    """One line of the table: correlation, bias and median absolute error, or sensitivity and specificity."""
    pairs = [(one.found[name], one.drawn[name]) for one in measured]
    found, drawn = np.array([(a, b) for a, b in pairs if a is not None], float).T
    if name in _FLAGS:
        present = drawn > 0.5
        return (f"| {name} | {len(drawn)} | sensitivity {_share(found[present] > 0.5)}, "
                f"specificity {_share(found[~present] < 0.5)} | | |")  # fmt: skip
    compared = (np.log1p(found), np.log1p(drawn)) if name.endswith(_LOGARITHMS) else (found, drawn)
    error = found - drawn
    return (f"| {name} | {len(drawn)} | {_correlation(*compared)} | {error.mean():+.3g} | "
            f"{np.median(np.abs(error)):.3g} of {np.median(drawn):.3g} |")  # fmt: skip


def _share(hits: NDArray[np.bool_]) -> str:
    return f"{int(hits.sum())} of {len(hits)}"


def _correlation(a: Floats, b: Floats) -> str:
    rng, n = np.random.default_rng(0), len(a)
    drawn = rng.integers(0, n, (2000, n))
    draws = [np.corrcoef(a[i], b[i])[0, 1] for i in drawn if a[i].std() and b[i].std()]
    if not draws:
        return "–"
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{np.corrcoef(a, b)[0, 1]:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Draw, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=48)
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--fidelity", choices=["coarse", "standard"], default="coarse")
    parser.add_argument("--anatomy", choices=["schematic", "varied"], default="schematic")
    options = parser.parse_args()
    numbers = (divmod(number, len(SITES)) for number in range(options.patients))
    measured = [
        measure(SimulatedCase(SITES[site], at, options.seed, DEFAULT_SIGNAL, options.fidelity, options.anatomy))
        for at, site in numbers
    ]
    print("| quantity | patients | correlation with the truth | bias | median absolute error |")
    print("|---|---|---|---|---|")
    for name in measured[0].drawn:
        print(agreement(name, measured))
    print(f"\nCPU time of the table: median {np.median([one.seconds for one in measured]):.3f} s")


if __name__ == "__main__":
    main()
