"""Coded concepts of the DICOM objects: the standard's where it has one, else a private scheme that the object names.

Values and meanings are those of DICOM PS3.16 (context groups 7464, 7466, 7469, 7180, 4031) and SNOMED CT; a test
compares them with pydicom's dictionary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedpet.core.messages import Language
    from fedpet.imaging.anatomy.reference_uptake import ReferenceOrgan
    from inference.prediction import ConformalAnswer, EndpointName, RiskGroup

SCHEME: Final = "99FEDPET"

SUV = Code("126401", "DCM", "SUVbw")
SUV_METHOD = Code("126410", "DCM", "SUV body weight calculation method")
METABOLIC_VOLUME = Code("126032", "DCM", "Metabolic Volume")
VOXEL_SUM = Code("126030", "DCM", "Sum of segmented voxel method for volume")
TOTAL_LESION_GLYCOLYSIS = Code("126033", "DCM", "Total Lesion Glycolysis")
SUL = Code("126405", "DCM", "SUVlbm(Janma)")
SUL_METHOD = Code("126414", "DCM", "SUV lean body mass calculation Janmahasatian method")
VOLUME = Code("118565006", "SCT", "Volume")
DISTANCE = Code("121206", "DCM", "Distance")
LATERALITY = Code("272741003", "SCT", "Laterality")
NUMBER_OF_LESIONS = Code("246206008", "SCT", "Number of lesions")
SALIENCY = Code("130404", "DCM", "Saliency")

MAXIMUM = Code("56851009", "SCT", "Maximum")
MEAN = Code("373098007", "SCT", "Mean")
PEAK = Code("126031", "DCM", "Peak Value Within ROI")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
TOTAL = Code("255619001", "SCT", "Total")

SUV_UNIT = Code("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value body weight")
SUL_UNIT = Code("g/ml{SUVlbm(Janma)}", "UCUM", "Standardized Uptake Value lean body mass (Janma)")
MILLILITRE = Code("ml", "UCUM", "milliliter")
GRAM = Code("g", "UCUM", "gram")
MILLIMETRE = Code("mm", "UCUM", "mm")
MINUTE = Code("min", "UCUM", "minute")
BECQUEREL = Code("Bq", "UCUM", "Bq")
RATIO = Code("1", "UCUM", "no units")

LESION = Code("52988006", "SCT", "Lesion")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
ENTIRE_BODY = Code("38266002", "SCT", "Entire body")
PET_REPORT = Code("126003", "DCM", "PET Measurement Report")
PET_CT = Code("443271005", "SCT", "PET/CT FDG imaging of whole body")
PET_ALONE = Code("44139-4", "LN", "PET whole body")
QUALITATIVE = Code("C0034375", "UMLS", "Qualitative Evaluations")
CONCLUSION = Code("121077", "DCM", "Conclusion")
COMMENT = Code("121106", "DCM", "Comment")
QUALITY_FINDING = Code("111052", "DCM", "Quality Finding")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
MORPHOLOGICAL_OPERATIONS = Code("123104", "DCM", "Morphological Operations")
DEVICE = Code("121007", "DCM", "Device")

OF_INTEREST = Code("113000", "DCM", "Of Interest")
SOURCE_IMAGE = Code("121324", "DCM", "Source image")

LIBRARY = Code("111028", "DCM", "Image Library")
LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
SOURCE = Code("260753009", "SCT", "Source")
MODALITY = Code("121139", "DCM", "Modality")
MODALITIES: Mapping[str, Code] = {
    "PT": Code("PT", "DCM", "Positron emission tomography"),
    "CT": Code("CT", "DCM", "Computed Tomography"),
}
FRAME_OF_REFERENCE = Code("112227", "DCM", "Frame of Reference UID")
RADIONUCLIDE = Code("89457008", "SCT", "Radionuclide")
FLUORINE_18 = Code("77004003", "SCT", "^18^Fluorine")
RADIOPHARMACEUTICAL = Code("349358000", "SCT", "Radiopharmaceutical agent")
FDG = Code("35321007", "SCT", "Fluorodeoxyglucose F^18^")
INCUBATION = Code("126203", "DCM", "PET Radionuclide Incubation Time")
TOTAL_DOSE = Code("123006", "DCM", "Radionuclide Total Dose")

LANGUAGES: Mapping[Language, Code] = {
    "fr": Code("fr-FR", "RFC5646", "French (France)"),
    "en": Code("en-GB", "RFC5646", "English (United Kingdom)"),
}


def _own(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


ENDPOINTS: Mapping[EndpointName, Code] = {
    "pfs_12m": _own("pfs_12m", "Probability of progression-free survival >= 12 months"),
    "dcb_6m": _own("dcb_6m", "Probability of progression-free survival >= 6 months"),
    "early_failure_3m": _own("early_failure_3m", "Probability of progression or death before 3 months"),
}
KEPT: Mapping[EndpointName, Code] = {
    "pfs_12m": _own("kept_12m", "Outcomes that the model keeps at 12 months (conformal set)"),
    "dcb_6m": _own("kept_6m", "Outcomes that the model keeps at 6 months (conformal set)"),
    "early_failure_3m": _own("kept_3m", "Outcomes that the model keeps at 3 months (conformal set)"),
}
OUTCOMES: Mapping[ConformalAnswer, Code] = {
    "free": _own("free", "No progression"),
    "progression": _own("progression", "Progression or death"),
    "indeterminate": _own("indeterminate", "Both: indeterminate"),
}
ORGANS: Mapping[ReferenceOrgan, Code] = {
    "liver": Code("10200004", "SCT", "Liver"),
    "blood_pool": Code("113262008", "SCT", "Thoracic aorta"),
    "spleen": Code("78961009", "SCT", "Spleen"),
    "marrow": Code("14016003", "SCT", "Bone marrow"),
}
LOWER = _own("lower", "Lower limit of the interval")
UPPER = _own("upper", "Upper limit of the interval")
COHORT = _own("cohort", "Rate in the training cohort")
INTERVAL_LEVEL = _own("interval_level", "Coverage of the intervals")
RISK_SCORE = _own("risk_score", "Calibrated log hazard of the model")
RISK_GROUP = _own("risk_group", "Third of the training cohort by risk")
RISK_GROUPS: Mapping[RiskGroup, Code] = {
    "low": _own("lower_third", "Lower third of the training cohort by risk"),
    "intermediate": _own("middle_third", "Middle third of the training cohort by risk"),
    "high": _own("upper_third", "Upper third of the training cohort by risk"),
}
ANSWER = _own("answer", "Answer of the model")
ANSWERED = _own("answered", "Answered")
ABSTAINED = _own("abstained", "Abstained")
ABSTENTION = _own("abstention", "Reason of the abstention")
MISSING = _own("missing", "Missing inputs of the model")
BETWEEN_CENTROIDS = _own("centroids", "Between the centroids of two lesions")
VERTEBRA = _own("vertebral_level", "Vertebral level, estimated")
STATION = _own("node_station", "Lymph node station (IASLC), proposed")
LESION_SHARE = _own("lesion_share", "Share of the explanation of the prediction")
VERDICT = _own("verdict", "Verdict of the reader on the answer")
VERDICTS: Mapping[str, Code] = {
    "accept": _own("accept", "Accepted"),
    "amend": _own("amend", "Amended"),
    "reject": _own("reject", "Rejected"),
}
PSEUDONYM = _own("pseudonym", "Pseudonym of the patient in the report")
READER = _own("reader", "Reader who signed")
SIGNED = _own("signed", "Date and time of the signature")
SHOWN = _own("shown_sha256", "SHA-256 of what was displayed to the reader")
REPORT_HASH = _own("report_sha256", "SHA-256 of the content of the report")

SCHEME_IDENTIFICATION = CodingSchemeIdentificationItem(
    SCHEME, name="fedpet: predictions and their explanation", responsible_organization="fedpet"
)
