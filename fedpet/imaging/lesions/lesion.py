"""Lesions and the quantities a nuclear physician reads from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from fedpet.core.messages import Message
from fedpet.core.notebook import html_table
from fedpet.imaging.anatomy.finer_places import place_in_words

# How lesions are outlined.
ThresholdMethod = Literal["suv4", "suv41pct", "suv25", "percist", "liver", "gradient", "adaptive"]
BRAIN_UNSEEN: Final = Message(
    "Brain metastases are not looked for: the uptake of the cortex hides them, and their absence here says nothing."
)
GIVEN_MASK: Final = "given_mask"  # the method of lesions that a reader drew


@dataclass(frozen=True)
class Lesion:
    """One lesion, measured on the PET grid; SUV in the unit of the PET (g/ml for SUVbw).

    Attributes:
        id: its value in the label volume.
        region: stable identifier such as "lung_right", "unknown".
        centroid_mm: LPS.
        suv_max, suv_mean, suv_median, suv_min: over its voxels.
        suv_peak: highest mean over a 1 cm3 sphere centred on any voxel of the lesion (IBSI 0F91), voxels counted by
            their centres.
        suv_peak_local: the same mean around the hottest voxel (IBSI VJGA).
        suv_peak_partial: as `suv_peak`, each voxel weighted by its share of the sphere.
        mtv_ml: volume of its voxels, ml.
        tlg: MTV x SUVmean, g.
        mtv_41pct_ml, mtv_suv4_ml: the part of the lesion of at least 41 % of its SUVmax, or of SUV 4.
        vertebra, station: the estimated vertebra or a proposed lymph node station
            (`fedpet.imaging.anatomy.finer_places.FinerPlace`); None where the region has none.
    """

    id: int
    region: str
    centroid_mm: tuple[float, float, float]
    suv_max: float
    suv_mean: float
    suv_median: float
    suv_min: float
    suv_peak: float
    suv_peak_local: float
    suv_peak_partial: float
    mtv_ml: float
    mtv_41pct_ml: float
    mtv_suv4_ml: float
    tlg: float
    vertebra: str | None = None
    station: str | None = None

    @property
    def place(self) -> Message:
        """Where it lies, in words."""
        return place_in_words(self.region, self.vertebra, self.station)


@dataclass(frozen=True)
class Quantities:
    """All lesions of one delineation, on the PET grid.

    Attributes:
        method: how the lesions were delineated; quantities of two methods cannot be compared.
        lesions: one by one, by `id`.
        tmtv_ml: total metabolic tumour volume, ml.
        tlg: sum of the lesions' TLG, g.
        suv_max: highest SUVmax; 0 without a lesion.
        suv_peak: highest SUVpeak; 0 without a lesion.
        dmax_mm: largest distance between two lesion centroids, mm; 0 for fewer than two.
    """

    method: str
    lesions: tuple[Lesion, ...]
    tmtv_ml: float
    tlg: float
    suv_max: float
    suv_peak: float
    dmax_mm: float

    @property
    def largest(self) -> Lesion | None:
        """The lesion of the largest MTV, None without lesions."""
        return max(self.lesions, key=lambda lesion: lesion.mtv_ml, default=None)

    def __repr__(self) -> str:
        return f"Quantities({self.method}: {self._total()})"

    def _repr_html_(self) -> str:
        """The lesions as a table, the total as its caption."""
        header = ("id", "region", "SUVmax", "SUVmean", "SUVpeak", "MTV (ml)", "TLG (g)")
        measured = ("suv_max", "suv_mean", "suv_peak", "mtv_ml", "tlg")
        rows = [(str(one.id), one.region, *(f"{getattr(one, name):.2f}" for name in measured)) for one in self.lesions]
        return html_table(f"{self.method}: {self._total()}", rows, header=header)

    def _total(self) -> str:
        n = len(self.lesions)
        return (
            f"{n} lesion{'s' * (n != 1)}, TMTV {self.tmtv_ml:.1f} ml, TLG {self.tlg:.1f} g, "
            f"SUVmax {self.suv_max:.2f}, Dmax {self.dmax_mm:.0f} mm"
        )
