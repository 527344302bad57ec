from datetime import date

import pytest

from fedpet.clinical.reading import record_from_mapping
from fedpet.clinical.value_parsing import read_date, read_value
from fedpet.clinical.variables import VARIABLES
from fedpet.core.errors import RecordError


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("7,5", 7.5),
        ("7.5", 7.5),
        (" 1 204,0 ", 1204.0),
        ("1\u202f204", 1204.0),
        ("3e2", 300.0),
        (250, 250.0),
        ("250 U/L", 250.0),
    ],
)
def test_numbers_are_read_with_comma_point_thousands_and_unit(written, expected):
    variable = VARIABLES["ldh"] if expected >= 50 else VARIABLES["crp"]
    assert read_value(variable, written) == expected


@pytest.mark.parametrize("written", ["", " ", "NA", "n/a", "NR", "?", "-", "nan", float("nan"), None, "inconnu"])
def test_missing_stays_missing(written):
    assert read_value(VARIABLES["ldh"], written) is None
    assert read_value(VARIABLES["sex"], written) is None
    assert read_value(VARIABLES["steroids"], written) is None


@pytest.mark.parametrize(
    ("column", "written", "field", "expected"),
    [
        ("sexe", "Homme", "sex", "M"),
        ("sex", "female", "sex", "F"),
        ("tabagisme", "sevré", "smoking", "former"),
        ("Tabagisme", "JAMAIS", "smoking", "never"),
        ("smoking", "current", "smoking", "current"),
        ("histologie", "épidermoïde", "histology", "squamous"),
        ("Histologie", "adénocarcinome", "histology", "adenocarcinoma"),
        ("molécule", "Pembrolizumab", "drug", "pembrolizumab"),
        ("corticoïdes", "oui", "steroids", True),
        ("meta_cerebrales", "0", "brain_metastases", False),
        ("meta_osseuses", True, "bone_metastases", True),
        ("egfr_alk_ros1", "inconnu", "driver_alteration", "unknown"),
        ("ECOG PS", "2.0", "ecog_ps", 2),
        ("ligne", 1, "line", 1),
        ("PDL1 TPS", "80 %", "pdl1_tps", 80.0),
    ],
)
def test_french_and_english_names_and_values(column, written, field, expected):
    value = getattr(record_from_mapping({column: written}).record, field)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("column", "written", "fragments"),
    [
        ("hemoglobine", "135", ("hemoglobine", "135", "4 to 22 g/dL", "divide by 10")),
        ("albumine", "4,1", ("albumine", "4.1", "10 to 65 g/L", "multiply by 10")),
        ("leucocytes", "8500", ("leucocytes", "8500", "100 G/L", "divide by 1,000")),
        ("glycemie", "1,05", ("glycemie", "1.05", "2 to 20 mmol/L", "5.55")),
        ("taille_cm", "1.75", ("taille_cm", "1.75", "100 to 230 cm", "metres")),
        ("age", 17.9, ("age_immunotherapie", "17.9", "18 to 110 years", "Check the entry")),
        ("delai_tep_ici", 93, ("delai_tep_ici", "93", "92 days")),
        ("ecog_ps", "1,5", ("ecog_ps", "1,5", "whole number")),
        ("ldh", "high", ("ldh", "high", "number")),
        ("ldh", True, ("ldh", "True", "number")),
        ("ldh", float("inf"), ("ldh", "inf", "number")),
        ("pdl1_tps", ">=50", ("pdl1_tps", ">=50", "number")),
        ("sexe", "X", ("sexe", "X", "F, M")),
        ("steroids", "maybe", ("corticoides", "maybe", "oui, non")),
    ],
)
def test_refusals_name_the_variable_the_value_and_what_is_accepted(column, written, fragments):
    with pytest.raises(RecordError) as refusal:
        record_from_mapping({column: written})
    for fragment in fragments:
        assert fragment in str(refusal.value)


@pytest.mark.parametrize("name", [name for name, v in VARIABLES.items() if v.reject is not None])
def test_the_reject_range_is_closed(name):
    low, high = VARIABLES[name].reject
    step = 1 if VARIABLES[name].kind == "integer" else 0.001
    for inside in (low, high):
        assert read_value(VARIABLES[name], inside) == inside
    for outside in (low - step, high + step):
        with pytest.raises(RecordError):
            read_value(VARIABLES[name], outside)


def test_dates_are_iso_and_nothing_else():
    assert read_date("date_tep", "2025-02-28") == date(2025, 2, 28)
    assert read_date("date_tep", "NA") is None
    for written in ("28/02/2025", "2025-02-30", "20250228", 45000):
        with pytest.raises(RecordError, match="YYYY-MM-DD"):
            read_date("date_tep", written)
