"""The pages, run by Streamlit without a browser."""

from __future__ import annotations

import ast
import importlib.util
import string
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.runtime.context import ContextProxy
from streamlit.testing.v1 import AppTest

import app
from app.models import bundle_for
from app.result import inspection_json
from app.services import open_services
from app.store import INTERRUPTED
from app.tables import Decision, Status
from app.viewer.description import read_description
from app.viewer.volumes import store_answer, store_images
from app.views.charts import waterfall_chart
from app.views.reasons import by_lesion
from app.views.record_form import GROUPS
from app.views.speech import Speech
from clinical.variables import VARIABLES
from fedpet.errors import SuvNotComputable
from fedpet.journal import Journal
from fedpet.messages import LANGUAGES, Message, catalogue
from fedpet.settings import Settings
from inference.bundle import Bundle

_ROOM = Path(app.__path__[0])
_spec = importlib.util.spec_from_file_location("app_cases", Path(__file__).with_name("app_cases.py"))
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)


@pytest.fixture
def visit(monkeypatch):
    """Open the services, and the browser's cookies with a session: AppTest has none to give."""

    def start(settings):
        opened = open_services(settings)
        monkeypatch.setattr(ContextProxy, "cookies", {opened.access.cookie: opened.access.new_cookie()})
        return opened

    return start


@pytest.fixture
def services(tmp_path, untrained_bundle, visit):
    return visit(Settings(home=tmp_path / "home", model=untrained_bundle.folder))


@pytest.fixture
def page(services):  # noqa: ARG001  the pages use the services opened last
    return AppTest.from_file(str(_ROOM / "main.py"), default_timeout=60)


def _open(page, name, case=None):
    page.run()
    page._page_hash = next(key for key, known in page._registered_pages.items() if known.get("url_pathname") == name)
    if case is not None:
        page.query_params["case"] = case.id
    page.run()
    assert not page.exception
    return page


def _press(page, label):
    next(button for button in page.button if button.label == label).click().run()
    assert not page.exception


def _texts(page):
    """Everything that the page says."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "info", "warning", "error", "success")
    said = [element.value for kind in kinds for element in page.get(kind)]
    return "\n".join([*said, *(element.proto.body for element in page.html)])


def _received(services, record=None):
    case = services.store.create("fr", record)
    services.store.receive(case.id, files=12, size=5 * 2**20)
    return case


def _checked(services, study=None, record=None):
    """A case whose images were checked."""
    case, study = _received(services, record), study or cases.make_study()
    services.store.start(case.id)
    store_images(study, services.store.folder(case.id))
    services.store.checked(
        case.id, pseudonym=study.pseudonym, study_date=study.study_date, inspection=inspection_json(study)
    )
    return case


def _ready(services, what_if=None, **options):
    case = _checked(services)
    services.store.confirm(case.id)
    result = cases.make_case(services.store.folder(case.id), **options)
    store_answer(result, result.folder)
    assert services.store.finish(case.id, result=cases.make_json(result) | {"what_if": what_if})
    return case


def _field(page, name):
    return next(field for field in (*page.number_input, *page.selectbox) if field.key.endswith(f"/{name}"))


def test_without_the_servers_cookie_a_page_shows_nothing(page, services, monkeypatch):
    _ready(services)
    monkeypatch.setattr(ContextProxy, "cookies", {})
    page.run()
    assert "fedpet app" in page.error[0].value
    assert not page.button


def test_an_empty_list_says_how_to_start(page):
    page.run()
    assert page.title[0].value == "Dossiers"
    assert "Aucun dossier" in page.info[0].value
    assert "Usage recherche uniquement" in _texts(page)


def test_the_switch_changes_every_word(page):
    page.run()
    page.segmented_control(key="language").select("en").run()
    assert page.title[0].value == "Cases"
    assert "Research use only" in _texts(page)


def test_the_configured_language_comes_first(tmp_path, visit):
    visit(Settings(home=tmp_path, language="en"))
    page = AppTest.from_file(str(_ROOM / "main.py"), default_timeout=60).run()
    assert page.title[0].value == "Cases"


def test_the_list_shows_each_case_with_its_answer(page, services):
    _received(services)
    _ready(services)
    _ready(services, abstained=True)
    said = _texts(page.run())
    for words in (
        "MODÈLE SYNTHÉTIQUE",
        "reçu",
        "prêt",
        "52\u202f%",
        "risque intermédiaire",
        "abstention",
        "10 mars 2026",
    ):
        assert words.replace("\u202f", " ") in said.replace("\u202f", " ").replace("\xa0", " ")
    assert [button.label for button in page.button if button.key] == ["Ouvrir"] * 3


def test_several_archives_become_several_cases(page, services):
    _open(page, "new")
    assert page.file_uploader[0].allowed_type == [".zip"]
    for name in ("DUPONT.zip", "DURAND.zip"):
        page.file_uploader[0].upload(name, b"PK\x05\x06" + bytes(18))
    page.run()
    assert page.title[0].value == "Dossiers"
    assert len(services.store.newest()) == 2
    services.jobs.stop()
    assert not [path for path in services.settings.folder.rglob("*") if "DU" in path.name]


def test_the_form_keeps_what_is_entered_and_what_is_missing_stays_missing(page, services):
    case = _received(services)
    _open(page, "case", case)
    _field(page, "age").set_value(66.0)
    _field(page, "sex").select("F")
    _field(page, "brain_metastases").select(False)
    page.run()
    assert services.store.get(case.id).record == {"age": 66.0, "sex": "F", "brain_metastases": False}
    again = AppTest.from_file(str(_ROOM / "main.py"), default_timeout=60)
    assert _field(_open(again, "case", case), "age").value == 66.0
    assert _field(again, "albumin").value is None


def test_unusual_values_are_pointed_out_and_missing_ones_listed(page, services):
    _open(page, "case", _received(services, {"crp": 240.0, "ldh": 300.0}))
    warned = page.warning[0].value
    assert "CRP" in warned
    assert "240 mg/L" in warned
    assert "limite supérieure" in warned  # LDH without the laboratory's limit
    assert "Albuminémie" in page.info[0].value


def test_scores_follow_the_entries_and_say_what_they_cannot(page, services):
    _open(page, "case", _received(services, {"leucocytes": 8.0, "neutrophils": 6.2, "lymphocytes": 1.0}))
    said = _texts(page)
    assert "3,44" in said  # dNLR 6.2 / 1.8
    assert "6,20" in said  # NLR
    assert said.count("non calculable") == 2  # LIPI and GRIm lack LDH
    _field(page, "ldh").set_value(300.0)
    _field(page, "ldh_uln").set_value(250.0)
    said = _texts(page.run())
    assert "2 points : mauvais pronostic" in said.replace("\xa0", " ")
    assert said.count("non calculable") == 1  # GRIm lacks albumin


def test_a_value_in_another_unit_is_refused_with_the_way_to_correct_it(page, services):
    _open(page, "case", _received(services, {"haemoglobin": 130.0}))
    assert "divisez par 10" in page.error[0].value
    assert "Lancer l’analyse" not in [button.label for button in page.button]


def test_a_record_is_loaded_from_a_file(page, services):
    _open(page, "case", _received(services))
    page.file_uploader[0].upload("dupont_jean.csv", b"sexe;ldh;ldh_lsn;inconnue\nM;310,5;250;1\n").run()
    page.run()
    assert (_field(page, "sex").value, _field(page, "ldh").value) == ("M", 310.5)
    folder = services.store.folder(services.store.newest()[0].id)
    assert not list(folder.iterdir())  # neither the file nor its name is kept


def test_a_file_that_cannot_be_used_says_why(page, services):
    _open(page, "case", _received(services))
    page.file_uploader[0].upload("a.json", b'{"ldh": 99999}').run()
    assert "LDH" in page.error[0].value
    assert "10000" in page.error[0].value


def test_a_model_that_must_not_be_used_is_said_on_the_pages_that_need_it(tmp_path, visit):
    services = visit(Settings(home=tmp_path / "home", model=tmp_path))
    for name, case in (("model", None), ("case", _received(services))):
        page = AppTest.from_file(str(_ROOM / "main.py"), default_timeout=60)
        assert "SHA256SUMS" in _open(page, name, case).error[0].value


def test_a_ready_case_shows_its_answer(page, services):
    said = _texts(_open(page, "case", _ready(services)))
    plain = said.replace("\u202f", " ").replace("\xa0", " ")
    for words in (
        *("MODÈLE SYNTHÉTIQUE", "52 %", "38 % – 64 %", "41 %", "risque intermédiaire", "Albuminémie"),
        *("Réponse à 80 %", "indéterminée", "pas de progression", "contient ce qui arrive chez 80 %"),
        *("forgez votre avis", "à vérifier", "Zones influentes, non causales"),
    ):
        assert words in plain


def test_the_terms_of_the_score_lead_from_the_reference_patient_to_this_one():
    terms = {"age": 0.1, "image:tumour_volume": 0.4, "albumin": -0.25, "ecog_1": 0.0}
    rows = waterfall_chart(terms, Speech("en"))["data"]["values"]
    assert [(row["start"], row["end"]) for row in rows] == [
        (0.0, 0.4), (0.4, pytest.approx(0.15)), (pytest.approx(0.15), pytest.approx(0.25)), (0.0, pytest.approx(0.25)),
    ]  # fmt: skip
    assert [row["text"] for row in rows] == [
        "+0.40 raises the risk", "−0.25 lowers the risk", "+0.10 raises the risk", "+0.25",
    ]  # fmt: skip


def test_the_terms_of_the_images_are_shared_out_among_the_lesions():
    terms = {"age": 0.1, "image:tumour_volume": 0.4, "image:necrosis": 0.2}
    lesions = [{"id": 1, "region": "liver"}, {"id": 4, "region": "lung_left"}]
    result = {"prediction": {"contributions": terms, "quantities": {"lesions": lesions}}}
    shared, labels = by_lesion(result, {"1": 0.45, "4": -0.05})
    assert shared == {"age": 0.1, "lesion:1": 0.45, "lesion:4": -0.05, "lesion:none": pytest.approx(0.2)}
    rows = waterfall_chart(shared, Speech("fr"), labels=labels)["data"]["values"]
    assert rows[0]["term"] == "Lésion 1, région hépatique"
    assert rows[-1]["end"] == pytest.approx(sum(terms.values()))


def test_small_terms_are_summed_and_the_total_stays_right():
    terms = dict.fromkeys(("age", "male", "ecog_1", "ecog_2", "never_smoker", "squamous", "pdl1_1", "pdl1_50"), 0.5)
    terms |= dict.fromkeys(("line_2", "ldh_above_uln", "nlr", "leucocytes", "albumin"), 0.01)
    rows = waterfall_chart(terms, Speech("fr"))["data"]["values"]
    assert rows[-2]["term"] == "Autres termes (2)"
    assert rows[-1]["end"] == pytest.approx(8 * 0.5 + 5 * 0.01)


def test_the_answer_without_each_lesion_is_shown_with_its_caveat(page, services):
    tries = [
        {"lesion": 1, "probability": 0.61, "change": 0.087, "abstained": None},
        {"lesion": "all", "probability": 0.5, "change": -0.023, "abstained": Message("No lesion.").to_json()},
    ]
    said = _texts(_open(page, "case", _ready(services, what_if=tries)))
    for words in ("61 %", "+9 points, mieux", "−2 points, moins bien", "toutes", "50 % †", "s’abstiendrait", "TEP"):
        assert words in said.replace("\u202f", " ").replace("\xa0", " ")
    assert "non ce que son traitement apporterait" in said


def test_lesions_that_the_model_was_not_shown_are_named(page, services):
    case = _ready(services)
    result = services.store.get(case.id).result
    result["prediction"]["painted_out"] = [2, 5]
    services.store._change(case.id, {Status.READY}, result=result)
    assert any("2, 5" in info.value for info in _open(page, "case", case).info)


def test_markers_known_without_the_model_stand_beside_it(page, services):
    said = _texts(_open(page, "case", _ready(services)))
    assert "Mezquita, JAMA Oncol 2018" in said
    assert "non calculable" in said
    assert "PD-L1" in said


def test_a_stopped_case_says_why_in_the_list_and_is_started_again_there(page, services):
    failed = _received(services)
    services.store.start(failed.id)
    services.store.stop(failed.id, Status.FAILED, INTERRUPTED)
    page.run()
    assert "Le serveur s’est arrêté" in "\n".join(caption.value for caption in page.caption)
    _press(page, "Réessayer")
    assert services.store.get(failed.id).status is Status.CHECKING


def _second(services, day):
    """Another answered case of the same patient, some days later."""
    case = _ready(services)
    result = services.store.get(case.id).result
    result["study"]["date"] = day
    services.store._change(case.id, {Status.READY}, result=result, study_date=day)
    return case


def test_two_dates_of_a_patient_are_compared(page, services):
    first, second = _ready(services), _second(services, "2026-06-10")
    said = _texts(_open(page, "case", first))
    link = next(one for one in page.get("page_link") if "Comparer" in one.proto.label)
    assert link.proto.query_string == f"case={first.id}"
    said = _texts(_open(page, "comparison", second))
    for words in ("SUVpeak", "Maladie métabolique stable", "persistante", "10 mars 2026", "10 juin 2026", "0 %"):
        assert words in said.replace("\u202f", " ").replace("\xa0", " ")
    assert "Le poids, la taille ou le sexe manque" in said


def test_a_patient_seen_once_has_nothing_to_compare_with(page, services):
    said = _texts(_open(page, "comparison", _ready(services)))
    assert "pas d’autre dossier" in said


def test_an_abstention_shows_no_probability_but_the_quantities(page, services):
    said = _texts(_open(page, "case", _ready(services, abstained=True)))
    assert "Le modèle ne répond pas." in said
    assert "%</div>" not in said
    assert "SUVmax" in said
    assert "12,0" in said


def test_an_unreliable_map_is_announced(page, services):
    said = _texts(_open(page, "case", _ready(services, reliable=False)))
    assert "elle n’est pas affichée" in said


def test_a_refused_case_says_why_and_a_failed_one_can_be_started_again(page, services):
    case = services.store.create("fr")
    services.store.start(case.id)
    services.store.stop(case.id, Status.REFUSED, Message("The model does not answer."))
    assert "ne sont pas utilisables" in _open(page, "case", case).error[0].value
    failed = _received(services)
    services.store.start(failed.id)
    services.store.stop(failed.id, Status.FAILED, INTERRUPTED)
    page = AppTest.from_file(str(_ROOM / "main.py"), default_timeout=60)
    _open(page, "case", failed)
    assert "Le serveur s’est arrêté" in page.error[0].value
    assert "Relancer" in [button.label for button in page.button]


def test_images_without_suv_are_shown_with_the_reason_and_are_not_computed(page, services):
    study = cases.make_study()
    refusal = SuvNotComputable(found=Message("No weight."), needed=Message("A weight."), advice=Message("Give it."))
    stored = study.pet.like(study.pet.array, "stored")
    case = _checked(services, replace(study, pet=stored, suv_refusal=refusal))
    said = _texts(_open(page, "case", case))
    assert "No weight. A weight. Give it." in page.error[0].value
    assert "Lancer l’analyse" not in [button.label for button in page.button]
    assert "SUVmax" not in said
    assert read_description(services.store.folder(case.id))["quantity"] == "BQML"


def test_opening_an_answer_marks_it_as_read_and_leaves_a_trace(page, services):
    case = _ready(services)
    _open(page, "case", case)
    assert services.store.get(case.id).status is Status.READ
    assert services.workflow.audit.entries(case=case.id)[0].action == "answer.read"


def test_signed_versions_can_be_read_while_a_new_one_is_prepared(page, services):
    case = _ready(services)
    cases.sign_version(services.store, case, Decision.AMEND)
    services.store._change(case.id, {Status.READY}, status=Status.SIGNED)
    services.workflow.amend(case.id, actor="Dr B")
    said = _texts(_open(page, "case", case))
    assert "Version 1" in said
    assert f"/files/{case.id}/1/report.fr.pdf" in said


def test_the_model_card_shows_the_fingerprints(page, untrained_bundle):
    said = _texts(_open(page, "model"))
    assert untrained_bundle.digest in said
    assert untrained_bundle.contract.fingerprint in said


def test_the_card_that_is_asked_for_is_shown_also_where_it_is_not_in_force(page):
    page.run()
    page.query_params["model"] = Bundle.chosen(None).digest
    said = _texts(_open(page, "model"))
    assert Bundle.chosen(None).digest in said
    assert "n’est pas celui en vigueur" in said


@pytest.fixture
def registered(tmp_path, untrained_bundle, visit):
    """A registry with an evaluated model beside the one of fedpet."""
    opened = visit(Settings(home=tmp_path / "registered"))
    (tmp_path / "report.json").write_text('{"patients": 40, "c_index": 0.6}')
    opened.models.add(untrained_bundle.folder, actor="chief", evaluation=tmp_path / "report.json")
    return opened


def test_a_model_is_promoted_and_rolled_back_on_the_page_with_a_reason(page, registered, untrained_bundle):
    _open(page, "administration").segmented_control[-1].select("Modèles").run()
    own = Bundle.chosen(None).digest
    assert f"<td>{untrained_bundle.digest[:12]}</td>" in _texts(page)
    assert "<td>40 patients</td>" in _texts(page)
    _press(page, "Promouvoir")
    assert "donnez le motif" in page.error[0].value
    page.selectbox[0].select(untrained_bundle.digest)
    page.text_input(key="model_reason").input("meilleur")
    _press(page, "Promouvoir")
    assert registered.bundle.digest == untrained_bundle.digest
    assert "<td>meilleur</td>" in _texts(page)
    page.text_input(key="model_reason").input("moins bon")
    _press(page, "Revenir au modèle précédent")
    assert registered.bundle.digest == own
    told = [(entry.action, entry.model, entry.actor) for entry in registered.workflow.audit.entries(words="model.")]
    assert told == [
        ("model.rolled_back", own, "local"), ("model.promoted", untrained_bundle.digest, "local"),
        ("model.added", untrained_bundle.digest, "chief"),
    ]  # fmt: skip


def test_a_promotion_changes_no_answered_case_until_its_reader_asks(page, registered, untrained_bundle):
    case, own = _ready(registered), Bundle.chosen(None).digest
    result = registered.store.get(case.id).result
    result["prediction"]["model"]["digest"] = own
    registered.store._change(case.id, {Status.READY}, result=result)
    registered.models.promote(untrained_bundle.digest, actor="chief", reason="test")
    assert bundle_for(registered.store.get(case.id), registered.settings).digest == own
    assert bundle_for(_received(registered), registered.settings).digest == untrained_bundle.digest
    _open(page, "case", case)
    assert any("untrained 0" in info.value for info in page.info)
    _press(page, "Calculer avec le modèle en vigueur")
    registered.jobs.stop()
    changed = registered.store.get(case.id)
    assert changed.status is Status.RUNNING
    assert bundle_for(changed, registered.settings).digest == untrained_bundle.digest
    assert registered.workflow.audit.entries(case=case.id)[0].detail == {
        "model": {"old": "", "new": untrained_bundle.digest}
    }


def test_a_federation_is_drawn_while_it_trains(page, services):
    assert "Aucun entraînement" in _open(page, "federation").info[0].value
    journal = Journal.new(services.settings.runs_folder)
    journal.write(
        "started", name="essai", version="2", sites=["Lyon", "Nice"], rounds={"model": 4, "clinical": 1}, synthetic=True
    )
    for number, loss in ((1, 2.25), (2, 2.0)):
        validation = {"Nice": {"loss": loss, "n": 6.0}, "Lyon": {"loss": 1.5, "n": 2.0}}
        journal.write(
            "round", run="model", round=number, seconds=60.0, patients={"Nice": 30, "Lyon": 10},
            validation=validation, concordance=0.6,
        )  # fmt: skip
    said = _texts(page.run())
    for words in (
        "MODÈLE SYNTHÉTIQUE",
        "Lyon",
        "2,250",
        "2,000",
        "2,062",
        "0,600",
        "2 sites",
    ):  # 2.0625 is the pooled loss of round 1
        assert words in said
    assert any("tour 2 sur 4" in bar.proto.text and "2 min" in bar.proto.text for bar in page.get("progress"))
    journal.write("stopped", why=Message("The training was stopped.").to_json())
    assert "L’entraînement a été arrêté" in _texts(page.run())


def test_the_form_asks_each_variable_once():
    asked = [name for _, names in GROUPS for name in names]
    assert sorted(asked) == sorted(VARIABLES)


@pytest.mark.parametrize(("language", "written"), [("fr", "1\u202f234,5"), ("en", "1,234.5")])
def test_numbers_are_written_as_the_language_does(language, written):
    assert Speech(language).number(1234.5) == written
    assert Speech(language).number(None) == "–"


def _sentences():
    """Every msgid of the room, with the names of its values."""
    for path in _ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in {"Message", "_", "text"}:
                yield node.args[0].value


def test_every_sentence_of_the_pages_has_its_french():
    french = catalogue("fr")
    sentences = set(_sentences())
    assert len(sentences) > 100
    missing = [sentence for sentence in sentences if not _known(french, sentence)]
    assert missing == []


def _known(translations, sentence):
    while translations is not None:
        if sentence in getattr(translations, "_catalog", {}):
            return True
        translations = translations._fallback
    return False


def test_translations_name_the_same_values():
    def names(text):
        return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}

    for sentence in set(_sentences()):
        for language in LANGUAGES:
            assert names(catalogue(language).gettext(sentence)) == names(sentence)
