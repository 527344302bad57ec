"""Studies that arrive image by image: when one is whole, what a sender that breaks off leaves, what a restart finds."""

from __future__ import annotations

import json

import pytest
from pydicom.uid import CTImageStorage, SegmentationStorage

from app.pacs_inbox import Inbox
from app.pacs_shelf import Received, parse
from fedpet.errors import UnreadableStudy
from imaging.intake import IntakeLimits

KEY = bytes(32)
STUDY = "1.2.826.0.77"
ROOMY = IntakeLimits()


@pytest.fixture
def inbox(tmp_path):
    return reopened(tmp_path)


def reopened(tmp_path, limits=ROOMY, max_bytes=2**30):
    return Inbox(tmp_path / "inbox", KEY, limits, max_bytes=max_bytes)


@pytest.fixture
def images(dicom):
    """Two series of three images of one study."""

    def series(name):
        built = dicom.ct(dicom.thorax((3, 8, 8))[1], series=name, StudyInstanceUID=STUDY)
        return [parse(dicom.to_bytes(one)) for one in built]

    return series("one") + series("two")


def deliver(inbox, images, sender, *, well=True):
    answers = {inbox.take(image, sender) for image in images}
    inbox.ended(sender, well=well)
    return answers


def ready(inbox):
    """The studies that may be handed over: quiet, and nothing open."""
    return [parcel for parcel in inbox.quiet(0.0) if not parcel.open]


def test_a_study_is_whole_when_its_sender_ended_well_and_all_is_quiet(inbox, images):
    for image in images:
        assert inbox.take(image, "a") == 0x0000
        assert inbox.quiet(0.0) == []
    inbox.ended("a", well=True)
    assert inbox.quiet(60.0) == []
    (parcel,) = ready(inbox)
    assert len(parcel.shelf) == 6
    assert parcel.study_uid() == STUDY


def test_a_series_that_broke_off_stays_open_until_it_is_sent_again(inbox, images):
    deliver(inbox, images[:5], "a", well=False)
    assert ready(inbox) == []
    assert len(inbox.quiet(0.0)) == 1  # but known, so that it can be said or completed
    deliver(inbox, images[:3], "b")  # another series is no help
    assert ready(inbox) == []
    deliver(inbox, images[3:], "c")
    assert len(ready(inbox)) == 1


def test_an_association_begun_before_the_break_does_not_close_the_series(inbox, images):
    inbox.take(images[0], "early")
    deliver(inbox, images[1:2], "broken", well=False)
    inbox.ended("early", well=True)
    assert ready(inbox) == []
    deliver(inbox, images[:3], "late")
    assert len(ready(inbox)) == 1


@pytest.mark.parametrize("first_to_end", ["a", "b"])
def test_a_series_sent_again_at_once_is_whole_although_the_break_is_noticed_later(inbox, images, first_to_end):
    assert inbox.take(images[0], "a") == 0x0000
    inbox.closing("a")
    assert {inbox.take(image, "b") for image in images} == {0x0000}
    for sender in sorted("ab", reverse=first_to_end == "b"):
        inbox.ended(sender, well=sender == "b")
    assert len(ready(inbox)) == 1


def test_a_series_sent_by_two_associations_waits_for_both(inbox, images):
    inbox.take(images[0], "a")
    inbox.take(images[1], "b")
    inbox.ended("a", well=True)
    assert inbox.quiet(0.0) == []
    inbox.ended("b", well=True)
    assert len(ready(inbox)) == 1


def test_a_killed_receiver_finds_the_images_again_and_trusts_no_open_series(tmp_path, inbox, images):
    for image in images:
        inbox.take(image, "a")  # and the process is killed
    again = reopened(tmp_path)
    (parcel,) = again.quiet(0.0)
    assert len(parcel.shelf) == 6
    assert parcel.open
    deliver(again, images, "b")
    assert len(ready(again)) == 1
    assert len(ready(again)[0].shelf) == 6


def test_a_file_has_no_sender_and_leaves_nothing_open(inbox, images):
    assert inbox.take(images[0]) == 0x0000
    assert len(ready(inbox)) == 1


def test_names_and_state_on_disk_hold_no_identifier(tmp_path, inbox, images):
    deliver(inbox, images, "a", well=False)
    (folder,) = (tmp_path / "inbox").iterdir()
    state = (folder / "state.json").read_text()
    for text in (state, *(path.name for path in tmp_path.rglob("*"))):
        for uid in (STUDY, images[0].uid, images[0].series_uid):
            assert uid not in text
    assert folder.stat().st_mode & 0o077 == 0


def test_what_is_no_pet_or_ct_is_accepted_and_dropped(tmp_path, inbox):
    assert inbox.take(Received(SegmentationStorage, "1.1", STUDY, "1.2", b"x"), "a") == 0x0000
    assert list((tmp_path / "inbox").iterdir()) == []


def test_images_beyond_the_limits_are_refused_until_the_study_is_removed(tmp_path, images):
    inbox = reopened(tmp_path, IntakeLimits(max_files=4))
    assert deliver(inbox, images, "a") == {0x0000, 0xA700}
    (parcel,) = inbox.quiet(0.0)
    assert isinstance(parcel.refused, UnreadableStudy)
    parcel.clear()
    assert not list(parcel.shelf.folder.iterdir())
    assert inbox.quiet(0.0) == []


def test_all_that_waits_is_bounded(tmp_path, images):
    inbox = reopened(tmp_path, max_bytes=3 * len(images[0].content))
    assert deliver(inbox, images, "a") == {0x0000, 0xA700}
    other = Received(CTImageStorage, "9.1", "9.2", "9.3", images[0].content)
    assert inbox.take(other, "b") == 0xA700


def test_what_was_handed_over_is_remembered_without_its_identifiers(tmp_path, inbox, images):
    deliver(inbox, images[:4], "a")
    (parcel,) = ready(inbox)
    assert parcel.news() == "all"
    parcel.assign("case-1")
    parcel.move(tmp_path / "case")
    parcel.settle()
    assert len(list((tmp_path / "case").iterdir())) == 4
    again = reopened(tmp_path)
    (kept,) = again.parcels.values()
    assert (kept.case, kept.moving) == ("case-1", False)
    assert again.quiet(0.0) == []
    for sent, news in ((images[3:4], "part"), (images[:4], "same"), (images, "more")):
        deliver(again, sent, object())
        assert kept.news() == news
    kept.forget()
    assert kept.news() == "all"


def test_a_hand_over_that_was_cut_short_can_be_taken_up_again(tmp_path, inbox, images):
    deliver(inbox, images, "a")
    ready(inbox)[0].assign("case-1")  # and the process is killed
    (parcel,) = reopened(tmp_path).parcels.values()
    assert parcel.moving
    parcel.move(tmp_path / "case")  # and is killed again
    (parcel,) = reopened(tmp_path).parcels.values()
    assert parcel.moving
    parcel.move(tmp_path / "case")
    parcel.settle()
    assert len(list((tmp_path / "case").iterdir())) == 6
    state = json.loads((parcel.folder / "state.json").read_text())
    assert (state["case"], state["moving"], len(state["earlier"])) == ("case-1", False, 6)
