from __future__ import annotations

import io
import os
import tempfile
import zipfile

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from fedpet.errors import UnreadableStudy
from fedpet.progress import silent
from imaging.intake import IntakeLimits, taken_in

SUV = np.full((6, 4, 4), 2.0)


def take(source, **limits):
    with taken_in(source, IntakeLimits(**limits), silent) as pile:
        return pile


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
    with taken_in(archive, IntakeLimits(), silent) as pile:
        assert len(pile.instances) == 6
        assert all(instance.file.is_relative_to(scratch) for instance in pile.instances)
        assert not any(part in str(instance.file) for instance in pile.instances for part in ("escaped", "absolute"))
    assert not list(scratch.iterdir())  # nothing is left behind
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scratch", "study.zip"]


def test_a_link_in_an_archive_is_only_a_file_that_is_no_dicom(tmp_path, dicom, members):
    path = dicom.zipped(members, tmp_path / "study.zip")
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    pile = take(path)
    assert (len(pile.instances), pile.skipped) == (6, 1)


def test_a_bomb_stops_at_the_limit_of_bytes(tmp_path, dicom):
    bomb = dicom.zipped([("bomb.dcm", bytes(128) + b"DICM" + bytes(50 * 2**20))], tmp_path / "bomb.zip")
    assert bomb.stat().st_size < 100_000
    with pytest.raises(UnreadableStudy, match="More than 10 MB"):
        take(bomb, max_bytes=10 * 2**20)


def test_what_is_no_dicom_is_not_inflated(tmp_path, dicom, members):
    path = dicom.zipped([("zeros.bin", bytes(50 * 2**20)), *members], tmp_path / "study.zip")
    pile = take(path, max_bytes=2**20)
    assert (len(pile.instances), pile.skipped) == (6, 1)


def test_too_many_members_are_refused(tmp_path, dicom, members):
    with pytest.raises(UnreadableStudy, match="More than 5 files"):
        take(dicom.zipped(members, tmp_path / "study.zip"), max_files=5)
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")
    with pytest.raises(UnreadableStudy, match="More than 5 files"):
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
    with pytest.raises(UnreadableStudy, match="More than 10 MB"):
        take(tmp_path, max_bytes=10 * 2**20)
    assert len(take(tmp_path).instances) == 2


def test_an_archive_inside_is_counted_not_opened(tmp_path, dicom, members):
    inner = dicom.zipped(members, tmp_path / "inner.zip").read_bytes()
    outer = dicom.zipped([("inner.zip", inner), *members[:3]], tmp_path / "outer.zip")
    pile = take(outer)
    assert (len(pile.instances), pile.skipped, pile.archives) == (3, 1, 1)
    with pytest.raises(UnreadableStudy, match=r"No DICOM image among 1 files \(1 of them archives\)"):
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
    with pytest.raises(UnreadableStudy, match="damaged, encrypted"):
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
    pile = take(folder)
    assert len(pile.instances) == 7
    assert pile.skipped == 4


def test_a_single_file_and_a_missing_one(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")
    assert len(take(folder / "00002").instances) == 1
    with pytest.raises(UnreadableStudy) as refusal:
        take(tmp_path / "DUPONT^Jeanne")
    assert "DUPONT" not in str(refusal.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused_without_its_name(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV), tmp_path / "folder")
    (folder / "00001").chmod(0)
    with pytest.raises(UnreadableStudy, match="PermissionError"):
        take(folder)


def test_names_of_patients_do_not_stay_in_the_headers(tmp_path, dicom):
    slices = dicom.pet(SUV, SeriesDescription="AC HOSP-4711 dupont")
    pile = take(dicom.save(slices, tmp_path / "folder"))
    for instance in pile.instances:
        assert "PatientName" not in instance.header
        assert instance.header.SeriesDescription == "AC *** ***"
