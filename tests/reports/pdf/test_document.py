"""The PDF is rendered for real and read back with poppler."""

import os
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pypdfium2
import pytest

from fedpet.clinical.record import ClinicalRecord
from fedpet.imaging.lesions.lesion import Quantities
from reports.pdf.document import write_pdf
from tests.support import report_content as cases

if shutil.which("pdftotext") is None and os.environ.get("CI") != "true":
    pytest.skip("poppler is missing: apt-get install poppler-utils", allow_module_level=True)

MM = 72 / 25.4


@pytest.fixture(scope="module")
def content():
    return cases.make_content()


@pytest.fixture(scope="module")
def abstained(content):
    return cases.abstained(content)


class Rendered:
    """A PDF and what poppler reads from it."""

    def __init__(self, content, path, language):
        self.path, self.digest = path, write_pdf(content, path, language=language)
        self.pages = [
            " ".join(page.split()) for page in self.tool("pdftotext", "-raw", "-nodiag", path, "-").split("\f")[:-1]
        ]
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
    for words in ("34 %", "Intervalle à 80 % : 26–42 %", "Cohorte d’entraînement : 39 %", "● tiers moyen",
                  "53 % (45–60 %) 57 %", "29 % (23–35 %) 25 % pas de", "Réponse à 80 % : indéterminée",
                  "contient ce qui arrive chez 80 % des patients", "▲ Attention", "82,5 min", "Thorax couvert",
                  "Variables cliniques du modèle manquantes : Albuminémie.", "2 novembre 2026"):  # fmt: skip
        assert words in french.pages[0]
    for words in ("34%", "80% interval: 26–42%", "Training cohort: 39%", "● middle third", "53% (45–60%) 57%",
                  "29% (23–35%) 25% no progression", "Answer at 80%: indeterminate", "missing: Serum albumin.",
                  "▲ Warning", "82.5 min", "2 November 2026"):  # fmt: skip
        assert words in english.pages[0]
    assert french.pages[0].count("✓ Conforme") == 1  # those that passed share a row
    assert "Sans remarque : 10 TDM présente, Thorax couvert" in french.pages[0]
    assert "PROJET, version 1 : non signé par un lecteur" in french.pages[0]
    assert "DRAFT, version 1: not signed by a reader" in english.pages[0]


def test_a_model_without_conformal_sets_gives_no_answer_to_show(content, folder):
    endpoints = tuple(replace(one, verdict=None) for one in content.prediction.endpoints)
    bare = replace(content, prediction=replace(content.prediction, endpoints=endpoints))
    page = Rendered(bare, folder / "no_sets.pdf", "en").pages[0]
    assert "29% (23–35%) 25%" in page
    assert not re.search(r"\bAnswer\b|ndeterminate", page.split("Image quality")[0])


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
            assert f"Page {number} / {len(report.pages)}" in report.rows
            assert {french: "version 1, projet : non signé", english: "version 1, draft: not signed"}[report] in page


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
        "✗ Serum albumin missing", "Lesion 1, right lung +0.41", "−0.43",
        "Marrow-to-liver ratio: 0.63 −1", "Neutrophil-to-lymphocyte ratio: 6.9 G/L to 1.5 G/L −6",
        "LIPI (dNLR > 3, LDH above the limit) 1 point: intermediate prognosis", "60%: 50% or more",
        "NLR 4.60", "dNLR 2.76", "not computable, missing: Serum albumin",
        "TMTV > 75 ml and dNLR > 3 1 of 2 unfavourable factors", "Fed-BioMed 6.4.1", "40, FedAvg",
        "AUC, PFS at 12 months 0.781 0.742–0.820",
        "site-8 100", "ab" * 32, "cd" * 32, "ef" * 32, "Tumour board (RCP)", "☐ rejected", "Trained on simulated",
    ):  # fmt: skip
        assert words in english.rows
    for words in (
        "64,5 ans", "fumeur sevré", "✗ Albuminémie manquant", "+0,41", "1 point : pronostic intermédiaire",
        "0,781 0,742–0,820", "Zones influentes, non causales. 8 %", "Réunion de concertation",
    ):  # fmt: skip
        assert words in french.rows


def test_fonts_are_embedded(french):
    fonts = french.tool("pdffonts", french.path).splitlines()[2:]
    assert {line.split()[0].split("+")[1] for line in fonts} == {"DejaVuSans", "DejaVuSans-Bold"}
    assert all(line.split()[-5] == "yes" for line in fonts)


def test_document_properties(french, content):
    info = french.tool("pdfinfo", french.path)
    assert re.search(r"Title: +Survie sans progression sous immunothérapie", info)
    assert re.search(r"Author: +Centre Exemple", info)
    assert re.search(r"Subject: +USAGE RECHERCHE UNIQUEMENT", info)
    assert "(A4)" in info
    assert re.search(r"CreationDate: +Tue Nov 24 14:03:00 2026", info)  # of the report, not of the run
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
    for words in ("Probabilité", "Intervalle à", "tiers moyen", "Termes du score", "Explication", "Cohorte"):
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
    assert str(gates[0].reason) in report.text  # and why
    for words in ("Lésion 1, poumon droit −15", "Métastases cérébrales connues : non +2"):  # measured without the map
        assert words in report.text
    assert "+0,41" in french.text
    assert "+0,41" not in report.text  # the lesions' terms are those of the map
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
        checks=(),
        study=replace(abstained.study, ct=None, study_date="", pet_facts=facts),
        prediction=replace(abstained.prediction, lesion_labels=nothing, quantities=quantities),
    )
    report = Rendered(bare, folder / "bare.pdf", "en")
    assert "R&D <Unit>" in report.text
    assert report.text.count("not stated") >= 10
    assert "nothing was delineated" in report.text


ODD = "日本 <b>&amp; ok\nDeux lignes."
NODES = {f"centre-{i}": {"training": 10} for i in range(80)}
CARD = {
    "federation": {"nodes": {"S1": {"training": 75, "validation": 19}}, "differential_privacy": False},
    "validation": {"model": {"final_by_node": {"S1": {"loss": 2.0748}}}},
    "evaluation": {
        "expected_auc_pfs_12m": {"model": 0.729},
        "by_subgroup": {"PD-L1 ≥ 50 %": {"value": 0.7, "lower": 0.6, "upper": 0.8}},
    },
}
INTERVAL = {"value": 0.7, "lower": 0.6, "upper": 0.8}
GROUPED = cases.CARD | {
    "evaluation": {
        "by_centre": {f"site-{i}": INTERVAL for i in range(1, 9)},
        "by_subgroup": {f"PD-L1 {i}": INTERVAL for i in range(6)},
    }
}
MADE = {
    "corrected": lambda content: replace(
        cases.signed(cases.with_organs(cases.with_many_lesions(cases.corrected(content))), "reject", "Non. " * 200),
        record=replace(content.record, **cases.MORE),
        card=GROUPED,
    ),
    "another_record": cases.contradicted,
    "many_lesions": lambda content: replace(cases.with_organs(cases.with_many_lesions(content)), card=CARD),
    "long_texts": lambda content: replace(
        cases.with_organs(cases.with_long_texts(content)), card={"federation": {"nodes": NODES}}
    ),
    "nothing_known": lambda content: cases.signed(
        replace(cases.without_lesions(content), record=ClinicalRecord()), "amend", ODD
    ),
}


@pytest.fixture(scope="module")
def made(content, folder):
    """Cases of a real model, so that no watermark lies over the margins: each is written once."""
    model = replace(content.prediction.model, synthetic=False)
    facts = replace(content.study.pet_facts, height_m=None)

    @cache
    def report(name, language):
        case = replace(content, prediction=replace(content.prediction, model=model))
        if name == "nothing_known":
            case = replace(case, study=replace(case.study, pet_facts=facts))
        return Rendered(MADE[name](case), folder / f"{name}.{language}.pdf", language)

    return report


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("name", MADE)
def test_four_pages_hold_every_case_and_nothing_leaves_its_margins(made, name, language):
    with pypdfium2.PdfDocument(made(name, language).path) as document:
        assert 2 <= len(document) <= (5 if name in {"many_lesions", "corrected"} else 4)
        for page in document:
            ink = np.asarray(page.render(scale=1, grayscale=True).to_pil()) < 250
            banner, left, right = int(11 * MM), int(14 * MM), int(196 * MM)
            assert not ink[banner:, :left].any()
            assert not ink[banner:, right:].any()
            assert not ink[int(282.5 * MM) : int(283.5 * MM)].any()  # between the text and the footer's rule
            assert ink[banner : int(280 * MM), left:right].any()


def test_every_lesion_is_listed_and_many_are_summed_up_by_region(made, content, folder, english):
    many = made("many_lesions", "en")
    assert all(f"{40.0 - i:.1f}" in many.text for i in range(30))
    assert "not listed" not in many.text
    lesions = tuple(replace(one, id=one.id + 10 * i) for i in range(3) for one in content.prediction.quantities.lesions)
    thrice = replace(content.prediction.quantities, lesions=lesions)
    summed = Rendered(
        replace(content, prediction=replace(content.prediction, quantities=thrice)), folder / "thrice.pdf", "en"
    )
    there = [lesion for lesion in lesions if lesion.region == "mediastinum"]
    assert len(there) == 6
    volume, hottest = sum(lesion.mtv_ml for lesion in there), max(lesion.suv_max for lesion in there)
    assert f"mediastinum 6 {hottest:.1f} {volume:.1f} {sum(lesion.tlg for lesion in there):.1f}" in summed.rows
    assert "By region" not in english.text  # few lesions


def test_a_reader_who_signs_an_abstention_decides_on_the_measurements(abstained, folder):
    signed = Rendered(cases.signed(abstained, "accept"), folder / "signed_abstention.pdf", "fr")
    assert "✓ Mesures acceptées par le lecteur ; le modèle n’a pas répondu." in signed.pages[0].replace("\xa0", " ")
    assert "Réponse acceptée" not in signed.text
    assert "Avis du clinicien sur ces mesures" in signed.text


def test_ratios_fit_the_values_that_they_are_of(content, folder):
    record = replace(content.record, neutrophils=12.75, lymphocytes=0.7, leucocytes=None)
    shown = Rendered(replace(content, record=record), folder / "ratios.pdf", "en")
    assert "Neutrophils 12.75 G/L" in shown.rows
    assert "NLR 18.21" in shown.text


def test_the_tracer_is_named_by_its_code(content, folder):
    facts = replace(content.study.pet_facts, radiopharmaceutical="FDG -- x", radiopharmaceutical_code="35321007")
    named = replace(content, study=replace(content.study, pet_facts=facts))
    assert "Fluorodésoxyglucose (18F), FDG" in Rendered(named, folder / "tracer.pdf", "fr").text


def test_what_a_person_corrected_stands_beside_what_the_suv_rests_on(made, french):
    report = made("corrected", "fr")
    for words in ("▲ Corrigé par une personne : le SUV repose sur ces valeurs.", "02/11/2026 11:00:00",
                  "poids (kg) 7,10 71,00 Virgule oubliée à la console Dr Martin", "02/11/2026 09:00:00"):  # fmt: skip
        assert words in report.pages[0]
    assert report.text.count("▲ corrigé par une personne") == 2  # weight and uptake time, not the height
    assert "décroissance de l’injection au début de l’acquisition" in report.text
    assert "10:22:30 début de la série" in report.text
    assert "orrigé par une personne" not in french.text


def test_a_contradiction_stands_on_page_1_and_every_item_beside_the_record(made, french):
    report = made("another_record", "fr")
    for words in ("les données cliniques contredisent les images", "sexe femme homme ✗ diffère",
                  "date de la TEP TEP du 2 novembre 2024 TEP du 2 novembre 2026",
                  "par Dr Martin. Motif : Erreur de saisie au PACS"):  # fmt: skip
        assert words.casefold() in report.pages[0].casefold()
    assert "identifiant indiqué, non affiché indiqué, non affiché ✗ diffère" in report.text
    assert "taille 174 cm non renseigné – non comparé" in report.text
    assert "contredisent" not in french.text


def test_the_established_markers_are_there_once_wherever_they_fit(made, french, silent):
    for report in (french, silent, *(made(name, "fr") for name in MADE)):
        assert report.text.count("Marqueurs établis, sans le modèle") == 1


def test_each_quantity_names_its_method(content, french):
    lean = 9270 * 71.0 / (6680 + 216 * 71.0 / 1.74**2)  # Janmahasatian, men
    peak = content.prediction.quantities.suv_peak * lean / 71.0
    assert f"SULpeak {peak:.1f}".replace(".", ",") in french.text
    assert f"masse maigre {lean:.1f} kg (Janmahasatian)".replace(".", ",") in french.text
    for words in ("somme des volumes × SUVmoyen", "entre centres de lésions", "voxel le plus fixant",
                  "sphère de 1 cm³", "Délinéation"):  # fmt: skip
        assert words in french.text


def test_no_sulpeak_without_height_or_sex(made):
    text = made("nothing_known", "fr").text
    assert "SULpeak non calculable taille, poids ou sexe absent des images" in text
    assert "Plus grande distance (Dmax) – entre centres" in text  # and no distance without two lesions
    assert "SUVmax – voxel" in text


def test_healthy_organs_and_hot_components_that_are_no_lesions(made, english):
    for words in (
        "Liver, SUVmean ± SD 2.3 ± 0.3 sphere of 3 cm in the right lobe (PERCIST), 14.1 ml",
        "Spleen, SUVmean ± SD – No place for a sphere of 20 mm was found.",
        "Marrow / liver 0.63 SUVmean over SUVmean; exploratory",
        "Spleen / liver – SUVmean over SUVmean; exploratory",
        "Hot components 11 lesions and physiological uptake",
        "Hot components not counted as lesions: 5 – kidney (2), bladder (1), brain (1), mediastinum (1).",
        "Components added by the reader: –; left out: 11.",
    ):
        assert words in made("many_lesions", "en").text
    assert "▲ The reader left out components 11" in made("many_lesions", "en").pages[0]
    assert "Healthy organs" not in english.text
    assert "left out: " not in english.text


def test_the_first_page_of_a_signed_report_says_who_decided_what(made):
    rejected, amended = made("corrected", "fr"), made("nothing_known", "fr")
    said = "✗ Réponse REJETÉE par le lecteur. Signé par Dr Claire Martin, 25 novembre 2026, 09:12. Version 2."
    assert said in rejected.pages[0]
    assert rejected.text.count("Non.") > 200  # the beginning on the first page, all of it under the verdict
    assert "▲ Réponse AMENDÉE par le lecteur." in amended.pages[0]
    for report in (rejected, amended):
        assert "PROJET" not in report.text
        assert all("version 2, signée par un lecteur" in page for page in report.pages)
        assert "Version de la lecture 2" in report.pages[-1]


def test_characters_that_the_fonts_lack_do_not_vanish(made):
    report = made("nothing_known", "en")
    assert report.text.count("\ufffd\ufffd <b>&amp; ok Deux lignes.") == 2


def test_the_model_with_its_centres_its_losses_and_its_privacy(made):
    for words in ("S1 75 19 2.07", "Differential privacy none: no ε",
                  "By subgroup (AUC) Value Interval PD-L1 ≥ 50 % 0.700 0.600–0.800"):  # fmt: skip
        assert words in made("many_lesions", "en").text
    assert "By centre" not in made("many_lesions", "en").text  # nor an empty table where the card has none
    assert "By subgroup" not in made("long_texts", "en").text
    assert made("corrected", "en").text.count("By centre (AUC)") == 1
    assert "70 more centres 700" in made("long_texts", "en").text
