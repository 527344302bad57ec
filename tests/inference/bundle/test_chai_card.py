"""The exported card has the elements of the Applied Model Card v0.2, in its order, and invents nothing."""

from __future__ import annotations

import json
from xml.etree.ElementTree import fromstring

import pytest
from typer.testing import CliRunner

from app.cli.main import main
from inference.bundle.chai_card import NAMESPACE, NOT_STATED, chai_card
from inference.bundle.storage import load_model

# By the schema: name -> the elements that must follow each other within it.
REQUIRED = {
    "AppliedModelCard": "BasicInfo ReleaseInfo ModelSummary UsesAndDirections Warnings TrustIngredients KeyMetrics"
    " Resources Bibliography",
    "BasicInfo": "ModelName ModelDeveloper DeveloperContact",
    "ReleaseInfo": "ReleaseStage ReleaseDate ReleaseVersion GlobalAvailability RegulatoryApproval",
    "UsesAndDirections": "IntendedUseAndWorkflow PrimaryIntendedUsers HowToUse TargetedPatientPopulation"
    " CautionedOutOfScopeSettings",
    "Warnings": "KnownRisksAndLimitations KnownBiasesOrEthicalConsiderations ClinicalRiskLevel",
    "AISystemFacts": "OutcomesAndOutputs ModelType InputDataSource OutputAndInputDataTypes"
    " DevelopmentDataCharacterization BiasMitigationApproaches OngoingMaintenance Security Transparency",
    "TransparencyInformation": "FundingSource StakeholdersConsulted",
    "KeyMetrics": "UsefulnessUsabilityEfficacy FairnessEquity SafetyReliability",
    "SafetyReliability": "MetricGoal Results Interpretation TestType TestingDataDescription"
    " ValidationProcessAndJustification",
    "Resources": "EvaluationReferences PeerReviewedPublications PatientConsentOrDisclosure",
}


def elements(root, name):
    return root if root.tag.endswith(f"}}{name}") else root.find(f".//{{{NAMESPACE}}}{name}")


@pytest.fixture(scope="module")
def root():
    return fromstring(chai_card(load_model()))  # noqa: S314  what this version wrote


@pytest.mark.parametrize("name", REQUIRED)
def test_every_section_has_its_elements_in_order(root, name):
    found = [one.tag.rpartition("}")[2] for one in elements(root, name)]
    assert found == REQUIRED[name].split()


def test_it_says_what_the_card_says(root):
    card = load_model().card
    assert elements(root, "ModelName").text == card["name"]
    assert "synthetic" in elements(root, "KnownRisksAndLimitations").text
    auc = elements(root, "ValueJson")
    stated = card["evaluation"]["expected_auc_pfs_12m"]
    assert json.loads(auc.text)["value"] in {round(one["value"], 2) for one in stated.values()}
    assert elements(root, "ModelDeveloper").text == NOT_STATED  # nothing is invented


def test_a_bundle_that_says_little_is_exported_too(untrained_bundle):
    root = fromstring(chai_card(untrained_bundle))  # noqa: S314  what this version wrote
    assert elements(root, "SafetyReliability").find(f".//{{{NAMESPACE}}}Label").text == NOT_STATED


def test_the_command_writes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
    out = tmp_path / "card.xml"
    assert CliRunner().invoke(main, ["model", "card", "--format", "chai", "--out", str(out)]).exit_code == 0
    assert out.read_bytes() == chai_card(load_model())
    shown = CliRunner().invoke(main, ["model", "card"])
    assert shown.stdout.startswith("# fedpet-demonstration")
