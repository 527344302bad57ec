"""The DICOM objects of a finished case are checked by dciodvfy, read back, and stored into a real Orthanc."""

import os
import shutil
import subprocess
from collections import defaultdict
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.sr.codedict import codes as dictionary
from pydicom.sr.coding import Code
from pydicom.uid import KeyObjectSelectionDocumentStorage

from explain.explanation import Explanation, SanityCheckResult
from fedpet.clinical.record import ClinicalRecord, RecordReference
from fedpet.core.errors import SliceGeometryError
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.finer_places import STATIONS, VERTEBRAE
from fedpet.imaging.anatomy.regions import REGIONS
from fedpet.imaging.dicom.patient_identity import PatientHeaders, read_identity
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.loading import load_study
from fedpet.imaging.study import AppliedOverride, CheckStatus, QualityCheck
from inference.prediction import EndpointProbability, ModelReference, Prediction, PredictionOrigin
from inference.record_concordance import RecordConfirmation, compare_record
from reports.content import ReaderDecision, ReportContent
from reports.content_hash import content_hash
from reports.dicom import codes as dicom_codes
from reports.dicom.anatomic_sites import SITES, finer_structure
from reports.dicom.objects import write_dicom
from tests.support import report_content as cases
from tests.support.planted_gates import PLANTED_GATES
from tests.support.standard_tables import violations

KEY = b"k" * 32
TURNED = [0.8, 0.6, 0.0, -0.6, 0.8, 0.0]  # rows and columns oblique to the patient's axes
PATIENT = {
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "LEFÈVRE^Zoé",
    "PatientID": "HOSP-4712",
    "PatientBirthDate": "19580704",
    "PatientSex": "F",
    "AccessionNumber": "ACC-1",
    "StudyID": "42",
    "StudyDescription": "TEP au FDG",
    "ReferringPhysicianName": "MARTIN^Élise",
    "PositionReferenceIndicator": "",
}
MARKS = ("LEFÈVRE", "Zoé", "HOSP-4712", "19580704", "MARTIN")
KINDS = ("lesions", "saliency", "measurements", "key_slices", "report")
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"  # Label Map Segmentation Storage
LESIONS = {3: (slice(2, 6), slice(4, 9), slice(20, 26)), 7: (slice(9, 11), slice(30, 35), slice(3, 6))}


def suv_and_labels():
    """A PET with two lesions, numbered as by a reader who dropped the others."""
    rng = np.random.default_rng(11)
    suv, labels = rng.uniform(0.5, 1.5, (14, 36, 30)), np.zeros((14, 36, 30), np.uint16)
    for number, place in LESIONS.items():
        suv[place] = rng.uniform(5.0, 11.0, suv[place].shape)
        labels[place] = number
    return suv, labels


@pytest.fixture(scope="module")
def source(dicom, tmp_path_factory):
    """The folder of the examination, slices and series shuffled."""
    suv, _ = suv_and_labels()
    hu = np.random.default_rng(2).integers(-200, 200, (20, 24, 24))
    pet = dicom.pet(suv, spacing=(3.0, 3.5, 5.0), ImageOrientationPatient=TURNED, **PATIENT)
    folder = tmp_path_factory.mktemp("source")
    dicom.save(pet, folder, shuffle=1)
    return dicom.save(dicom.ct(hu, spacing=(4.0, 4.0, 3.5), **PATIENT), folder, shuffle=2)


@pytest.fixture(scope="module")
def content(source):
    study = load_study(source, pseudonym_key=KEY)
    labels = study.pet.like(suv_and_labels()[1], "label")
    measured = quantify(study.pet, labels, method="suv4_model_map")
    placed = tuple(
        replace(lesion, region=region)
        for lesion, region in zip(measured.lesions, ("lung_right", "unknown"), strict=True)
    )
    attribution = np.random.default_rng(8).normal(0.0, 1e-3, study.pet.shape).astype(np.float32)
    checks = (
        QualityCheck("uptake_time", CheckStatus.WARN, Message("Uptake {minutes:.1f} min.", minutes=95.5)),
        QualityCheck("dose", CheckStatus.PASS, Message("Dose plausible.")),
    )
    return ReportContent(
        report_uid="2.25.209123874612387461238746123874612",
        created="2026-11-24T14:03:05+01:00",
        centre="Centre Exemple",
        study=study,
        checks=checks,
        record=ClinicalRecord(age=66.0, sex="F"),
        prediction=Prediction(
            model=ModelReference("demonstration", "1.0", "ab" * 32, "cd" * 32, synthetic=True, provider="Provider"),
            origin=PredictionOrigin("12" * 32, "34" * 32),
            abstained=None,
            endpoints=(
                EndpointProbability("early_failure_3m", 3, 0.15, 0.09, 0.24, 0.27),
                EndpointProbability("pfs_12m", 12, 0.523, 0.38, 0.64, 0.41),
            ),
            survival=None,
            risk_group="intermediate",
            risk_score=0.1234567,
            interval_level=0.8,
            missing=("albumin",),
            contributions={"age": 0.1},
            quantities=replace(measured, lesions=placed),
            lesion_labels=labels,
        ),
        explanation=Explanation(
            method="integrated gradients (Captum), 32 steps, PET clipped at SUV 2.5, longer than a Long String may be",
            attribution=study.pet.like(attribution, "1"),
            lesion_share={0: 0.1, 3: 0.65, 7: 0.25},
            variable_contributions={},
            completeness_error=0.001,
            gates=(SanityCheckResult("completeness", True, Message("Passed.")),),
            description=Message("Gradients intégrés, 32 pas, à partir d’une TEP écrêtée à un SUV de 2,5"),
        ),
        card={},
    )


@pytest.fixture(scope="module")
def sources(source, content):
    return read_identity(source, content.study)


@pytest.fixture(scope="module")
def pdf(tmp_path_factory):
    """Bytes that nobody looks into; their odd length must survive."""
    path = tmp_path_factory.mktemp("pdf") / "report.pdf"
    path.write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 3 + b"\n%%EOF")
    assert path.stat().st_size % 2
    return path


@pytest.fixture(scope="module")
def written(content, sources, pdf, tmp_path_factory):
    """The four files, in French."""
    folder = tmp_path_factory.mktemp("dicom")
    paths = write_dicom(content, sources, pdf, folder, language="fr")
    assert [path.stem for path in paths] == list(KINDS)
    return folder


@pytest.fixture
def read(written):
    return SimpleNamespace(**{kind: pydicom.dcmread(written / f"{kind}.dcm") for kind in KINDS})


@pytest.fixture
def write(content, sources, pdf, tmp_path):
    """Write a changed case; returns the objects by kind."""

    def changed(changed_sources=sources, language="fr", **fields):
        write_dicom(replace(content, **fields), changed_sources, pdf, tmp_path / "d", language=language)
        made = {path.stem: pydicom.dcmread(path) for path in sorted((tmp_path / "d").iterdir())}
        shutil.rmtree(tmp_path / "d")
        return made

    return changed


def dciodvfy_errors(path):
    if shutil.which("dciodvfy") is None and os.environ.get("CI") != "true":
        pytest.skip("dciodvfy is missing: apt-get install dicom3tools")
    said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, encoding="utf-8", check=False).stderr
    return [line for line in said.splitlines() if line.startswith("Error")]


def saved(dataset, path):
    dataset.save_as(path, enforce_file_format=True)
    return path


def concept(item):
    code = item.ConceptNameCodeSequence[0]
    return code.CodeValue, code.CodingSchemeDesignator


def below(item, code):
    """Content items below `item` whose concept name is `code`."""
    return [one for one in item.ContentSequence if concept(one) == (code.value, code.scheme_designator)]


def coded(item, code):
    """The coded value of the one item below `item` with this concept name, as (value, scheme), or None."""
    found = [one.ConceptCodeSequence[0] for one in item.get("ContentSequence", ()) if concept(one) == code[:2]]
    return (found[0].CodeValue, found[0].CodingSchemeDesignator) if found else None


def numbers(group):
    """(concept, derivation) -> (value, unit) of the NUM items of a group."""
    made = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0]
            derivation, unit = coded(item, ("121401", "DCM")), value.MeasurementUnitsCodeSequence[0]
            unit = unit.get("CodeValue") or unit.LongCodeValue
            made[concept(item)[0], derivation and derivation[0]] = value.NumericValue, unit
    return made


def groups(report):
    """Measurement groups: those of the lesions, that of all lesions, that of the prediction."""
    found = below(below(report, Code("126010", "DCM", ""))[0], Code("125007", "DCM", ""))
    return found[:-2], found[-2], found[-1]


def texts(report):
    """Sentences of the qualitative evaluations."""
    return [item.TextValue for item in below(report, dicom_codes.QUALITATIVE)[0].ContentSequence if "TextValue" in item]


@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_and_the_standard_s_tables_find_no_error(written, kind):
    assert dciodvfy_errors(written / f"{kind}.dcm") == []
    found = pydicom.dcmread(written / f"{kind}.dcm")
    assert violations(found) == []
    there = [element.keyword for element in found if element.keyword != "SOPClassUID"]
    planted = [keyword for keyword in there if violations(without(found, keyword))]
    assert len(planted) >= 20  # what is asked for
    assert {"SOPInstanceUID", "Modality", "PatientName", "StudyID", "SeriesNumber"} <= set(planted)


def without(dataset, keyword):
    copied = pydicom.Dataset(dict(dataset.items()))
    del copied[keyword]
    return copied


def test_every_segment_is_its_lesion_in_place(read, content):
    pet, segments = content.study.pet, read.lesions
    assert segments.SegmentationType == "BINARY"
    rebuilt = np.zeros(pet.shape, np.uint16)
    uids = content.study.source_uids["PT"]
    for frame, mask in zip(segments.PerFrameFunctionalGroupsSequence, segments.pixel_array, strict=True):
        z, y, x = pet.to_index(np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float))
        assert (y, x, z) == pytest.approx((0.0, 0.0, round(z)), abs=1e-3)
        rebuilt[round(z)][mask > 0] = (3, 7)[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1]
        origin = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert origin.ReferencedSOPInstanceUID == uids[round(z)]
    np.testing.assert_array_equal(rebuilt, content.prediction.lesion_labels.array)
    shared = segments.SharedFunctionalGroupsSequence[0]
    assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == TURNED
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [3.5, 3.0]
    assert shared.PixelMeasuresSequence[0].SpacingBetweenSlices == 5.0


def test_another_reader_finds_the_lesions_at_the_same_points(written, content):
    from highdicom.seg import segread

    volume = segread(written / "lesions.dcm").get_volume(combine_segments=True)
    found = np.argwhere(volume.array) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    expected = content.study.pet.to_mm(np.argwhere(content.prediction.lesion_labels.array))
    np.testing.assert_allclose(*(points[np.lexsort(points.round(2).T)] for points in (found, expected)), atol=1e-3)


def test_a_segment_says_what_it_is_and_who_drew_it(read, write, content, tmp_path):
    first, second = read.lesions.SegmentSequence
    assert first.SegmentLabel == "Lésion 3\u00a0: poumon droit"
    assert first.SegmentAlgorithmType == "AUTOMATIC"
    assert first.SegmentationAlgorithmIdentificationSequence[0].AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    region = first.AnatomicRegionSequence[0]
    assert region.CodeMeaning == "Lung"
    assert region.AnatomicRegionModifierSequence[0].CodeMeaning == "Right"
    assert "AnatomicRegionSequence" not in second
    prediction = content.prediction
    finer = (("bone_spine_thoracic", "T8", None), ("mediastinum", None, "4R"))
    lesions = [
        replace(one, region=region, vertebra=vertebra, station=station)
        for one, (region, vertebra, station) in zip(prediction.quantities.lesions, finer, strict=True)
    ]
    quantities = replace(prediction.quantities, method="given_mask", lesions=tuple(lesions))
    made = write(prediction=replace(prediction, quantities=quantities))
    first, second = made["lesions"].SegmentSequence
    assert first.SegmentAlgorithmType == "MANUAL"
    assert first.SegmentLabel == "Lésion 3\u00a0: rachis thoracique, vers T8"
    assert second.SegmentLabel == "Lésion 7\u00a0: médiastin, station 4R proposée"
    assert first.PrimaryAnatomicStructureSequence[0].CodeMeaning == "T8 vertebra"
    structure = second.PrimaryAnatomicStructureSequence[0]
    assert structure.CodeMeaning == "lower paratracheal (including azygous) lymph node"
    assert structure.PrimaryAnatomicStructureModifierSequence[0].CodeMeaning == "Right"
    first, second = groups(made["measurements"])[0]
    assert coded(first, ("vertebral_level", "99FEDPET")) == ("11068009", "SCT")
    assert coded(second, ("node_station", "99FEDPET")) == ("127932007", "SCT")
    station = below(second, dicom_codes.STATION)[0]
    assert coded(station, ("272741003", "SCT")) == ("24028007", "SCT")
    for kind in ("lesions", "measurements"):
        assert dciodvfy_errors(saved(made[kind], tmp_path / f"{kind}.dcm")) == []


def test_our_own_segmentation_comes_back_as_a_mask(written, content):
    mask = read_mask(written / "lesions.dcm", content.study.pet).labels
    expected = np.array([0, 0, 0, 1, 0, 0, 0, 2])[content.prediction.lesion_labels.array]
    np.testing.assert_array_equal(mask.array, expected)


def sul(content, suv_peak):
    """SULpeak by Janmahasatian, by hand; nothing where the images lack weight, height or sex."""
    pet = content.study.pet_facts
    if pet.weight_kg is None or pet.height_m is None or pet.sex not in {"F", "M"}:
        return {}
    base, slope = (8780, 244) if pet.sex == "F" else (6680, 216)
    return {("126405", "126031"): suv_peak * 9270 / (base + slope * pet.weight_kg / pet.height_m**2)}


def test_lesion_groups_hold_the_quantities_and_point_at_the_segments(read, content, sources):
    lesions, _, _ = groups(read.measurements)
    found = zip(lesions, content.prediction.quantities.lesions, read.lesions.SegmentSequence, strict=True)
    for number, (group, lesion, segment) in enumerate(found, start=1):
        assert {key: value for key, (value, _) in numbers(group).items()} == pytest.approx(
            {
                ("126401", "56851009"): lesion.suv_max,
                ("126401", "373098007"): lesion.suv_mean,
                ("126401", "126031"): lesion.suv_peak,
                **sul(content, lesion.suv_peak),
                ("126032", None): lesion.mtv_ml,
                ("126033", None): lesion.tlg,
                ("lesion_share", None): content.explanation.lesion_share[lesion.id],
            },
            rel=1e-5,
        )
        assert numbers(group)["126401", "56851009"][1] == "g/ml{SUVbw}"
        assert numbers(group)["126032", None][1] == "ml"
        assert numbers(group)["126033", None][1] == "g"
        assert {
            coded(item, ("370129005", "SCT")) for item in group.ContentSequence if concept(item)[0] == "126401"
        } == {("126410", "DCM")}
        assert below(group, Code("112039", "DCM", ""))[0].TextValue == segment.TrackingID
        tracking, series = (below(group, Code(value, "DCM", ""))[0] for value in ("112040", "121232"))
        assert segment.TrackingUID == tracking.UID
        assert sources.pet[0].SeriesInstanceUID == series.UID
        reference = below(group, Code("121191", "DCM", ""))[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == read.lesions.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == number
    assert coded(lesions[0], ("363698007", "SCT")) == ("39607008", "SCT")
    assert coded(below(lesions[0], Code("363698007", "SCT", ""))[0], ("272741003", "SCT")) == ("24028007", "SCT")
    assert coded(lesions[1], ("363698007", "SCT")) is None


def test_totals(read, content):
    _, body, _ = groups(read.measurements)
    quantities = content.prediction.quantities
    assert numbers(body) == {
        ("126032", "255619001"): (pytest.approx(quantities.tmtv_ml, rel=1e-5), "ml"),
        ("126033", "255619001"): (pytest.approx(quantities.tlg, rel=1e-5), "g"),
        ("246206008", None): (2, "1"),
        ("126401", "56851009"): (pytest.approx(quantities.suv_max, rel=1e-5), "g/ml{SUVbw}"),
        ("126401", "126031"): (pytest.approx(quantities.suv_peak, rel=1e-5), "g/ml{SUVbw}"),
        **{
            key: (pytest.approx(value, rel=1e-5), "g/ml{SUVlbm(Janma)}")
            for key, value in sul(content, quantities.suv_peak).items()
        },
        ("121206", "56851009"): (pytest.approx(quantities.dmax_mm, rel=1e-5), "mm"),
    }


def test_the_prediction_has_its_interval_and_its_model(read):
    _, _, group = groups(read.measurements)
    found = {key: value for key, (value, _) in numbers(group).items()}
    assert found["pfs_12m", None] == 0.52  # whole per cent: the interval supports no more
    assert (found["pfs_12m", "lower"], found["pfs_12m", "upper"], found["pfs_12m", "cohort"]) == (0.38, 0.64, 0.41)
    assert found["early_failure_3m", None] == 0.15
    assert found["interval_level", None] == 0.8
    assert found["risk_score", None] == 0.12
    assert coded(group, ("answer", "99FEDPET")) == ("answered", "99FEDPET")
    assert coded(group, ("risk_group", "99FEDPET")) == ("middle_third", "99FEDPET")
    assert all("third of the training cohort" in code.meaning for code in dicom_codes.RISK_GROUPS.values())
    assert below(group, Code("111001", "DCM", ""))[0].TextValue == "demonstration – MODÈLE SYNTHÉTIQUE"
    assert below(group, Code("111003", "DCM", ""))[0].TextValue == "1.0"
    parameters = [item.TextValue for item in below(group, Code("111002", "DCM", ""))]
    assert parameters == [f"bundle SHA-256 {'ab' * 32}", f"input contract SHA-256 {'cd' * 32}", "computed by Provider"]


def test_the_report_says_its_language_and_what_must_be_read_beside_the_numbers(read, write, content):
    report = read.measurements
    assert coded(report, ("121049", "DCM")) == ("fr-FR", "RFC5646")
    assert report.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99FEDPET"
    said = texts(report)
    assert said[0].startswith("USAGE RECHERCHE UNIQUEMENT")
    assert said[1].startswith("MODÈLE SYNTHÉTIQUE")
    assert "Albuminémie" in said
    assert any(sentence.startswith("Attention – ") and "95,5 min" in sentence for sentence in said)
    assert not any("Dose plausible" in sentence for sentence in said)
    assert "1 contrôle sans remarque." in said
    assert "Dossier clinique : Âge au début de l’immunothérapie 66 ans ; Sexe femme." in {
        one.replace("\u00a0", " ") for one in said
    }
    assert any(one.startswith("LIPI (dNLR > 3, LDH > LSN)") and "non calculable, manque" in one for one in said)
    assert content.study.pseudonym in said
    assert any(sentence.startswith("2 lésions hypermétaboliques") for sentence in said)  # the conclusion
    assert any(sentence.startswith("PERCIST") for sentence in said)
    assert said[-1] == content_hash(content)
    corrected = AppliedOverride("weight_kg", 17.0, 71.0, "typed wrongly", "MB")
    english = write(language="en", study=replace(content.study, corrections=(corrected,)))["measurements"]
    assert coded(english, ("121049", "DCM")) == ("en-GB", "RFC5646")
    assert any("weight (kg), 71.0 in place of 17.0. Reason: typed wrongly" in sentence for sentence in texts(english))


def test_a_model_of_real_patients_is_not_called_synthetic(read, write, content):
    model = replace(content.prediction.model, synthetic=False)
    made = write(prediction=replace(content.prediction, model=model))
    assert all("MODÈLE SYNTHÉTIQUE" in str(vars(read)[kind]) for kind in KINDS)
    assert not any("SYNTHÉTIQUE" in str(made[kind]) for kind in KINDS)


def test_an_abstention_gives_its_reason_and_no_probability(write, content, tmp_path):
    silent = replace(
        content.prediction, abstained=Message("The chest is not covered."), endpoints=(), risk_group=None,
        risk_score=None, contributions={},
    )  # fmt: skip
    made = write(prediction=silent, explanation=None)
    assert list(made) == ["key_slices", "lesions", "measurements", "report"]
    _, _, group = groups(made["measurements"])
    assert coded(group, ("answer", "99FEDPET")) == ("abstained", "99FEDPET")
    assert numbers(group) == {}
    assert "The chest is not covered." in texts(made["measurements"])
    assert dciodvfy_errors(saved(made["measurements"], tmp_path / "sr.dcm")) == []


@pytest.mark.parametrize("name", PLANTED_GATES)
def test_a_failed_gate_hides_the_map_and_the_shares(write, content, name):
    gate = PLANTED_GATES[name]()
    assert (gate.name, gate.passed) == (name, False)
    made = write(explanation=replace(content.explanation, gates=(*content.explanation.gates, gate)))
    assert "saliency" not in made
    assert any("Carte d’attribution non fiable" in sentence for sentence in texts(made["measurements"]))
    lesions, _, _ = groups(made["measurements"])
    assert ("lesion_share", None) not in numbers(lesions[0])


def test_a_patient_without_lesion_has_a_report_without_segmentation(write, content, tmp_path):
    nothing = content.study.pet.like(np.zeros(content.study.pet.shape, np.uint16), "label")
    none = quantify(content.study.pet, nothing, method="suv4")
    made = write(prediction=replace(content.prediction, quantities=none, lesion_labels=nothing))
    assert "lesions" not in made
    lesions, body, _ = groups(made["measurements"])
    assert lesions == []
    assert numbers(body)["246206008", None] == (0, "1")
    assert dciodvfy_errors(saved(made["measurements"], tmp_path / "sr.dcm")) == []


def test_the_map_is_the_attribution_in_place_to_the_bit(read, content):
    saliency, pet = read.saliency, content.study.pet
    frames = np.frombuffer(saliency.FloatPixelData, "<f4").reshape(pet.shape)
    for frame, image in zip(saliency.PerFrameFunctionalGroupsSequence, frames, strict=True):
        z, y, x = pet.to_index(np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float))
        assert (y, x) == pytest.approx((0.0, 0.0), abs=1e-3)
        np.testing.assert_array_equal(image, content.explanation.attribution.array[round(z)])
    mapping = saliency.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
    assert mapping.DoubleFloatRealWorldValueFirstValueMapped == frames.min() < 0.0
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeMeaning == "Saliency"


def test_the_pdf_comes_back_byte_for_byte(read, pdf):
    assert read.report.EncapsulatedDocumentLength == pdf.stat().st_size
    assert read.report.EncapsulatedDocument[: read.report.EncapsulatedDocumentLength] == pdf.read_bytes()
    assert len(read.report.EncapsulatedDocument) % 2 == 0
    assert read.report.MIMETypeOfEncapsulatedDocument == "application/pdf"


def test_all_belong_to_the_patient_and_the_study_and_own_a_series(read, sources):
    objects = vars(read).values()
    for keyword in PATIENT.keys() - {"SpecificCharacterSet", "PositionReferenceIndicator"}:
        assert {str(one[keyword].value) for one in objects} == {PATIENT[keyword]}
    for keyword in ("StudyInstanceUID", "StudyDate", "StudyTime"):
        assert {one[keyword].value for one in objects} == {sources.patient[keyword].value}
    assert {one.SpecificCharacterSet for one in objects} == {"ISO_IR 192"}
    for image in (read.lesions, read.saliency):
        assert image.FrameOfReferenceUID == sources.pet[0].FrameOfReferenceUID
    taken = {header.SeriesInstanceUID for header in (*sources.pet, *sources.ct)}
    assert len({one.SeriesInstanceUID for one in objects} | taken) == len(taken) + 5
    assert len({one.SOPInstanceUID for one in objects}) == 5


def test_every_version_has_series_numbers_of_its_own_that_no_source_series_has(read, write, sources):
    kinds = ("measurements", "lesions", "saliency", "report", "key_slices")
    first = [int(getattr(read, kind).SeriesNumber) for kind in kinds]
    assert 1_000_000 < first[0] < 2_000_000
    assert first == list(range(first[0], first[0] + 5))
    others = [
        [int(write(**change)[kind].SeriesNumber) for kind in kinds] for change in ({"version": 2}, {"language": "en"})
    ]
    assert len({*first, *others[0], *others[1]}) == 15
    taken = replace(sources, pet=tuple(deepcopy(header) for header in sources.pet))
    taken.pet[0].SeriesNumber = first[2]
    assert [int(write(taken)[kind].SeriesNumber) for kind in kinds] == [number + 10 for number in first]


def test_a_study_id_that_dicom_does_not_allow_is_left_empty(write, sources):
    odd = replace(sources, patient=deepcopy(sources.patient))
    odd.patient["StudyID"] = DataElement("StudyID", "SH", "A" * 20, validation_mode=config.IGNORE)
    made = write(odd)
    assert {one.StudyID for one in made.values()} == {""}
    assert {one.AccessionNumber for one in made.values()} == {PATIENT["AccessionNumber"]}


def test_all_reference_the_source_images(read, sources):
    pet, ct = ({header.SOPInstanceUID for header in headers} for headers in (sources.pet, sources.ct))

    def referenced(dataset):
        return {element.value for element in dataset.iterall() if element.keyword == "ReferencedSOPInstanceUID"}

    assert referenced(read.lesions) == referenced(read.saliency) == pet
    assert referenced(read.report) == pet | ct
    assert referenced(read.measurements) == pet | ct | {read.lesions.SOPInstanceUID, read.saliency.SOPInstanceUID}


def test_the_same_version_gives_the_same_bytes_and_another_gives_other_identifiers(
    written, content, sources, pdf, write, tmp_path
):
    again = write_dicom(content, sources, pdf, tmp_path / "again", language="fr")
    for path in again:
        assert path.read_bytes() == (written / path.name).read_bytes()
    first = {path.stem: pydicom.dcmread(path) for path in again}
    for other in (write(version=2), write(language="en")):
        for kind in KINDS:
            for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
                assert other[kind][keyword].value != first[kind][keyword].value
        tracking = [[one.TrackingUID for one in made["lesions"].SegmentSequence] for made in (first, other)]
        assert tracking[0] == tracking[1]  # the lesions are the same
        assert len(set(tracking[0])) == 2


def test_the_report_s_date_is_everywhere(read, write, sources):
    for one in vars(read).values():
        assert (one.ContentDate, one.ContentTime) == ("20261124", "140305")
        assert (one.InstanceCreationDate, one.InstanceCreationTime) == ("20261124", "140305")
        assert (one.SeriesDate, one.SeriesTime) == ("20261124", "140305")
        for equipment in one.get("ContributingEquipmentSequence", ()):
            assert equipment.get("ContributionDateTime", "20261124140305") == "20261124140305"
    patient = deepcopy(sources.patient)
    for offset, clock in (("-0200", "110305"), ("Paris", "140305")):
        patient.TimezoneOffsetFromUTC = offset
        moved = write(PatientHeaders(patient, sources.pet, sources.ct))
        assert {(one.ContentTime, one.TimezoneOffsetFromUTC) for one in moved.values()} == {(clock, offset)}


@pytest.mark.parametrize(("decision", "flag"), [("accept", "VERIFIED"), ("reject", "UNVERIFIED")])
def test_a_signed_verdict_is_final_and_verified_only_where_it_accepts(write, tmp_path, decision, flag):
    verdict = ReaderDecision(decision, "Une métastase manque.", "Dr Anne\\Petit", "2026-11-24T15:30:00+01:00")
    made = write(verdict=verdict)
    report = made["measurements"]
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("FINAL", flag)
    assert made["report"].VerificationFlag == flag
    evaluations = below(report, dicom_codes.QUALITATIVE)[0]
    assert coded(evaluations, ("verdict", "99FEDPET")) == (decision, "99FEDPET")
    assert "Une métastase manque." in texts(report)
    assert below(evaluations, dicom_codes.SIGNED)[0].DateTime == "20261124153000"
    if decision == "accept":
        observer = report.VerifyingObserverSequence[0]
        assert observer.VerifyingObserverName == "Dr Anne Petit^"
        assert observer.VerificationDateTime == "20261124153000"
    assert dciodvfy_errors(saved(report, tmp_path / "sr.dcm")) == []


def test_what_the_pdf_says_of_certainty_organs_record_and_earlier_dates_is_in_the_report_too(write, content, tmp_path):
    organs = cases.with_organs(cases.make_content()).references
    endpoints = tuple(replace(one, verdict="progression") for one in content.prediction.endpoints)
    compared = compare_record(
        replace(content.record, sex="M"), RecordReference(), replace(content.study.patient, sex="F"),
        confirmation=RecordConfirmation("typing error", "Dr A"),
    )  # fmt: skip
    made = write(
        references=organs,
        concordance=compared,
        prediction=replace(content.prediction, endpoints=endpoints),
        response=cases.with_two_dates(cases.make_content()).response,
    )
    report = made["measurements"]
    *lesions, liver, pool, marrow, _body, prediction = below(
        below(report, Code("126010", "DCM", ""))[0], Code("125007", "DCM", "")
    )
    assert len(lesions) == 2
    for group, organ, site in ((liver, organs.liver, "10200004"), (pool, organs.blood_pool, "113262008"),
                               (marrow, organs.marrow, "14016003")):  # fmt: skip
        assert coded(group, ("363698007", "SCT")) == (site, "SCT")
        assert {key: value for key, (value, _unit) in numbers(group).items()} == {
            ("126401", "373098007"): organ.suv_mean,
            ("126401", "386136009"): organ.suv_sd,
            ("118565006", None): organ.volume_ml,
        }
    for endpoint in endpoints:
        assert coded(prediction, (f"kept_{endpoint.months}m", "99FEDPET")) == ("progression", "99FEDPET")
    said = texts(report)
    assert any("homme (dossier), femme (images) – diffère" in one for one in said)
    assert any("confirmées malgré les images par Dr A" in one for one in said)
    assert any(one.startswith("3 août 2026") for one in said)
    assert dciodvfy_errors(saved(report, tmp_path / "sr.dcm")) == []


def test_a_lesion_keeps_its_tracking_uid_from_one_date_to_the_next(read, write):
    first, second = (segment.TrackingUID for segment in read.lesions.SegmentSequence)
    later = write(tracking={3: "2.25.42"})
    assert [one.TrackingUID for one in later["lesions"].SegmentSequence] == ["2.25.42", second]
    lesions, _, _ = groups(later["measurements"])
    assert [below(group, Code("112040", "DCM", ""))[0].UID for group in lesions] == ["2.25.42", second]
    assert first != "2.25.42"


def test_the_key_slices_are_those_of_the_hottest_voxels_and_of_the_reader(read, content, write):
    selected = read.key_slices
    assert selected.SOPClassUID == KeyObjectSelectionDocumentStorage
    chosen = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in selected.ContentSequence
              if item.ValueType == "IMAGE"]  # fmt: skip
    hottest = []
    for lesion in content.prediction.quantities.lesions:
        suv = np.where(content.prediction.lesion_labels.array == lesion.id, content.study.pet.array, -1.0)
        hottest.append(content.study.source_uids["PT"][int(np.unravel_index(suv.argmax(), suv.shape)[0])])
    assert chosen == hottest
    assert len(set(chosen)) == 2
    pet = content.study.pet
    kept = tuple(tuple(float(x) for x in pet.to_mm(np.array([k, 3.0, 3.0]))) for k in (0.0, 13.0))
    verdict = ReaderDecision("accept", "", "Dr A", "2026-11-24T15:30:00+01:00", key_points=kept)
    more = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            for item in write(verdict=verdict)["key_slices"].ContentSequence if item.ValueType == "IMAGE"]  # fmt: skip
    assert more == [*hottest, content.study.source_uids["PT"][0], content.study.source_uids["PT"][13]]


def test_the_segmentation_is_a_label_map_where_that_is_asked_for(content, sources, pdf, tmp_path):
    write_dicom(content, sources, pdf, tmp_path, language="fr", label_map=True)
    segments = pydicom.dcmread(tmp_path / "lesions.dcm")
    assert segments.SOPClassUID == LABEL_MAP
    assert segments.SegmentationType == "LABELMAP"
    values = {0: 0, 3: 1, 7: 2}
    uids, labels = content.study.source_uids["PT"], content.prediction.lesion_labels.array
    seen = 0
    for frame, mask in zip(segments.PerFrameFunctionalGroupsSequence, segments.pixel_array, strict=True):
        origin = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_array_equal(mask, np.vectorize(values.get)(labels[uids.index(origin)]))
        seen += int((mask > 0).sum())
    assert seen == int((labels > 0).sum())
    report = pydicom.dcmread(tmp_path / "measurements.dcm")
    reference = below(groups(report)[0][0], Code("121191", "DCM", ""))[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPClassUID == LABEL_MAP


def test_an_unsigned_report_is_preliminary(read):
    assert (read.measurements.PreliminaryFlag, read.measurements.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert read.measurements.CompletionFlag == "COMPLETE"


def test_nothing_that_identifies_is_logged_or_warned_of(write, sources, caplog, recwarn):
    caplog.set_level("DEBUG")
    patient = deepcopy(sources.patient)
    patient.PatientName = "LEFÈVRE Zoé sans séparateur"  # libraries warn of such names, and quote them
    recwarn.clear()
    made = write(PatientHeaders(patient, sources.pet, sources.ct))
    assert made["lesions"].PatientName == "LEFÈVRE Zoé sans séparateur"
    said = caplog.text + "".join(str(warning.message) for warning in recwarn)
    assert not any(mark in said for mark in MARKS)


def test_images_of_another_case_are_refused(write, sources):
    elsewhere = deepcopy(sources.pet)
    for header in elsewhere:
        header.ImagePositionPatient[2] += 20.0
    for wrong in (sources.ct, sources.pet[1:], elsewhere):
        with pytest.raises(SliceGeometryError):
            write(PatientHeaders(sources.patient, wrong, ()))


def test_uneven_slices_keep_their_own_places(write, sources, content):
    uneven = deepcopy(sources.pet)
    for k, header in enumerate(uneven):
        header.ImageOrientationPatient[0] += 1e-5 * k
        header.ImagePositionPatient[2] += 0.2 * (k % 2)
        header.SliceThickness = None
    segments = write(PatientHeaders(sources.patient, uneven, sources.ct))["lesions"]
    frames = segments.PerFrameFunctionalGroupsSequence
    heights = {round(float(frame.PlanePositionSequence[0].ImagePositionPatient[2]), 3) for frame in frames}
    drawn = np.flatnonzero(content.prediction.lesion_labels.array.any(axis=(1, 2)))
    assert heights == {round(float(uneven[k].ImagePositionPatient[2]), 3) for k in drawn}


def test_a_pet_without_frame_of_reference_gets_one_for_all_objects(write, sources, tmp_path):
    bare = deepcopy(sources.pet)
    for header in bare:
        del header.FrameOfReferenceUID
    made = write(PatientHeaders(sources.patient, bare, sources.ct))
    assert made["lesions"].FrameOfReferenceUID == made["saliency"].FrameOfReferenceUID
    for name, one in made.items():
        assert dciodvfy_errors(saved(one, tmp_path / f"{name}.dcm")) == []


@pytest.mark.parametrize("kind", ["enhanced", "legacy_converted"])
def test_a_multi_frame_source_gives_frames_in_place(dicom, write, content, tmp_path, kind):
    """One object whose frames run against the order of the volume."""
    suv, labels = suv_and_labels()
    slices = dicom.pet(suv, spacing=(3.0, 3.5, 5.0), ImageOrientationPatient=TURNED, **PATIENT)[::-1]
    folder = dicom.save([getattr(dicom, kind)(slices)], tmp_path / "source")
    study = load_study(folder, pseudonym_key=KEY)
    headers = read_identity(folder, study)
    assert repr(headers) == "SourceHeaders(1 PT, 0 CT)"
    prediction = replace(content.prediction, lesion_labels=study.pet.like(labels, "label"))
    made = write(headers, study=study, prediction=prediction)
    segments = made["lesions"]
    assert segments.PatientName == PATIENT["PatientName"]
    for frame, mask in zip(segments.PerFrameFunctionalGroupsSequence, segments.pixel_array, strict=True):
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        k = round(study.pet.to_index(position)[0])
        number = (3, 7)[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1]
        np.testing.assert_array_equal(mask > 0, labels[k] == number)
        origin = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert origin.ReferencedSOPInstanceUID == headers.pet[0].SOPInstanceUID
        assert origin.ReferencedFrameNumber == len(suv) - k
    for name, one in made.items():
        assert dciodvfy_errors(saved(one, tmp_path / f"{name}.dcm")) == []


def test_codes_mean_what_the_standard_s_dictionary_says():
    named = [value for value in vars(dicom_codes).values() if isinstance(value, Code)]
    named += [site for pair in SITES.values() for site in pair if site is not None]
    named += [*dicom_codes.MODALITIES.values(), *dicom_codes.ORGANS.values()]
    finer = [(name, None) for name in VERTEBRAE] + [(None, name) for name in STATIONS]
    named += [finer_structure(SimpleNamespace(vertebra=bone, station=station))[0] for bone, station in finer]
    meanings = defaultdict(set)
    for designator in ("DCM", "SCT", "LN"):
        scheme = getattr(dictionary, designator)
        for name in scheme.dir():
            code = getattr(scheme, name)
            meanings[designator, code.value].add(code.meaning.lower())
    standard = [code for code in named if code.scheme_designator in {"DCM", "SCT", "LN"}]
    assert len(standard) > 50
    assert [code for code in standard if not meanings[code.scheme_designator, code.value]] == []
    other = {
        code.value for code in standard if code.meaning.lower() not in meanings[code.scheme_designator, code.value]
    }
    assert other == {"246206008", "260753009", "89457008", "349358000"}  # worded as in the templates


def test_every_region_has_a_site():
    assert set(SITES) == set(REGIONS) - {"unknown"}


def stored(orthanc, paths):
    """Status of each C-STORE into Orthanc; an empty status is a refusal."""
    from pynetdicom import AE

    datasets = [pydicom.dcmread(path) for path in paths]
    entity = AE("FEDPET")
    for kind in sorted({(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in datasets}):
        entity.add_requested_context(*kind)
    association = entity.associate("127.0.0.1", orthanc.dicom_port, ae_title="ORTHANC")
    assert association.is_established
    try:
        return [association.send_c_store(one).get("Status") for one in datasets]
    finally:
        association.release()


def test_orthanc_takes_them_into_the_patient_s_study(orthanc, source, written, sources, read):
    paths = [*sorted(source.iterdir()), *(written / f"{kind}.dcm" for kind in KINDS)]
    assert set(stored(orthanc, paths)) == {0}
    held = orthanc.instances(sources.patient.StudyInstanceUID)
    assert len(held) == len(paths)
    series = {orthanc.rest(f"/instances/{held[one.SOPInstanceUID]}/series")["ID"] for one in vars(read).values()}
    study = orthanc.rest(f"/series/{series.pop()}/study")
    assert len(study["Series"]) == 7
    assert study["PatientMainDicomTags"]["PatientName"] == PATIENT["PatientName"]
    assert len(orthanc.rest(f"/patients/{study['ParentPatient']}")["Studies"]) == 1


@pytest.mark.reference_data
def test_objects_of_a_real_examination_add_no_error(reference_data, content, pdf, tmp_path):
    folder = reference_data / "sts" / "STS_002"
    study = load_study(folder, pseudonym_key=KEY)
    labels = study.pet.like((study.pet.array > 4.0).astype(np.uint16), "label")
    real = replace(
        content,
        study=study,
        prediction=replace(
            content.prediction, lesion_labels=labels, quantities=quantify(study.pet, labels, method="suv4")
        ),
        explanation=replace(content.explanation, attribution=study.pet.like(study.pet.array - 1.0, "1")),
    )
    headers = read_identity(folder, study)
    paths = write_dicom(real, headers, pdf, tmp_path, language="fr")
    assert len(paths) == 5
    original = next(path for path in sorted((folder / "PET" / "image").iterdir()))
    known = {error.split(" - ")[1] for error in dciodvfy_errors(original)}  # a Study ID that is too long
    for path in paths:
        assert [error for error in dciodvfy_errors(path) if error.split(" - ")[1] not in known] == []
        assert violations(pydicom.dcmread(path)) == []
