"""The PDF is rendered for real and read back with poppler."""

import os
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from clinical.record import ClinicalRecord
from explain.explanation import Explanation, GateVerdict
from fedpet.messages import Message
from imaging.lesions import Quantities
from imaging.quantities import quantify
from imaging.study import Level, PetFacts, QualityCheck, Study
from imaging.volume import Volume
from inference.contract import BIOMARKERS, default_contract
from inference.prediction import EndpointProbability, ModelReference, Prediction, SurvivalCurve
from reports.content import ReportContent
from reports.pdf import write_pdf

if shutil.which("pdftotext") is None and os.environ.get("CI") != "true":
    pytest.skip("poppler is missing: apt-get install poppler-utils", allow_module_level=True)


def ellipsoid(grid, centre, radii):
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


def volume(spacing, unit, regions, background):
    """A body of 400 x 240 x 960 mm drawn from ellipsoids: (centre x, y, z), (radii), value; LPS mm."""
    n = (np.array([960, 280, 440]) / spacing).astype(int)
    z, y, x = np.meshgrid(*[(np.arange(k) - (k - 1) / 2) * spacing for k in n], indexing="ij")
    array = np.full(n, background, np.float32)
    for centre, radii, value in regions:
        array[ellipsoid((x, y, z), centre, radii)] = value
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -(n[::-1] - 1) / 2 * spacing
    return Volume(array, affine, unit)


BODY = [((0, 0, 20), (175, 105, 470)), ((0, 0, 400), (75, 95, 78))]
LUNGS = [((-75, -5, 160), (60, 75, 115)), ((75, -5, 160), (60, 75, 115))]
LESIONS = [
    ((-85, -10, 190), (24, 22, 26), 11.5),
    ((-18, 5, 185), (14, 13, 18), 8.2),
    ((16, 12, 150), (11, 11, 12), 6.4),
    ((-80, -15, -5), (16, 14, 15), 9.1),
    ((5, 75, -120), (13, 11, 14), 7.3),
    ((90, 20, 110), (9, 9, 9), 5.2),
]


def phantom():
    lungs = [(c, r, 0.5) for c, r in LUNGS]
    organs = [
        ((-80, -10, 0), (75, 75, 62), 2.3),
        ((0, -60, -280), (38, 34, 30), 18.0),
        ((0, 0, 415), (58, 78, 58), 8.5),
        ((35, -35, 120), (38, 34, 42), 2.8),
    ]
    pet = volume(6.0, "g/ml", [(c, r, 0.9) for c, r in BODY] + lungs + organs + LESIONS, 0.02)
    noise = np.random.default_rng(3).normal(1.0, 0.08, pet.shape)
    pet = pet.like((pet.array * noise).astype(np.float32), "g/ml")
    tissue = [(c, r, 30.0) for c, r in BODY] + [(c, r, -800.0) for c, r in LUNGS]
    spine = [((0, 70, 20), (16, 16, 440), 420.0)]
    ct = volume(4.0, "HU", tissue + spine + [(c, r, 45.0) for c, r, _ in LESIONS], -1000.0)
    labels = volume(6.0, "label", [(c, r, i + 1) for i, (c, r, _) in enumerate(LESIONS)], 0)
    return pet, ct, labels.like(labels.array.astype(np.uint16), "label")


CHECKS = (
    QualityCheck("ct_present", Level.PASS, Message("A CT of the same frame of reference is present.")),
    QualityCheck("chest_covered", Level.PASS, Message("Both lungs lie inside the field of view.")),
    QualityCheck("pet_extent", Level.PASS, Message("The PET covers {mm:.0f} mm.", mm=960.0)),
    QualityCheck("uptake_time", Level.WARN, Message("Uptake time is {x:.1f} min, 55 to 75 expected.", x=82.5)),
    QualityCheck("dose", Level.PASS, Message("{x:.0f} MBq were injected.", x=251.0)),
    QualityCheck("weight", Level.PASS, Message("Weights of the images and of the record agree.")),
    QualityCheck("slices", Level.PASS, Message("Slices are complete and evenly spaced.")),
    QualityCheck("alignment", Level.PASS, Message("PET and CT overlap.")),
    QualityCheck("suv_plausible", Level.PASS, Message("SUV of the body is plausible.")),
    QualityCheck("orientation", Level.PASS, Message("Head first, supine.")),
    QualityCheck("tracer", Level.PASS, Message("Fluorodeoxyglucose.")),
)

RECORD = ClinicalRecord(
    age=64.5, sex="M", height_cm=174, weight_kg=71, ecog_ps=1, smoking="former", pack_years=35,
    histology="adenocarcinoma", pdl1_tps=60, line=1, drug="pembrolizumab", metastatic_organs=3,
    brain_metastases=False, liver_metastases=True, bone_metastases=True, steroids=False,
    ldh=312, ldh_uln=248, leucocytes=9.4, neutrophils=6.9, lymphocytes=1.5, haemoglobin=12.6, crp=24,
    pet_to_treatment_days=18, glycaemia_mmol_l=6.2,
)  # fmt: skip

CARD = {
    "name": "demonstration", "version": "0.1.0", "created": "2026-11-20", "synthetic": True,
    "intended_use": "Research on the prediction of progression-free survival; demonstration of the software.",
    "limits": [
        "Trained on simulated patients only: its figures say nothing about real patients.",
        "Not evaluated under chemo-immunotherapy, nor in patients with a driver alteration.",
    ],
    "federation": {
        "framework": "Fed-BioMed", "framework_version": "6.4.1", "rounds": 40, "aggregator": "FedAvg",
        "secure_aggregation": False, "plan_sha256": "ab" * 32,
        "nodes": [{"site": f"site-{i}", "training_cases": 60 + 5 * i} for i in range(1, 9)],
    },
    "metrics": {
        "auc_pfs_12m": {"value": 0.781, "lower": 0.742, "upper": 0.82},
        "auc_bayes": 0.842, "auc_clinical_only": 0.664, "c_index": {"value": 0.701, "lower": 0.67, "upper": 0.73},
    },
    "data": {"description": "640 synthetic patients at 8 non-identical centres."},
}  # fmt: skip


def measured(pet, labels):
    regions = ("lung_right", "mediastinum", "mediastinum", "liver", "bone", "lung_left")
    found = quantify(pet, labels, method="suv4_model_map")
    lesions = tuple(replace(lesion, region=region) for lesion, region in zip(found.lesions, regions, strict=True))
    return replace(found, lesions=lesions)


def predicted(pet, labels):
    values = dict.fromkeys(default_contract().inputs, 0.0) | {
        "age": -0.02, "male": 0.04, "ecog_1": 0.11, "never_smoker": -0.03, "pdl1_1": -0.12, "pdl1_50": -0.31,
        "ldh_above_uln": 0.22, "nlr": 0.17, "leucocytes": 0.03, "liver_metastases": 0.28, "bone_metastases": 0.12,
        "missing:albumin": 0.05, "line_2": -0.09,
    }  # fmt: skip
    image = dict(zip(BIOMARKERS, (0.35, 0.09, 0.14, -0.06, 0.21, 0.02), strict=True))
    return Prediction(
        model=ModelReference("demonstration", "0.1.0", "cd" * 32, "ef" * 32, synthetic=True, provider="TestProvider"),
        abstained=None,
        endpoints=(
            EndpointProbability("pfs_12m", 12.0, 0.337, 0.264, 0.418, 0.391),
            EndpointProbability("dcb_6m", 6.0, 0.528, 0.452, 0.604, 0.573),
            EndpointProbability("early_failure_3m", 3.0, 0.286, 0.226, 0.352, 0.247),
        ),
        survival=SurvivalCurve(
            months=(0.0, 1.5, 3.0, 4.5, 6.0, 9.0, 12.0, 18.0, 24.0),
            probability=(1.0, 0.86, 0.714, 0.612, 0.528, 0.42, 0.337, 0.248, 0.19),
            lower=(1.0, 0.82, 0.648, 0.54, 0.452, 0.34, 0.264, 0.18, 0.13),
            upper=(1.0, 0.9, 0.774, 0.68, 0.604, 0.5, 0.418, 0.33, 0.26),
        ),
        risk_group="intermediate",
        risk_score=0.43,
        interval_level=0.8,
        missing=("albumin",),
        contributions=values | {f"image:{name}": x for name, x in image.items()},
        quantities=measured(pet, labels),
        lesion_labels=labels,
    )  # fmt: skip


def explained(pet, labels):
    smooth = np.where(labels.array > 0, pet.array - 2.5, 0.02 * pet.array)
    return Explanation(
        method="integrated gradients (Captum), 32 steps, PET clipped at SUV 2.5",
        attribution=pet.like((smooth / np.abs(smooth).sum()).astype(np.float32), "1"),
        lesion_share={0: 0.083, 1: 0.412, 2: 0.121, 3: 0.06, 4: 0.203, 5: 0.094, 6: 0.027},
        variable_contributions={},
        completeness_error=0.0042,
        gates=(
            GateVerdict("completeness", passed=True, reason=Message("The attributions sum to the score difference.")),
            GateVerdict(
                "randomisation", passed=True, reason=Message("Random weights give another map (SSIM {x:.2f}).", x=0.21)
            ),
            GateVerdict("deletion", passed=True, reason=Message("Deletion beats random voxels and the SUV image.")),
        ),
    )


@pytest.fixture(scope="module")
def content():
    pet, ct, labels = phantom()
    facts = PetFacts(
        units="BQML", decay_correction="START", suv_factor_min=2.9e-4, suv_factor_max=2.9e-4,
        reference_time_source="series_time", reference_time=datetime(2026, 11, 2, 10, 22, 30),  # noqa: DTZ001 - DICOM times are local
        injection_time=None, uptake_min=82.5, dose_bq=251e6, half_life_s=6586.2, weight_kg=71.0, height_m=1.74, sex="M",
        radiopharmaceutical="Fluorodeoxyglucose", corrected_image=("ATTN",), manufacturer="SIEMENS", model="Biograph",
    )  # fmt: skip
    study = Study("P-7f3a9c21e0b4", pet, ct, facts, (), CHECKS, "2026-11-02", {"PT": ("1.2.3",)})
    return ReportContent(
        report_uid="2.25.209123874612387461238746123874612",
        created="2026-11-24T14:03:00",
        centre="Centre Exemple",
        study=study,
        record=RECORD,
        prediction=predicted(pet, labels),
        explanation=explained(pet, labels),
        card=CARD,
    )


@pytest.fixture(scope="module")
def abstained(content):
    silent = replace(
        content.prediction,
        abstained=Message("The chest is not covered: the model reads whole-body studies."),
        endpoints=(), survival=None, risk_group=None, risk_score=None, contributions={},
    )  # fmt: skip
    checks = tuple(replace(c, level=Level.FAIL) if c.name == "chest_covered" else c for c in CHECKS)
    return replace(content, prediction=silent, explanation=None, study=replace(content.study, checks=checks))


class Rendered:
    """A PDF and what poppler reads from it."""

    def __init__(self, content, path, language):
        self.path, self.digest = path, write_pdf(content, path, language=language)
        self.pages = [" ".join(page.split()) for page in self.tool("pdftotext", path, "-").split("\f")[:-1]]
        self.text = " ".join(self.pages)
        self.rows = " ".join(self.tool("pdftotext", "-layout", "-nodiag", path, "-").split())
        raw = self.tool("pdftotext", "-raw", path, "-").split("\f")[:-1]  # slanted text comes one letter a line
        self.slanted = ["".join(re.findall(r"^\w$", page, re.MULTILINE)) for page in raw]

    @staticmethod
    def tool(*command):
        return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout

    @property
    def pictures(self):
        return len(self.tool("pdfimages", "-list", self.path).splitlines()) - 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def french(content, folder):
    return Rendered(content, folder / "fr.pdf", "fr")


@pytest.fixture(scope="module")
def english(content, folder):
    return Rendered(content, folder / "en.pdf", "en")


@pytest.fixture(scope="module")
def silent(abstained, folder):
    return Rendered(abstained, folder / "abstained.pdf", "fr")


def test_the_first_page_holds_the_answer_its_certainty_and_the_checks(french, english):
    for words in ("34 %", "Intervalle à 80 % : 26–42 %", "Cohorte d’entraînement : 39 %", "● risque intermédiaire",
                  "53 % 45–60 % 57 %", "29 % 23–35 % 25 %", "Variables cliniques du modèle manquantes : Albuminémie.",
                  "▲ Attention", "82,5 min", "Thorax couvert", "2 novembre 2026"):  # fmt: skip
        assert words in french.pages[0]
    for words in ("34%", "80% interval: 26–42%", "Training cohort: 39%", "● intermediate risk", "53% 45–60% 57%",
                  "29% 23–35% 25%", "missing: Serum albumin.", "▲ Warning", "82.5 min", "2 November 2026"):  # fmt: skip
        assert words in english.pages[0]
    assert french.pages[0].count("✓ Conforme") == 10


def test_every_page_carries_banner_identifiers_hash_number_and_watermark(content, french, english):
    banner = {french: "USAGE RECHERCHE UNIQUEMENT – non dispositif médical", english: "RESEARCH USE ONLY"}
    mark = {french: "MODÈLESYNTHÉTIQUE", english: "SYNTHETICMODEL"}
    for report in (french, english):
        assert 2 <= len(report.pages) <= 4
        for number, page in enumerate(report.pages, start=1):
            for words in (banner[report], content.study.pseudonym, content.report_uid, content.centre):
                assert words in page
            assert report.digest in page
            assert mark[report] in report.slanted[number - 1]
            assert f"Page {number} / {len(report.pages)}" in page


def test_lesions_are_those_of_the_prediction(content, french, english):
    quantities = content.prediction.quantities
    assert f"{quantities.tmtv_ml:.1f} ml" in english.text
    assert f"{quantities.tmtv_ml:.1f} ml".replace(".", ",") in french.text
    for lesion in quantities.lesions:
        row = f"{lesion.suv_max:.1f} {lesion.suv_peak:.1f} {lesion.suv_mean:.1f} {lesion.mtv_ml:.1f} {lesion.tlg:.1f}"
        share = content.explanation.lesion_share[lesion.id]
        assert f"{row} {100 * share:.0f}%" in english.text
        assert row.replace(".", ",") in french.text


def test_inputs_terms_comparators_and_provenance(english, french):
    for words in (
        "● Age at the start of immunotherapy 64.5 years", "● LDH 312 U/L", "○ Height 174 cm", "● Smoking former smoker",
        "✗ Serum albumin missing", "Metabolic tumour volume (model's map) +0.35", "−0.31", "Other terms (7) +0.03",
        "LIPI (dNLR > 3, LDH above the limit) 1 point: intermediate prognosis", "60 %: 50 % or more",
        "NLR; dNLR 4.60; 2.76",        "not computable: an input is missing", "Fed-BioMed 6.4.1", "40; FedAvg",
        "AUC, PFS at 12 months 0.781 0.742–0.820",
        "site-8 100", "ab" * 32, "cd" * 32, "ef" * 32, "Tumour board (RCP)", "☐ rejected", "Trained on simulated",
    ):  # fmt: skip
        assert words in english.rows
    for words in (
        "64,5 ans", "fumeur sevré", "✗ Albuminémie manquant", "+0,35", "1 point : pronostic intermédiaire",
        "0,781 0,742–0,820", "Zones influentes, non causales. 8 %", "Réunion de concertation",
    ):  # fmt: skip
        assert words in french.rows


def test_fonts_are_embedded(french):
    fonts = french.tool("pdffonts", french.path).splitlines()[2:]
    assert {line.split()[0].split("+")[1] for line in fonts} == {"DejaVuSans", "DejaVuSans-Bold"}
    assert all(line.split()[-5] == "yes" for line in fonts)


def test_document_properties(french, english, content):
    info = french.tool("pdfinfo", french.path)
    assert re.search(r"Title: +Survie sans progression sous immunothérapie", info)
    assert re.search(r"Author: +Centre Exemple", info)
    assert re.search(r"Subject: +USAGE RECHERCHE UNIQUEMENT", info)
    assert "(A4)" in info
    assert b"/Lang (fr-FR)" in french.path.read_bytes()
    assert b"/Lang (en-GB)" in english.path.read_bytes()
    assert b"/Outlines" in french.path.read_bytes()
    assert content.study.pseudonym not in info  # the title shows in window lists and in file managers


def test_same_content_gives_the_same_bytes_and_hash(content, french, english, folder):
    again = Rendered(content, folder / "again.pdf", "fr")
    assert again.path.read_bytes() == french.path.read_bytes()
    assert again.digest == french.digest == english.digest
    assert re.fullmatch("[0-9a-f]{64}", french.digest)


def test_an_abstention_shows_no_probability(silent):
    assert "Le modèle s’abstient" in silent.pages[0]
    assert "The chest is not covered" in silent.pages[0]
    assert "✗ Échec" in silent.pages[0]
    for words in ("Probabilité", "Intervalle à", "risque intermédiaire", "Termes du score", "Explication", "Cohorte"):
        assert words not in silent.text
    shown = Counter(re.findall(r"[\d,]+ %", silent.text))
    assert set(shown) == {"60 %", "50 %"}  # PD-L1 and its classes
    assert silent.pictures == 2


def test_a_failed_gate_hides_the_map_and_a_real_model_has_no_watermark(content, french, folder):
    gates = (replace(content.explanation.gates[0], passed=False), *content.explanation.gates[1:])
    model = replace(content.prediction.model, synthetic=False)
    other = replace(
        content,
        explanation=replace(content.explanation, gates=gates),
        prediction=replace(content.prediction, model=model),
    )
    report = Rendered(other, folder / "gate.pdf", "fr")
    assert "Carte d’attribution non fiable" in report.text
    assert "Zones influentes" not in report.text
    assert "Part de l’explication" not in report.text
    assert (french.pictures, report.pictures) == (3, 2)
    assert "MODÈLE SYNTHÉTIQUE : entraîné sur des patients simulés" in french.text
    assert "SYNTHÉTIQUE" not in report.text
    assert not any("SYNTH" in page for page in report.slanted)


def test_a_bare_case_is_still_a_report(abstained, folder):
    nothing = abstained.prediction.lesion_labels.like(np.zeros(abstained.study.pet.shape, np.uint16), "label")
    quantities = Quantities("suv4", (), 0.0, 0.0, 0.0, 0.0, 0.0)
    facts = replace(abstained.study.pet_facts, uptake_min=None, dose_bq=None, manufacturer="", model="")
    bare = replace(
        abstained,
        centre="R&D <Unit>",
        card={},
        record=ClinicalRecord(),
        study=replace(abstained.study, ct=None, checks=(), study_date="", pet_facts=facts),
        prediction=replace(abstained.prediction, lesion_labels=nothing, quantities=quantities),
    )
    report = Rendered(bare, folder / "bare.pdf", "en")
    assert "R&D <Unit>" in report.text
    assert report.text.count("not stated") >= 10
    assert "nothing was delineated" in report.text


def test_many_lesions_are_summed_up(content, folder):
    first = content.prediction.quantities.lesions[0]
    lesions = tuple(replace(first, id=1 + i % 6, mtv_ml=40.0 - i) for i in range(30))
    quantities = replace(content.prediction.quantities, lesions=lesions)
    many = replace(content, prediction=replace(content.prediction, quantities=quantities))
    report = Rendered(many, folder / "many.pdf", "en")
    rest = sum(40.0 - i for i in range(14, 30))
    assert f"16 smaller lesions are not listed ({rest:.1f} ml together)" in report.text
    assert len(report.pages) <= 5
