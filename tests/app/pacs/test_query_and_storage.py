"""What the connection to a PACS is made of, without a network: settings, queries, the store."""

from __future__ import annotations

from datetime import date

import pytest
from pydantic import ValidationError
from pydicom.dataset import Dataset

from app.exchange.cases import connect, viewer_link
from app.pacs.object_store import ObjectStore, StudyStore, parse
from app.pacs.query import Query, criteria, identifier, matches, row
from fedpet.core.errors import PacsError, SettingsError, UnreadableStudyError
from fedpet.core.pacs_settings import PacsListenSettings, PacsSettings
from fedpet.core.settings import Settings, load_settings
from fedpet.imaging.dicom.files import InputLimits
from tests.support import ROOT

DIMSE = {"host": "127.0.0.1"}
WEB = {"url": "https://pacs.example/dicom-web"}


@pytest.mark.parametrize("model", [PacsSettings, PacsListenSettings])
def test_every_field_of_a_pacs_is_documented(model):
    page = (ROOT / "docs" / "pacs.md").read_text(encoding="utf-8")
    for name, field in model.model_fields.items():
        assert f"| `{name}` |" in page, name
        assert field.description in page, name


def test_several_pacs_are_read_from_the_file(tmp_path, monkeypatch):
    (tmp_path / "fedpet.toml").write_text(
        '[pacs.hospital]\nhost = "10.1.2.3"\nport = 11112\ncalled_ae = "MAIN"\n'
        '[pacs.research]\nurl = "https://pacs.example/dicom-web"\nsecret_env = "RESEARCH_PACS"\n'
        '[pacs_listen]\ncallers = ["MAIN"]\npacs = "hospital"\n'
    )
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.pacs["hospital"].called_ae == "MAIN"
    assert settings.pacs["research"].url.endswith("dicom-web")
    assert settings.pacs_listen.callers == ("MAIN",)
    assert Settings(**settings.model_dump(mode="json")) == settings  # as the process of a case gets them


def test_a_wrong_pacs_is_named_by_its_setting(tmp_path, monkeypatch):
    (tmp_path / "fedpet.toml").write_text('[pacs.hospital]\nhost = "10.1.2.3"\nprot = 104\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"pacs\.hospital\.prot"):
        load_settings()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        DIMSE | WEB,
        {"url": "ftp://pacs.example"},
        {"url": "https://"},
        {"url": "https://user:word@pacs.example/dicom-web"},
        {"url": "http://pacs.example/dicom-web", "secret_env": "X"},
        {"url": "http://pacs.example/dicom-web", "secret_file": "/run/secret"},
        DIMSE | {"called_ae": "SEVENTEENLETTERSX"},
        DIMSE | {"called_ae": "BACK\\SLASH"},
        DIMSE | {"our_ae": " SPACE"},
        DIMSE | {"port": 0},
        DIMSE | {"retrieve": "move"},
        DIMSE | {"ohif": "https://viewer.example/"},
        DIMSE | {"password": "word"},
    ],
)
def test_a_pacs_that_cannot_work_is_refused(fields):
    with pytest.raises(ValidationError):
        PacsSettings(**fields)


@pytest.mark.parametrize("fields", [{"check": True}, {"send_back": "signed"}, {"callers": ["TOOLONGFORANAETITLE"]}])
def test_a_receiver_that_cannot_work_is_refused(fields):
    with pytest.raises(ValidationError):
        PacsListenSettings(**fields)


def test_the_receiver_listens_to_this_machine_only_by_default():
    assert PacsListenSettings().host == "127.0.0.1"


def test_a_secret_comes_from_the_environment_or_a_file_and_is_no_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("RESEARCH_PACS", "Bearer from-environment")
    (tmp_path / "secret").write_text("Bearer from-file\n")
    in_environment = PacsSettings(**WEB, secret_env="RESEARCH_PACS")  # noqa: S106  the name of a variable
    in_file = PacsSettings(**WEB, secret_file=tmp_path / "secret")
    assert (in_environment.secret(), in_file.secret()) == ("Bearer from-environment", "Bearer from-file")
    assert PacsSettings(**WEB, secret_file=tmp_path / "none").secret() is None
    assert "from-" not in repr((in_environment, in_file)) + in_environment.model_dump_json()


def test_the_only_pacs_needs_no_name_and_several_do():
    one = Settings(pacs={"hospital": DIMSE})
    two = Settings(pacs={"hospital": DIMSE, "research": WEB})
    assert connect(one).name == "hospital"
    assert connect(two, "research").name == "research"
    with pytest.raises(PacsError, match="hospital, research"):
        connect(two)
    with pytest.raises(PacsError, match="other"):
        connect(one, "other")
    with pytest.raises(PacsError, match=r"\[pacs\.NAME\]"):
        connect(Settings())


def test_a_link_opens_the_study_in_ohif_where_it_is_configured():
    ours = PacsSettings(**DIMSE, ohif="https://viewer.example/viewer?StudyInstanceUIDs={study_uid}")
    assert viewer_link(ours, "1.2.3") == "https://viewer.example/viewer?StudyInstanceUIDs=1.2.3"
    assert viewer_link(ours, "1&x=/").endswith("=1%26x%3D%2F")
    assert viewer_link(PacsSettings(**DIMSE), "1.2.3") == ""


@pytest.mark.parametrize("criterion", [{}, {"patient_id": "*"}, {"modality": "PT"}, {"until": date(2026, 1, 1)}])
def test_a_search_that_would_list_the_hospital_is_refused(criterion):
    with pytest.raises(PacsError, match="narrows"):
        Query(**criterion)


@pytest.mark.parametrize(
    "criterion",
    [{"patient_id": "A\\B"}, {"patient_id": "A\n"}, {"accession": "1" * 17}, {"patient_id": "A", "modality": "p"}],
)
def test_a_criterion_that_dicom_cannot_say_is_refused(criterion):
    with pytest.raises(PacsError, match="cannot be sent"):
        Query(**criterion)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (date(2026, 1, 2), date(2026, 2, 3), "20260102-20260203"),
        (date(2026, 1, 2), None, "20260102-"),
        (None, date(2026, 2, 3), "-20260203"),
        (None, None, ""),
    ],
)
def test_dates_are_asked_as_a_range(since, until, expected):
    assert Query(patient_id="A", since=since, until=until).dates() == expected


def test_an_identifier_holds_the_criteria_and_asks_for_the_rest():
    asked = identifier(Query(patient_id="Ä1*", modality="PT"), "study")
    assert (asked.QueryRetrieveLevel, asked.PatientID, asked.ModalitiesInStudy) == ("STUDY", "Ä1*", "PT")
    assert asked["NumberOfStudyRelatedInstances"].is_empty
    assert asked.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize(("query", "level"), [({"accession": "1"}, "patient"), ({"patient_id": "1"}, "series")])
def test_a_level_without_its_criterion_is_refused(query, level):
    with pytest.raises(PacsError, match="level"):
        criteria(Query(**query), level)


def test_a_row_is_text_without_what_a_terminal_would_obey():
    answer = Dataset()
    answer.PatientName, answer.PatientID = "DUPONT^Jeanne\x1b[2J", "4711"
    answer.ModalitiesInStudy, answer.NumberOfStudyRelatedInstances = ["PT", "CT"], 12
    found = row(answer, "study")
    assert found["patient_name"] == "DUPONT^Jeanne[2J"
    assert (found["modalities"], found["images"], found["accession"]) == ("PT, CT", "12", "")
    assert matches(found, Query(patient_id="4711", modality="CT"), "study")
    assert not matches(found, Query(patient_id="4711", modality="MR"), "study")


def test_a_store_numbers_its_files_and_a_repeated_image_takes_the_place_of_the_first(tmp_path):
    store = ObjectStore(tmp_path / "new", InputLimits())
    for uid, content in (("1.1", b"a"), ("1.2", b"bb"), ("1.1", b"ccc")):
        store.put(uid, content)
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == {"000000": b"ccc", "000001": b"bb"}
    assert (store.uids, len(store), store.size) == ({"1.1", "1.2"}, 2, 5)


@pytest.mark.parametrize("limits", [InputLimits(max_files=2), InputLimits(max_bytes=5)])
def test_a_store_keeps_within_its_limits(tmp_path, limits):
    store = ObjectStore(tmp_path / "new", limits)
    store.put("1.1", b"aa")
    store.put("1.2", b"bb")
    store.put("1.2", b"bbb")
    with pytest.raises(UnreadableStudyError):
        store.put("1.3", b"cc")
    assert sorted(path.name for path in store.folder.iterdir()) == ["000000", "000001"]


def test_a_store_is_found_again_but_for_the_file_that_was_not_finished(tmp_path, dicom):
    slices = dicom.ct(dicom.thorax((3, 8, 8))[1])
    store = ObjectStore(tmp_path / "new", InputLimits())
    for one in slices:
        store.put(one.SOPInstanceUID, dicom.to_bytes(one))
    (store.folder / "000003.part").write_bytes(dicom.to_bytes(slices[0])[:200])
    again = ObjectStore(tmp_path / "new", InputLimits())
    again.put("1.2.3", b"more")
    assert again.uids == {one.SOPInstanceUID for one in slices} | {"1.2.3"}
    assert sorted(path.name for path in again.folder.iterdir()) == ["000000", "000001", "000002", "000003"]


def test_a_study_store_takes_no_image_of_another_study(tmp_path, dicom):
    item = parse(dicom.to_bytes(dicom.ct(dicom.thorax((1, 8, 8))[1])[0]))
    store = StudyStore(ObjectStore(tmp_path / "new", InputLimits()), "1.2.3", InputLimits())
    assert store.put(item) == 0xA900
    assert len(store.objects) == 0


def test_a_disk_that_cannot_be_written_is_said(tmp_path, dicom):
    item = parse(dicom.to_bytes(dicom.ct(dicom.thorax((1, 8, 8))[1])[0]))
    store = StudyStore(ObjectStore(tmp_path / "new", InputLimits()), item.study_uid, InputLimits())
    (tmp_path / "new").rmdir()
    assert store.put(item) == 0xA700
    with pytest.raises(PacsError, match="FileNotFoundError"):
        store.check()
