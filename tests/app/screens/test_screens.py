"""The pages, run by Streamlit without a browser."""

from __future__ import annotations

import ast
import json
import re
import string
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import update
from streamlit.runtime.context import ContextProxy
from streamlit.testing.v1 import AppTest

import app
from app.cases.model_choice import bundle_for, method_of, without_model
from app.cases.options import CaseOptions
from app.cases.result_json import inspection_json, plain
from app.cases.store import INTERRUPTED
from app.cases.stored_result import StoredComponent
from app.cases.tables import Case, Decision, Status
from app.exchange.quarantine import keep_apart, quarantined
from app.jobs.case_process import compute
from app.jobs.scheduler import JobScheduler
from app.pacs.object_store import ReceivedObject
from app.screens import audit_table
from app.screens.case import lesions
from app.screens.case.charts import waterfall_chart
from app.screens.case.record_form import GROUPS
from app.screens.case.steps import Step
from app.screens.layout.localization import Localization
from app.services import open_services, pages_use
from app.viewer.description import read_description
from app.viewer.volumes import store_images, store_prediction
from explain.figures.drawing import lesion_colour
from fedpet.clinical.record import ClinicalRecord, RecordReference
from fedpet.clinical.variables import VARIABLES
from fedpet.core.errors import OutdatedError, SuvError, TransitionError
from fedpet.core.journal import Journal
from fedpet.core.messages import LANGUAGES, Message, catalogue
from fedpet.core.pseudonyms import identifier_digest
from fedpet.core.settings import Settings
from fedpet.imaging.anatomy.regions import REGIONS
from fedpet.imaging.dicom.files import InputLimits
from fedpet.imaging.dicom.headers.patient_module import PatientModule, examination_uid
from fedpet.imaging.study import PatientFacts
from inference.bundle.storage import load_model
from inference.record_concordance import RecordConfirmation, compare_record
from inference.registry import REPORT_FORMAT
from inference.report_signature import own_signer
from tests.support import case_files as cases
from tests.support.case_files import alter_case
from tests.support.header_checks_only import HeaderChecksOnly

_ROOM = Path(app.__path__[0])


@pytest.fixture
def visit(monkeypatch):
    """Open the services, and the browser's cookies with a session: AppTest has none to give."""

    def start(settings):
        opened = stack.enter_context(pages_use(open_services(settings)))
        monkeypatch.setattr(ContextProxy, "cookies", {opened.access.cookie: opened.access.new_cookie()})
        return opened

    with ExitStack() as stack:
        yield start


@pytest.fixture
def services(tmp_path, untrained_bundle, visit):
    return visit(Settings(home=tmp_path / "home", model=untrained_bundle.folder))


@pytest.fixture
def page(services):  # noqa: ARG001  the services that the pages use
    return AppTest.from_file(str(_ROOM / "main.py"), default_timeout=60)


def _open(page, name, case=None, step=None):
    page.run()
    page._page_hash = next(key for key, known in page._registered_pages.items() if known.get("url_pathname") == name)
    if case is not None:
        page.query_params["case"] = case.id
    if step is not None:
        page.query_params["step"] = step
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


def _all_steps(case):
    """What the page of a case says in all steps of the reading."""
    pages = (AppTest.from_file(str(_ROOM / "main.py"), default_timeout=60) for _ in Step)
    return "\n".join(_texts(_open(page, "case", case, step)) for page, step in zip(pages, Step, strict=True))


def _received(services, record=None):
    case = services.store.create("fr", record)
    services.store.record_images(case.id, files=12, size=5 * 2**20)
    return case


def _checked(services, study=None, record=None):
    """A case whose images were checked."""
    case, study = _received(services, record), study or cases.make_study()
    services.store.start_check(case.id)
    store_images(study, services.store.folder(case.id))
    services.store.finish_check(
        case.id,
        pseudonym=study.pseudonym,
        study_date=study.study_date,
        inspection=inspection_json(HeaderChecksOnly(study)),
    )
    return case


def _ready(services, what_if=None, *, confirmed=True, **options):
    case = _checked(services)
    services.store.confirm_record(case.id)
    result = cases.make_case(services.store.folder(case.id), **options)
    store_prediction(result, result.folder)
    services.store.finish_computation(case.id, result=cases.make_json(result) | {"what_if": what_if or []})
    if confirmed:
        cases.confirm_lesions(services.store, case.id)
    return case


def _field(page, name):
    return next(field for field in (*page.text_input, *page.selectbox) if field.key.endswith(f"/{name}"))


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


def test_the_administration_compares_the_cases_with_the_reference(page, services):
    _ready(services)
    _open(page, "administration")
    page.segmented_control[-1].select("Surveillance").run()
    said = _texts(page)
    assert "Trop peu de dossiers pour comparer" in said
    assert "moyennes arrondies du contrat" in said
    assert "Tableau des issues" in [one.label for one in page.get("file_uploader")]


def test_no_probability_has_more_digits_than_its_interval_supports(page, services):
    said = re.sub(r"<[^>]*>", " ", _texts(_open(page, "case", _ready(services))))  # places of drawings are no text
    assert re.search(r"\b52\s%", said)
    for digits in ("52,3", "52.3", "0,523", "0.523"):
        assert digits not in said


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
        "tiers moyen de la cohorte d’apprentissage selon le risque",
        "abstention",
        "10 mars 2026",
    ):
        assert words.replace("\u202f", " ") in said.replace("\u202f", " ").replace("\xa0", " ")
    assert [button.label for button in page.button if button.key] == [
        *["Créé le ↓", "Pseudonyme", "TEP/TDM du", "État"],
        *["Ouvrir"] * 3,
    ]
    for pressed, then in (
        ("Créé le ↓", "Créé le ↑"),
        ("Créé le ↑", "Créé le ↓"),
        ("État", "État ↑"),
        ("État ↑", "État ↓"),
    ):
        _press(page, pressed)
        assert then in [one.label for one in page.button]
    _press(page, "État ↓")
    assert "Créé le ↓" in [one.label for one in page.button]  # as at first


def test_several_archives_become_several_cases(page, services):
    _open(page, "new")
    assert page.file_uploader[0].allowed_type == [".zip"]
    for name in ("DUPONT.zip", "DURAND.zip"):
        page.file_uploader[0].upload(name, b"PK\x05\x06" + bytes(18))
    page.run()
    assert page.title[0].value == "Dossiers"
    assert len(services.store.newest()) == 2
    services.jobs.stop()
    mine, others = services.store.newest()
    cases.alter_case(services.store, others.id, owner="Dr B", status=Status.REFUSED)
    cases.alter_case(services.store, mine.id, status=Status.REFUSED)
    _open(page, "new")
    _open(page, "")
    names = {services.store.label(one.id) for one in (mine, others)}
    assert names == {"DUPONT.zip", "DURAND.zip"}
    shown = [name for name in names if any(name in one.value for one in page.text)]
    assert shown == [services.store.label(mine.id)]  # of another's case, the name is not told
    assert not [path for path in services.settings.folder.rglob("*") if "DU" in path.name]


def test_the_form_keeps_what_is_entered_and_what_is_missing_stays_missing(page, services):
    case = _received(services)
    _open(page, "case", case)
    _field(page, "age").set_value("66")
    _field(page, "sex").select("F")
    _field(page, "brain_metastases").select(False)
    page.run()
    assert services.store.get(case.id).record == {"age": 66.0, "sex": "F", "brain_metastases": False}
    again = AppTest.from_file(str(_ROOM / "main.py"), default_timeout=60)
    assert _field(_open(again, "case", case), "age").value == "66"
    assert _field(again, "albumin").value == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_number_has_a_comma_or_a_point_in_either_language_and_words_are_refused(page, services, language):
    case = _received(services)
    page.run()
    page.segmented_control(key="language").select(language).run()
    _open(page, "case", case)
    _field(page, "weight_kg").set_value("61,5")
    _field(page, "ldh").set_value("310.5")
    _field(page, "albumin").set_value("forty").run()
    assert services.store.get(case.id).record == {"weight_kg": 61.5, "ldh": 310.5}
    assert "forty" in page.error[0].value
    again = AppTest.from_file(str(_ROOM / "main.py"), default_timeout=60)
    page.segmented_control(key="language").select("fr").run()
    assert _field(_open(again, "case", case), "ldh").value == "310,5"


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
    assert said.count("non calculable") == 7  # LIPI and GRIm lack LDH; ALI, EPSILoN and LORIS more
    _field(page, "ldh").set_value("300")
    _field(page, "ldh_uln").set_value("250")
    said = _texts(page.run())
    assert "2 points : mauvais pronostic" in said.replace("\xa0", " ")
    assert said.count("non calculable") == 6
    assert "non calculable, manque : Albuminémie" in said.replace("\xa0", " ")  # GRIm


def test_a_value_in_another_unit_is_refused_with_the_way_to_correct_it(page, services):
    _open(page, "case", _received(services, {"haemoglobin": 130.0, "age": 400.0}))
    said = [error.value for error in page.error]
    assert any("divisez par 10" in error for error in said)
    assert len(said) == 3  # each wrong value, and their names at the end
    assert all(label in said[-1] for label in ("Âge", "Hémoglobine"))
    assert "Lancer l’analyse" not in [button.label for button in page.button]


def test_a_record_is_loaded_from_a_file(page, services):
    _open(page, "case", _received(services))
    drawn = _field(page, "ldh").key
    page.file_uploader[0].upload("dupont_jean.csv", b"sexe;ldh;ldh_lsn;inconnue\nM;310,5;250;1\n").run()
    assert services.store.newest()[0].record["ldh"] == 310.5  # at once, whatever the browser sends next
    page.run()
    assert _field(page, "ldh").key != drawn  # what the browser still sends for the old field changes nothing
    assert (_field(page, "sex").value, _field(page, "ldh").value) == ("M", "310,5")
    folder = services.store.folder(services.store.newest()[0].id)
    assert not list(folder.iterdir())  # neither the file nor its name is kept


IMAGES = PatientFacts("", "M", 42, "birth_date", 73.0, 1.76, ("2026-03-10",))
OWN = {"sex": "M", "age": 42.0, "weight_kg": 73.0, "pet_date": "2026-03-10", "start_date": "2026-03-31"}


def _compared(services, record, **images):
    return _checked(services, replace(cases.make_study(), patient=replace(IMAGES, **images)), record)


def test_a_record_that_fits_is_compared_item_by_item(page, services, monkeypatch):
    case = _compared(services, OWN)
    said = _texts(_open(page, "case", case))
    assert said.count("concorde</span>") == 5  # sex, age, weight and both days
    assert "42 ans d’après la date de naissance" in said
    assert "TEP du 10 mars 2026" in said.replace("\xa0", " ")
    monkeypatch.setattr(JobScheduler, "submit", lambda *_: None)
    _press(page, "Lancer l’analyse")
    assert services.store.get(case.id).status is Status.RUNNING


def test_another_patients_record_gets_no_answer_before_a_reason(page, services, monkeypatch):
    monkeypatch.setattr(JobScheduler, "submit", lambda *_: None)
    case = _compared(services, OWN | {"sex": "F", "age": 81.0, "weight_kg": 114.0})
    said = _texts(_open(page, "case", case))
    assert "contredisent les images" in page.error[0].value
    assert said.count("diffère</span>") == 3
    _press(page, "Lancer l’analyse")
    assert any("Donnez un motif" in error.value for error in page.error)
    assert services.store.get(case.id).status is Status.CHECKED
    next(one for one in page.text_input if one.key.endswith("/confirmation")).input("Erreur au PACS").run()
    _press(page, "Lancer l’analyse")
    kept = services.store.get(case.id)
    assert (kept.status, kept.options["confirmation"]["reason"]) == (Status.RUNNING, "Erreur au PACS")
    entry = services.workflow.audit.entries(case=case.id)[0]
    assert entry.detail["contradictions"] == ["sex", "age", "weight"]
    assert entry.detail["reason"] == "Erreur au PACS"
    assert len(entry.detail["shown"]) == 64


def test_a_missing_delay_is_asked_for(page, services):
    _open(page, "case", _compared(services, {"sex": "M"}))
    assert any("première dose" in warning.value for warning in page.warning)
    assert next(button for button in page.button if button.label == "Lancer l’analyse").disabled
    _field(page, "pet_to_treatment_days").set_value("21")
    page.run()
    assert not next(button for button in page.button if button.label == "Lancer l’analyse").disabled


def test_the_identifier_of_a_file_is_compared_and_not_kept(page, services):
    key = services.settings.pseudonym_key()
    case = _compared(services, {}, identifier=identifier_digest("IPP-80012", key))
    _open(page, "case", case)
    page.file_uploader[0].upload("r.csv", b"patient_id;sexe;date_tep\nIPP-80013;M;2026-03-10\n").run()
    page.run()
    assert "l’identifiant diffère" in page.error[0].value
    kept = services.store.get(case.id).record
    assert kept == {"sex": "M", "pet_date": "2026-03-10", "identifier_digest": identifier_digest("ipp80013", key)}
    assert "80013" not in _texts(page)


def test_an_answer_shows_what_its_record_contradicts_and_who_confirmed_it(page, services):
    case = _ready(services)
    record, confirmation = ClinicalRecord(sex="F", age=42), RecordConfirmation("Erreur au PACS", "Dr A")
    found = compare_record(record, RecordReference(), IMAGES, confirmation=confirmation)
    alter_case(services.store, case.id, result=services.store.get(case.id).result | {"concordance": plain(found)})
    said = _texts(_open(page, "case", case, "answer"))
    assert "sexe : femme dans les données cliniques, homme dans les images" in page.error[0].value.replace("\xa0", " ")
    assert "par Dr A. Motif : Erreur au PACS" in page.error[0].value.replace("\xa0", " ")
    assert "data-testid='concordance'" in said


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


def test_a_ready_case_shows_its_answer(services):
    said = _all_steps(_ready(services))
    plain = said.replace("\u202f", " ").replace("\xa0", " ")
    for words in (
        *(
            "MODÈLE SYNTHÉTIQUE",
            "52 %",
            "38 % – 64 %",
            "41 %",
            "En vie à 24 mois (survie globale)",
            "33 % – 60 %",
            "Points à 12 mois",
            "Lésion 1, poumon droit",
            "−15",
            "Sexe : homme",
            "+2",
            "Une autre change la réponse",
            "tiers moyen de la cohorte d’apprentissage selon le risque",
            "Albuminémie",
        ),
        *("Réponse à 80 %", "indéterminée", "pas de progression", "contient ce qui arrive chez 80 %"),
        *("forgez votre avis", "à vérifier", "Zones influentes, non causales"),
    ):
        assert words in plain


def _hexadecimal(colour):
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


def test_an_answer_is_kept_back_until_the_lesions_are_confirmed_and_the_change_is_counted(page, services):
    case = _ready(services, confirmed=False)
    said = "".join((_all_steps(case), _texts(page.run()))).replace("\u202f", " ").replace("\xa0", " ")
    assert "à lire d’abord" in said
    for words in ("52 %", "tiers moyen", "Points à 12 mois", "report.fr"):
        assert words not in said, words
    now = services.store.get(case.id)
    data = lesions.table_data(now, case_result := now.stored_result, Localization("fr"), services.settings)
    assert case_result.explanation is not None
    assert "Influence" not in json.dumps(data)
    one, left_out = Message("A.").to_json(), {"included": False, "place": "liver", "suv_max": 9.0, "volume_ml": 5.0}
    hot = StoredComponent.model_validate({"id": 1, "reason": one, "centroid_mm": [0.0, 0.0, 0.0], **left_out})
    (lesion,) = case_result.prediction.quantities.lesions
    third = case_result.prediction.quantities.model_copy(update={"lesions": (lesion.model_copy(update={"id": 3}),)})
    renumbered = case_result.prediction.model_copy(update={"quantities": third, "components": (hot,)})
    assert lesions.names(renumbered, Localization("en")) == {3: "1 (focus 3)", 1: "a (focus 1)"}  # as in the report
    drawn = case_result.model_copy(update={"prediction": renumbered})

    def colour():
        stored = services.store.get(case.id)
        return lesions.table_data(stored, drawn, Localization("fr"), services.settings)["rows"][0]["colour"]

    assert colour() == _hexadecimal(lesion_colour(3))  # of its focus, so that a correction changes no other's
    shown = services.store.get(case.id).digest
    with pytest.raises(OutdatedError):
        services.workflow.confirm_reading(case.id, actor="Dr A", estimate=0.4, blind=True, shown="another")
    services.workflow.confirm_reading(case.id, actor="Dr A", estimate=0.4, blind=True, shown=shown)
    assert colour() == _hexadecimal(lesion_colour(1))  # as in the report
    assert "52 %" in _all_steps(case).replace("\u202f", " ").replace("\xa0", " ")
    entry = services.workflow.audit.entries(case=case.id)[0]
    assert (entry.action, entry.detail["estimate"], entry.detail["answer"]) == ("reading.confirmed", 0.4, 0.523)
    _open(page, "administration").segmented_control[-1].select("Lectures").run()
    said = _texts(page)
    for cell in ("<td>1</td>", "<td>+12</td>", "<td>12</td>"):
        assert cell in said


def test_corrected_lesions_are_answered_at_once_and_what_hangs_on_them_is_computed_behind(page, services, monkeypatch):
    submitted = []
    monkeypatch.setattr(JobScheduler, "submit", lambda _, case_id: submitted.append(case_id))
    case = services.store.get(_ready(services).id)
    result = case.result
    reason = Message("A reason.").to_json()
    hot = {"id": 1, "included": True, "place": "liver", "reason": reason, "suv_max": 9.0, "volume_ml": 5.0}
    result["prediction"]["components"] = [hot | {"centroid_mm": [0.0, 0.0, 0.0]}]
    cases.alter_case(services.store, case.id, result=result)
    shown = services.store.get(case.id).digest

    def measure(options):
        assert options.exclude == (1,)
        quantities = result["prediction"]["quantities"] | {"tmtv_ml": 7.7}
        return {"prediction": result["prediction"] | {"quantities": quantities}}

    step = {"do": "switch", "id": 1}
    services.workflow.correct_lesions(case.id, step, actor="Dr A", measure=measure, shown=shown)
    now = services.store.get(case.id)
    assert (now.status, now.is_pending, now.options["exclude"]) == (Status.READY, True, [1])
    assert now.stored_result.explanation is None
    entry = services.workflow.audit.entries(case=case.id)[0]
    assert (entry.action, entry.actor, entry.detail["exclude"]) == ("case.changed", "Dr A", {"old": [], "new": [1]})
    _open(page, "case", case, "answer")
    assert submitted == [case.id]
    said = _texts(page)
    assert "carte et le compte rendu sont en cours de calcul" in said
    for words in ("réponses sans chaque lésion sont", "carte d’influence est", "leur total est un autre"):
        assert words in said, words
    for words in ("Aucune lésion n’a été retirée", "pas de carte d’influence"):
        assert words not in said, words
    assert "7,7 ml" in said.replace("\xa0", " ")  # the answer stays, with the lesions as they are now
    # a correction while they are computed ends that computation and is taken
    services.workflow.correct_lesions(case.id, step, actor="Dr A", measure=lambda _: {})
    now = services.store.get(case.id)
    assert (now.is_pending, now.options["exclude"]) == (True, [])


def test_where_the_setting_is_off_the_answer_is_shown_at_once(tmp_path, untrained_bundle, visit):
    services = visit(Settings(home=tmp_path / "home", model=untrained_bundle.folder, blind_reading=False))
    assert "52" in _all_steps(_ready(services, confirmed=False))


def test_the_patient_that_the_images_name_is_shown_and_confirmed_and_kept_nowhere(page, services, dicom):
    case = _ready(services, confirmed=False)
    source = services.store.source(case.id)
    source.mkdir()
    suv, _, origin = dicom.thorax((2, 20, 20))
    marks = {"PatientName": "MARTIN^JEANNE", "PatientBirthDate": "19610312", "PatientSex": "F"}
    images = dicom.pet(suv, origin=origin, **marks)
    dicom.save(images, source)
    told = _texts(_open(page, "case", case, "read"))
    assert "Les images ne sont pas celles du patient" in told.replace("\xa0", " ")  # the case is still of another one
    assert "MARTIN" not in told
    patient = PatientModule.from_header(images[0])
    examination = "" if patient.patient_id else examination_uid(images[0])
    day = str(images[0].StudyDate)
    with services.store.engine.begin() as connection:
        name = patient.pseudonym(examination, services.settings.pseudonym_key())
        changed = {"pseudonym": name, "study_date": f"{day[:4]}-{day[4:6]}-{day[6:]}"}
        connection.execute(update(Case).where(Case.id == case.id).values(**changed))
    case = services.store.get(case.id)
    said = _texts(_open(page, "case", case, "read")).replace("\xa0", " ")
    for words in ("MARTIN JEANNE", "12 mars 1961", "femme"):
        assert words in said
    with pytest.raises(TransitionError):
        services.workflow.confirm_reading(case.id, actor="Dr A", estimate=None, blind=True)
    _press(page, "Images et données sont d’un même patient")
    assert "Images et données sont d’un même patient : local" in _texts(page).replace("\xa0", " ")
    assert services.workflow.audit.entries(case=case.id)[0].action == "identity.confirmed"
    services.workflow.confirm_reading(case.id, actor="Dr A", estimate=None, blind=True)
    kept = services.settings.folder / "cases.sqlite"
    assert b"MARTIN" not in kept.read_bytes()


_TOTAL = Message("This patient, against the reference patient without lesions")


def test_the_terms_of_the_score_lead_from_the_reference_patient_to_this_one():
    terms = {"age": 0.1, "image:tumour_volume": 0.4, "albumin": -0.25, "ecog_1": 0.0}
    rows = waterfall_chart(terms, Localization("en"), total=_TOTAL)["data"]["values"]
    assert [(row["start"], row["end"]) for row in rows] == [
        (0.0, 0.4), (0.4, pytest.approx(0.15)), (pytest.approx(0.15), pytest.approx(0.25)), (0.0, pytest.approx(0.25)),
    ]  # fmt: skip
    assert [row["text"] for row in rows] == [
        "+0.40 raises the risk", "−0.25 lowers the risk", "+0.10 raises the risk", "+0.25",
    ]  # fmt: skip
    assert (
        rows[-1]["term"] == "This patient, against the \nreference patient without lesions"
    )  # read out as words apart


def test_the_terms_of_an_explanation_keep_their_labels_and_their_sum():
    labels = {"lesion:1": Message("Lesion {number}, {region}", number=1, region=REGIONS["liver"])}
    terms = {"lesion:1": 0.45, "variable:age": 0.1}
    labels |= {"variable:age": Message(" ".join(["neutrophils"] * 9))}
    chart = waterfall_chart(terms, Localization("fr"), total=_TOTAL, labels=labels)
    rows, bands = chart["data"]["values"], chart["layer"][1]["encoding"]["y"]["scale"]["domain"]
    assert rows[0]["term"] == "Lésion 1, région hépatique"
    assert rows[-1]["end"] == pytest.approx(0.55)
    middles = [(bands.index(row["term"]) + 0.5) * 10 for row in rows]
    lines = [14 * len(row["term"].splitlines()) for row in rows]  # pixels
    assert lines[1] > 40
    assert all(
        low - high >= (a + b) / 2 for high, low, a, b in zip(middles, middles[1:], lines, lines[1:], strict=False)
    )


def test_small_terms_are_summed_and_the_total_stays_right():
    terms = dict.fromkeys(("age", "male", "ecog_1", "ecog_2", "never_smoker", "squamous", "pdl1_1", "pdl1_50"), 0.5)
    terms |= dict.fromkeys(("line_2", "ldh_above_uln", "nlr", "leucocytes", "albumin"), 0.01)
    rows = waterfall_chart(terms, Localization("fr"), total=_TOTAL)["data"]["values"]
    assert rows[-2]["term"] == "Autres termes (2)"
    assert rows[-1]["end"] == pytest.approx(8 * 0.5 + 5 * 0.01)


def test_a_result_of_version_0_1_is_shown_and_a_damaged_one_says_what_to_do(page, services):
    case = _ready(services)
    data = Path(__file__).parents[1] / "cases" / "data"
    result, inspection = (json.loads((data / f"{name}_0_1.json").read_text()) for name in ("result", "inspection"))
    cases.alter_case(services.store, case.id, result=result, inspection=inspection)
    said = _all_steps(case)
    for words in ("70 %", "fedpet 0.1.0", "03/05/2021 15:38:12", "poumon droit"):
        assert words in said, words
    result["prediction"]["quantities"]["tmtv_ml"] = "P-secret"
    cases.alter_case(services.store, case.id, result=result)
    _open(page, "case", case)
    assert not page.exception
    assert "prediction.quantities.tmtv_ml" in page.error[0].value
    assert "secret" not in _texts(page)


def test_a_refused_study_lets_a_reader_choose_other_series(page, services):
    case = _received(services)
    services.store.start_check(case.id)
    services.store.record_refusal(case.id, Message("Two examinations."), series=plain(cases.SERIES))
    _open(page, "case", case)
    assert "PET AC" in _texts(page)
    choice = next(one for one in page.selectbox if one.label == "Série TEP")
    assert choice.options == ["choisie par fedpet", "2. PET AC"]
    choice.select_index(1)
    _press(page, "Appliquer et recalculer")
    changed = services.store.get(case.id)
    assert (changed.options["pet_series"], changed.status) == (2, Status.CHECKING)


def test_a_draft_of_the_verdict_outlives_the_page_and_is_checked_before_it_is_signed(page, services):
    case = _ready(services)
    _open(page, "case", case, "sign")
    page.radio[0].set_value(Decision.REJECT)
    page.text_area[0].set_value("Deux foyers 👍").run()
    assert not page.exception
    draft = services.store.get(case.id).verdict
    assert (draft["decision"], draft["comment"]) == ("reject", "Deux foyers 👍")
    again = AppTest.from_file(str(_ROOM / "main.py"), default_timeout=60)  # the page, loaded again
    _open(again, "case", case, "sign")
    assert (again.radio[0].value, again.text_area[0].value) == (Decision.REJECT, "Deux foyers 👍")
    _press(again, "Signer le compte rendu")
    assert "👍" in again.error[0].value
    again.text_area[0].set_value("x" * 4001).run()
    _press(again, "Signer le compte rendu")
    assert "4\u202f001" in again.error[0].value
    again.text_area[0].set_value("Deux foyers physiologiques.").run()
    _press(again, "Signer le compte rendu")
    signing = services.store.get(case.id)
    assert (signing.status, signing.verdict["comment"]) == (Status.SIGNING, "Deux foyers physiologiques.")


def test_an_abstention_asks_for_a_verdict_on_the_measurements_and_does_not_contradict_itself(page, services):
    case = _ready(services, abstained=True)
    said = _all_steps(case)
    _open(page, "case", case, "sign")
    assert page.radio[0].label == "Votre verdict sur les mesures : le modèle n’a pas répondu"
    assert page.radio[0].options == ["Mesures acceptées", "Mesures amendées", "Mesures rejetées"]
    assert "Lésions retenues par la délinéation" in said
    assert "Ce qui fonde la réponse" not in said


def test_a_signed_examination_is_compared_while_its_new_version_is_prepared(page, services):
    here, there = _ready(services), _ready(services)
    result = services.store.get(there.id).result
    cases.sign_version(services.store, there, Decision.ACCEPT, result=result)
    cases.alter_case(services.store, there.id, status=Status.SIGNED, study_date="2026-05-10")
    services.workflow.open_version(there.id, actor="Dr B")
    said = _texts(_open(page, "comparison", here))
    assert "Aucun autre dossier" not in said
    assert "PERCIST" in said


def test_a_step_that_came_too_late_says_why(page, services, monkeypatch):
    case = _received(services)
    services.store.start_check(case.id)
    services.store.record_failure(case.id, INTERRUPTED)
    failed = services.store.get(case.id)
    monkeypatch.setattr("app.screens.case.page.chosen_case", lambda: failed)
    _open(page, "case", case)
    services.store.start_check(case.id)  # in another window, since this page was drawn
    next(button for button in page.button if button.label == "Relancer").click().run()
    assert not page.exception
    assert "contrôle en cours" in page.error[-1].value
    assert "Rechargez la page" in page.error[-1].value


def test_the_answer_without_each_lesion_is_shown_with_its_caveat(page, services):
    tries = [
        {"lesion": 1, "probability": 0.61, "change": 0.087, "abstained": None},
        {"lesion": "all", "probability": 0.5, "change": -0.023, "abstained": Message("No lesion.").to_json()},
    ]
    said = _texts(_open(page, "case", _ready(services, what_if=tries), "answer"))
    for words in ("61 %", "+9 points, mieux", "−2 points, moins bien", "toutes", "50 % †", "s’abstiendrait", "TEP"):
        assert words in said.replace("\u202f", " ").replace("\xa0", " ")
    assert "non ce que son traitement apporterait" in said


def test_lesions_that_the_reader_excluded_are_named(page, services):
    case = _ready(services)
    result = services.store.get(case.id).result
    some = {
        "place": "kidney",
        "reason": Message("A reason.").to_json(),
        "suv_max": 6.0,
        "volume_ml": 5.0,
        "centroid_mm": [0.0, 0.0, 0.0],
    }
    result["prediction"]["components"] = [
        some | {"id": number, "included": number in {1, 4}, "switched": number in {2, 4, 5}} for number in range(1, 6)
    ]
    cases.alter_case(services.store, case.id, result=result)
    said = [info.value for info in _open(page, "case", case, "answer").info]
    assert any("a (foyer 2), c (foyer 5)" in one for one in said), said


def test_markers_known_without_the_model_stand_beside_it(page, services):
    said = _texts(_open(page, "case", _ready(services), "answer"))
    assert "Mezquita, JAMA Oncol 2018" in said
    assert "non calculable" in said
    assert "PD-L1" in said


def test_a_stopped_case_says_why_in_the_list_and_is_started_again_there(page, services):
    failed = _received(services)
    services.store.start_check(failed.id)
    services.store.record_failure(failed.id, INTERRUPTED)
    page.run()
    assert "Le serveur s’est arrêté" in "\n".join(caption.value for caption in page.caption)
    _press(page, "Réessayer")
    assert services.store.get(failed.id).status is Status.CHECKING


def _second(services, day):
    """Another answered case of the same patient, some days later."""
    case = _ready(services)
    result = services.store.get(case.id).result
    result["study"]["date"] = day
    cases.alter_case(services.store, case.id, result=result, study_date=day)
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


def test_every_action_of_the_audit_trail_is_told_in_words(services):
    recorded = set()
    for path in _ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {"record", "_record"}:
                recorded |= {one.value for one in node.args if isinstance(one, ast.Constant) and "." in str(one.value)}
    assert recorded == set(audit_table.ACTIONS)
    services.workflow.audit.record(
        "Dr A", "case.changed", case="c", detail={"method": {"old": "suv4", "new": "percist"}, "include": [1, 2]}
    )
    services.workflow.audit.record("Dr A", "images.received", detail={"files": 1200, "bytes": 47_900_000})
    received, changed = (audit_table.row(one, Localization("fr")) for one in services.workflow.audit.entries())
    assert received[3] == "images reçues (images.received)"
    assert received[-1] == "fichiers\xa0: 1\u202f200 · taille\xa0: 47,9 Mo"
    assert changed[-1] == "délinéation\xa0: suv4 → percist · foyers ajoutés\xa0: 1, 2"


def test_a_patient_seen_once_has_nothing_to_compare_with(page, services):
    said = _texts(_open(page, "comparison", _ready(services)))
    assert "pas d’autre dossier" in said


def test_an_abstention_shows_no_probability_but_the_quantities(page, services):
    said = _texts(_open(page, "case", _ready(services, abstained=True), "answer"))
    assert "Le modèle ne répond pas." in said
    assert "%</div>" not in said
    assert "SUVmax" in said
    assert "12,0" in said


def test_an_unreliable_map_is_announced(page, services):
    said = _texts(_open(page, "case", _ready(services, reliable=False), "answer"))
    assert "elle n’est pas affichée" in said


def test_a_refused_case_says_why_and_a_failed_one_can_be_started_again(page, services):
    case = services.store.create("fr")
    services.store.start_check(case.id)
    services.store.record_refusal(case.id, Message("The model does not answer."))
    assert "ne sont pas utilisables" in _open(page, "case", case).error[0].value
    failed = _received(services)
    services.store.start_check(failed.id)
    services.store.record_failure(failed.id, INTERRUPTED)
    page = AppTest.from_file(str(_ROOM / "main.py"), default_timeout=60)
    _open(page, "case", failed)
    assert "Le serveur s’est arrêté" in page.error[0].value
    assert "Relancer" in [button.label for button in page.button]


def test_images_without_suv_are_shown_with_the_reason_and_are_not_computed(page, services):
    study = cases.make_study()
    refusal = SuvError(found=Message("No weight."), needed=Message("A weight."), advice=Message("Give it."))
    stored = study.pet.like(study.pet.array, "stored")
    case = _checked(services, replace(study, pet=stored, suv_refusal=refusal))
    said = _texts(_open(page, "case", case))
    assert "No weight. Attendu\u00a0: A weight. Give it." in page.error[0].value
    assert "Lancer l’analyse" not in [button.label for button in page.button]
    assert "SUVmax" not in said
    assert read_description(services.store.folder(case.id))["quantity"] == "BQML"


def test_an_answer_is_read_when_its_reader_says_so_and_not_when_it_is_opened(page, services):
    case = _ready(services)
    _open(page, "case", case, "sign")
    assert services.store.get(case.id).status is Status.READY
    assert services.workflow.audit.entries(case=case.id) == []
    _press(page, "J’ai lu cette réponse")
    assert services.store.get(case.id).status is Status.READ
    entry = services.workflow.audit.entries(case=case.id)[0]
    assert (entry.action, entry.detail["shown"]) == ("answer.read", services.store.get(case.id).digest)


def _answered_anew(services, case):
    """Another reader changes the record, and the case is computed again."""
    store = services.store
    store.reopen_record(case.id)
    store.save_draft(case.id, {"albumin": 20.0}, "fr")
    store.confirm_record(case.id)
    result = store.get(case.id).result
    result["prediction"]["endpoints"][0]["probability"] = 0.0057
    store.finish_computation(case.id, result=result)


def test_a_verdict_on_an_answer_that_has_changed_since_is_refused_in_words(page, services):
    case = _ready(services)
    _open(page, "case", case, "sign")
    page.radio[0].set_value(Decision.ACCEPT)
    page.text_area[0].set_value("Vu.").run()
    _answered_anew(services, case)
    _press(page, "Signer le compte rendu")
    assert "Rien n’a été décidé" in page.error[0].value
    assert services.store.get(case.id).status is Status.READY
    assert (page.radio[0].value, page.text_area[0].value) == (None, "Vu.")  # the words stay, the verdict does not
    page.radio[0].set_value(Decision.ACCEPT).run()
    _press(page, "Signer le compte rendu")
    signing = services.store.get(case.id)
    assert (signing.status, signing.verdict["shown"]) == (Status.SIGNING, signing.digest)


@pytest.mark.parametrize("label", ["Modifier les données cliniques", "Appliquer et recalculer"])
def test_no_other_button_decides_on_what_is_no_longer_shown(page, services, label):
    case = _ready(services)
    _open(page, "case", case, "check")
    _answered_anew(services, case)
    now = services.store.get(case.id)
    _press(page, label)
    assert "Rien n’a été décidé" in page.error[0].value
    assert services.store.get(case.id).revision == now.revision


def test_lesions_chosen_in_a_list_that_has_changed_since_are_not_applied(services):
    case = services.store.get(_ready(services).id)
    _answered_anew(services, case)
    with pytest.raises(OutdatedError):
        services.workflow.correct_lesions(
            case.id, {"do": "method", "method": "suv41pct"}, actor="local", measure=dict, shown=case.digest
        )
    with pytest.raises(OutdatedError):
        services.workflow.erase(case.id, actor="local", shown=case.digest)


def test_two_windows_write_one_record_without_undoing_each_other(page, services):
    case = _received(services, {"age": 60.0})
    _open(page, "case", case)
    other = AppTest.from_file(str(_ROOM / "main.py"), default_timeout=60)
    _field(_open(other, "case", case), "albumin").set_value("38").run()
    page.run()  # drawn again, as by the progress of the check: nothing older is written
    assert services.store.get(case.id).record == {"age": 60.0, "albumin": 38.0}
    assert _field(page, "albumin").value == "38"
    _field(page, "age").set_value("61").run()
    _field(other, "albumin").set_value("39").run()
    assert services.store.get(case.id).record == {"age": 61.0, "albumin": 39.0}
    assert services.store.get(case.id).record_version == 3


def test_what_was_typed_outlives_the_language_and_a_check_that_ends_meanwhile(page, services):
    case = _received(services)
    services.store.start_check(case.id)
    _open(page, "case", case)
    _field(page, "age").set_value("66")
    _field(page, "drug").select("pembrolizumab")
    services.store.record_refusal(case.id, Message("Two examinations."), series=plain(cases.SERIES))
    page.segmented_control(key="language").select("en").run()
    assert not page.exception
    assert services.store.get(case.id).record == {"age": 66.0, "drug": "pembrolizumab"}


def test_what_was_typed_too_late_is_named(page, services):
    case = _checked(services)
    _open(page, "case", case)
    _field(page, "age").set_value("66")
    services.store.confirm_record(case.id)
    page.run()
    assert "n’a pas été conservé" in page.warning[0].value
    assert "Âge" in page.warning[0].value


def test_signed_versions_can_be_read_while_a_new_one_is_prepared(page, services):
    case = _ready(services)
    cases.sign_version(services.store, case, Decision.AMEND)
    cases.alter_case(services.store, case.id, status=Status.SIGNED)
    services.workflow.open_version(case.id, actor="Dr B")
    said = _texts(_open(page, "case", case))
    assert "Version 1" in said
    assert f"/files/{case.id}/1/report.fr.pdf" in said


def test_the_model_card_shows_the_fingerprints(page, untrained_bundle):
    said = _texts(_open(page, "model"))
    assert untrained_bundle.digest in said
    assert untrained_bundle.contract.fingerprint in said


def test_the_card_that_is_asked_for_is_shown_also_where_it_is_not_in_force(page):
    page.run()
    page.query_params["model"] = load_model().digest
    said = _texts(_open(page, "model"))
    assert load_model().digest in said
    assert "n’est pas celui en vigueur" in said
    for words in ("répartis en 5 blocs", "Patients de test", "AUC attendue contre la probabilité réelle"):
        assert words in said


@pytest.fixture
def registered(tmp_path, untrained_bundle, visit):
    """A registry with an evaluated model beside the one of fedpet."""
    opened = visit(Settings(home=tmp_path / "registered"))
    report = {"format": REPORT_FORMAT, "bundle": untrained_bundle.digest, "patients": 40, "sites": {"a": 40}, "c": 0.6}
    (tmp_path / "report.json").write_text(json.dumps(own_signer(tmp_path / "registered").sign(report)))
    opened.models.add(untrained_bundle.folder, actor="chief", evaluation=tmp_path / "report.json")
    return opened


def test_a_model_is_promoted_and_rolled_back_on_the_page_with_a_reason(page, registered, untrained_bundle):
    _open(page, "administration").segmented_control[-1].select("Modèles").run()
    own = load_model().digest
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
    case, own = _ready(registered), load_model().digest
    result = registered.store.get(case.id).result
    result["prediction"]["model"]["digest"] = own
    cases.alter_case(registered.store, case.id, result=result)
    registered.models.promote(untrained_bundle.digest, actor="chief", reason="test")
    assert bundle_for(registered.store.get(case.id), registered.settings).digest == own
    assert bundle_for(_received(registered), registered.settings).digest == untrained_bundle.digest
    _open(page, "case", case, "sign")
    assert any("untrained 0" in info.value for info in page.info)
    _press(page, "Calculer avec le modèle en vigueur")
    registered.jobs.stop()
    changed = registered.store.get(case.id)
    assert changed.status is Status.RUNNING
    assert bundle_for(changed, registered.settings).digest == untrained_bundle.digest
    detail = registered.workflow.audit.entries(case=case.id)[0].detail
    assert detail["model"] == {"old": "", "new": untrained_bundle.digest}


def test_a_case_is_explained_by_the_method_that_its_reader_chooses(page, services):
    case = _ready(services)
    result = services.store.get(case.id).result
    result["prediction"]["model"]["digest"] = services.bundle.digest
    cases.alter_case(services.store, case.id, result=result)
    assert services.bundle.contract.reads_images
    _open(page, "case", case, "answer")
    choice = next(field for field in page.selectbox if "/explain_method/" in field.key)
    assert choice.value == "integrated_gradients"
    choice.set_value("lesion_occlusion").run()
    _press(page, "Produire la carte par cette méthode")
    services.jobs.stop()
    changed = services.store.get(case.id)
    assert changed.status is Status.RUNNING
    options = CaseOptions.from_json(changed.options)
    assert method_of(options, bundle_for(changed, services.settings), services.settings) == "lesion_occlusion"
    asked = services.workflow.audit.entries(case=case.id)[0].detail["explain_method"]
    assert asked == {"old": "", "new": "lesion_occlusion"}


def test_a_case_whose_model_is_gone_keeps_its_answer_and_says_what_to_do(page, services):
    case = _ready(services)
    result = services.store.get(case.id).result
    result["prediction"]["model"] |= {"digest": "f" * 64, "name": "older", "version": "0.1"}
    cases.alter_case(services.store, case.id, result=result)
    assert without_model(services.store, services.settings) == 1
    said = _texts(_open(page, "case", case, "answer"))
    assert "older 0.1" in said
    assert "sont conservés" in said
    assert "fedpet model add" in said
    assert "42" in said  # the stored answer is there
    services.workflow.sign(case.id, Decision.ACCEPT, "", actor="Dr A")
    services.jobs.stop()
    compute(services.store, services.workflow.audit, services.store.get(case.id), services.settings)
    unsigned = services.store.get(case.id)
    assert unsigned.status is Status.READ
    assert unsigned.verdict["decision"] == "accept"
    assert "older 0.1" in str(unsigned.sentence)
    services.workflow.reopen_record(case.id, actor="Dr A")
    services.store.confirm_record(case.id)
    compute(services.store, services.workflow.audit, services.store.get(case.id), services.settings)
    waiting = services.store.get(case.id)
    assert waiting.status is Status.CHECKED  # not failed
    assert waiting.result["prediction"]["model"]["name"] == "older"
    said = _texts(_open(page, "case", waiting))
    assert "older 0.1" in said
    _press(page, "Calculer avec le modèle en vigueur")
    services.jobs.stop()
    assert services.store.get(case.id).status is Status.RUNNING
    assert bundle_for(services.store.get(case.id), services.settings).digest == services.bundle.digest


def test_what_is_in_quarantine_is_said_in_the_list_and_decided_by_an_administrator(page, services):
    item = ReceivedObject("1.2", "1.2.3", "1.2", "1.2", b"\0" * 200)
    for study in ("aa", "bb"):
        keep_apart(services.settings.folder, study, "patient", item, "", InputLimits())
    page.run()
    assert "2 images en quarantaine" in page.warning[0].value.replace("\xa0", " ")
    _open(page, "administration").segmented_control[-1].select("Quarantaine").run()
    assert _texts(page).count("autre identité du patient") == 2
    _press(page, "Les supprimer définitivement")
    assert len(quarantined(services.settings.folder)) == 1
    _press(page, "En faire un dossier")
    assert quarantined(services.settings.folder) == []
    services.jobs.stop()
    (case,) = services.store.newest()
    assert services.store.source(case.id).is_dir()
    assert services.workflow.audit.entries(words="quarantine")[0].action == "quarantine.removed"


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


def test_dates_have_the_day_before_the_month_in_both_languages_and_sizes_their_units():
    moment, clock = datetime(2026, 11, 30, 6, 40).astimezone(), datetime(2026, 11, 30, 6, 40, 5)  # noqa: DTZ001  local
    french, english = Localization("fr"), Localization("en")
    assert (french.moment(moment), english.moment(moment)) == ("30/11/2026 06:40", "30 Nov 2026 06:40")
    assert (french.scanner_time(clock), english.scanner_time(clock)) == ("30/11/2026 06:40:05", "30 Nov 2026 06:40:05")
    assert (french.day("2026-11-30"), english.day("2026-11-30")) == ("30 nov. 2026", "30 Nov 2026")
    assert (french.size(47_900_000), english.size(2_150_000_000)) == ("47,9 Mo", "2.2 GB")


@pytest.mark.parametrize(("language", "written"), [("fr", "1\u202f234,5"), ("en", "1,234.5")])
def test_numbers_are_written_as_the_language_does(language, written):
    assert Localization(language).number(1234.5) == written
    assert Localization(language).number(None) == "–"


def _sentences():
    """Every msgid of the package, with the one for several where there is one."""
    for path in _ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in {"Message", "_", "text"}:
                several = node.args[1] if len(node.args) > 1 else node.args[0]
                yield node.args[0].value, getattr(several, "value", node.args[0].value)


def test_every_sentence_of_the_pages_has_its_french():
    french = catalogue("fr")
    sentences = {sentence for sentence, _ in _sentences()}
    assert len(sentences) > 100
    missing = [sentence for sentence in sentences if not _known(french, sentence)]
    assert missing == []


def _known(translations, sentence):
    while translations is not None:
        if {sentence, (sentence, 0)} & set(getattr(translations, "_catalog", {})):  # the second: one of several
            return True
        translations = translations._fallback
    return False


def test_translations_name_the_same_values():
    def names(text):
        return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}

    for sentence, several in set(_sentences()):
        for language in LANGUAGES:
            assert names(catalogue(language).gettext(sentence)) in (names(sentence), names(several))
