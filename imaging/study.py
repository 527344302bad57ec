"""What a loaded PET/CT study is: calibrated volumes, facts of the acquisition and quality checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fedpet.messages import Message
    from imaging.volume import Volume


class Level(StrEnum):
    """Verdict of a quality check."""

    PASS = "pass"  # noqa: S105  a verdict, not a password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class QualityCheck:
    """One check of the images, with its reason. `name` is a stable identifier such as "chest_covered"."""

    name: str
    level: Level
    reason: Message


@dataclass(frozen=True)
class SeriesFacts:
    """One series found in the pile, and whether it was chosen."""

    modality: str
    description: str
    instances: int
    shape: tuple[int, int, int] | None  # (slices, rows, columns)
    spacing: tuple[float, float, float] | None  # mm along (column, row, slice)
    chosen: bool
    reason: Message  # why chosen or why not


@dataclass(frozen=True)
class PetFacts:
    """What the SUV rests on (DICOM PS3.3 C.8.9)."""

    units: str  # BQML, GML, ...
    decay_correction: str  # START, ADMIN, ...
    suv_factor_min: float  # SUV per stored-and-rescaled unit, smallest over the slices
    suv_factor_max: float
    reference_time_source: str  # for example "series_time"; "not needed" where no decay is computed
    reference_time: datetime | None
    injection_time: datetime | None
    uptake_min: float | None  # minutes from injection to the reference time
    dose_bq: float | None
    half_life_s: float | None
    weight_kg: float | None
    height_m: float | None
    sex: str  # "F", "M" or ""
    radiopharmaceutical: str
    corrected_image: tuple[str, ...]
    manufacturer: str
    model: str


@dataclass(frozen=True, eq=False)
class Study:
    """A PET/CT study ready to be used.

    Attributes:
        pseudonym: keyed pseudonym of the patient; the only identifier that travels.
        pet: SUVbw, g/ml, float32, on the PET's own grid.
        ct: HU, int16 or float32, on the CT's own grid; None where the study holds no CT.
        study_date: date of the examination as YYYY-MM-DD, or "" where absent.
    """

    pseudonym: str
    pet: Volume
    ct: Volume | None
    pet_facts: PetFacts
    series: tuple[SeriesFacts, ...]
    checks: tuple[QualityCheck, ...]
    study_date: str = ""
    source_uids: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)  # modality -> SOP instance UIDs

    def failed(self) -> Sequence[QualityCheck]:
        """The checks that failed."""
        return [check for check in self.checks if check.level is Level.FAIL]
