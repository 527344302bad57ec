"""The input contract: everything that turns a study and a record into the network's inputs, as data.

The contract is written into every bundle, and its fingerprint is asserted on every training node, at every load of a
bundle and beside every set of node data: a model never meets inputs prepared in another way.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT = "fedpet.contract/1"

# what the concept maps are summed into, in the order of the network's output (`inference.network`)
BIOMARKERS = (
    "tumour_volume",
    "tumour_uptake",
    "dissemination",
    "necrosis",
    "liver_burden",
    "marrow_to_liver",
)

TermKind = Literal["number", "log_ratio", "above_ratio", "equals", "at_least"]


@dataclass(frozen=True)
class ClinicalTerm:
    """One number of the clinical input vector.

    Attributes:
        name: stable name; a missing value of the term sets the flag "missing:<name>" where `flag` is true.
        kind: "number" x; "log_ratio" ln(x / y); "above_ratio" 1 if x > y; "equals" 1 if x is `level`;
            "at_least" 1 if x >= `threshold`.
        variables: the fields of `ClinicalRecord` it needs (x, or x and y). Missing if any of them is.
        mean, sd: the value is centred and scaled with these, so that 0 is the reference patient.
        level, threshold: parameters of "equals" and "at_least".
        flag: whether missingness has an input of its own.
    """

    name: str
    kind: TermKind
    variables: tuple[str, ...]
    mean: float = 0.0
    sd: float = 1.0
    level: str | bool | None = None
    threshold: float | None = None
    flag: bool = False


@dataclass(frozen=True)
class Contract:
    """Preprocessing and encoding parameters.

    Attributes:
        shape: model grid (slices, rows, columns).
        spacing_mm: isotropic spacing of the model grid; its axes are the LPS axes.
        suv_range, hu_range: values are clipped to these.
        outside_hu: CT value outside the CT's field of view (air); outside the PET the SUV is 0.
        terms: clinical terms, in the order of the input vector; flags follow, in the same order.
        month_edges: edges of the discrete-time hazard intervals, months, starting at 0.
        concepts: names of the network's voxel maps, in their order.
    """

    shape: tuple[int, int, int]
    spacing_mm: float
    suv_range: tuple[float, float]
    hu_range: tuple[float, float]
    outside_hu: float
    terms: tuple[ClinicalTerm, ...]
    month_edges: tuple[float, ...]
    concepts: tuple[str, ...]

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the clinical inputs: the terms, then their missingness flags."""
        return (
            *(term.name for term in self.terms),
            *(f"missing:{term.name}" for term in self.terms if term.flag),
        )

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """The fields of `ClinicalRecord` that the model uses, each once."""
        return tuple(dict.fromkeys(name for term in self.terms for name in term.variables))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON, hexadecimal."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is its inverse."""
        return {"format": FORMAT, **asdict(self)}

    @staticmethod
    def read(path: Path) -> Contract:
        """Read a file that holds what `to_json` gave; raises as `from_json`, and OSError."""
        return Contract.from_json(json.loads(path.read_text(encoding="utf-8")))

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Contract:
        """Read what `to_json` wrote.

        Raises:
            ValueError: another format.
            KeyError, TypeError: a field is missing or unknown.
        """
        if data["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {data['format']}")
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        del fields["format"]
        fields["terms"] = tuple(
            ClinicalTerm(**{**term, "variables": tuple(term["variables"])}) for term in data["terms"]
        )
        return Contract(**fields)


def default_contract() -> Contract:
    """The contract of the 8 mm models: head to thigh, 1,152 x 384 x 512 mm.

    Means and spreads of the clinical terms are rounded figures of the French first-line population (ESCKEYP) and of
    published laboratory values, not estimates from any patient of the federation.
    """
    return Contract(
        shape=(144, 48, 64),
        spacing_mm=8.0,
        suv_range=(0.0, 30.0),
        hu_range=(-1000.0, 600.0),
        outside_hu=-1000.0,
        terms=(
            ClinicalTerm("age", "number", ("age",), mean=65.0, sd=9.5),
            ClinicalTerm("male", "equals", ("sex",), level="M", mean=0.68),
            ClinicalTerm("ecog_1", "at_least", ("ecog_ps",), threshold=1, mean=0.64),
            ClinicalTerm("ecog_2", "at_least", ("ecog_ps",), threshold=2, mean=0.22),
            ClinicalTerm("never_smoker", "equals", ("smoking",), level="never", mean=0.07),
            ClinicalTerm("squamous", "equals", ("histology",), level="squamous", mean=0.25),
            ClinicalTerm("pdl1_1", "at_least", ("pdl1_tps",), threshold=1, mean=0.65, flag=True),
            ClinicalTerm("pdl1_50", "at_least", ("pdl1_tps",), threshold=50, mean=0.4),
            ClinicalTerm("line_2", "at_least", ("line",), threshold=2, mean=0.3),
            ClinicalTerm("ldh_above_uln", "above_ratio", ("ldh", "ldh_uln"), mean=0.35, flag=True),
            ClinicalTerm("nlr", "log_ratio", ("neutrophils", "lymphocytes"), mean=1.386, sd=0.53, flag=True),
            ClinicalTerm("leucocytes", "number", ("leucocytes",), mean=8.5, sd=3.0),
            ClinicalTerm("albumin", "number", ("albumin",), mean=38.0, sd=4.0, flag=True),
            ClinicalTerm("steroids", "equals", ("steroids",), level=True, mean=0.11),
            ClinicalTerm("brain_metastases", "equals", ("brain_metastases",), level=True, mean=0.2),
            ClinicalTerm("liver_metastases", "equals", ("liver_metastases",), level=True, mean=0.2),
            ClinicalTerm("bone_metastases", "equals", ("bone_metastases",), level=True, mean=0.35),
        ),
        month_edges=(0.0, 1.5, 3.0, 4.5, 6.0, 9.0, 12.0, 18.0, 24.0),
        concepts=("lesion", "necrosis", "liver_lesion", "liver", "marrow"),
    )
