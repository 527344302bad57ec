"""The lesion table: what a prediction knows of the images, measured on the lesions as delineated or corrected.

One row for each lesion and the uptake of healthy organs; the quantities that a model reads are computed from the rows
alone, so that the table of a patient without a lesion needs no image. SUV is SUVbw, g/ml.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from scipy.spatial.distance import pdist

from fedpet.core.errors import UnknownComponentError
from fedpet.core.messages import Message
from fedpet.imaging.lesions.necrosis import measure_necrosis

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from fedpet.imaging.anatomy.reference_uptake import OrganReferences
    from fedpet.imaging.lesions.lesion import Quantities
    from fedpet.imaging.volume import Volume

TABLE_VERSION: Final = "1"  # of the rules that measure; stored with data, so that two versions are never mixed
ORGANS: Final = ("lung", "nodes", "liver", "bone", "adrenal", "other")
_NODES = ("hilum", "mediastinum", "neck", "supraclavicular", "axilla", "retroperitoneum")  # stations, by their regions


@dataclass(frozen=True)
class QuantityDefinition:
    """What a quantity of the table is.

    Attributes:
        label: its name.
        meaning: how it is computed.
        highest: no patient has more; a bound for checks.
        unit: symbol, "" for a number without one.
        without_lesions: its value where there is no lesion; None where lesions do not matter to it.
        optional: whether it may not be measurable.
    """

    label: Message
    meaning: Message
    highest: float
    unit: str = ""
    without_lesions: float | None = 0.0
    optional: bool = False


_MOST_ML = 2e4
_BURDEN = Message("Sum of the MTV of the lesions in this organ or group.")
QUANTITIES: Final[Mapping[str, QuantityDefinition]] = {
    "tmtv_ml": QuantityDefinition(
        Message("Metabolic tumour volume (TMTV)"), Message("Sum of the volumes of all lesions."), _MOST_ML, "ml"
    ),
    "tlg_g": QuantityDefinition(
        Message("Total lesion glycolysis (TLG)"), Message("Sum over the lesions of MTV x SUVmean."), 1e6, "g"
    ),
    "lesion_count": QuantityDefinition(
        Message("Number of lesions"), Message("Connected lesions, or those of the reader's mask."), 2e3
    ),
    "dmax_mm": QuantityDefinition(
        Message("Largest distance between lesions (Dmax)"),
        Message("Between two lesion centroids; 0 for a single lesion."),
        2500.0,
        "mm",
    ),
    "largest_ml": QuantityDefinition(Message("Volume of the largest lesion"), Message("Its MTV."), _MOST_ML, "ml"),
    "suv_max": QuantityDefinition(Message("Highest SUVmax"), Message("Over all lesions, SUVbw."), 500.0, "g/ml"),
    "suv_peak": QuantityDefinition(
        Message("Highest SUVpeak"), Message("Over all lesions, SUVbw, mean over a sphere of 1 cm³."), 500.0, "g/ml"
    ),
    "necrotic_share": QuantityDefinition(
        Message("Necrotic share of the lesions"),
        Message(
            "Cold soft tissue inside the convex hulls of the lesions, relative to their volume with it; not measurable"
            " without a CT."
        ),
        1.0,
        optional=True,
    ),
    "lung_ml": QuantityDefinition(Message("Lesions of the lungs"), _BURDEN, _MOST_ML, "ml"),
    "nodes_ml": QuantityDefinition(Message("Lesions of lymph node stations"), _BURDEN, _MOST_ML, "ml"),
    "liver_ml": QuantityDefinition(Message("Lesions of the liver"), _BURDEN, _MOST_ML, "ml"),
    "bone_ml": QuantityDefinition(Message("Lesions of the skeleton"), _BURDEN, _MOST_ML, "ml"),
    "adrenal_ml": QuantityDefinition(Message("Lesions of the adrenal glands"), _BURDEN, _MOST_ML, "ml"),
    "other_ml": QuantityDefinition(Message("Lesions elsewhere"), _BURDEN, _MOST_ML, "ml"),
    "liver_lesion": QuantityDefinition(
        Message("Liver lesion on the PET"), Message("1 where a lesion lies in the liver, else 0."), 1.0
    ),
    "marrow_to_liver": QuantityDefinition(
        Message("Marrow-to-liver ratio"),
        Message("SUVmean of healthy vertebral bodies to that of healthy liver; not measurable where one is diseased."),
        20.0,
        without_lesions=None,
        optional=True,
    ),
    "spleen_to_liver": QuantityDefinition(
        Message("Spleen-to-liver ratio"),
        Message("SUVmean of the spleen to that of healthy liver; not measurable where one is diseased."),
        20.0,
        without_lesions=None,
        optional=True,
    ),
}


@dataclass(frozen=True)
class TableLesion:
    """One lesion of the table.

    Attributes:
        id: its value in the label volume.
        region: a key of `fedpet.imaging.anatomy.regions.REGIONS`.
        mtv_ml: volume of its voxels, ml.
        tlg: MTV x SUVmean, g.
        suv_max: SUVbw, g/ml.
        suv_peak: SUVbw, g/ml, highest mean over a 1 cm3 sphere.
        centroid_mm: LPS.
        necrotic_ml: `fedpet.imaging.lesions.necrosis.Necrosis.necrotic_ml`; None without a CT.
        whole_ml: volume with the necrosis that the outline leaves out, ml; None without a CT.
    """

    id: int
    region: str
    mtv_ml: float
    tlg: float
    suv_max: float
    suv_peak: float
    centroid_mm: tuple[float, float, float]
    necrotic_ml: float | None = None
    whole_ml: float | None = None

    @property
    def organ(self) -> str:
        """The organ or group of `ORGANS` that its region belongs to."""
        if self.region.startswith(_NODES):
            return "nodes"
        return next((organ for organ in ORGANS if self.region.startswith(organ)), "other")


@dataclass(frozen=True)
class LesionTable:
    """All lesions of a patient and the uptake of healthy organs.

    Attributes:
        lesions: in the order of their numbers.
        marrow_to_liver: SUVmean of vertebral marrow to that of the liver; None where either was not measurable.
        spleen_to_liver: the same of the spleen.
        version: of the rules that measured it.
        organs: what found the organs by which lesions were told from healthy uptake (a value of `OrganSource`); ""
            without a CT, or where it is not recorded.
    """

    lesions: tuple[TableLesion, ...]
    marrow_to_liver: float | None
    spleen_to_liver: float | None
    version: str = TABLE_VERSION
    organs: str = ""

    def without(self, ids: Collection[int]) -> LesionTable:
        """The table without some lesions: what measuring without them gives, as the organs are measured apart.

        Raises:
            UnknownComponentError: a number that the table does not have.
        """
        unknown = set(ids) - {one.id for one in self.lesions}
        if unknown:
            raise UnknownComponentError(
                found=Message("Lesions {ids} are not in the table.", ids=", ".join(map(str, sorted(unknown)))),
                needed=Message("Numbers of its {n} lesions.", n=len(self.lesions)),
                advice=Message("Take the numbers from the table itself."),
            )
        return replace(self, lesions=tuple(one for one in self.lesions if one.id not in ids))

    def values(self) -> dict[str, float | None]:
        """The quantities by name, in the order of `QUANTITIES`; None where one is not measurable."""
        lesions = self.lesions
        burden = {f"{organ}_ml": sum((one.mtv_ml for one in lesions if one.organ == organ), 0.0) for organ in ORGANS}
        return {
            "tmtv_ml": sum((one.mtv_ml for one in lesions), 0.0),
            "tlg_g": sum((one.tlg for one in lesions), 0.0),
            "lesion_count": float(len(lesions)),
            "dmax_mm": float(pdist([one.centroid_mm for one in lesions]).max()) if len(lesions) > 1 else 0.0,
            "largest_ml": max((one.mtv_ml for one in lesions), default=0.0),
            "suv_max": max((one.suv_max for one in lesions), default=0.0),
            "suv_peak": max((one.suv_peak for one in lesions), default=0.0),
            "necrotic_share": _necrotic_share(lesions),
            **burden,
            "liver_lesion": float(any(one.organ == "liver" for one in lesions)),
            "marrow_to_liver": self.marrow_to_liver,
            "spleen_to_liver": self.spleen_to_liver,
        }

    def to_json(self) -> dict[str, Any]:
        """Rows, quantities and version as plain data."""
        return {**asdict(self), "values": self.values()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> LesionTable:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError: a field is missing or unknown.
        """
        rows = tuple(TableLesion(**{**one, "centroid_mm": tuple(one["centroid_mm"])}) for one in data["lesions"])
        return LesionTable(
            rows, data["marrow_to_liver"], data["spleen_to_liver"], data["version"], data.get("organs", "")
        )


def _necrotic_share(lesions: tuple[TableLesion, ...]) -> float | None:
    necrotic = [one.necrotic_ml for one in lesions if one.necrotic_ml is not None]
    whole = [one.whole_ml for one in lesions if one.whole_ml is not None]
    if len(whole) < len(lesions):
        return None
    return sum(necrotic) / sum(whole) if lesions else 0.0


def build_table(
    pet: Volume, ct: Volume | None, labels: Volume, quantities: Quantities, references: OrganReferences | None
) -> LesionTable:
    """Build the table of measured lesions (`fedpet.imaging.quantification.measure_table` measures a whole study).

    Args:
        pet: SUVbw, g/ml.
        ct: HU, any grid.
        labels: lesion numbers on the PET grid, 0 is background.
        quantities: of the same labels on the same PET.
        references: uptake of healthy organs; None without a CT.
    """
    necrosis = {} if ct is None else measure_necrosis(pet, ct, labels)
    rows = tuple(
        TableLesion(
            id=one.id,
            region=one.region,
            mtv_ml=one.mtv_ml,
            tlg=one.tlg,
            suv_max=one.suv_max,
            suv_peak=one.suv_peak,
            centroid_mm=one.centroid_mm,
            necrotic_ml=necrosis[one.id].necrotic_ml if necrosis else None,
            whole_ml=necrosis[one.id].whole_ml if necrosis else None,
        )
        for one in quantities.lesions
    )
    marrow, spleen = (None, None) if references is None else (references.marrow_to_liver, references.spleen_to_liver)
    return LesionTable(rows, marrow, spleen)
