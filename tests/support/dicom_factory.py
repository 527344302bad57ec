"""Small DICOM PET and CT series, built slice by slice so that a test can spoil one thing at a time.

Use through the fixture `dicom`: `dicom.pet(suv)`, `dicom.ct(hu)`, `dicom.save(slices, folder)`, `dicom.zipped(...)`;
`dicom.enhanced(slices)` and `dicom.legacy_converted(slices)` make one multi-frame object of them.
"""

from __future__ import annotations

import copy
import datetime as dt
import io
import zipfile

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

INJECTION = dt.datetime(2024, 3, 5, 9, 0, 0)  # noqa: DTZ001  DICOM times are local
START = dt.datetime(2024, 3, 5, 10, 0, 0)  # noqa: DTZ001
HALF_LIFE_S = 6586.2
DOSE_BQ = 280e6
WEIGHT_KG = 70.0
FRAME = generate_uid(entropy_srcs=["frame"])
STUDY = generate_uid(entropy_srcs=["study"])


def bqml_per_suv(minutes=60.0):
    """Activity concentration of SUV 1 at the start of the scan, `minutes` after injection."""
    return DOSE_BQ * 0.5 ** (minutes * 60 / HALF_LIFE_S) / (WEIGHT_KG * 1000)


def _slices(array, modality, sop_class, *, series, spacing, origin, description, tags):
    """One dataset per slice, without pixels."""
    built = []
    for k in range(len(array)):
        d = Dataset()
        d.SOPClassUID, d.SOPInstanceUID = sop_class, generate_uid(entropy_srcs=[series, str(k)])
        d.Modality, d.Manufacturer, d.ManufacturerModelName = modality, "SYNTHETIC", "Factory"
        d.PatientName, d.PatientID, d.PatientSex = "DUPONT^Jeanne", "HOSP-4711", "F"
        d.PatientWeight, d.PatientSize = WEIGHT_KG, 1.70
        d.StudyInstanceUID, d.FrameOfReferenceUID = STUDY, FRAME
        d.SeriesInstanceUID, d.SeriesNumber = generate_uid(entropy_srcs=[series]), 2
        d.SeriesDescription, d.ImageType = description, ["ORIGINAL", "PRIMARY"]
        d.StudyDate = d.SeriesDate = d.AcquisitionDate = START.strftime("%Y%m%d")
        d.StudyTime = d.SeriesTime = d.AcquisitionTime = START.strftime("%H%M%S")
        d.InstanceNumber = len(array) - k
        d.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        d.ImagePositionPatient = [origin[0], origin[1], round(origin[2] + k * spacing[2], 4)]
        d.PixelSpacing, d.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        d.Rows, d.Columns = array.shape[1:]
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
        for keyword, value in tags.items():
            setattr(d, keyword, value)
        built.append(d)
    return built


def tracer(**tags):
    """Item of Radiopharmaceutical Information Sequence; a tag set to None is left out."""
    d = Dataset()
    values = {
        "Radiopharmaceutical": "FDG",
        "RadiopharmaceuticalStartTime": INJECTION.strftime("%H%M%S"),
        "RadionuclideTotalDose": str(DOSE_BQ),
        "RadionuclideHalfLife": str(HALF_LIFE_S),
    }
    for keyword, value in (values | tags).items():
        if value is not None:
            setattr(d, keyword, value)
    return d


def pet(suv, *, spacing=(4.0, 4.0, 4.0), origin=(-40.0, -40.0, 0.0), series="pet", scale=None, drug=None, **tags):
    """A BQML, START series whose SUVbw is `suv` (z, y, x); each slice has its own slope.

    `scale` is the stored unit per SUV (default: Bq/ml at the scan start); `tags` override any attribute.
    """
    scale = bqml_per_suv() if scale is None else scale
    defaults = {
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["NORM", "ATTN", "SCAT", "DECY"],
        "SeriesType": ["WHOLE BODY", "IMAGE"],
        "RescaleIntercept": "0",
        "ActualFrameDuration": "120000",
    }
    slices = _slices(
        suv,
        "PT",
        PositronEmissionTomographyImageStorage,
        series=series,
        spacing=spacing,
        origin=origin,
        description="PET AC",
        tags=defaults | tags,
    )
    for d, image in zip(slices, suv, strict=True):
        d.RadiopharmaceuticalInformationSequence = [drug or tracer()]
        slope = float(f"{max(float(image.max()) * scale / 30000, 1e-9):.8g}")
        d.RescaleSlope = f"{slope:.8g}"
        d.PixelData = np.rint(image * scale / slope).astype("<i2").tobytes()
    return slices


def ct(hu, *, spacing=(2.0, 2.0, 4.0), origin=(-40.0, -40.0, 0.0), series="ct", **tags):
    """A CT series of whole HU (z, y, x), stored with intercept -1024."""
    defaults = {"RescaleSlope": "1", "RescaleIntercept": "-1024", "KVP": "120"}
    place = {"spacing": spacing, "origin": origin}
    slices = _slices(hu, "CT", CTImageStorage, series=series, description="CT AC", tags=defaults | tags, **place)
    for d, image in zip(slices, hu, strict=True):
        d.PixelData = (np.asarray(image, int) + 1024).astype("<i2").tobytes()
    return slices


def _item(**tags):
    """A data set of these attributes; those that are None are left out."""
    d = Dataset()
    for keyword, value in tags.items():
        if value is not None:
            setattr(d, keyword, value)
    return d


def enhanced(slices, *, unit="Bq/ml", corrected_to=START, series="enhanced", **tags):
    """An Enhanced PET or CT (PS3.3 A.56, A.38) with the frames of a classic series, in the order given.

    A PET is in real world values of the UCUM code `unit`, corrected for decay to `corrected_to` (None: not at all).
    """
    first = slices[0]
    pet_, whole = first.Modality == "PT", copy.deepcopy(first)
    for keyword in ("Units", "DecayCorrection", "CorrectedImage", "SeriesType", "RescaleSlope", "RescaleIntercept",
                    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
                    "ActualFrameDuration", "AcquisitionDate", "AcquisitionTime", "PixelData"):  # fmt: skip
        whole.pop(keyword, None)
    whole.SOPClassUID = EnhancedPETImageStorage if pet_ else EnhancedCTImageStorage
    whole.SOPInstanceUID = whole.SeriesInstanceUID = generate_uid(entropy_srcs=[series])
    whole.ImageType, whole.NumberOfFrames = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], len(slices)
    shared = _item(
        PlaneOrientationSequence=[_item(ImageOrientationPatient=first.ImageOrientationPatient)],
        PixelMeasuresSequence=[_item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)],
    )
    if pet_:
        _say_pet(whole, shared, corrected_to)
    whole.SharedFunctionalGroupsSequence = [shared]
    whole.PerFrameFunctionalGroupsSequence = [_frame(one, number, unit) for number, one in enumerate(slices, start=1)]
    whole.PixelData = b"".join(one.PixelData for one in slices)
    for keyword, value in tags.items():
        setattr(whole, keyword, value)
    return whole


def _say_pet(whole, shared, corrected_to):
    """Corrections (PS3.3 C.8.22.6) and tracer (C.8.22.4): a start with its date, and codes instead of names."""
    for done in ("AttenuationCorrected", "ScatterCorrected", "RandomsCorrected", "DetectorNormalizationCorrection"):
        setattr(whole, done, "YES")
    whole.DecayCorrected = "YES" if corrected_to else "NO"
    if corrected_to:
        whole.DecayCorrectionDateTime = corrected_to.strftime("%Y%m%d%H%M%S.%f")
    (drug,) = whole.RadiopharmaceuticalInformationSequence
    whole.RadiopharmaceuticalInformationSequence = [
        _item(
            RadiopharmaceuticalAgentNumber=1,
            RadionuclideTotalDose=drug.RadionuclideTotalDose,
            RadionuclideHalfLife=drug.RadionuclideHalfLife,
            RadiopharmaceuticalStartDateTime=INJECTION.strftime("%Y%m%d%H%M%S"),
            RadiopharmaceuticalCodeSequence=[
                _item(CodeValue="35321007", CodingSchemeDesignator="SCT", CodeMeaning="Fluorodeoxyglucose F^18^")
            ],
        )
    ]
    shared.RadiopharmaceuticalUsageSequence = [_item(RadiopharmaceuticalAgentNumber=1)]


def _frame(one, number, unit):
    """The functional groups of one frame."""
    acquired = one.AcquisitionDate + one.AcquisitionTime
    duration = one.get("ActualFrameDuration")
    groups = _item(
        PlanePositionSequence=[_item(ImagePositionPatient=one.ImagePositionPatient)],
        FrameContentSequence=[
            _item(
                FrameAcquisitionDateTime=acquired,
                FrameAcquisitionDuration=None if duration is None else float(duration),
                StackID="1",
                InStackPositionNumber=number,
            )
        ],
    )
    rescale = {"RescaleSlope": one.RescaleSlope, "RescaleIntercept": one.RescaleIntercept, "RescaleType": "HU"}
    if one.Modality == "PT":
        rescale = {"RescaleSlope": "1", "RescaleIntercept": "0", "RescaleType": "US"}
        groups.RealWorldValueMappingSequence = [mapping(unit, float(one.RescaleSlope))]
    groups.PixelValueTransformationSequence = [_item(**rescale)]
    return groups


def mapping(unit, slope, intercept=0.0):
    """An item of Real World Value Mapping Sequence."""
    code = _item(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)
    return _item(
        RealWorldValueFirstValueMapped=-32768,
        RealWorldValueLastValueMapped=32767,
        RealWorldValueIntercept=intercept,
        RealWorldValueSlope=slope,
        MeasurementUnitsCodeSequence=[code],
    )


def legacy_converted(slices, **options):
    """The Legacy Converted Enhanced PET or CT that highdicom makes of a classic series."""
    from highdicom import legacy

    kinds = {"PT": legacy.LegacyConvertedEnhancedPETImage, "CT": legacy.LegacyConvertedEnhancedCTImage}
    files = [dcmread(io.BytesIO(to_bytes(one))) for one in slices]
    for one in files:
        for keyword in ("PatientBirthDate", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
            one.setdefault(keyword, "")
    return kinds[slices[0].Modality](
        files,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        **options,
    )


def to_bytes(dataset):
    """A DICOM file, in the transfer syntax that the data set has, else explicit little endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    had = getattr(dataset, "file_meta", None)
    meta.TransferSyntaxUID = had.TransferSyntaxUID if had else ExplicitVRLittleEndian
    dataset.file_meta = meta
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def save(slices, folder, *, shuffle=None):
    """Write the slices as files into `folder`, in their order or shuffled by a seed; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = len(list(folder.iterdir()))
    names = np.arange(len(slices))
    if shuffle is not None:
        names = np.random.default_rng(shuffle).permutation(names)
    for name, dataset in zip(names, slices, strict=True):
        (folder / f"{taken + name:05d}").write_bytes(to_bytes(dataset))
    return folder


def zipped(members, path):
    """A zip archive of (name, bytes) pairs; returns its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def thorax(shape=(60, 100, 100), *, spacing=(4.0, 4.0, 4.0)):
    """A crude standing patient on a cubic grid: (SUV, HU, origin).

    Body ellipse, narrow neck above, two ellipsoid lungs (about 2 l each at full size), a spine, a liver of SUV 2.2
    under the right lung and a lesion of SUV 9 in the right lung.
    """
    z, y, x = ((np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, reversed(spacing), strict=True))
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    top = z.max() - 140
    wide = np.where(z > top + 5, 0.45, 1.0)
    body = (x / (170 * wide)) ** 2 + (y / (110 * wide)) ** 2 <= 1
    hu = np.where(body, 30, -1000)
    suv = np.where(body, 0.8, 0.0)
    for side in (-1, 1):
        lung = ((x - side * 80) / 60) ** 2 + (y / 80) ** 2 + ((z - (top - 110)) / 105) ** 2 <= 1
        hu = np.where(lung, -800, hu)
        suv = np.where(lung, 0.4, suv)
    liver = ((x + 80) / 70) ** 2 + (y / 85) ** 2 + ((z - (top - 270)) / 75) ** 2 <= 1
    liver &= hu == 30
    hu, suv = np.where(liver, 60, hu), np.where(liver, 2.2, suv)
    spine = (x / 16) ** 2 + ((y - 70) / 16) ** 2 <= 1
    hu = np.where(spine & body, 400, hu)
    lesion = ((x + 90) ** 2 + (y + 10) ** 2 + (z - (top - 100)) ** 2) <= 20**2
    hu, suv = np.where(lesion, 40, hu), np.where(lesion, 9.0, suv)
    origin = tuple(-(n - 1) / 2 * step for n, step in zip(reversed(shape), spacing, strict=True))
    return suv.astype(float), hu.astype(int), origin
