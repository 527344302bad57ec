"""The input contract: everything that turns a study and a record into the inputs of the network, as data.

The contract is part of every bundle, and its fingerprint is checked on every training node, at every load of a bundle
and with every set of node data: a model never receives inputs prepared in another way.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import log1p
from typing import TYPE_CHECKING, Any, Final, Literal

from fedpet.imaging.anatomy.organ_segmentation import OrganSource
from fedpet.imaging.lesions.lesion_table import QUANTITIES, TABLE_VERSION
from inference.contract_bounds import require_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fedpet.imaging.lesions.lesion import ThresholdMethod

FORMAT = "fedpet.contract/1"

# computed from the concept maps, in the order of the output of the network (`inference.network`)
BIOMARKERS = (
    "tumour_volume",
    "tumour_uptake",
    "dissemination",
    "necrosis",
    "liver_burden",
    "marrow_to_liver",
)

NO_IMAGES: Final = (1, 1, 1)  # grid of a model that reads no image
LESION_PREFIX: Final = "lesion:"  # of the inputs that come from the lesion table
LEARNED_TERM: Final = "learned:lesions"  # the term of the score that is learned on the crops
CROPS_VERSION: Final = "crops-1"  # of the rules of `inference.lesion_crops`

TermKind = Literal["number", "log_ratio", "above_ratio", "equals", "at_least"]
QuantityTransform = Literal["number", "log1p", "flag"]


@dataclass(frozen=True)
class ClinicalTerm:
    """One number of the clinical input vector.

    Attributes:
        name: stable name; a missing value of the term sets the flag "missing:<name>" where `flag` is true.
        kind: "number" x; "log_ratio" ln(x / y); "above_ratio" 1 if x > y; "equals" 1 if x is `level`;
            "at_least" 1 if x >= `threshold`.
        variables: the fields of `ClinicalRecord` it needs (x, or x and y). Missing if any of them is.
        mean: subtracted from the value, so that 0 is the reference patient.
        sd: by which the difference is divided.
        level: parameter of "equals".
        threshold: parameter of "at_least".
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
class QuantityTerm:
    """One input that comes from the lesion table.

    Attributes:
        name: a key of `fedpet.imaging.lesions.lesion_table.QUANTITIES`; the input is "lesion:<name>".
        transform: "number" x; "log1p" ln(1 + x); "flag" x, 0 or 1.
        mean: subtracted. 0 for what few patients have, such as liver lesions: without one the term is then 0.
        sd: by which the difference is divided.
        flag: whether an input "missing:lesion:<name>" says that the quantity is not measurable.
    """

    name: str
    transform: QuantityTransform
    mean: float = 0.0
    sd: float = 1.0
    flag: bool = False

    def scaled(self, value: float) -> float:
        """The input for a value of the quantity."""
        return ((log1p(value) if self.transform == "log1p" else value) - self.mean) / self.sd

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value that the input can have."""
        return self.scaled(0.0), self.scaled(QUANTITIES[self.name].highest)


@dataclass(frozen=True)
class CropGrid:
    """Crops around the lesions, for a learned term beside the lesion table (`inference.lesion_crops`).

    Attributes:
        size: voxels along each side.
        spacing_mm: isotropic.
        lesions: how many of the largest lesions count.
        version: of the rules that cut them.
    """

    size: int
    spacing_mm: float
    lesions: int
    version: str


@dataclass(frozen=True)
class InputContract:
    """Preprocessing and encoding parameters.

    Attributes:
        shape: model grid (slices, rows, columns); `NO_IMAGES` for a model that reads none.
        spacing_mm: isotropic spacing of the model grid; its axes are the LPS axes.
        suv_range: to which SUV is clipped, g/ml.
        hu_range: to which the CT is clipped, HU.
        outside_hu: CT value outside the field of view of the CT (air); outside the PET the SUV is 0.
        terms: clinical terms, in the order of the input vector; flags follow, in the same order.
        month_edges: edges of the discrete-time hazard intervals, months, starting at 0.
        concepts: names of the voxel maps of the network, in their order.
        quantities: terms of the lesion table, after the clinical terms and their flags; their flags follow. What is
            below exists with quantities only.
        table_version: of the rules that measured the table, see `fedpet.imaging.lesions.lesion_table.TABLE_VERSION`.
        delineation: how lesions are outlined where no reader gave a mask.
        organs: what found the organs by which these lesions were told from healthy uptake, a value of
            `fedpet.imaging.anatomy.organ_segmentation.OrganSource`; "" where it is not recorded.
        crops: around the lesions of the table; None where no model reads any.
    """

    shape: tuple[int, int, int]
    spacing_mm: float
    suv_range: tuple[float, float]
    hu_range: tuple[float, float]
    outside_hu: float
    terms: tuple[ClinicalTerm, ...]
    month_edges: tuple[float, ...]
    concepts: tuple[str, ...]
    quantities: tuple[QuantityTerm, ...] = ()
    table_version: str = ""
    delineation: ThresholdMethod | Literal[""] = ""
    organs: str = ""
    crops: CropGrid | None = None

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs: clinical terms, their missingness flags, terms of the lesion table, their flags."""
        lesion_inputs = [(f"{LESION_PREFIX}{term.name}", term.flag) for term in self.quantities]
        return (
            *(term.name for term in self.terms),
            *(f"missing:{term.name}" for term in self.terms if term.flag),
            *(name for name, _ in lesion_inputs),
            *(f"missing:{name}" for name, flag in lesion_inputs if flag),
        )

    @property
    def reads_images(self) -> bool:
        """Whether the network is given the voxels of the whole study."""
        return self.shape != NO_IMAGES

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of the image input: (2, slices, rows, columns), or with crops (lesions, 3, size, size, size)."""
        if self.crops is None:
            return (2, *self.shape)
        return (self.crops.lesions, 3, *(self.crops.size,) * 3)

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
        """Plain data; `from_json` is its inverse. A contract without quantities says nothing of them."""
        fields = asdict(self)
        unsaid = {*(_WITH_QUANTITIES if not self.quantities else () if self.organs else ("organs",))}
        unsaid |= set() if self.crops else {"crops"}
        return {"format": FORMAT, **{name: value for name, value in fields.items() if name not in unsaid}}

    @staticmethod
    def read(path: Path) -> InputContract:
        """Read a file with what `to_json` gave.

        Raises:
            OSError: the file cannot be read.
            ValueError: another format, or no JSON.
            KeyError, TypeError: a field is missing or unknown.
        """
        return InputContract.from_json(json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        """Write the file that `read` reads."""
        path.write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> InputContract:
        """Read what `to_json` wrote.

        Raises:
            ValueError: another format, an unknown quantity, or a value beyond its bounds (`inference.contract_bounds`).
            KeyError, TypeError: a field is missing or unknown.
        """
        if data["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {data['format']}")
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        del fields["format"]
        fields["terms"] = tuple(
            ClinicalTerm(**{**term, "variables": tuple(term["variables"])}) for term in data["terms"]
        )
        fields["quantities"] = tuple(QuantityTerm(**term) for term in data.get("quantities", ()))
        fields["crops"] = CropGrid(**data["crops"]) if data.get("crops") else None
        unknown = {term.name for term in fields["quantities"]} - set(QUANTITIES)
        if unknown:
            raise ValueError(f"unknown quantities of the lesion table: {', '.join(sorted(unknown))}")
        contract = InputContract(**fields)
        if contract.organs:
            OrganSource(contract.organs)  # an unknown one is a ValueError
        require_bounds(contract, TermKind, QuantityTransform)
        return contract


_WITH_QUANTITIES = ("quantities", "table_version", "delineation", "organs")


def default_contract() -> InputContract:
    """The contract of the 8 mm models: head to thigh, 1,152 x 384 x 512 mm.

    Means and spreads of the clinical terms are rounded figures of the French first-line population (ESCKEYP) and of
    published laboratory values, not estimates from any patient of the federation.
    """
    return InputContract(
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


def table_contract() -> InputContract:
    """The contract of the models that read the lesion table and the record, and no image.

    Few quantities, each with a reason: volume (TMTV, confirmed under immunotherapy: Seban 2020, Eur J Nucl Med Mol
    Imaging 47:1147), uptake of the hottest lesion (SUVpeak rather than TLG, which follows the volume), number and
    distance of lesions (Dmax, from lymphoma: Cottereau 2020, J Nucl Med 61:40), necrosis, involvement of liver and
    skeleton, ratios of marrow and spleen to the liver (exploratory, see `fedpet.imaging.anatomy.reference_uptake`).
    Volume, number and distance are correlated; a ridge penalty shares their weight. Organ terms have the mean 0: a
    patient without such a lesion has no such term. Means and spreads are rounded, not estimates from any patient.
    """
    return replace(
        default_contract(),
        shape=NO_IMAGES,
        quantities=(
            QuantityTerm("tmtv_ml", "log1p", mean=4.0, sd=1.1),
            QuantityTerm("suv_peak", "log1p", mean=2.4, sd=0.35),
            QuantityTerm("lesion_count", "log1p", mean=1.8, sd=0.7),
            QuantityTerm("dmax_mm", "number", mean=250.0, sd=150.0),
            QuantityTerm("necrotic_share", "number", mean=0.12, sd=0.12),
            QuantityTerm("liver_lesion", "flag"),
            QuantityTerm("bone_ml", "log1p", sd=1.5),
            QuantityTerm("marrow_to_liver", "number", mean=0.65, sd=0.15, flag=True),
            QuantityTerm("spleen_to_liver", "number", mean=0.9, sd=0.15, flag=True),
        ),
        table_version=TABLE_VERSION,
        delineation="suv4",
        organs="learned",
    )


def crop_contract() -> InputContract:
    """The contract of the lesion table with crops beside it: cubes of 80 mm around the eight largest lesions."""
    return replace(table_contract(), crops=CropGrid(size=20, spacing_mm=4.0, lesions=8, version=CROPS_VERSION))
