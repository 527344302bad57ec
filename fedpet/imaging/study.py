"""What a loaded PET/CT study is: calibrated volumes, facts of the acquisition and what its headers show."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from fedpet.core.notebook import html_table

if TYPE_CHECKING:
    from datetime import datetime

    from fedpet.core.errors import StudyError
    from fedpet.core.messages import Message
    from fedpet.core.pseudonyms import SaltedDigests
    from fedpet.imaging.volume import Volume


class CheckStatus(StrEnum):
    """Result of a quality check."""

    PASS = "pass"  # noqa: S105  a result, not a password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class QualityCheck:
    """One quality check.

    Attributes:
        name: stable identifier such as "chest_covered".
        level: pass, warn or fail.
        reason: what was found, with what was expected.
    """

    name: str
    level: CheckStatus
    reason: Message


@dataclass(frozen=True)
class SeriesFacts:
    """One series of the input, and whether it was chosen."""

    modality: str
    description: str
    instances: int
    shape: tuple[int, int, int] | None  # (slices, rows, columns)
    spacing: tuple[float, float, float] | None  # mm along (column, row, slice)
    chosen: bool
    reason: Message  # why chosen or why not
    id: int = 0  # number of the series in the table, from 1


@dataclass(frozen=True)
class SuvPath:
    """One way through the headers to the SUV, see `fedpet.imaging.suv.witness`.

    Attributes:
        name: stable identifier such as "series_time" or, of the one in use, its rule.
        deviation: relative difference of the SUV from the one in use, 0.02 for 2 % more.
        used: whether it is the one in use.
        counts: whether it counts in the check "suv_witness".
        remark: why it does not count.
        doubt: what is odd about it.
    """

    name: str
    deviation: float
    used: bool = False
    counts: bool = True
    remark: Message | None = None
    doubt: Message | None = None


@dataclass(frozen=True)
class PetFacts:
    """What the SUV is computed from (DICOM PS3.3 C.8.9), manual corrections included.

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
    timezone: str = ""  # TimezoneOffsetFromUTC as written: the time zone of all times here
    weight_source: str = ""  # "kg", "g read as kg", "corrected"
    height_source: str = ""  # "m", "cm read as m", "corrected"
    dose_source: str = ""  # "Bq", "MBq read as Bq", "corrected"
    half_life_source: str = ""  # "header", "radionuclide_code"
    radiopharmaceutical_code: str = ""  # code value, SNOMED as a rule
    radionuclide_code: str = ""
    suv_paths: tuple[SuvPath, ...] = ()  # ways to the SUV, the one in use first; empty where there is no SUV


AgeSource = Literal["birth_date", "patient_age", ""]


@dataclass(frozen=True)
class PatientFacts:
    """What the images state of the patient, without identity; "" and None are not stated.

    Attributes:
        identifier: keyed digest of PatientID (`fedpet.core.pseudonyms.identifier_digest`).
        sex: "F" or "M".
        age_years: completed years at the examination.
        age_source: whether the birth date or PatientAge gives the age.
        weight_kg: as the SUV uses it, corrections of a person included.
        height_m: likewise.
        pet_dates: days of study, series and acquisition of the PET, YYYY-MM-DD, in order; empty where a
            de-identification moved them.
    """

    identifier: str = ""
    sex: str = ""
    age_years: int | None = None
    age_source: AgeSource = ""
    weight_kg: float | None = None
    height_m: float | None = None
    pet_dates: tuple[str, ...] = ()


OverrideName = Literal["weight_kg", "height_m", "dose_mbq", "injection_time", "scan_start"]


@dataclass(frozen=True)
class AppliedOverride:
    """A correction that was applied.

    Attributes:
        name: of the corrected value.
        old: value of the headers, None where they hold nothing usable.
        new: value used instead, in the same unit.
        reason: why.
        by: who corrected it.
    """

    name: OverrideName
    old: float | datetime | None
    new: float | datetime
    reason: str
    by: str = ""


_NOTHING_STATED = PatientFacts()


@dataclass(frozen=True, eq=False)
class PetCtStudy:
    """A PET/CT study ready to be used: its images and what its headers say.

    What the images show is found by `fedpet.imaging.analysis.StudyAnalysis`, with all quality checks.

    Attributes:
        pseudonym: keyed pseudonym of the patient; the only identifier that travels.
        pet: SUVbw, g/ml, float32, on the PET's own grid; unit "stored" where the SUV cannot be computed.
        ct: HU, int16 or float32, on the CT's own grid; None where the study holds no CT.
        pet_facts: what the SUV rests on.
        series: every series found, and why it was chosen or not.
        header_checks: quality checks that need no voxels, that of the SUV first.
        study_date: date of the examination as YYYY-MM-DD, or "" where absent.
        corrections: values of the headers that a person corrected.
        source_uids: SOP Instance UIDs of the images used, in slice order, by modality ("PT", "CT").
        suv_refusal: why `pet` is not SUV; None where it is.
        frame_of_reference: FrameOfReferenceUID of the PET.
        study_uid: StudyInstanceUID of the PET.
        identity: whose images they are, for comparison with a mask; see `patient_module.same_person`.
        patient: what the headers state about the patient, for comparison with a clinical record.
        ct_frame_assumed: see `fedpet.imaging.dicom.selection.SelectedSeries`.
        ct_problem: why the CT that belongs to the PET could not be used; None where there is none, or where it is used.
    """

    pseudonym: str
    pet: Volume
    ct: Volume | None
    pet_facts: PetFacts
    series: tuple[SeriesFacts, ...]
    header_checks: tuple[QualityCheck, ...]
    study_date: str = ""
    source_uids: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    corrections: tuple[AppliedOverride, ...] = ()
    suv_refusal: StudyError | None = None
    frame_of_reference: str = field(default="", repr=False)
    study_uid: str = field(default="", repr=False)
    identity: SaltedDigests | None = field(default=None, repr=False)
    patient: PatientFacts = _NOTHING_STATED
    ct_frame_assumed: bool = False
    ct_problem: Message | None = None

    def __repr__(self) -> str:
        return f"PetCtStudy({self.pseudonym}, PET {self.pet!r}, CT {self.ct!r})"

    def _repr_html_(self) -> str:
        """The facts of the examination beside its projection from the front."""
        from fedpet.imaging.mip import front_view_png  # noqa: PLC0415  brings SimpleITK, which whoever only reads facts need not load

        facts, refusal = self.pet_facts, self.suv_refusal
        rows = {
            "date": self.study_date or "not stated",
            "PET": repr(self.pet),
            "CT": repr(self.ct),
            "tracer": facts.radiopharmaceutical or "not stated",
            "uptake": "not known" if facts.uptake_min is None else f"{facts.uptake_min:.0f} min",
            "SUV computed from": facts.factor_rule if refusal is None else str(refusal.found),
            "scanner": f"{facts.manufacturer} {facts.model}".strip(),
            "values corrected by a person": ", ".join(one.name for one in self.corrections) or "none",
        }
        return html_table(f"PET/CT study of {self.pseudonym}", rows.items(), png=front_view_png(self.pet))
