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
from reportlab.graphics.shapes import String

from explain.figures.drawing import lesion_colour
from fedpet.clinical.record import ClinicalRecord
from fedpet.imaging.lesions.lesion import Quantities
from reports.labels import radiopharmaceutical
from reports.locale import Locale
from reports.pdf.charts import bars
from reports.pdf.document import write_pdf
from reports.pdf.style import register_fonts
from tests.support import report_content as cases
from tests.support.planted_gates import PLANTED_GATES

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


def test_the_first_page_holds_identity_conclusion_answer_lesions_and_quality(french, english):
    for words in ("P-7f3a9c21e0b4", "64,5 ans · homme", "adénocarcinome", "pembrolizumab, ligne 1", "60 % · 1",
                  "▲ PROVISOIRE, version 1 : non validé", "6 lésions hypermétaboliques : poumon droit, médiastin (2)",
                  "Le modèle estime à 34 % (26–42 %) la probabilité", "il n’exclut aucune des deux issues",
                  "53 % (45–60 %) 57 %", "29 % (23–35 %) 25 %", "Lésion 1, poumon droit −15",
                  "PD-L1, score TPS : 60 % +14",
                  "1 poumon droit 14,1 9,4 57,7", "lésions de moins de 1 ml ou de SUV inférieure à 2,5",
                  "▲ Délai après injection : Uptake time is 82,5 min", "10 contrôles sans remarque.",
                  "Décision de la RCP",
                  "2 novembre 2026"):  # fmt: skip
        assert words in plain(french.pages[0])
    for words in ("64.5 years · male", "DRAFT, version 1: not validated", "at 34% (26–42%)", "53% (45–60%) 57%",
                  "Lesion 1, right lung −15", "1 right lung 14.1 9.4 57.7", "10 checks without remark.",
                  "Decision of the tumour board", "2 November 2026"):  # fmt: skip
        assert words in english.pages[0]


def plain(text):
    """French spaces as ordinary ones."""
    return text.replace("\xa0", " ").replace("\u202f", " ")


def test_the_caution_stands_before_the_figure_and_the_coverage_is_no_risk(french, english):
    page = plain(french.pages[0])
    assert page.index("Lisez les images") < page.index("34 % intervalle") < page.index("Issues retenues par le modèle")
    assert "Ce n’est pas un risque : pour environ 80 patients sur 100, l’issue" in page
    assert "80 %" not in page
    assert "80%" not in english.pages[0]
    assert "Of 100 patients with this score, about 34 are alive" in english.pages[0]


def sizes(path, number):
    """Sizes of the characters of a page, points."""
    words = Rendered.tool("pdftotext", "-bbox-layout", "-f", str(number), "-l", str(number), path, "-")
    return [float(bottom) - float(top) for top, bottom in re.findall(r'<word .*?yMin="(.*?)".*?yMax="(.*?)"', words)]


@pytest.mark.parametrize("language", ["fr", "en"])
def test_nothing_on_the_first_page_is_below_nine_points(made, french, english, language):
    for report in ({"fr": french, "en": english}[language], *(made(name, language) for name in MADE)):
        assert min(sizes(report.path, 1)) > 8.99
        assert report.pages[0].count("Proposition" if language == "fr" else "Proposal") >= 1  # all of it on one page
    assert min(sizes(french.path, 2)) < 8.99  # the measure would see smaller ones


def test_a_model_without_conformal_sets_gives_no_answer_to_show(content, folder):
    endpoints = tuple(replace(one, verdict=None) for one in content.prediction.endpoints)
    bare = replace(content, prediction=replace(content.prediction, endpoints=endpoints))
    report = Rendered(bare, folder / "no_sets.pdf", "en")
    assert "29% (23–35%) 25%" in report.pages[0]
    assert not re.search(r"\bKept\b|Outcomes? that the model", report.text)


def test_every_page_carries_banner_identifiers_hash_number_and_no_watermark_in_its_text(content, french, english):
    banner = {french: "USAGE RECHERCHE UNIQUEMENT – non dispositif médical", english: "RESEARCH USE ONLY"}
    for report in (french, english):
        assert 4 <= len(report.pages) <= 6
        for number, page in enumerate(report.pages, start=1):
            for words in (banner[report], content.study.pseudonym, content.report_uid, content.centre):
                assert words in page
            assert report.digest in page
            assert page.count("SYNTH") == 1  # in the banner
            assert f"Page {number} / {len(report.pages)}" in report.rows
            assert {french: "version 1, provisoire : non validée", english: "version 1, draft: not signed"}[
                report
            ] in page


def test_the_watermark_is_in_the_margins_of_every_page_and_over_no_image(french, made):
    with pypdfium2.PdfDocument(french.path) as synthetic, pypdfium2.PdfDocument(made("one", "fr").path) as real:
        for page in synthetic:
            ink = np.asarray(page.render(scale=2).to_pil().convert("RGB")).astype(int)
            orange = (ink[..., 0] - ink[..., 2] > 80) & (ink[..., 0] > 150)
            left, right = int(2 * 14 * MM), int(2 * 196 * MM)
            assert orange[:, :left].any()
            assert orange[:, right:].any()
        assert not (np.asarray(real[0].render(scale=2).to_pil().convert("L"))[int(24 * MM) :, :left] < 250).any()


def test_lesions_are_those_of_the_prediction(content, french, english):
    quantities = content.prediction.quantities
    assert f"{quantities.tmtv_ml:.1f} ml" in english.text
    assert f"{quantities.tmtv_ml:.1f} ml".replace(".", ",") in french.text
    lean = 9270 / (6680 + 216 * 71.0 / 1.74**2)
    for lesion in quantities.lesions:
        values = (lesion.suv_max, lesion.suv_peak, lesion.suv_mean, lesion.suv_peak * lean, lesion.mtv_ml, lesion.tlg)
        row = " ".join(f"{value:.1f}" for value in values)
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
        "AUC, PFS at 12 months 0.781 0.742–0.820", "ab" * 32, "cd" * 32, "ef" * 32, "Trained on simulated",
        "2 inputs were missing: serum albumin, necrotic share of the lesions.",
        "with a wider interval: serum albumin, necrotic share of the lesions.",
        "for about 80 of 100 patients, ", "faint foci by their gradient",
    ):  # fmt: skip
        assert words in f"{english.rows} {english.text}"
    for words in (
        "64,5 ans", "fumeur sevré", "✗ Albuminémie manque", "+0,41", "1 point : pronostic intermédiaire",
        "0,781 0,742–0,820", "Zones influentes, non causales. Part de l’attribution hors des lésions : 8 %",
    ):  # fmt: skip
        assert words in plain(f"{french.rows} {french.text}")


def test_fonts_are_embedded(french):
    fonts = french.tool("pdffonts", french.path).splitlines()[2:]
    assert {line.split()[0].split("+")[1] for line in fonts} == {"DejaVuSans", "DejaVuSans-Bold"}
    assert all(line.split()[-5] == "yes" for line in fonts)


def test_document_properties(french, content):
    info = french.tool("pdfinfo", french.path)
    assert re.search(r"Title: +TEP/TDM au FDG avant immunothérapie", info)
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
    assert "✗ Thorax exploré" in plain(silent.pages[0])
    for words in (
        "probabilité d’être",
        "intervalle",
        "tiers moyen",
        "Termes du score",
        "Carte de l’explication",
        "Sur 100",
    ):
        assert words not in silent.text
    shown = Counter(re.findall(r"[\d,]+ %", plain(silent.text)))
    assert set(shown) == {"60 %", "50 %"}  # PD-L1 and its classes
    assert "6 lésions hypermétaboliques" in silent.pages[0]  # the measurements stay
    assert "a répondu" not in silent.text


def test_no_probability_has_more_digits_than_its_interval_supports(content, french):
    """Whole per cent everywhere, also in the words for a screen reader."""
    assert "En vie à 24 mois (survie globale)" in plain(french.pages[0])
    assert plain(french.text).count("41 % (35–48 %) 45 %") == 2  # first page, and the answer in detail
    for endpoint in (*content.prediction.endpoints, content.prediction.overall_survival):
        for value in (endpoint.probability, endpoint.lower, endpoint.upper, endpoint.base_rate):
            for written in (f"{100 * value:.1f}".replace(".", ","), f"{value:.3f}".replace(".", ",")):
                assert f" {written}" not in french.text.replace("\u202f", " "), written
    assert re.search(r"\d{1,2}\s%", french.text)


def test_a_failed_gate_hides_the_map_and_a_real_model_has_no_watermark(content, french, folder):
    gates = tuple(planted() for planted in PLANTED_GATES.values())
    assert [gate.name for gate in gates if not gate.passed] == list(PLANTED_GATES)
    for gate in gates:
        alone = replace(content.explanation, gates=(*content.explanation.gates, gate))
        assert not alone.reliable, gate.name
    model = replace(content.prediction.model, synthetic=False)
    other = replace(
        content,
        explanation=replace(content.explanation, gates=gates),
        prediction=replace(content.prediction, model=model),
    )
    report = Rendered(other, folder / "gate.pdf", "fr")
    assert "Carte d’attribution non fiable" in report.text
    for gate in gates:  # and why
        assert plain(Locale("fr").translate(gate.reason)) in plain(report.text), gate.name
    for words in ("Lésion 1, poumon droit −15", "Métastases cérébrales connues : non +2"):  # measured without the map
        assert words in plain(report.text)
    assert "+0,41" in french.text
    assert "+0,41" not in report.text  # the lesions' terms are those of the map
    assert "Zones influentes" not in report.text
    assert "Part de la carte" not in report.text
    assert "MODÈLE SYNTHÉTIQUE : entraîné sur des patients simulés" in plain(french.text)
    assert "SYNTHÉTIQUE" not in report.text
    marks = 2 * 4 * len(french.pages)  # pictures of words, on both sides of each page
    maps = 1 + 6  # from the front, and through each lesion
    assert french.pictures - marks == 2 + 12 + maps  # two projections, two tiles for each of six lesions
    assert report.pictures == 2 + 12


def test_what_lowers_the_risk_is_hatched_for_a_print_in_grey(content, french, folder):
    signed = content.explanation.attribution
    turned = replace(content.explanation, attribution=signed.like(-signed.array, "1"))
    lowering = Rendered(replace(content, explanation=turned), folder / "lowering.pdf", "fr")
    place = next(number for number, page in enumerate(french.pages) if "diminue le risque, hachuré" in plain(page))

    def strokes(report):
        with pypdfium2.PdfDocument(report.path) as document:
            return sum(one.type == 2 for one in document[place].get_objects(max_depth=4))

    assert strokes(lowering) > 3 * strokes(french) > 0  # there, only the key is hatched


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
    assert report.text.count("not stated") >= 8
    assert "No lesion was delineated." in report.pages[0]
    assert "0.0 ml" not in report.text


ODD = "日本 <b>&amp; ok\nDeux lignes."
NODES = {f"centre-{i}": {"training": 10} for i in range(80)}
CARD = {
    "federation": {"nodes": {"S1": {"training": 75, "validation": 19}}, "differential_privacy": False},
    "evaluation": {"expected_auc_pfs_12m": {"model": 0.729}},
}
MADE = {
    "corrected": lambda content: replace(
        cases.signed(cases.with_organs(cases.corrected(content)), "reject", "Non. " * 200),
        record=replace(content.record, **cases.MORE),
    ),
    "another_record": cases.contradicted,
    "two_dates": cases.with_two_dates,
    "one": lambda content: replace(
        cases.with_one_lesion(content),
        record=replace(
            content.record,
            stage="IVB",
            t_category="T2a",
            n_category="N2",
            m_category="M1c",
            prior_surgery=False,
            prior_radiotherapy=True,
            prior_systemic_lines=2,
        ),
    ),
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


@pytest.fixture(scope="module")
def many(content, folder):
    """Sixty lesions, healthy organs, foci left out; the report in English."""
    case = replace(cases.with_organs(cases.with_many_lesions(content)), card=CARD)
    return case, Rendered(case, folder / "many.pdf", "en")


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("name", MADE)
def test_nothing_leaves_its_margins(made, name, language):
    with pypdfium2.PdfDocument(made(name, language).path) as document:
        assert 3 <= len(document) <= 7
        for page in document:
            ink = np.asarray(page.render(scale=1, grayscale=True).to_pil()) < 250
            banner, left, right = int(11 * MM), int(14 * MM), int(196 * MM)
            assert not ink[banner:, :left].any()
            assert not ink[banner:, right:].any()
            assert not ink[banner : int(17 * MM)].any()  # kept free for the identity
            assert not ink[int(276.2 * MM) : int(276.8 * MM)].any()  # between the text and the footer's rule
            assert ink[banner : int(275 * MM), left:right].any()


def test_each_of_sixty_lesions_has_its_row_and_its_tiles_after_a_summary_by_region(many, english):
    case, report = many
    lesions = case.prediction.quantities.lesions
    assert len(lesions) == 60
    for lesion in lesions:
        assert re.search(rf"\b{lesion.id} · .*? · SUVmax {lesion.suv_max:.1f} · {lesion.mtv_ml:.1f} ml", report.text)
    with pypdfium2.PdfDocument(report.path) as document:
        assert sum(_large_pictures(page) for page in document) == 2 * len(lesions)
    there = [lesion for lesion in lesions if lesion.region == "mediastinum"]
    volume, hottest = sum(lesion.mtv_ml for lesion in there), max(lesion.suv_max for lesion in there)
    assert f"mediastinum {len(there)} {hottest:.1f} {volume:.1f} {sum(one.tlg for one in there):.1f}" in report.rows
    assert report.text.index("By region") < report.text.index("Key slices")
    assert "The projections number the 24 largest." in report.pages[0]
    assert "By region" in english.text  # two lesions share a region there


def _large_pictures(page):
    """Square pictures of at least 40 mm on a page."""
    boxes = [one.get_bounds() for one in page.get_objects() if one.type == 3]
    return sum(
        right - left >= 40 * MM and abs((right - left) - (top - bottom)) < 1 for left, bottom, right, top in boxes
    )


def test_no_two_lesions_have_one_colour(many):
    colours = {lesion_colour(lesion.id) for lesion in many[0].prediction.quantities.lesions}
    assert len(colours) == 60


def test_the_response_to_an_earlier_examination_is_told(made):
    for page, words in ((made("two_dates", "en").pages[0], ("3 August 2026: progressive metabolic disease (PERCIST).",
                         "New lesion (6)", "TMTV 140.0 → 102.4 ml (−27%)", "5 lesions matched; one new; 0 gone.")),
                        (plain(made("two_dates", "fr").pages[0]), ("3 août 2026 : progression métabolique (PERCIST).",
                         "(−27 %)", "5 lésions appariées ; 1 nouvelle ; 0 disparue."))):  # fmt: skip
        for word in words:
            assert word in page


def test_a_reader_who_signs_an_abstention_decides_on_the_measurements(abstained, folder):
    signed = Rendered(cases.signed(abstained, "accept"), folder / "signed_abstention.pdf", "fr")
    assert "✓ Mesures acceptées par le lecteur." in plain(signed.pages[0])
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


@pytest.mark.parametrize(
    ("name", "fdg"),
    [("FDG -- fluorodeoxyglucose", True), ("Fludeoxyglucose (18F) solution", True), ("Fluorodésoxyglucose", True),
     ("F-18 FDG", True), ("Ga-68 PSMA-11", False), ("FDOPA", False)],
)  # fmt: skip
def test_without_a_code_fdg_is_known_by_its_names(name, fdg):
    assert str(radiopharmaceutical(name, "")) == ("Fluorodeoxyglucose (18F), FDG" if fdg else name)


def test_what_a_person_corrected_stands_beside_what_the_suv_rests_on(made, french):
    report = made("corrected", "fr")
    assert "▲ Des valeurs des images ont été corrigées par une personne" in report.pages[0]
    for words in ("▲ Corrigé par une personne : la SUV repose sur ces valeurs.", "02/11/2026 11:00:00",
                  "poids (kg) 7,10 71,00 Virgule oubliée à la console Dr Martin", "02/11/2026 09:00:00",
                  "décroissance de l’injection au début de l’acquisition", "10:22:30 début de la série"):  # fmt: skip
        assert words in plain(report.text)
    assert report.text.count("▲ corrigé par une personne") == 2  # weight and uptake time, not the height
    assert "orrigé par une personne" not in french.text


def test_a_contradiction_stands_on_page_1_and_every_item_beside_the_record(made, french):
    report = made("another_record", "fr")
    for words in ("les données cliniques contredisent les images", "sexe : femme (dossier), homme (images)",
                  "date de la tep : tep du 2 novembre 2024 (dossier), tep du 2 novembre 2026 (images)",
                  "par dr martin. motif : erreur de saisie au pacs", "✗ se contredisent"):  # fmt: skip
        assert words in plain(report.pages[0]).casefold()
    assert "identifiant indiqué, non affiché indiqué, non affiché ✗ diffère" in report.text
    assert "taille 174 cm non renseigné – non comparé" in report.text
    assert "contredisent" not in french.text


def test_stage_and_earlier_treatment_stand_on_the_first_page_where_they_are_known(made, french):
    page = plain(made("one", "fr").pages[0])
    assert "adénocarcinome, stade IVB, T2a N2 M1c" in page
    assert "radiothérapie, 2 lignes systémiques" in page
    assert "Traitement antérieur non renseigné" in plain(french.pages[0])
    assert "stade" not in french.pages[0]
    assert "TLG 663 g · une lésion" in page


def test_the_established_markers_are_there_once(made, french, silent):
    for report in (french, silent, *(made(name, "fr") for name in MADE)):
        assert report.text.count("Marqueurs établis, sans le modèle") == 1


def test_each_quantity_names_its_method(content, french):
    lean = 9270 * 71.0 / (6680 + 216 * 71.0 / 1.74**2)  # Janmahasatian, men
    peak = content.prediction.quantities.suv_peak * lean / 71.0
    assert f"SULpeak {peak:.1f}".replace(".", ",") in french.text
    assert f"masse maigre {lean:.1f} kg (Janmahasatian)".replace(".", ",") in french.text
    for words in ("somme des volumes × SUVmoy", "entre centres de lésions", "voxel le plus intense",
                  "sphère de 1 cm³", "Segmentation"):  # fmt: skip
        assert words in french.text


def test_no_sulpeak_and_no_volume_where_there_is_none(made):
    text = plain(made("nothing_known", "fr").text)
    assert "SULpeak non calculable taille, poids ou sexe absent des images" in text
    assert "Plus grande distance (Dmax) – entre centres" in text  # and no distance without two lesions
    assert "SUVmax – voxel" in text
    assert "0,0 ml" not in text
    assert "Aucune lésion hypermétabolique n’a été segmentée." in text


def test_healthy_organs_and_foci_that_are_no_lesions(many, english):
    for words in (
        "Liver, SUVmean ± SD 2.3 ± 0.3 sphere of 3 cm in the right lobe (PERCIST), 14.1 ml",
        "Spleen, SUVmean ± SD – No place for a sphere of 20 mm was found.",
        "Marrow / liver 0.63 SUVmean over SUVmean; exploratory",
        "Spleen / liver – SUVmean over SUVmean; exploratory",
        "Hot components 11 lesions and physiological uptake",
        "e mediastinum 6.0 5.0 0 · 0 · 0 by the reader",
        "5 hot foci count as no lesion;",
        "Foci added by the reader: –; left out: e.",
    ):
        assert words in many[1].text
    assert "One focus left out by the reader (SUVmax): e, mediastinum (6.0). The model answered" in many[1].pages[0]
    assert "PERCIST: measurable, SULpeak" in many[1].pages[0]
    assert "Healthy organs" not in english.text
    assert "eft out by the reader" not in english.text
    assert "TMTV 487.9 ml · TLG 4,859 g · 60 lesions" in many[1].pages[0]
    assert "10 thoracic spine 12.0 9.5 86.8" in many[1].pages[0]  # by site, for sixty rows have no room


def test_the_first_page_of_a_signed_report_says_who_decided_what(made, folder, content):
    rejected, amended = made("corrected", "fr"), made("nothing_known", "fr")
    first = plain(rejected.pages[0])
    for words in ("Compte rendu, version 2 signé le 25 novembre 2026, 09:12 Dr Claire Martin",
                  "✗ REJETÉE par le lecteur, à ne pas utiliser : Non.", "La réponse du modèle était : 34 %",
                  "Le lecteur a rejeté la réponse du modèle."):  # fmt: skip
        assert words in first
    for words in ("Le modèle estime", "Sur 100 patients", "Autres critères", "Ce qui pèse"):
        assert words not in first  # nothing of a rejected answer is argued with
    assert rejected.text.count("Non.") > 200  # the beginning on the first page, all of it under the verdict
    assert "▲ AMENDÉE par le lecteur" in amended.pages[0]
    assert "Sur 100 patients" in amended.pages[0]  # both are shown
    for report in (rejected, amended):
        assert "PROVISOIRE" not in report.text
        assert all("version 2, signée par un lecteur" in page for page in report.pages)
        assert "Version de la lecture 2" in report.pages[-1]
    own = cases.signed(content)
    kept = ((-80.0, -15.0, -5.0), (5.0, 75.0, -120.0), (0.0, 0.0, 400.0))
    own = replace(
        own, verdict=replace(own.verdict, conclusion="Deux ganglions à biopsier.", estimate=0.45, key_points=kept)
    )
    report = Rendered(own, folder / "own.pdf", "fr")
    page = report.pages[0]
    assert "Estimation du lecteur avant la réponse : 45 %." in plain(page)
    assert "Images clés du lecteur" in report.text
    assert "★2 · 5 · 75 · −120 mm" in plain(report.text)
    with pypdfium2.PdfDocument(report.path) as document:
        assert sum(_large_pictures(sheet) for sheet in document) == 2 * (6 + len(kept))
    assert "Conclusion du lecteur Deux ganglions à biopsier." in page
    assert "lésions hypermétaboliques :" not in page


def test_a_rejected_figure_is_crossed_out(content, folder):
    """A stroke in the colour of the figure lies across it, in the rejected report alone."""

    def strokes(decision):
        path = folder / f"{decision}.pdf"
        write_pdf(cases.signed(content, decision, "Non."), path, language="en")
        with pypdfium2.PdfDocument(path) as document:
            boxes = [one.get_bounds() for one in document[0].get_objects() if one.type == 2]
        return sum(
            30 < right - left < 100 and abs(top - bottom) < 4 and left < 60 for left, bottom, right, top in boxes
        )

    assert strokes("reject") == strokes("amend") + 1


def test_characters_that_the_fonts_lack_do_not_vanish(made):
    report = made("nothing_known", "en")
    assert report.text.count("\ufffd\ufffd <b>&amp; ok Deux lignes.") == 2


def test_a_term_s_long_name_stands_whole_on_several_lines():
    name = "LDH par rapport à la limite supérieure de la normale : 310 U/l pour une limite de 250 U/l"
    register_fonts()
    drawn = bars([("Âge", -0.1), (name, 0.4), ("Sexe", 0.2)], Locale("fr"), width=297.0)
    texts = [
        (one.text, one.x, one.y) for one in drawn.contents if isinstance(one, String) and one.textAnchor == "start"
    ]
    assert " ".join(text for text, _x, _y in texts) == f"Âge {name} Sexe"
    heights = [y for _text, _x, y in texts]
    assert np.all(np.diff(heights) < -8.0)
    assert min(heights) > 0


def test_the_model_takes_half_a_page_without_tables_by_centre(many, made):
    for words in ("Differential privacy none: no ε", "Centres 1", "Expected AUC against the", "0.729"):
        assert words in many[1].text
    for report in (many[1], made("long_texts", "en")):
        assert "By centre" not in report.text
        assert "By subgroup" not in report.text
        assert "Validation loss" not in report.text
    assert "Centres 80" in made("long_texts", "en").text
