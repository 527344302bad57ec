import csv
from dataclasses import fields

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from fedpet.clinical.record import ClinicalRecord
from fedpet.clinical.variables import VARIABLES
from tests.support import ROOT


def test_every_field_of_the_record_has_a_variable_in_its_order():
    assert list(VARIABLES) == [field.name for field in fields(ClinicalRecord)]
    assert all(name == variable.name for name, variable in VARIABLES.items())


def test_ranges_are_nested_and_kinds_fit():
    for variable in VARIABLES.values():
        assert bool(variable.choices) == (variable.kind in ("category", "flag"))
        assert (variable.reject is None) == bool(variable.choices)
        if variable.warn is not None:
            assert variable.reject[0] <= variable.warn[0] < variable.warn[1] <= variable.reject[1]


@pytest.mark.reference_data
def test_french_names_and_ranges_are_those_of_the_data_dictionary(reference_data):
    with (reference_data / "clinical/clinical_schema.csv").open(encoding="utf-8") as file:
        schema = {row["champ_fr"]: row for row in csv.DictReader(file)}
    added = {"chemotherapy", "prior_systemic_lines", "tmb", "stage", "t_category", "n_category", "m_category",
             "prior_surgery", "prior_radiotherapy"}  # fmt: skip
    assert not {VARIABLES[name].french for name in added} & set(schema)
    for variable in (one for name, one in VARIABLES.items() if name not in added):
        row = schema[variable.french]
        if variable.choices and variable.kind == "category":
            assert {choice.french for choice in variable.choices} == set(
                row["type" if "|" in row["type"] else "unit"].split("|")
            )
        if variable.reject is not None and variable.name != "pet_to_treatment_days":
            assert variable.reject == tuple(float(x) for x in row["hard_range(reject)"].split("-"))
            assert variable.warn == tuple(float(x) for x in row["soft_range(warn)"].split("-"))


def test_every_sentence_has_its_french():
    with (ROOT / "fedpet/core/locale/fr/LC_MESSAGES/clinical.po").open("rb") as file:
        french = {message.id: message.string for message in read_po(file)}
    used = {
        entry[2] for entry in extract_from_dir(str(ROOT / "fedpet" / "clinical"), keywords={"Message": None, "_": None})
    }
    assert len(used) > 50
    assert {message for message in used if not french.get(message)} == set()
    assert set(french) - {""} == used


def test_the_page_lists_every_variable_with_its_ranges():
    page = (ROOT / "docs/clinical.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `") and line.count("`") == 4}
    assert set(VARIABLES) <= set(rows)
    for name, variable in VARIABLES.items():
        assert f"`{variable.french}`" in rows[name]
        for bounds in (variable.warn, variable.reject):
            assert bounds is None or f"{bounds[0]:g} to {bounds[1]:g}" in rows[name]
