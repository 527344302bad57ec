"""Studies that arrive image by image: when one is whole, what a sender that breaks off leaves, what a restart finds."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, SegmentationStorage

from app.exchange.inbox import Inbox
from app.exchange.quarantine import discard, quarantined, release
from app.pacs.object_store import ReceivedObject, parse
from app.services import open_services
from fedpet.core.errors import CaseNotFoundError, UnreadableStudyError
from fedpet.core.settings import Settings
from fedpet.imaging.dicom.files import InputLimits

KEY = bytes(32)
STUDY = "1.2.826.0.77"
ROOMY = InputLimits()


@pytest.fixture
def inbox(tmp_path):
    return reopened(tmp_path)


def reopened(tmp_path, limits=ROOMY, max_bytes=2**30):
    return Inbox(tmp_path, KEY, limits, max_bytes=max_bytes)


@pytest.fixture
def images(dicom):
    """Two series of three images of one study."""

    def series(name):
        built = dicom.ct(dicom.thorax((3, 8, 8))[1], series=name, StudyInstanceUID=STUDY)
        return [parse(dicom.to_bytes(one)) for one in built]

    return series("one") + series("two")


def deliver(inbox, images, sender, *, well=True):
    answers = {inbox.receive(image, sender) for image in images}
    inbox.end(sender, well=well)
    return answers


def ready(inbox):
    """The studies that may be handed over: quiet, and nothing open."""
    return [study for study in inbox.quiet(0.0) if not study.open]


def test_a_study_is_whole_when_its_sender_ended_well_and_all_is_quiet(inbox, images):
    for image in images:
        assert inbox.receive(image, "a") == 0x0000
        assert inbox.quiet(0.0) == []
    inbox.end("a", well=True)
    assert inbox.quiet(60.0) == []
    (study,) = ready(inbox)
    assert len(study.objects) == 6
    assert study.study_uid() == STUDY


def test_a_series_that_broke_off_stays_open_until_it_is_sent_again(inbox, images):
    deliver(inbox, images[:5], "a", well=False)
    assert ready(inbox) == []
    assert len(inbox.quiet(0.0)) == 1  # but known, so that it can be said or completed
    deliver(inbox, images[:3], "b")  # another series is no help
    assert ready(inbox) == []
    deliver(inbox, images[3:], "c")
    assert len(ready(inbox)) == 1


def test_an_association_begun_before_the_break_does_not_close_the_series(inbox, images):
    inbox.receive(images[0], "early")
    deliver(inbox, images[1:2], "broken", well=False)
    inbox.end("early", well=True)
    assert ready(inbox) == []
    deliver(inbox, images[:3], "late")
    assert len(ready(inbox)) == 1


@pytest.mark.parametrize("first_to_end", ["a", "b"])
def test_a_series_sent_again_at_once_is_whole_although_the_break_is_noticed_later(inbox, images, first_to_end):
    assert inbox.receive(images[0], "a") == 0x0000
    inbox.note_closing("a")
    assert {inbox.receive(image, "b") for image in images} == {0x0000}
    for sender in sorted("ab", reverse=first_to_end == "b"):
        inbox.end(sender, well=sender == "b")
    assert len(ready(inbox)) == 1


def test_a_series_sent_by_two_associations_waits_for_both(inbox, images):
    inbox.receive(images[0], "a")
    inbox.receive(images[1], "b")
    inbox.end("a", well=True)
    assert inbox.quiet(0.0) == []
    inbox.end("b", well=True)
    assert len(ready(inbox)) == 1


def test_a_killed_receiver_finds_the_images_again_and_trusts_no_open_series(tmp_path, inbox, images):
    for image in images:
        inbox.receive(image, "a")  # and the process is killed
    again = reopened(tmp_path)
    (study,) = again.quiet(0.0)
    assert len(study.objects) == 6
    assert study.open
    deliver(again, images, "b")
    assert len(ready(again)) == 1
    assert len(ready(again)[0].objects) == 6


def test_a_file_has_no_sender_and_leaves_nothing_open(inbox, images):
    assert inbox.receive(images[0]) == 0x0000
    assert len(ready(inbox)) == 1


def test_names_and_state_on_disk_hold_no_identifier(tmp_path, inbox, images):
    deliver(inbox, images, "a", well=False)
    (folder,) = (tmp_path / "pacs" / "inbox").iterdir()
    state = (folder / "state.json").read_text()
    for text in (state, *(path.name for path in tmp_path.rglob("*"))):
        for uid in (STUDY, images[0].uid, images[0].series_uid):
            assert uid not in text
    assert folder.stat().st_mode & 0o077 == 0


def test_what_is_no_pet_or_ct_is_accepted_and_dropped(tmp_path, inbox):
    assert inbox.receive(ReceivedObject(SegmentationStorage, "1.1", STUDY, "1.2", b"x"), "a") == 0x0000
    assert list((tmp_path / "pacs" / "inbox").iterdir()) == []


def test_images_beyond_the_limits_are_refused_until_the_study_is_removed(tmp_path, images):
    inbox = reopened(tmp_path, InputLimits(max_files=4))
    assert deliver(inbox, images, "a") == {0x0000, 0xA700}
    (study,) = inbox.quiet(0.0)
    assert isinstance(study.refused, UnreadableStudyError)
    study.clear()
    assert not list(study.objects.folder.iterdir())
    assert inbox.quiet(0.0) == []


def test_all_that_waits_is_bounded(tmp_path, images):
    inbox = reopened(tmp_path, max_bytes=3 * len(images[0].content))
    assert deliver(inbox, images, "a") == {0x0000, 0xA700}
    other = ReceivedObject(CTImageStorage, "9.1", "9.2", "9.3", images[0].content)
    assert inbox.receive(other, "b") == 0xA700


def test_what_was_handed_over_is_remembered_without_its_identifiers(tmp_path, inbox, images):
    deliver(inbox, images[:4], "a")
    (study,) = ready(inbox)
    assert study.change_since_last() == "all"
    study.assign("case-1")
    study.move(tmp_path / "case")
    study.mark_imported()
    assert len(list((tmp_path / "case").iterdir())) == 4
    again = reopened(tmp_path)
    (kept,) = again.studies.values()
    assert (kept.case, kept.moving) == ("case-1", False)
    assert again.quiet(0.0) == []
    for sent, change_since_last in ((images[3:4], "part"), (images[:4], "same"), (images, "more")):
        deliver(again, sent, object())
        assert kept.change_since_last() == change_since_last
    kept.forget()
    assert kept.change_since_last() == "all"


def test_a_hand_over_that_was_cut_short_can_be_taken_up_again(tmp_path, inbox, images):
    deliver(inbox, images, "a")
    ready(inbox)[0].assign("case-1")  # and the process is killed
    (study,) = reopened(tmp_path).studies.values()
    assert study.moving
    study.move(tmp_path / "case")  # and is killed again
    (study,) = reopened(tmp_path).studies.values()
    assert study.moving
    study.move(tmp_path / "case")
    study.mark_imported()
    assert len(list((tmp_path / "case").iterdir())) == 6
    state = json.loads((study.folder / "state.json").read_text())
    assert (state["case"], state["moving"], len(state["earlier"])) == ("case-1", False, 6)


# quarantine


def changed(dicom, image, **tags):
    """The object with other values of its header, or another pixel."""
    built = dcmread(BytesIO(image.content))
    for name, value in tags.items():
        setattr(built, name, value)
    if not tags:
        built.PixelData = b"\x01\x02" + built.PixelData[2:]
    return parse(dicom.to_bytes(built))


def apart(tmp_path):
    return [(one.reason, one.images, one.case) for one in quarantined(tmp_path)]


def test_a_second_object_of_one_uid_with_other_content_is_kept_apart_and_the_first_stays(
    tmp_path, inbox, images, dicom
):
    deliver(inbox, images, "a")
    first = {path: path.read_bytes() for path in tmp_path.rglob("00000?")}
    for other in (changed(dicom, images[0]), changed(dicom, images[0], Rows=7), changed(dicom, images[0])):
        assert deliver(inbox, [other], object()) == {0x0000}
    assert apart(tmp_path) == [("content", 2, "")]  # both of them; what is sent again counts once
    assert {path: path.read_bytes() for path in first} == first
    assert inbox.apart["content"] == 3
    assert deliver(inbox, images, "b") == {0x0000}  # the same again is no conflict
    assert apart(tmp_path) == [("content", 2, "")]


@pytest.mark.parametrize("tag", ["PatientID", "PatientName", "PatientBirthDate"])
def test_another_identity_in_one_study_is_kept_apart_also_once_it_is_a_case(tmp_path, inbox, images, dicom, tag):
    images = [changed(dicom, one, PatientID="1", PatientName="A", PatientBirthDate="19600101") for one in images]
    corrected = [changed(dicom, one, **{tag: "19600102"}) for one in images]
    deliver(inbox, images[:5], "a")
    assert deliver(inbox, corrected[5:], "b") == {0x0000}
    assert apart(tmp_path) == [("patient", 1, "")]
    deliver(inbox, images[5:], "c")
    (study,) = ready(inbox)
    study.assign("case-1")
    study.move(tmp_path / "case")
    study.mark_imported()
    again = reopened(tmp_path)
    deliver(again, corrected, "d")
    assert again.apart["patient"] == 6
    assert [one[:2] for one in apart(tmp_path)] == [("patient", 6)]
    assert deliver(again, [changed(dicom, images[0])], "e") == {0x0000}
    assert ("content", 1, "case-1") in apart(tmp_path)
    deliver(again, images, "f")
    assert [one.change_since_last() for one in ready(again)] == ["same"]
    assert b"19600102" not in b"".join(path.name.encode() for path in tmp_path.rglob("*"))


def test_an_image_that_leaves_out_the_name_is_no_other_patient(tmp_path, inbox, images, dicom):
    deliver(inbox, [images[0], changed(dicom, images[1], PatientName="")], "a")
    assert apart(tmp_path) == []


def test_the_quarantine_is_bounded(tmp_path, images, dicom):
    inbox = reopened(tmp_path, max_bytes=8 * len(images[0].content))
    deliver(inbox, images, "a")
    answers = [deliver(inbox, [changed(dicom, images[0], Rows=number)], object()) for number in range(1, 12)]
    assert answers[0] == {0x0000}
    assert answers[-1] == {0xA700}


def test_what_is_in_quarantine_becomes_a_case_or_is_removed_with_a_trace(tmp_path, inbox, images, dicom):
    deliver(inbox, images, "a")
    deliver(inbox, [changed(dicom, images[0], PatientID="other"), changed(dicom, images[1])], "b")
    services = open_services(Settings(home=tmp_path))
    patient, content = sorted(quarantined(tmp_path), key=lambda one: one.reason, reverse=True)
    case = release(services.workflow, patient, language="fr", origin="pacs:main", actor="chief")
    assert len(list(services.store.source(case).iterdir())) == 1
    discard(services.workflow, content, actor="chief", reason="sent by mistake")
    assert quarantined(tmp_path) == []
    assert services.workflow.audit.entries(newest=1)[0].action == "quarantine.removed"
    with pytest.raises(CaseNotFoundError):
        discard(services.workflow, content, actor="chief", reason="again")
    services.jobs.stop()
    services.store.close()
