"""A disk that is really full: a small file system of its own, which only root can mount."""

import subprocess
from types import SimpleNamespace

import pytest

from app.cases.store import Search
from app.cases.tables import Status
from app.exchange.inbox import Inbox
from app.exchange.receiver import Listener
from app.exchange.watched_folder import FolderWatcher
from app.pacs.object_store import NO_ROOM, STORED, parse
from app.screens import new_case
from app.services import open_services
from fedpet.core.errors import OutputError
from fedpet.core.settings import Settings
from fedpet.imaging.dicom.files import InputLimits

SLICES = 4
_DISK = 8 * 2**20


@pytest.fixture
def disk(tmp_path):
    """A file system of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def services(disk):
    listen = {"ae": "FEDPETIN", "quiet_s": 0.01}
    opened = open_services(Settings(home=disk / "home", pacs_listen=listen))
    yield opened
    opened.jobs.stop()
    opened.store.close()


@pytest.fixture
def images(dicom):
    return [parse(dicom.to_bytes(one)) for one in dicom.ct(dicom.thorax((SLICES, 300, 300))[1])]  # 180 kB each


def fill(disk, left):
    """Leave so many bytes."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    free = _free(disk)
    if left < free:
        filler.write_bytes(bytes(free - left))
    return filler


def _free(disk):
    import shutil

    return shutil.disk_usage(disk).free


def test_a_study_that_does_not_fit_is_refused_to_its_sender_and_never_a_case_in_part(disk, services, images):
    inbox = Inbox(services.settings.folder, bytes(32), InputLimits(), max_bytes=2**30)
    filler = fill(disk, int(2.5 * len(images[0].content)))
    answers = [inbox.receive(one, "first") for one in images]
    assert answers == [STORED, STORED, NO_ROOM, NO_ROOM]
    assert not list(disk.rglob("*.part"))
    filler.unlink()  # room again, before the association ends
    inbox.end("first", well=True)
    (study,) = inbox.studies.values()
    assert len(study.open) == 1  # its series waits to be sent again
    again = Inbox(services.settings.folder, bytes(32), InputLimits(), max_bytes=2**30)  # a receiver that was restarted
    assert [len(one.open) for one in again.studies.values()] == [1]
    assert [again.receive(one, "second") for one in images] == [STORED] * SLICES
    again.end("second", well=True)
    (study,) = again.studies.values()
    assert (len(study.objects), study.open) == (SLICES, {})


def test_not_even_a_folder_fits_and_the_next_sender_begins_anew(disk, services, images):
    inbox = Inbox(services.settings.folder, bytes(32), InputLimits(), max_bytes=2**30)
    filler = fill(disk, 0)
    assert inbox.receive(images[0], "first") == NO_ROOM
    filler.unlink()
    assert inbox.receive(images[1], "first") == STORED
    inbox.end("first", well=True)
    (study,) = inbox.studies.values()
    assert len(study.open) == 1  # one image is missing


def test_a_whole_study_waits_for_room_and_becomes_one_case(disk, services, images):
    """Its state could not be written once it had a case: its images were then dropped as sent before."""
    told = []
    listener = Listener(services.settings, services.workflow, told.append)
    for one in images:
        assert listener.inbox.receive(one) == STORED
    (study,) = listener.inbox.studies.values()
    study.last -= 1
    assign = study.assign

    def full_now(case):
        fill(disk, 0)
        assign(case)

    study.assign = full_now
    assert not listener._goes_on(listener.step)
    assert told[-1].kind == "waiting"
    for _ in range(2):
        study.last -= 1
        assert not listener._goes_on(listener.step)
    assert len(study.objects) == SLICES
    (disk / "filler").unlink()
    assert listener._goes_on(listener.step)
    (case,) = services.store.find(Search(), limit=5)
    assert (case.status, case.received["files"]) == (Status.CHECKING, SLICES)
    assert len(list(services.store.source(case.id).iterdir())) == SLICES


def test_a_file_of_the_watched_folder_waits_for_room(disk, services, images, tmp_path):
    inbox = Inbox(services.settings.folder, bytes(32), InputLimits(), max_bytes=2**30)
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "image").write_bytes(images[0].content)
    watcher = FolderWatcher(folder, inbox, 2**30)
    filler = fill(disk, 0)
    for _ in range(3):
        watcher.scan()
    assert [one.name for one in folder.iterdir()] == ["image"]
    filler.unlink()
    watcher.scan()
    assert list(folder.iterdir()) == []
    assert len(inbox.studies) == 1


def test_an_upload_that_does_not_fit_is_refused_in_words_and_nothing_of_it_stays(disk, services, monkeypatch):
    from io import BytesIO

    class Uploaded(BytesIO):
        name, size = "study.zip", 2**21

    monkeypatch.setattr(new_case, "services", lambda: services)
    monkeypatch.setattr(new_case, "user", lambda: "dr.a")
    filler = fill(disk, 2**20)
    loc = SimpleNamespace(language="en")
    with pytest.raises(OutputError, match="No space left on device") as refused:
        new_case._create([Uploaded(bytes(2**21))], loc)
    assert "nothing of it was kept" in str(refused.value)
    assert services.store.find(Search(), limit=5) == []
    assert not list(services.settings.folder.rglob("source/*"))
    filler.unlink()
    case = new_case._create([Uploaded(bytes(2**21))], loc)
    assert services.store.get(case).received["files"] == 1
