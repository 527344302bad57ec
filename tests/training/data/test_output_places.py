"""Nothing of the hospital's is overwritten, and a place that cannot be written is said before the work."""

import pytest

from fedpet.core.errors import OutputError
from fedpet.core.messages import Message
from training.data.html_page import bilingual_page
from training.data.output_places import alone_in, require_node_place, require_page_place

TITLE = Message("Images and table of the hospital, compared")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "dicom" / "P1").mkdir(parents=True)
    (tmp_path / "table.csv").write_text("patient_id\nP1\n")
    (tmp_path / "notes.html").write_text("<p>somebody's notes</p>")
    (tmp_path / "table.html").symlink_to(tmp_path / "table.csv")
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "other" / "cases").mkdir(parents=True)
    (tmp_path / "other" / "cases" / "letter.txt").write_text("kept")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("table.csv", "would be called table.csv"),
        ("check", "would be called check"),
        ("notes.html", "no earlier page"),
        ("table.html", "no earlier page"),
        ("folder.html", "no earlier page"),
        ("dicom/P1/check.html", "folder of the images"),
        ("missing/check.html", "does not exist"),
        ("table.csv/check.html", "does not exist"),
    ],
)
def test_a_page_overwrites_nothing_but_an_earlier_page(place, name, found):
    with pytest.raises(OutputError) as refused:
        require_page_place(place / name, TITLE, place / "dicom")
    assert found in str(refused.value.found)


def test_a_page_replaces_an_earlier_one_of_the_same_title(place):
    out = place / "check.html"
    require_page_place(out, TITLE, place / "dicom")
    out.write_text(bilingual_page(TITLE, lambda _: "", first="fr"), encoding="utf-8")
    require_page_place(out, TITLE, place / "dicom")
    out.write_text(bilingual_page(Message("Patients"), lambda _: "", first="fr"), encoding="utf-8")
    with pytest.raises(OutputError):
        require_page_place(out, TITLE, place / "dicom")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("table.csv", "is a file"),
        ("table.csv/nice", "is a file"),
        ("dicom", "folder of the images"),
        ("dicom/nice", "folder of the images"),
        ("other", "no cases of fedpet"),
    ],
)
def test_node_data_are_not_written_into_a_file_or_among_other_files(place, name, found):
    with pytest.raises(OutputError) as refused:
        require_node_place(place / name, place / "dicom")
    assert found in str(refused.value.found)


def test_node_data_go_into_a_new_folder_or_one_of_an_earlier_run(place):
    require_node_place(place / "missing" / "nice", place / "dicom")
    (place / "nice" / "cases").mkdir(parents=True)
    (place / "nice" / "cases" / "ab.npz").touch()
    (place / "nice" / "cases" / "ab.12.part").touch()
    require_node_place(place / "nice", place / "dicom")


def test_two_preparations_of_one_folder_do_not_disturb_each_other(tmp_path):
    with alone_in(tmp_path / "nice"):
        with pytest.raises(OutputError, match="Another command prepares nice now"), alone_in(tmp_path / "nice"):
            pass
        with alone_in(tmp_path / "lyon"):
            pass
    with alone_in(tmp_path / "nice"):
        pass
