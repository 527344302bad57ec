"""Two genuine DICOM series a patient, PT and CT, in the dialect of the centre's vendor (PS3.3 A.21, A.3).

Everything SUV needs is there: units, decay correction, dose, times, weight, one rescale slope a slice, and an
acquisition time for each bed position. The identity is marked as synthetic. UIDs derive from the cohort's seed.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, PositronEmissionTomographyImageStorage

from training.simulation.acquisition.dicom_writer import InstanceWriter, code, dataset
from training.simulation.patients.centres import GE, PHILIPS, SIEMENS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from fedpet.imaging.volume import Affine, Volume
    from training.simulation.acquisition.dicom_writer import Encoding
    from training.simulation.patients.population import Patient

F18_HALF_LIFE_S: Final = 6586.2
_BED_MM: Final = 150.0  # advance of the couch from one bed position to the next
_CT_OFFSET_HU: Final = 1024
_SCANNER_Z_MM: Final = -900.0  # where the scanner's coordinates begin
_CORRECTIONS: Final[dict[str, list[str]]] = {
    SIEMENS: ["NORM", "DTIM", "ATTN", "SCAT", "DECY", "RAN"],
    GE: ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM"],
    PHILIPS: ["DECY", "RADL", "ATTN", "SCAT", "DTIM", "RAN", "NORM"],
}
_RECONSTRUCTION: Final = {SIEMENS: "PSF+TOF 2i21s", GE: "VPFX", PHILIPS: "BLOB-OS-TF"}


def write_study(
    patient: Patient, pet: Volume, ct: Volume | None, folder: Path, *, seed: int, encoding: Encoding
) -> None:
    """Write `folder`/PT/*.dcm and, with a CT, `folder`/CT/*.dcm.

    Args:
        patient: whose study it is.
        pet: SUVbw, g/ml, LPS axes.
        ct: HU, int16, LPS axes.
        folder: is made.
        seed: of the cohort; UIDs derive from it and from the patient.
        encoding: of the pixels.
    """
    both = [pet_series(patient, pet, seed=seed, encoding=encoding)]
    if ct is not None:
        both.append(ct_series(patient, ct, seed=seed))
    for series in both:
        (folder / series.modality).mkdir(parents=True, exist_ok=True)
        writer = InstanceWriter(series.common, compressed=encoding.compressed)
        for index, (tags, pixels) in enumerate(series.slices):
            writer.write(folder / series.modality / f"{index:04d}.dcm", tags, pixels)


@dataclass(frozen=True)
class UnwrittenSeries:
    """A series before it is written: the header all slices share, then each slice's own tags and stored values."""

    modality: Literal["PT", "CT"]
    common: Dataset
    slices: Iterator[tuple[dict[str, Any], NDArray[np.uint16]]]


def study_id(patient: Patient) -> str:
    """Study ID of the examination (0020,0010), by which a data warehouse names it: S1-0004."""
    return patient.id.removeprefix("SYN-")


def pet_series(patient: Patient, pet: Volume, *, seed: int, encoding: Encoding) -> UnwrittenSeries:
    """The PET as `write_study` writes it; the slices come one by one."""
    names = _Names(f"{seed}/{patient.id}")
    return _unwritten("PT", pet, _pet_header(patient, names), _pet_slices(patient, pet, encoding), names)


def ct_series(patient: Patient, ct: Volume, *, seed: int) -> UnwrittenSeries:
    """The CT as `write_study` writes it; the slices come one by one."""
    names = _Names(f"{seed}/{patient.id}")
    return _unwritten("CT", ct, _ct_header(patient, names), _ct_slices(ct), names)


def _unwritten(
    modality: Literal["PT", "CT"],
    volume: Volume,
    header: Dataset,
    slices: Iterator[tuple[dict[str, Any], NDArray[np.uint16]]],
    names: _Names,
) -> UnwrittenSeries:
    header.update(_geometry_header(volume))
    placed = (
        ({**_slice_header(volume, index, names.uid(f"{modality}/{index}")), **tags}, pixels)
        for index, (tags, pixels) in enumerate(slices)
    )
    return UnwrittenSeries(modality, header, placed)


@dataclass(frozen=True)
class _Names:
    """Unique identifiers derived from a text (PS3.5 B.2: 2.25 and a UUID-sized number)."""

    root: str

    def uid(self, name: str) -> str:
        digest = hashlib.sha256(f"{self.root}/{name}".encode()).digest()
        return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _date(moment: datetime) -> str:
    return moment.strftime("%Y%m%d")


def _time(moment: datetime) -> str:
    return moment.strftime("%H%M%S.%f")[:13]


def _common_header(patient: Patient, names: _Names, modality: str, start: datetime) -> Dataset:
    """Patient, study, series, equipment."""
    anatomy, study_start = patient.anatomy, patient.acquisition.start - timedelta(minutes=5)
    return dataset(
        {
            "SpecificCharacterSet": "ISO_IR 192",
            "ImageType": ["ORIGINAL", "PRIMARY"] + (["AXIAL"] if modality == "CT" else []),
            "StudyDate": _date(study_start),
            "SeriesDate": _date(start),
            "AcquisitionDate": _date(start),
            "ContentDate": _date(start),
            "StudyTime": _time(study_start),
            "SeriesTime": _time(start),
            "AcquisitionTime": _time(start),
            "ContentTime": _time(start),
            "AccessionNumber": "",
            "Modality": modality,
            "Manufacturer": patient.site.vendor,
            "InstitutionName": f"SYNTHETIC {patient.site.name}",
            "ReferringPhysicianName": "",
            "StudyDescription": "FDG PET/CT whole body (synthetic)",
            "ManufacturerModelName": patient.site.model,
            "PatientName": f"SYNTHETIC^{patient.id}",
            "PatientID": patient.id,
            "PatientBirthDate": "",
            "PatientSex": anatomy.sex,
            "PatientAge": f"{int(patient.record.age or 0):03d}Y",
            "PatientSize": f"{anatomy.height_m:.2f}",
            "PatientWeight": f"{anatomy.weight_kg:.1f}",
            "PatientIdentityRemoved": "YES",
            "DeidentificationMethod": "SYNTHETIC DIGITAL COHORT - NOT A PATIENT",
            "BurnedInAnnotation": "NO",
            "BodyPartExamined": "WHOLEBODY",
            "StudyInstanceUID": names.uid("study"),
            "SeriesInstanceUID": names.uid(modality),
            "StudyID": study_id(patient),
            "AcquisitionNumber": 1,
            "FrameOfReferenceUID": names.uid("frame"),
            "PositionReferenceIndicator": "",
        }
    )


def _geometry_header(volume: Volume) -> Dataset:
    x, y, z = volume.spacing
    _, rows, columns = volume.shape
    return dataset(
        {
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": rows,
            "Columns": columns,
            "PixelSpacing": [f"{y:.6g}", f"{x:.6g}"],
            "SliceThickness": f"{z:.6g}",
            "BitsAllocated": 16,
            "PixelRepresentation": 0,
        }
    )


def scanner_affine(affine: Affine) -> Affine:
    """A body's affine moved to the scanner's coordinates."""
    moved = affine.copy()
    moved[2, 3] += _SCANNER_Z_MM
    return moved


def _slice_header(volume: Volume, index: int, uid: str) -> dict[str, Any]:
    """Number 1 is the slice nearest the head."""
    x, y, z = scanner_affine(volume.affine)[:3, 3]
    z += index * volume.spacing[2]
    return {
        "SOPInstanceUID": uid,
        "InstanceNumber": volume.shape[0] - index,
        "ImagePositionPatient": [f"{x:.4f}", f"{y:.4f}", f"{z:.4f}"],
    }


def _ct_header(patient: Patient, names: _Names) -> Dataset:
    header = _common_header(patient, names, "CT", patient.acquisition.start - timedelta(minutes=3))
    tags: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SeriesNumber": 2,
        "SeriesDescription": "CT WB",
        "PatientPosition": "HFS",
        "KVP": "120",
        "XRayTubeCurrent": 80,
        "ConvolutionKernel": patient.site.ct.kernel,
        "BitsStored": 12,
        "HighBit": 11,
        "RescaleIntercept": str(-_CT_OFFSET_HU),
        "RescaleSlope": "1",
        "RescaleType": "HU",
    }
    if patient.acquisition.contrast:
        tags["ContrastBolusAgent"] = "IOMEPROL 350"
    header.update(dataset(tags))
    return header


def _ct_slices(ct: Volume) -> Iterator[tuple[dict[str, Any], NDArray[np.uint16]]]:
    for plane in ct.array:
        yield {}, np.clip(plane.astype(np.int32) + _CT_OFFSET_HU, 0, 4095).astype(np.uint16)


def _pet_header(patient: Patient, names: _Names) -> Dataset:
    header = _common_header(patient, names, "PT", patient.acquisition.start)
    site = patient.site
    supine = code("102538003", "recumbent")
    supine.PatientOrientationModifierCodeSequence = Sequence([code("40199007", "supine")])
    header.update(
        dataset(
            {
                "SOPClassUID": PositronEmissionTomographyImageStorage,
                "SeriesNumber": 3,
                "SeriesDescription": "PET WB AC",
                "SeriesType": ["WHOLE BODY", "IMAGE"],
                "CountsSource": "EMISSION",
                "CollimatorType": "NONE",
                "Units": site.pet.units,
                "DecayCorrection": site.pet.decay,
                "CorrectedImage": _CORRECTIONS[site.vendor],
                "RandomsCorrectionMethod": "DLYD",
                "AttenuationCorrectionMethod": "CT-derived mu-map",
                "ScatterCorrectionMethod": "Model-based",
                "ReconstructionMethod": _RECONSTRUCTION[site.vendor],
                "ActualFrameDuration": str(round(site.pet.bed_s * 1000)),
                "BitsStored": 16,
                "HighBit": 15,
                "RescaleIntercept": "0",
                "RadiopharmaceuticalInformationSequence": Sequence([_tracer(patient)]),
                "PatientOrientationCodeSequence": Sequence([supine]),
                "PatientGantryRelationshipCodeSequence": Sequence([code("102540008", "headfirst")]),
            }
        )
    )
    if site.pet.units == "GML":
        header.SUVType = "BW"
    if site.vendor == GE:
        block = header.private_block(0x0009, "GEMS_PETD_01", create=True)
        block.add_new(0x0D, "DT", patient.acquisition.start.strftime("%Y%m%d%H%M%S.00"))
    return header


def _tracer(patient: Patient) -> Dataset:
    injection = patient.acquisition.injection
    return dataset(
        {
            "Radiopharmaceutical": "FDG -- fluorodeoxyglucose",
            "RadiopharmaceuticalRoute": "Intravenous route",
            "RadiopharmaceuticalStartTime": _time(injection),
            "RadiopharmaceuticalStartDateTime": injection.strftime("%Y%m%d%H%M%S.00"),
            "RadionuclideTotalDose": f"{patient.acquisition.dose_bq:.0f}",
            "RadionuclideHalfLife": str(F18_HALF_LIFE_S),
            "RadionuclidePositronFraction": "0.967",
            "RadionuclideCodeSequence": Sequence([code("77004003", "^18^Fluorine")]),
            "RadiopharmaceuticalCodeSequence": Sequence([code("35321007", "Fluorodeoxyglucose F^18^")]),
        }
    )


def _pet_slices(
    patient: Patient, pet: Volume, encoding: Encoding
) -> Iterator[tuple[dict[str, Any], NDArray[np.uint16]]]:
    """Stored values and the tags of each slice; beds are acquired from the thighs to the head."""
    site, start = patient.site.pet, patient.acquisition.start
    slices = pet.shape[0]
    beds = math.ceil(slices * pet.spacing[2] / _BED_MM)
    rate = math.log(2) / F18_HALF_LIFE_S
    delay_s = math.log(rate * site.bed_s / (1 - math.exp(-rate * site.bed_s))) / rate
    before_s = patient.acquisition.uptake_min * 60 if site.decay == "ADMIN" else 0.0
    factor = stored_per_suv(patient)
    for index, plane in enumerate(pet.array):
        bed_start_s = index * beds // slices * site.bed_s
        slope = float(f"{max(float(plane.max()) * factor / encoding.levels, 1e-6):.9g}")
        tags = {
            "AcquisitionTime": _time(start + timedelta(seconds=bed_start_s)),
            "FrameReferenceTime": f"{(bed_start_s + delay_s) * 1000:.1f}",
            "DecayFactor": f"{math.exp(rate * (before_s + bed_start_s + delay_s)):.6f}",
            "RescaleSlope": f"{slope:.9g}",
            "ImageIndex": slices - index,
            "NumberOfSlices": slices,
        }
        yield tags, np.round(plane * factor / slope).astype(np.uint16)


def stored_per_suv(patient: Patient) -> float:
    """Rescaled units per SUVbw: Bq/ml of a decay-corrected image, or 1 for GML."""
    site, acquisition = patient.site.pet, patient.acquisition
    if site.units == "GML":
        return 1.0
    elapsed_s = acquisition.uptake_min * 60 if site.decay == "START" else 0.0
    dose = acquisition.dose_bq * 2 ** (-elapsed_s / F18_HALF_LIFE_S)
    return float(dose / (patient.anatomy.weight_kg * 1000))
