"""`fedpet train evaluate` on three small centres with a planted effect of the age and of the lesion's volume."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from typer.testing import CliRunner

from fedpet.core.errors import OutputError, SettingsError
from tests.support import ROOT
from training.evaluation.cohort import pool_node_data
from training.evaluation.config import read_config
from training.evaluation.designs import (
    AVERAGE,
    FEDERATED,
    HARMONISED,
    POOLED,
    PRIVATE,
    QUANTITIES,
    SINGLE,
    Trainer,
    harmonised,
    holdout,
    leave_one_centre_out,
)
from training.evaluation.in_process_fedavg import fit
from training.evaluation.leakage import audit, dates, duplicates, same_pixels, telling_inputs
from training.evaluation.report import _limits, page
from training.evaluation.run import evaluate
from training.evaluation.scoring import GOAL_LIMITS, alarms, goals, subgroups
from training.task.privacy import epsilon
from training.task.task import TrainingTask

SITES = {"nice": 70, "lyon": 50, "dijon": 40}
CONFIG = """
title = "Three small centres"
nodes = ["nice", "lyon", "dijon"]
grid = { shape = [16, 16, 16] }
bootstrap = 60
quantities = ["measured", "harmonised"]
references = { lymph = "worse" }
[model]
network = "clinical"
rounds = 5
local_epochs = 2
batch_size = 8
learning_rate = 0.05
[clinical]
network = "clinical"
rounds = 5
local_epochs = 2
batch_size = 8
learning_rate = 0.05
[private]
network = "clinical"
rounds = 5
local_epochs = 2
batch_size = 8
learning_rate = 0.05
clip = 1.0
noise = 1.2
[leakage]
permutations = 2
[vendors]
nice = "SIEMENS"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, training_nodes):
    """Node data and a configuration; "lymph" is the outcome for some of the patients, "score:loris" chance for all."""
    root = tmp_path_factory.mktemp("evaluation")
    contract = training_nodes.small_contract()
    for site, cases in SITES.items():
        table = training_nodes.write_node(root / site, contract, cases, seed=cases) / "cases.csv"
        header, *rows = table.read_text().splitlines()
        cells = [f"{30 - float(row.split(',')[1]):.2f}" if number % 3 else "" for number, row in enumerate(rows)]
        lines = [f"{row},{cell},{number % 7}" for number, (row, cell) in enumerate(zip(rows, cells, strict=True))]
        table.write_text("\n".join([f"{header},lymph,score:loris", *lines]) + "\n")
    (root / "evaluation.toml").write_text(CONFIG)
    return root


@pytest.fixture(scope="module")
def cohort(folder, training_nodes):
    return pool_node_data([folder / site for site in SITES], training_nodes.small_contract(), {"nice": "SIEMENS"})


@pytest.fixture(scope="module")
def report(folder):
    told = []
    evaluate(folder / "evaluation.toml", folder / "out", progress=lambda fraction, _: told.append(fraction))
    assert told == sorted(told)
    assert told[-1] == 1.0
    return json.loads((folder / "out" / "report.json").read_text())


def test_who_predicts_whom(report):
    within, unseen = (report["designs"][name] for name in ("within_centre", "leave_one_centre_out"))
    held_out = sum(round(0.3 * count) for count in SITES.values())
    assert within["models"][FEDERATED]["patients"] == within["models"][SINGLE + "nice"]["patients"] == held_out
    assert unseen["models"][FEDERATED]["patients"] == unseen["models"][AVERAGE]["patients"] == 160
    assert unseen["models"][SINGLE + "nice"]["patients"] == 160 - 70
    assert unseen["trained_on"][FEDERATED] == unseen["trained_on"][POOLED] == 160 - 70
    assert set(unseen["by_centre"][FEDERATED]) == set(SITES)


def test_the_planted_effects_are_found_below_the_ceiling(report):
    for design in report["designs"].values():
        assert design["judged_on"] == "expected_auc"
        models = {name: one for name, one in design["models"].items() if "too_few" not in one}
        auc = {name: one["expected_auc"]["value"] for name, one in models.items()}
        assert 0.55 < auc[FEDERATED] < auc["tmtv_clinical"] < auc["bayes"]
        assert design["federated_minus"]["tmtv_clinical"]["upper"] < 0
        assert design["models"]["bayes"]["expected_slope"]["value"] == pytest.approx(1, abs=1e-3)
        assert design["models"]["bayes"]["slope"]["lower"] < 1 < design["models"]["bayes"]["slope"]["upper"]


def test_a_private_federation_is_reported_with_its_epsilon(report):
    within, unseen = (report["designs"][name] for name in ("within_centre", "leave_one_centre_out"))
    patients = {"nice": 39, "lyon": 28, "dijon": 22}  # four fifths of the seven tenths
    usual = {"batch_size": 8, "epochs": 10, "noise": 1.2, "delta": 1e-3}
    assert within["epsilon"] == {name: pytest.approx(epsilon(patients=n, **usual)) for name, n in patients.items()}
    assert within["federated_minus"][PRIVATE]["value"] != 0
    assert (unseen["epsilon"], PRIVATE in unseen["models"]) == ({}, False)


def test_noise_takes_away_what_training_found(cohort, folder):
    """The noise is not seeded: of 25 trainings the excess loss was 0.34 to 4.2, so that three are averaged."""
    config = read_config(folder / "evaluation.toml")
    private = config.private.model_copy(update={"noise": 1e3})
    several = config.model_copy(update={"private": private, "seeds": (0, 1, 2)})
    trainer = Trainer(cohort, several, lambda *_: None, 1)
    sites = cohort.by_site(np.ones(160, bool))
    lost, found = trainer.private(list(sites.values())), trainer.model(list(sites.values()))
    assert np.mean([one.losses[-1] for one in lost]) > np.mean([one.losses[-1] for one in found]) + 0.25
    assert trainer.epsilon(sites)["nice"] < 0.01


def test_quantities_are_a_baseline_that_after_combat_knows_no_other_centre(report):
    within, unseen = (report["designs"][name]["models"] for name in ("within_centre", "leave_one_centre_out"))
    found = {name: within[name]["expected_auc"]["value"] for name in (FEDERATED, QUANTITIES, HARMONISED)}
    assert found[FEDERATED] < min(found[QUANTITIES], found[HARMONISED])
    assert abs(found[QUANTITIES] - found[HARMONISED]) < 0.05  # the three centres do not differ
    assert unseen[QUANTITIES]["patients"] == 160
    assert unseen[HARMONISED] == {"patients": 0, "events": 0, "too_few": True}


def test_quantities_are_the_biomarkers_of_the_delineations(cohort):
    assert set(cohort.quantities) == {"tumour_volume", "tumour_uptake", "dissemination"}  # only lesions are delineated
    volume = np.exp(1.05 * cohort.quantities["tumour_volume"] + 4.5) - 3.0
    np.testing.assert_allclose(volume, cohort.tmtv(), rtol=1e-3)
    drawn = tuple(replace(case, supervised=~case.supervised | True) for case in cohort.cases[:5])
    assert len(replace(cohort, cases=drawn).quantities) == 6
    assert (
        replace(cohort, cases=(*drawn[1:], replace(drawn[0], supervised=drawn[0].supervised & False))).quantities == {}
    )
    more = cohort.with_quantities(cohort.quantities)
    at = more.contract.inputs.index("tumour_uptake")
    np.testing.assert_allclose(more.clinical[:, at], cohort.quantities["tumour_uptake"], rtol=1e-6)


def test_a_centre_whose_scanner_reads_high_is_brought_back(cohort):
    loud = np.float16(1.5)
    cases = [
        replace(case, image=case.image * loud) if site == "lyon" else case
        for case, site in zip(cohort.cases, cohort.site, strict=True)
    ]
    high = replace(cohort, cases=tuple(cases))
    lyon = cohort.site == "lyon"
    training = ~holdout(cohort, 0.3)

    def gap(values, member):
        return values[lyon & member].mean() - values[~lyon & member].mean()

    before, after = high.quantities["tumour_uptake"], harmonised(high, 0.3)["tumour_uptake"]
    assert gap(before, training) > 0.5 * before.std()
    assert abs(gap(after, training)) < 0.2 * abs(gap(before, training))
    assert abs(gap(after, ~training)) < 0.5 * abs(gap(before, ~training))
    first = np.flatnonzero(~training & lyon)[0]
    cases[first] = replace(cases[first], image=cases[first].image * np.float16(3))
    changed = harmonised(replace(high, cases=tuple(cases)), 0.3)["tumour_uptake"] != after
    assert np.flatnonzero(changed).tolist() == [first]  # who is held out is not in the fit


def test_conformal_sets_are_checked_by_centre_seen_and_unseen(report):
    held_out = {name: round(0.3 * count) for name, count in SITES.items()}
    for design, patients in (("within_centre", held_out), ("leave_one_centre_out", SITES)):
        sets = report["designs"][design]["conformal_sets"]
        assert sets["level"] == 0.8
        assert set(sets["endpoints"]) == {"early_failure_3m", "dcb_6m", "pfs_12m"}
        for told in sets["endpoints"].values():
            assert {name: one["patients"] for name, one in told["by_centre"].items()} == patients
            assert told["all"]["patients"] == sum(patients.values())
            assert told["all"]["known"] == sum(one["known"] for one in told["by_centre"].values())
            assert told["all"]["coverage"]["lower"] < 0.85  # few validation patients: the level is met on the average
            assert told["all"]["coverage"]["upper"] > 0.75


def test_an_unseen_centre_is_seen_by_no_model_that_predicts_it(cohort, folder):
    config = read_config(folder / "evaluation.toml")
    quick = config.model_copy(update={"model": config.model.model_copy(update={"rounds": 1, "local_epochs": 1})})
    seen = []

    class Recording(Trainer):
        def model(self, centres, *, quantised=False):
            seen.append({case_id for centre in centres for case_id in centre.case_ids})
            return super().model(centres, quantised=quantised)

    trainer = Recording(cohort, quick, lambda *_: None, 1)
    trainer.reads.clear()  # no baselines
    answers = leave_one_centre_out(trainer)
    own = {name: {cohort.case_ids[i] for i in np.flatnonzero(cohort.site == name)} for name in SITES}
    assert seen[:3] == [own["nice"], own["lyon"], own["dijon"]]
    rest = [set(cohort.case_ids) - own[name] for name in SITES]
    assert seen[3:] == [rest[0], rest[0], rest[1], rest[1], rest[2], rest[2]]
    alone = answers.survival[SINGLE + "lyon"]
    assert np.isnan(alone[cohort.site == "lyon"]).all()
    assert np.isfinite(alone[cohort.site != "lyon"]).all()


def test_holdout_depends_on_the_pseudonyms_alone(cohort):
    held_out = holdout(cohort, 0.3)
    assert [int(held_out[cohort.site == name].sum()) for name in SITES] == [21, 15, 12]
    turned = replace(cohort, site=cohort.site[::-1], case_ids=cohort.case_ids[::-1], cases=cohort.cases[::-1])
    assert (holdout(turned, 0.3)[::-1] == held_out).all()


def test_columns_rank_beside_the_model(report):
    found = report["designs"]["leave_one_centre_out"]["references"]["lymph"]
    assert found["patients"] == sum(count - len(range(0, count, 3)) for count in SITES.values())
    assert found["alone"]["value"] == pytest.approx(1.0)
    assert found["difference"]["value"] < 0


def test_published_scores_stand_beside_the_model_with_delongs_test(report):
    within, unseen = (report["designs"][name] for name in ("within_centre", "leave_one_centre_out"))
    found = within["references"]["score:loris"]
    assert found["patients"] == within["patients"]
    assert found["alone"]["lower"] < 0.5 < found["alone"]["upper"]
    tested = found["delong"]
    assert 0 < tested["patients"] < found["patients"]  # not those who are censored before 12 months
    assert tested["p"] == pytest.approx(2 * norm.sf(abs(tested["difference"]) / tested["error"]))
    assert tested["difference"] == pytest.approx(found["difference"]["value"], abs=0.1)
    assert set(within["delong"]) == set(within["federated_minus"])
    assert within["delong"]["bayes"]["difference"] < 0
    assert (unseen["delong"], unseen["references"]["score:loris"]["delong"]) == ({}, None)  # ranked within centres
    html = page(report, "en")
    assert "LORIS for NSCLC" in html
    assert "DeLong: p" in html


def test_quantisation_changes_little(report, cohort):
    from training.task.quantization import STEP

    cost = report["designs"]["within_centre"]["federated_minus"]["quantised"]
    assert abs(cost["value"]) < 0.02
    task = TrainingTask(contract=cohort.contract, network="clinical", rounds=1, augment=False)
    centres = list(cohort.by_site(np.ones(160, bool)).values())
    exact, coarse = (fit(task, centres, quantised=flag).network.state_dict() for flag in (False, True))
    largest = max(float((exact[name] - coarse[name]).abs().max()) for name in exact)
    assert 0 < largest < STEP


def test_subgroups_are_read_from_the_encoded_record(cohort):
    case = cohort.cases[0]
    names = cohort.contract.inputs
    values = dict.fromkeys(names, 0.0) | {"age": -1.0, "male": 0.32, "pdl1_1": 0.35, "pdl1_50": 0.6}
    unknown = dict.fromkeys(names, 0.0) | {"missing:pdl1_1": 1.0, "age": 0.5, "squamous": 0.75}
    cases = tuple(
        replace(case, clinical=np.array([one[name] for name in names], np.float32)) for one in (values, unknown)
    )
    two = replace(cohort, cases=cases, vendor=np.array(["GE", ""]))
    found = {
        name: {level: group.tolist() for level, group in levels.items()} for name, levels in subgroups(two).items()
    }
    assert found["age"] == {"< 65": [True, False], ">= 65": [False, True]}
    ages = [replace(case, clinical=np.zeros(len(names), np.float32)), cases[1]]  # the first of them is not known
    aged = subgroups(replace(two, cases=tuple(ages)))["age"]
    assert {level: group.tolist() for level, group in aged.items()} == {
        "65 or missing": [True, False],
        ">= 65": [False, True],
    }
    assert found["sex"] == {"male": [True, False], "missing": [False, True]}
    assert found["pdl1"] == {">= 50 %": [True, False], "missing": [False, True]}
    assert found["histology"] == {"squamous": [False, True], "missing": [True, False]}
    assert found["vendor"] == {"GE": [True, False]}


def test_the_audit_passes_clean_data(report):
    assert {name: one["passed"] for name, one in report["leakage"].items()} == dict.fromkeys(report["leakage"], True)
    assert len(report["leakage"]["permuted_outcomes"]["permutations"]) == 2
    assert report["leakage"]["permuted_outcomes"]["network"] == "clinical"
    assert report["alarms"] == []


def test_the_audit_sees_what_was_planted(cohort):
    first, other = cohort.cases[0], cohort.cases[-1]
    twin = replace(first, months=other.months)  # the same scan, another outcome and record
    twin = replace(twin, clinical=other.clinical, image=(first.image * np.float16(1.01)))
    near = replace(cohort, cases=(*cohort.cases[:-1], twin))
    assert same_pixels(near)["near"] == same_pixels(near)["across_centres"] == 1
    assert same_pixels(cohort)["passed"]
    copied = replace(cohort, cases=(*cohort.cases[:-1], replace(first)))
    assert duplicates(copied)["same_record_and_outcome"] == duplicates(copied)["across_centres"] == 1
    assert same_pixels(copied)["exact"] == 1
    named = replace(cohort, case_ids=(*cohort.case_ids[:-1], cohort.case_ids[0]))
    assert duplicates(named)["same_pseudonym"] == 1
    dated = replace(cohort, columns={**cohort.columns, "pet_to_treatment_days": np.array([-3.0] + [5.0] * 159)})
    dated = replace(dated, words=frozenset({"date_pet"}))
    assert (dates(dated)["columns_with_dates"], dates(dated)["pet_after_first_dose"]) == (1, 1)
    assert dates(cohort)["passed"]
    assert not dates(cohort.with_outcomes(np.arange(160)[::-1]))["passed"]  # the table tells other outcomes
    told = tuple(
        replace(case, clinical=np.append(case.clinical[:-1], np.float32(case.months))) for case in cohort.cases
    )
    assert telling_inputs(replace(cohort, cases=told))["largest_c_index"] == pytest.approx(1.0)


def test_the_audit_finds_an_outcome_that_is_capped_or_coarse(cohort):
    """Number of cycles given until the event, at most six, and whether treatment went on at six months."""
    cycles = np.minimum(np.floor(cohort.months * 30.4375 / 21) + 1, 6)
    noise = np.random.default_rng(2).choice([-1.0, 0, 1], 160, p=[1 / 6, 2 / 3, 1 / 6])
    at = cohort.contract.inputs.index("age")

    def with_column(values):
        scaled = (values - values.mean()) / values.std()
        cases = [
            replace(case, clinical=np.concatenate([case.clinical[:at], [value], case.clinical[at + 1 :]]))
            for case, value in zip(cohort.cases, scaled, strict=True)
        ]
        return telling_inputs(replace(cohort, cases=tuple(cases)))

    for column in (cycles, np.clip(cycles + noise, 1, 6), (cohort.months >= 6).astype(float)):
        found = with_column(column)
        assert (found["passed"], found["inputs"]) == (False, "age")
        assert found["largest_c_index"] < 0.95
    rare = (np.argsort(np.argsort(cohort.months)) < 4).astype(float)  # the four worst: no evidence of anything
    for column in (np.random.default_rng(3).permutation(cycles), rare):
        assert with_column(column)["passed"]


def test_overall_survival_takes_the_place_of_the_outcome_where_everybody_has_it(cohort, folder):
    months = np.linspace(1, 40, 160)
    columns = {**cohort.columns, "os_months": months, "os_event": (np.arange(160) % 3 == 0).astype(float)}
    overall = replace(cohort, columns=columns).with_overall_survival()
    assert (overall.months == months).all()
    assert overall.event.sum() == 54
    assert np.isnan(overall.truth).all()  # those are of PFS
    assert dates(overall)["passed"]
    lost = {**columns, "os_months": np.append(months[:-1], np.nan)}
    assert replace(cohort, columns=lost).with_overall_survival() is None
    text = 'endpoint = "overall_survival"\nhorizon_months = 24\n' + CONFIG.split("[model]", maxsplit=1)[0]
    path = folder / "overall.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="Overall survival is not known"):
        evaluate(path, folder / "none")


def test_no_image_no_fingerprint(cohort):
    flat = replace(cohort, contract=replace(cohort.contract, shape=(1, 1, 1)))
    assert same_pixels(flat)["passed"] is None


def estimate(value):
    return {"value": value, "lower": value - 0.02, "upper": value + 0.02}


def test_goals_are_met_or_not_by_their_value():
    design = {
        "judged_on": "auc",
        "models": {FEDERATED: {"slope": estimate(1.1)}},
        "by_centre": {
            FEDERATED: {"a": {"slope": estimate(1.2)}, "b": {"slope": estimate(0.8)}, "c": {}},  # 1 / 0.8 is 1.25
        },
        "federated_minus": {POOLED: estimate(-0.011), AVERAGE: estimate(0.0), "single:a": estimate(0.1)}
        | {"single:b": estimate(0.01), "bayes": estimate(-0.03)}
        | {"single:unseen": estimate(float("nan")), "single:unseen too": {"value": None}},
    }
    found = {goal["goal"]: goal for goal in goals({"leave_one_centre_out": design})}
    assert {name: goal["met"] for name, goal in found.items()} == {
        "federated_minus_pooled": False,
        "federated_minus_average": False,
        "federated_minus_clinical": None,
        "federated_minus_tmtv_clinical": None,
        "federated_minus_bayes": True,
        "federated_minus_best_single": True,
        "calibration_slope": True,
        "calibration_slope_by_unseen_centre": False,
    }
    assert found["calibration_slope_by_unseen_centre"]["against"] == "b"
    design["by_centre"] = {FEDERATED: {"a": {"slope": estimate(1.1)}, "b": {"slope": estimate(-0.1)}}}
    assert goals({"within_centre": design})[-1]["against"] == "b"
    design["by_centre"] = {FEDERATED: {"a": {"slope": estimate(1.1)}}}
    assert goals({"within_centre": design})[-1]["met"]
    assert found["federated_minus_best_single"]["against"] == "single:b"


def test_a_goal_without_a_limit_is_reported_and_neither_met_nor_missed(report):
    within = {goal["goal"]: goal for goal in report["goals"] if goal["design"] == "within_centre"}
    private = within["federated_minus_private"]
    assert (private["least"], private["most"], private["met"]) == (None, None, None)
    assert private["value"] is not None
    judged = page({**report, "goals": [private]}, "en")
    assert '<span class="none">reported</span>' in judged


def test_the_documented_limits_of_the_goals_are_those_in_force():
    text = (ROOT / "docs" / "evaluation.md").read_text()
    table = re.findall(r"^\| `(\w+)`[^|]*\| ([^|]+) \|$", text.partition("## Goals and alarms")[2], re.MULTILINE)
    documented = {name: limit.strip() for name, limit in table}
    in_force = {
        name: _limits({"least": least, "most": most}) or "reported" for name, (least, most) in GOAL_LIMITS.items()
    }
    assert documented == in_force


def test_an_alarm_above_the_plausible():
    models = {"federated": {"auc": estimate(0.83)}, "pooled": {"auc": estimate(0.79)}, "a": {"too_few": True}}
    assert [one["model"] for one in alarms({"within_centre": {"models": models}}, 0.80)] == ["federated"]
    known = {"within_centre": {"models": models | {"bayes": {"auc": estimate(0.80)}}}}
    assert alarms(known, 0.80)[0]["bound"] == pytest.approx(0.82)


def test_the_page_is_whole_by_itself_in_both_languages(folder, report):
    english = (folder / "out" / "report.html").read_text()
    french = page(report, "fr")
    for text in (english, french):
        assert not re.search(r"https?://|<script|src=|@import|url\(", text)
        assert text.count("<figure") == 2 * 4
        assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan", "", text)
    assert "Synthetic patients: nothing here shows" in english
    assert "Patients synthétiques : rien ici ne montre" in french
    assert english.count("Conformal sets of the federated model, level 80 %") == 2
    assert french.count("Ensembles conformes du modèle fédéré, niveau 80 %") == 2
    for goal in report["goals"]:
        assert goal["met"] in {True, False, None}
    assert english.count('class="met"') + english.count('class="not"') + english.count('class="none"') == (
        len(report["goals"]) + len(report["leakage"])
    )


@pytest.mark.usefixtures("report")
def test_the_command_refuses_what_it_cannot_use(folder, tmp_path):
    from app.cli.main import main

    runner = CliRunner()
    again = runner.invoke(main, ["train", "evaluate", str(folder / "evaluation.toml"), "--out", str(folder / "out")])
    assert again.exit_code == 2
    with pytest.raises(OutputError):
        evaluate(folder / "evaluation.toml", folder / "out")
    for line, said in (
        ("colour = 1", "colour"),
        ("horizon_months = 7", "7 months"),
        ('unseen = ["paris"]', "paris"),
        ('nodes = ["nice"]', "nodes"),
        ("nodes = [", "cannot be read"),
    ):
        path = folder / "wrong.toml"
        path.write_text(line + "\n" + ("" if line.startswith("nodes") else CONFIG))
        with pytest.raises(SettingsError, match=said):
            evaluate(path, tmp_path / "out")


def test_quantities_need_images(training_nodes, tmp_path):
    flat = replace(training_nodes.small_contract(), shape=(1, 1, 1))
    for site in ("nice", "lyon"):
        training_nodes.write_node(tmp_path / site, flat, 3, seed=1)
    text = CONFIG.replace("[16, 16, 16]", "[1, 1, 1]").replace(', "dijon"', "").replace('lymph = "worse"', "")
    (tmp_path / "evaluation.toml").write_text(text)
    with pytest.raises(SettingsError, match="no image"):
        evaluate(tmp_path / "evaluation.toml", tmp_path / "out")


def test_the_permutation_trains_the_network_under_evaluation(folder, cohort, monkeypatch):
    """By default, also where that network looks at images."""
    from training.evaluation import leakage

    trained = []

    def fit_nothing(task, *_, **__):
        trained.append(task.network)
        return SimpleNamespace(survival=lambda cases: np.full((len(cases), len(task.contract.month_edges)), 0.5))

    monkeypatch.setattr(leakage, "train_in_process", fit_nothing)
    config = read_config(folder / "evaluation.toml")
    images = config.model_copy(update={"model": config.model.model_copy(update={"network": "evidence"})})
    leakage.permuted(cohort, images, lambda *_: None)
    assert set(trained) == {"evidence"}


def test_patients_audited_alone_need_no_permutation(folder, cohort):
    config = read_config(folder / "evaluation.toml")
    none = config.model_copy(update={"leakage": config.leakage.model_copy(update={"permutations": 0})})
    assert audit(cohort, none, lambda *_: None)["permuted_outcomes"]["passed"] is None


def test_the_clinical_network_learns_the_same_without_the_images(cohort):
    losses = []
    assert cohort.read_by("evidence") is cohort
    for one in (cohort, cohort.read_by("clinical")):
        task = TrainingTask(contract=one.contract, network="clinical", rounds=2, augment=False)
        fitted = fit(task, list(one.by_site(np.ones(160, bool)).values()))
        losses.append((fitted.losses, fitted.network.state_dict()))
    assert losses[0][0] == losses[1][0]
    for name, value in losses[0][1].items():
        assert torch.equal(value, losses[1][1][name])


def test_the_order_of_centres_does_not_decide(cohort):
    task = TrainingTask(contract=cohort.contract, network="clinical", rounds=2, augment=False)
    centres = list(cohort.by_site(np.ones(160, bool)).values())
    first, second = fit(task, centres), fit(task, centres[::-1])
    for name, value in first.network.state_dict().items():
        torch.testing.assert_close(value, second.network.state_dict()[name])


@pytest.mark.reference_data
def test_public_cohorts_become_centres_without_images(reference_data, tmp_path):
    from benchmarks import public_cohorts as module

    module.write_centres(module.pd1(reference_data / "clinical" / "nsclc_pd1_msk_2018"), tmp_path, "A", 4)
    module.write_centres(module.combined(reference_data / "clinical" / "nsclc_mskcc_2018"), tmp_path, "B", 2)
    cohort = pool_node_data(sorted(tmp_path.iterdir()), module.CONTRACT)
    assert (len(cohort.cases), cohort.synthetic, cohort.has_images) == (238 + 75, False, False)
    benefit, failed = (cohort.months >= 6.0).sum(), (cohort.event & (cohort.months < 6.0)).sum()
    assert (benefit, failed) == (69 + 37, 156 + 32)  # as the two studies recorded, without two of a seventh line
    assert np.isfinite(cohort.columns["pdl1_tps"]).sum() == 154
    assert duplicates(cohort)["passed"]
    assert dates(cohort)["passed"]
