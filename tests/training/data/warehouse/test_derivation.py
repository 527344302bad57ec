"""What each rule takes and what it must not take, on histories of a few rows."""

from datetime import date, timedelta

import pytest

from fedpet.core.errors import SettingsError, WarehouseError
from training.data.warehouse.derivation import derive
from training.data.warehouse.events import Event, History, Origin, read_day
from training.data.warehouse.extraction import extract
from training.data.warehouse.rules import FORMS, read_rules, shipped_rules

RULES = read_rules(None, "osiris")
START = date(2020, 6, 10)


def event(kind, days=0, *codes, value=None, unit="", **more):
    """A row so many days after the first dose."""
    return Event(kind, Origin("T", f"{kind}{days}{value}"), START + timedelta(days), codes, value, unit, **more)


BASE = (
    event("primary", -300, "C34.1", "8140/3"),
    event("drug", 0, "L01FF02"),
    event("news", 400),
    event("metastasis", -30, "C22.0"),
)


def derived(*events, base=BASE, rules=RULES):
    return derive(History("p", [*base, *events]), rules)


def value(column, *events, **more):
    found = derived(*events, **more).values.get(column)
    return None if found is None else found.value


@pytest.mark.parametrize(
    ("drugs", "line", "before"),
    [
        ([], 1, 0),
        ([(-100, "L01XA02"), (-100, "L01BA04"), (-79, "L01XA02"), (-58, "L01BA04")], 2, 1),
        ([(-100, "L01XA02"), (-95, "L01BA04")], 2, 1),  # a doublet whose second drug came days later
        ([(-200, "L01XA02"), (-100, "L01BA04")], 3, 2),
        ([(-200, "L01EB04"), (-90, "L01XA02")], 3, 2),  # a targeted drug is a line
        ([(-900, "L01XA02")], 1, 1),  # adjuvant
        ([(0, "L01XA02"), (21, "L01BA04")], 1, 0),  # beside it and after
        ([(-40, "A04AA01")], 1, 0),  # no anticancer drug
    ],
)
def test_line(drugs, line, before):
    found = derived(*(event("drug", days, code) for days, code in drugs))
    assert (found.values["ligne"].value, found.values["lignes_anterieures"].value) == (line, before)


@pytest.mark.parametrize(
    ("days", "code", "beside"), [(0, "L01XA02", True), (15, "L01BA04", True), (60, "L01BA04", False)]
)
def test_chemotherapy_beside_it_is_counted_and_can_leave_a_patient_out(days, code, beside, tmp_path):
    found = derived(event("drug", days, code))
    assert found.chemotherapy is found.values["chimiotherapie_associee"].value is beside
    path = tmp_path / "rules.toml"
    path.write_text(shipped_rules("osiris").replace('patients = "keep"', 'patients = "leave_out"'), encoding="utf-8")
    left_out = derived(event("drug", days, code), rules=read_rules(path, "osiris")).left_out
    assert (left_out is not None) is beside


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(-3, 38.0, "g/L")], 38.0),
        ([(-3, "38,5", "g/l")], 38.5),
        ([(-3, 3.8, "g/dL")], 38.0),
        ([(-20, 30.0, "g/L"), (-3, 38.0, "g/L"), (1, 44.0, "g/L")], 38.0),
        ([(-31, 38.0, "g/L")], None),
        ([(1, 38.0, "g/L")], None),
        ([(-3, 38.0, "mmol/L")], None),
        ([(-3, 3.8, "g/L")], None),  # refused by the record: the unit is wrong
        ([(-3, 33.0, "g/dL"), (-9, 38.0, "g/L")], None),
    ],
)
def test_laboratory_values(rows, expected):
    events = [event("measure", days, "Albumine", value=number, unit=unit) for days, number, unit in rows]
    assert value("albumine", *events) == expected


@pytest.mark.parametrize(("days", "unit", "expected"), [(-200, "mut/Mb", 12.0), (20, "mut/Mb", None), (-20, "%", None)])
def test_tumour_mutational_burden(days, unit, expected):
    assert value("tmb_mut_mb", event("measure", days, "TMB (panel)", value=12.0, unit=unit)) == expected


def test_another_unit_and_a_refused_value_are_said():
    other = derived(event("measure", -3, "ALBUMINE", value=38.0, unit="mmol/L"))
    assert "38.0 mmol/L" in str(other.values["albumine"].remark)
    refused = derived(event("measure", -3, "ALBUMINE", value=3.8, unit="g/L"))
    assert [rule for rule, _ in refused.contradictions] == ["variables.albumine"]


@pytest.mark.parametrize(
    ("written", "expected"), [("1", 1), (2.0, 2), ("1-2", 2), ("80", 1), ("100", 0), ("30", 4), ("inconnu", None)]
)
def test_performance_status(written, expected):
    assert value("ecog_ps", event("measure", -3, "PS", value=written)) == expected


def test_of_two_performance_states_of_a_day_the_worse_is_kept_and_said():
    found = derived(event("measure", -3, "PS", value="1"), event("measure", -3, "PS", value="2"))
    assert found.values["ecog_ps"].value == 2
    assert [rule for rule, _ in found.contradictions] == ["variables.ecog_ps"]


def test_metastases_before_the_first_dose_count_and_unknown_is_not_no():
    found = derived(
        event("metastasis", -10, "C71.9"), event("metastasis", 50, "C41.0"), event("metastasis", -5, "C22.1")
    )
    flags = {name: found.values[name].value for name in RULES.metastases.flags}
    assert flags == {
        "meta_cerebrales": True, "meta_hepatiques": True, "meta_osseuses": False, "meta_surrenaliennes": False,
    }  # fmt: skip
    assert found.values["nb_sites_meta"].value == 2
    nothing = derived(base=BASE[:3])
    assert not RULES.metastases.flags.keys() & nothing.values.keys()
    assert value("epanchement_pleural") is None


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([], "unknown"),
        ([("EGFR", "négatif"), ("ALK", "Négative")], "no"),
        ([("EGFR exon 19", "Muté"), ("ALK", "négatif")], "yes"),
        ([("KRAS", "positif")], "unknown"),
    ],
)
def test_driver_alteration(tests, expected):
    assert value("egfr_alk_ros1", *(event("measure", -20, name, value=text) for name, text in tests)) == expected


def test_progression_is_the_first_one_after_the_first_dose():
    rows = [event("measure", days, "PROGRESSION", value="Yes") for days in (-90, 200, 120)]
    rows.append(event("measure", 60, "PROGRESSION", value="No"))
    assert value("date_progression", *rows) == START + timedelta(120)


def test_last_news_is_the_latest_day_but_never_after_death():
    assert value("date_dernieres_nouvelles", event("imaging", 450, "CT")) == START + timedelta(450)
    dead = derived(event("death", 300))
    assert dead.values["date_dernieres_nouvelles"].value == START + timedelta(300)
    assert [rule for rule, _ in dead.contradictions] == ["last_news"]


def test_the_pet_is_the_last_one_before_the_first_dose():
    pets = [event("imaging", days, "PT", value=f"study{days}") for days in (-80, -12, 30, -200)]
    found = derived(*pets, event("imaging", -2, "CT", value="ct"))
    assert (found.values["id_examen_tep"].value, found.values["delai_tep_ici"].value) == ("study-12", 12.0)
    assert value("id_examen_tep", event("imaging", -120, "PT", value="old")) is None


@pytest.mark.parametrize(
    ("base", "reason"),
    [(BASE[1:], "primary"), (BASE[:1] + BASE[2:], "dose"), ((event("primary", -9, "C50.1"), *BASE[1:]), "primary")],
)
def test_who_is_no_patient_of_the_study_is_left_out(base, reason):
    assert reason in str(derived(base=base).left_out)


def test_a_drug_outside_of_the_protocol_is_seen_and_left_empty():
    found = derived(base=(BASE[0], event("drug", 0, "L01FF03"), *BASE[2:]))
    assert found.values["molecule"].value is None
    assert found.contradictions[0][0] == "first_dose"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["2020/03/04"], (date(2020, 3, 4), False)),
        (["20200304"], (date(2020, 3, 4), False)),
        (["2020-03-04T10:00:00+01:00"], (date(2020, 3, 4), False)),
        ([2020, 3, 4.0], (date(2020, 3, 4), False)),
        (["2020", "3", ""], (date(2020, 3, 15), True)),
        ([2020, None, None], (date(2020, 7, 1), True)),
        (["2020-03"], (date(2020, 3, 15), True)),
        (["04/03/2020"], (None, False)),
        ([None, 3, 4], (None, False)),
    ],
)
def test_days_of_a_warehouse(parts, expected):
    assert read_day(*parts) == expected


@pytest.mark.parametrize("form", FORMS)
def test_every_shipped_rule_explains_itself_and_every_variable_has_one(form):
    rules = read_rules(None, form)
    from fedpet.clinical.variables import VARIABLES

    direct = {
        "age_immunotherapie", "sexe", "histologie", "ligne", "molecule", "nb_sites_meta", "egfr_alk_ros1",
        "delai_tep_ici", "chimiotherapie_associee", "lignes_anterieures", *rules.metastases.flags,
    }  # fmt: skip
    direct |= {"stade", "tnm_t", "tnm_n", "tnm_m", "chirurgie_anterieure", "radiotherapie_anterieure"}  # not derived
    assert set(rules.variables) | direct == {variable.french for variable in VARIABLES.values()}
    assert all(len(rules.explanation(f"variables.{name}")) > 20 for name in rules.variables)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('source = "osiris"', 'source = "omop"', "not of the format"),
        ("before_days = 730", "before_day = 730", "before_day"),
        ("[variables.crp]", "[variables.crpp]", "crpp"),
        ('explication = "Date de décès."', 'explication = ""', "no “explication”"),
        ("[progression]", "[progressions]", "[progression] is missing"),
        ('kind = "drug"', 'kind = "drugs"', "drugs"),
        ('column = "NonOpposition"', 'column = "NonOpposition', "cannot be read"),
    ],
)
def test_rules_that_cannot_be_applied_are_refused(old, new, said, tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(shipped_rules("osiris").replace(old, new), encoding="utf-8")
    with pytest.raises(SettingsError) as refusal:
        read_rules(path, "osiris")
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "neither a folder"),
        ("sqlite:////nowhere/x.db", "cannot be opened"),
        ("base://x", "cannot be opened"),
    ],
)
def test_sources_that_cannot_be_read_are_refused(source, said):
    with pytest.raises(WarehouseError, match=said):
        extract(source, RULES)


def test_a_missing_table_or_column_is_named(tmp_path):
    with pytest.raises(WarehouseError, match="no table Patient"):
        extract(str(tmp_path), RULES)
    (tmp_path / "Patient.csv").write_text("PatientNumber;PatientBirthDate\n1;1960/01/01\n")
    with pytest.raises(WarehouseError, match="Patient has no column PatientId"):
        extract(str(tmp_path), RULES)
