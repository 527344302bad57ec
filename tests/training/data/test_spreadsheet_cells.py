"""What a spreadsheet would run is written as text, and read back as it was."""

import csv
import io

import pytest

from fedpet.clinical.tabular import parse_table
from training.data.spreadsheet_cells import safe_cell

RUN = ("=1+1", '=HYPERLINK("http://a";"b")', "+33 1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "-abc")
LEFT = ("", "P001", "-0.5", "+1,5", "-1e-3", "12", "l'avis", "a=b", "'", "2020-01-02")


@pytest.mark.parametrize("value", RUN)
def test_what_would_be_run_begins_with_an_apostrophe(value):
    assert safe_cell(value) == f"'{value}"


@pytest.mark.parametrize("value", LEFT)
def test_numbers_and_other_text_stay_as_they_are(value):
    assert safe_cell(value) == value


@pytest.mark.parametrize("value", [*RUN, *LEFT])
def test_the_reader_gives_back_the_value(value):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=";").writerows([("patient_id", "x"), ("p", safe_cell(value))])
    assert parse_table(file.getvalue(), lambda cells: "patient_id" in cells).rows[0]["x"] == value
