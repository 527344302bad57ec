"""What a loaded PET/CT study is: calibrated volumes, facts of the acquisition and quality checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from fedpet.errors import StudyRefused
    from fedpet.messages import Message
    from imaging.corrections import AppliedCorrection
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
    id: int = 0  # number of the series in the table, from 1


@dataclass(frozen=True)
class PetFacts:
    """What the SUV rests on (DICOM PS3.3 C.8.9), corrections of a person included.

    The fields that end in `_rule` or `_source` are stable identifiers of how a value was read; docs/imaging.md lists
    them.
    """

    units: str  # BQML, GML, ...
    decay_correction: str  # START, ADMIN, ...
    suv_factor_min: float | None  # SUVbw per stored-and-rescaled unit, smallest over the slices; None: no SUV
    suv_factor_max: float | None
    reference_time_source: str  # for example "series_time"; "not needed" where no decay is computed
    reference_time: datetime | None
    injection_time: datetime | None
    uptake_min: float | None  # minutes from injection to the reference time
    dose_bq: float | None
    half_life_s: float | None
    weight_kg: float | None
    height_m: float | None
    sex: str  # "F", "M", "O" or ""
    radiopharmaceutical: str
    corrected_image: tuple[str, ...]
    manufacturer: str
    model: str
    factor_rule: str = ""  # "bqml_start", "gml_bw", "cnts_suv_scale_factor", ...; "" where there is no SUV
    suv_type: str = ""  # SUVType as written
    injection_source: str = ""  # "start_datetime", "start_time", "start_time_previous_day", ...
    timezone: str = ""  # TimezoneOffsetFromUTC as written: the clock all times here are told in
    weight_source: str = ""  # "kg", "g read as kg", "corrected"
    height_source: str = ""  # "m", "cm read as m", "corrected"
    dose_source: str = ""  # "Bq", "MBq read as Bq", "corrected"
    half_life_source: str = ""  # "header", "radionuclide_code"
    radiopharmaceutical_code: str = ""  # code value, SNOMED as a rule
    radionuclide_code: str = ""


class _CheckedOnce:
    """The checks of a study. Given as a function, they are made when somebody first looks at any of them.

    Whoever only reads images need not wait for them, and nobody can look past one that fails.
    """

    def __get__(self, study: Study | None, _: type | None = None) -> tuple[QualityCheck, ...]:
        if study is None:
            raise AttributeError  # a study without checks cannot be made
        made: tuple[QualityCheck, ...] | Callable[[], Iterable[QualityCheck]] = vars(study)["_checks"]
        if callable(made):
            made = vars(study)["_checks"] = tuple(made())
        return made

    def __set__(self, study: Study, value: tuple[QualityCheck, ...] | Callable[[], Iterable[QualityCheck]]) -> None:
        vars(study)["_checks"] = value


@dataclass(frozen=True, eq=False)
class Study:
    """A PET/CT study ready to be used.

    Attributes:
        pseudonym: keyed pseudonym of the patient; the only identifier that travels.
        pet: SUVbw, g/ml, float32, on the PET's own grid; unit "stored" where the SUV cannot be computed.
        ct: HU, int16 or float32, on the CT's own grid; None where the study holds no CT.
        study_date: date of the examination as YYYY-MM-DD, or "" where absent.
        corrections: what a person put in place of values in the headers.
        suv_refusal: why `pet` is not SUV; None where it is.
    """

    pseudonym: str
    pet: Volume
    ct: Volume | None
    pet_facts: PetFacts
    series: tuple[SeriesFacts, ...]
    checks: _CheckedOnce = _CheckedOnce()
    study_date: str = ""
    source_uids: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)  # modality -> SOP instance UIDs
    corrections: tuple[AppliedCorrection, ...] = ()
    suv_refusal: StudyRefused | None = None
    frame_of_reference: str = field(default="", repr=False)  # FrameOfReferenceUID of the PET

    def failed(self) -> Sequence[QualityCheck]:
        """The checks that failed."""
        return [check for check in self.checks if check.level is Level.FAIL]
