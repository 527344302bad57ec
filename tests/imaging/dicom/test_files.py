from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from fedpet.core.errors import UnreadableStudyError
from fedpet.core.progress import no_progress
from fedpet.core.settings import Settings
from fedpet.imaging.dicom.files import InputLimits, open_dicom_files

SUV = np.full((6, 4, 4), 2.0)


def take(source, **limits):
    with open_dicom_files(source, InputLimits(**limits), no_progress) as files:
        return files


@pytest.fixture
def members(dicom):
    """Name and content of the six files of a PET."""
    return [(f"{k}.dcm", dicom.to_bytes(one)) for k, one in enumerate(dicom.pet(SUV))]


def test_names_in_an_archive_are_never_used_as_paths(tmp_path, dicom, members, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    evil = ["../../escaped.dcm", str(tmp_path / "absolute.dcm"), "a/../../b.dcm", "C:\\x.dcm", "same", "same"]
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = dicom.zipped(zip(evil, (content for _, content in members), strict=True), tmp_path / "study.zip")
    with open_dicom_files(archive, InputLimits(), no_progress) as files:
        assert len(files.instances) == 6
        assert all(instance.file.is_relative_to(scratch) for instance in files.instances)
        assert not any(part in str(instance.file) for instance in files.instances for part in ("escaped", "absolute"))
    assert not list(scratch.iterdir())  # nothing is left behind
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scratch", "study.zip"]


def test_a_link_in_an_archive_is_only_a_file_that_is_no_dicom(tmp_path, dicom, members):
    path = dicom.zipped(members, tmp_path / "study.zip")
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    files = take(path)
    assert (len(files.instances), files.skipped) == (6, 1)


def test_a_bomb_stops_at_the_limit_of_bytes(tmp_path, dicom):
    bomb = dicom.zipped([("bomb.dcm", bytes(128) + b"DICM" + bytes(50 * 2**20))], tmp_path / "bomb.zip")
    assert bomb.stat().st_size < 100_000
    with pytest.raises(UnreadableStudyError, match="More than 10 MB"):
        take(bomb, max_bytes=10 * 2**20)


def test_what_is_no_dicom_is_not_inflated(tmp_path, dicom, members):
    path = dicom.zipped([("zeros.bin", bytes(50 * 2**20)), *members], tmp_path / "study.zip")
    files = take(path, max_bytes=2**20)
    assert (len(files.instances), files.skipped) == (6, 1)


def test_too_many_members_are_refused(tmp_path, dicom, members):
    with pytest.raises(UnreadableStudyError, match="More than 5 files"):
        take(dicom.zipped(members, tmp_path / "study.zip"), max_files=5)
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")
    with pytest.raises(UnreadableStudyError, match="More than 5 files"):
        take(folder, max_files=5)


def test_a_deflated_data_set_is_measured_before_it_is_inflated(tmp_path, dicom):
    slices = dicom.pet(SUV)
    plain = dicom.to_bytes(slices[0])
    slices[0].file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    slices[0].PixelData = bytes(30 * 2**20)
    stream = io.BytesIO()
    slices[0].save_as(stream)
    (tmp_path / "bomb.dcm").write_bytes(stream.getvalue())
    (tmp_path / "plain.dcm").write_bytes(plain)
    assert len(stream.getvalue()) < 100_000
    with pytest.raises(UnreadableStudyError, match="More than 10 MB"):
        take(tmp_path, max_bytes=10 * 2**20)
    assert len(take(tmp_path).instances) == 2


def test_an_archive_inside_is_counted_not_opened(tmp_path, dicom, members):
    inner = dicom.zipped(members, tmp_path / "inner.zip").read_bytes()
    outer = dicom.zipped([("inner.zip", inner), *members[:3]], tmp_path / "outer.zip")
    files = take(outer)
    assert (len(files.instances), files.skipped, files.archives) == (3, 1, 1)
    with pytest.raises(UnreadableStudyError, match="Files looked at in it: 1, of these archives: 1"):
        take(dicom.zipped([("inner.zip", inner)], tmp_path / "only.zip"))


@pytest.mark.parametrize("spoil", ["cut", "flipped", "encrypted"])
def test_damaged_and_encrypted_archives_are_refused(tmp_path, dicom, members, spoil):
    path = dicom.zipped(members, tmp_path / "study.zip")
    content = bytearray(path.read_bytes())
    if spoil == "cut":
        content = content[: len(content) // 2]
    elif spoil == "flipped":
        content[len(members[0][0]) + 60] ^= 0xFF
    else:
        content[6] |= 1  # general purpose flag of the first member
        content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableStudyError, match="damaged, encrypted"):
        take(path)


def test_files_without_preamble_dicomdir_and_noise(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")
    bare = dicom.pet(SUV, series="bare")[0]
    bare.save_as(folder / "bare", implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert (folder / "bare").read_bytes()[128:132] != b"DICM"
    directory = dicom.pet(SUV)[0]
    content = dicom.to_bytes(directory).replace(
        directory.SOPClassUID.encode(), b"1.2.840.10008.1.3.10".ljust(len(directory.SOPClassUID), b"\x00")
    )
    (folder / "DICOMDIR").write_bytes(content)
    (folder / "noise").write_bytes(b"\x08\x00" + np.random.default_rng(0).bytes(5000))
    (folder / "empty").write_bytes(b"")
    (folder / "link").symlink_to(folder / "00000")
    files = take(folder)
    assert len(files.instances) == 7
    assert files.skipped == 4


def test_a_single_file_and_a_missing_one(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")
    assert len(take(folder / "00002").instances) == 1
    with pytest.raises(UnreadableStudyError) as refusal:
        take(tmp_path / "DUPONT^Jeanne")
    assert "DUPONT" not in str(refusal.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused_without_its_name(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")
    (folder / "00001").chmod(0)
    with pytest.raises(UnreadableStudyError, match="PermissionError"):
        take(folder)


def test_names_of_patients_do_not_stay_in_the_headers(tmp_path, dicom):
    slices = dicom.pet(SUV, SeriesDescription="AC HOSP-4711 dupont")
    files = take(dicom.save(slices, tmp_path / "folder"))
    for instance in files.instances:
        assert "PatientName" not in instance.header
        assert instance.header.SeriesDescription == "AC *** ***"


def test_archives_of_overlapping_members_are_refused(tmp_path, dicom, members):
    """Many entries of the directory that share one content: a zip bomb without nesting, or an archive of itself."""
    path = dicom.zipped(members[:1], tmp_path / "study.zip")
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = content[start:end]
    trailer = bytearray(content[end:])
    trailer[8:10] = trailer[10:12] = (1000).to_bytes(2, "little")
    trailer[12:16] = (1000 * len(entry)).to_bytes(4, "little")
    path.write_bytes(content[:start] + 1000 * entry + trailer)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == 1000
    with pytest.raises(UnreadableStudyError, match="damaged"):
        take(path)


def test_a_directory_larger_than_that_of_the_files_allowed_is_not_read(tmp_path, dicom, members):
    path = dicom.zipped(members, tmp_path / "study.zip")
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(40):
            member = zipfile.ZipInfo(f"{number}.txt")
            member.comment = bytes(65_000)
            archive.writestr(member, b"x")
    assert len(take(path).instances) == 6
    with pytest.raises(UnreadableStudyError, match="damaged"):
        take(path, max_files=46)


def test_twenty_thousand_members_of_an_archive_are_taken_or_refused_as_the_limit_says(tmp_path, dicom, members):
    path = dicom.zipped(members, tmp_path / "study.zip")
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(20_000 - len(members)):
            archive.writestr(f"{number}.txt", b"note")
    files = take(path)
    assert (len(files.instances), files.skipped) == (6, 19_994)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("one too many", b"note")
    with pytest.raises(UnreadableStudyError, match="More than 20000 files"):
        take(path)


def test_twenty_thousand_small_files_of_a_folder(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")
    for number in range(19_994):
        (folder / f"{number}.txt").write_bytes(b"note")
    files = take(folder)
    assert (len(files.instances), files.skipped) == (6, 19_994)
    (folder / "one too many").write_bytes(b"note")
    with pytest.raises(UnreadableStudyError, match="More than 20000 files"):
        take(folder)


def test_many_small_members_count_together(tmp_path, dicom):
    tiny = bytes(128) + b"DICM" + bytes(10**6)
    path = dicom.zipped([(str(number), tiny) for number in range(12)], tmp_path / "study.zip")
    assert path.stat().st_size < 20_000
    with pytest.raises(UnreadableStudyError, match="More than 10 MB"):
        take(path, max_bytes=10 * 2**20)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_python_inflates_without_bound_are_refused(tmp_path, members, method):
    with zipfile.ZipFile(tmp_path / "study.zip", "w", method) as archive:
        archive.writestr(*members[0])
    with pytest.raises(UnreadableStudyError, match="unknown method"):
        take(tmp_path / "study.zip")


@pytest.mark.parametrize("told", [0, 100, 2**31 - 1])
def test_a_false_size_gains_nothing(tmp_path, dicom, members, told):
    """The directory may lie about the size after inflation: the right content is taken, or the archive refused."""
    path = dicom.zipped(members, tmp_path / "study.zip")
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = told.to_bytes(4, "little")
    path.write_bytes(content)
    if told == 2**31 - 1:
        assert len(take(path, max_bytes=10**6).instances) == 6
    else:
        with pytest.raises(UnreadableStudyError, match="damaged"):
            take(path)


def test_deflated_data_sets_count_together(tmp_path, dicom):
    for number, one in enumerate(dicom.pet(SUV)[:3]):
        dicom.to_bytes(one)
        one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        one.PixelData = bytes(4 * 2**20)
        one.save_as(tmp_path / str(number), enforce_file_format=True)
    assert len(take(tmp_path, max_bytes=13 * 2**20).instances) == 3
    with pytest.raises(UnreadableStudyError, match="More than 11 MB"):
        take(tmp_path, max_bytes=11 * 2**20)


def test_a_damaged_deflated_data_set_is_skipped(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")
    (one,) = dicom.pet(SUV[:1], series="deflated")
    dicom.to_bytes(one)
    one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    one.save_as(folder / "deflated", enforce_file_format=True)
    content = (folder / "deflated").read_bytes()
    (folder / "deflated").write_bytes(content[:-200] + bytes(range(200)))
    files = take(folder)
    assert (len(files.instances), files.skipped) == (6, 1)


def test_links_pipes_and_sockets_of_a_folder_are_not_opened(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")
    outside = dicom.save(dicom.pet(SUV, series="outside"), tmp_path / "outside")
    os.mkfifo(folder / "pipe")  # opening it would wait for ever
    (folder / "file link").symlink_to(outside / "00000")
    (folder / "folder link").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "dangling").symlink_to(tmp_path / "nowhere")
    files = take(folder)
    assert (len(files.instances), files.skipped) == (6, 5)
    with pytest.raises(UnreadableStudyError, match="no such file"):
        take(folder / "pipe")


def test_folders_deeper_than_python_can_recurse(tmp_path, dicom):
    deepest = Path(f"{tmp_path}/study" + 1200 * "/a")
    made = [deepest, *(folder for folder in deepest.parents if folder.is_relative_to(tmp_path / "study"))]
    for folder in reversed(made):
        folder.mkdir()
    content = dicom.to_bytes(dicom.pet(SUV)[0])
    (deepest / "one").write_bytes(content)
    assert len(take(tmp_path / "study").instances) == 1
    (deepest / "one").unlink()
    for folder in made:  # shutil.rmtree would recurse
        folder.rmdir()


def test_a_file_that_vanishes_while_headers_are_read_refuses_the_study(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")

    def vanish(_fraction, _message):
        (folder / "00003").unlink()

    with (
        pytest.raises(UnreadableStudyError, match="no such file"),
        open_dicom_files(folder, InputLimits(), vanish),
    ):
        pass


def test_a_dicomdir_without_its_images_is_told_from_no_dicom(tmp_path, dicom):
    content = dicomdir(dicom)
    (tmp_path / "DICOMDIR").write_bytes(content)
    for source in (tmp_path, tmp_path / "DICOMDIR", dicom.zipped([("DICOMDIR", content)], tmp_path / "disc.zip")):
        with pytest.raises(UnreadableStudyError, match=r"Only a DICOMDIR was found.*Copy the whole disc"):
            take(source)
    (tmp_path / "disc.zip").unlink()
    dicom.save(dicom.pet(SUV), tmp_path / "IMAGES")
    files = take(tmp_path)
    assert (len(files.instances), files.skipped) == (6, 1)


def dicomdir(dicom):
    """A media directory of one patient, without further records."""
    (dataset,) = dicom.pet(SUV[:1])
    dicom.to_bytes(dataset)
    directory = Dataset()
    directory.file_meta = dataset.file_meta
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.FileSetID = "DISC"
    record = Dataset()
    record.DirectoryRecordType, record.PatientName = "PATIENT", "DUPONT^Jeanne"
    directory.DirectoryRecordSequence = [record]
    stream = io.BytesIO()
    directory.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"II*\x00", b"\x89PNG"])
def test_a_preamble_of_another_format_is_still_dicom(tmp_path, dicom, start):
    """PS3.10 7.1 leaves the first 128 bytes free: dual TIFF and DICOM files exist."""
    content = start.ljust(128, b"\0") + dicom.to_bytes(dicom.pet(SUV)[0])[128:]
    (tmp_path / "dual").write_bytes(content)
    assert len(take(tmp_path / "dual").instances) == 1


def test_a_damaged_sequence_is_met_at_the_intake(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")
    content = (folder / "00002").read_bytes()
    assert b"\x54\x00\x16\x00SQ" in content  # Radiopharmaceutical Information Sequence
    (folder / "00002").write_bytes(content.replace(b"\x54\x00\x16\x00SQ", b"\x54\x00\x16\x00OB"))
    files = take(folder)
    assert (len(files.instances), files.skipped) == (5, 1)


def test_limits_are_those_of_the_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPET_CONFIG", str(tmp_path / "none.toml"))
    settings = Settings()
    assert InputLimits(settings.max_files, settings.max_upload_mb * 2**20) == InputLimits()


def test_the_command_keeps_the_limits_of_the_settings(tmp_path, dicom, monkeypatch):
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEDPET_MAX_FILES", "5")
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")
    command = [sys.executable, "-c", "from app.cli.main import main; main()", "inspect", str(folder), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 3
    assert "More than 5 files" in run.stdout
