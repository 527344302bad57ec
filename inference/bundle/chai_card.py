"""The model card in the form of the Coalition for Health AI: the Applied Model Card, schema v0.2 (https://mc.chai.org).

What the card of a bundle states is put where that form asks for it; what only the centre that uses a model can say is
marked as not stated. Nothing is added that the bundle does not hold.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from inference.input_contract import NO_IMAGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inference.bundle.storage import Bundle

NAMESPACE: Final = "https://mc.chai.org/v0.2/schema.xsd"
NOT_STATED: Final = "Not stated."
_Tree = dict[str, Any]


def chai_card(bundle: Bundle) -> bytes:
    """The card as UTF-8 XML, valid by the schema v0.2.

    Args:
        bundle: whose card it is.
    """
    root = Element("AppliedModelCard", xmlns=NAMESPACE)
    _fill(root, _content(bundle))
    indent(root, "  ")
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _fill(parent: Element, tree: Mapping[str, Any]) -> None:
    for name, value in tree.items():
        for one in value if isinstance(value, list) else [value]:
            element = SubElement(parent, name)
            if isinstance(one, dict):
                _fill(element, one)
            else:
                element.text = str(one)


def _content(bundle: Bundle) -> _Tree:
    card = bundle.card
    return {
        "BasicInfo": {
            "ModelName": card["name"],
            "ModelDeveloper": _stated(card, "developer"),
            "DeveloperContact": _stated(card, "contact"),
        },
        "ReleaseInfo": {
            "ReleaseStage": "Research use only",
            "ReleaseDate": _stated(card, "created"),
            "ReleaseVersion": card["version"],
            "GlobalAvailability": NOT_STATED,
            "RegulatoryApproval": "None: not a medical device.",
        },
        "ModelSummary": {
            "Summary": _item(card, "3a-b Background and intended use"),
            "Keywords": {"Keyword": ["NSCLC", "immunotherapy", "FDG PET/CT", "progression-free survival"]},
        },
        "UsesAndDirections": _uses(card),
        "Warnings": {
            "KnownRisksAndLimitations": " ".join(card.get("limits") or [NOT_STATED]),
            "KnownBiasesOrEthicalConsiderations": _item(card, "3c Known health inequalities", "14 Fairness"),
            "ClinicalRiskLevel": "High if used for a decision about a patient, for which it is not intended.",
        },
        "TrustIngredients": _trust(bundle),
        "KeyMetrics": _metrics(card),
        "Resources": {
            "EvaluationReferences": f"Bundle SHA-256 {bundle.digest}",
            "PeerReviewedPublications": NOT_STATED,
            "PatientConsentOrDisclosure": _item(card, "17 Ethical approval"),
        },
        "Bibliography": "",
    }


def _uses(card: Mapping[str, Any]) -> _Tree:
    return {
        "IntendedUseAndWorkflow": _stated(card, "intended_use"),
        "PrimaryIntendedUsers": "Researchers in thoracic oncology and nuclear medicine.",
        "HowToUse": _item(card, "27b Interaction of users", "15 Output"),
        "TargetedPatientPopulation": _item(card, "6b Eligibility"),
        "CautionedOutOfScopeSettings": _item(card, "27a Poor or missing input"),
    }


def _trust(bundle: Bundle) -> _Tree:
    card, contract = bundle.card, bundle.contract
    reads = (
        "clinical record and quantities of the lesions" if contract.shape == NO_IMAGES else "PET, CT, clinical record"
    )
    data = card.get("data") or {}
    return {
        "AISystemFacts": {
            "OutcomesAndOutputs": _item(card, "8a Outcome", "15 Output"),
            "ModelType": _item(card, "12c Type of model and building"),
            "InputDataSource": _item(card, "5a Data"),
            "OutputAndInputDataTypes": f"Input: {reads}. Output: probabilities with intervals, an answer by endpoint.",
            "DevelopmentDataCharacterization": ", ".join(f"{name}: {value}" for name, value in data.items())
            or NOT_STATED,
            "BiasMitigationApproaches": _item(card, "12d Heterogeneity between centres"),
            "OngoingMaintenance": "fedpet monitor compares the cases of a centre with the reference of the model.",
            "Security": "Every file of the bundle is named by its SHA-256; nothing in it is pickled.",
            "Transparency": "The whole card is in the bundle (card.json), with TRIPOD+AI by item.",
        },
        "TransparencyInformation": {
            "FundingSource": _item(card, "18a Funding"),
            "StakeholdersConsulted": _item(card, "19 Patient and public involvement"),
        },
    }


def _metrics(card: Mapping[str, Any]) -> _Tree:
    evaluation = card.get("evaluation")
    found: Mapping[str, Any] = evaluation if isinstance(evaluation, dict) else {}
    sets = (found.get("conformal_sets") or {}).get("pfs_12m") or {}
    everybody = sets.get("all") or {}
    centres = found.get("by_centre") or {}
    description = f"{found.get('patients', 'No')} held-out patients, {'synthetic' if card['synthetic'] else 'real'}."
    outcomes = {f"of those {name}": one for name, one in (everybody.get("by_outcome") or {}).items()}
    return {
        "UsefulnessUsabilityEfficacy": _metric(
            "Rank patients by their outcome at 12 months.",
            {f"AUC, {name}": one for name, one in (found.get("expected_auc_pfs_12m") or {}).items()},
            description,
        ),
        "FairnessEquity": _metric(
            "Hold in every centre.",
            {f"AUC, {name}": one.get("expected_auc_pfs_12m") for name, one in centres.items()},
            description,
        ),
        "SafetyReliability": _metric(
            "Answers that hold what happens as often as promised.",
            {"coverage": everybody.get("coverage"), **{f"coverage {name}": one for name, one in outcomes.items()}},
            description,
        ),
    }


def _metric(goal: str, figures: Mapping[str, Mapping[str, float] | None], data: str) -> _Tree:
    results = [
        {"Label": name, "ValueJson": json.dumps({"kind": "range", **_rounded(one)})}
        for name, one in figures.items()
        if one
    ]
    none = [{"Label": NOT_STATED, "ValueJson": json.dumps({"kind": "none"})}]
    return {
        "MetricGoal": goal,
        "Results": {"MetricResult": results or none},
        "Interpretation": "Value with its 95 % interval.",
        "TestType": "Held-out patients of the training centres.",
        "TestingDataDescription": data,
        "ValidationProcessAndJustification": "docs/evaluation.md",
    }


def _rounded(figure: Mapping[str, float]) -> dict[str, float]:
    return {name: round(figure[name], 2) for name in ("value", "lower", "upper")}


def _stated(card: Mapping[str, Any], name: str) -> str:
    return str(card.get(name) or NOT_STATED)


def _item(card: Mapping[str, Any], *names: str) -> str:
    """Items of TRIPOD+AI, joined."""
    items = card.get("tripod_ai") or {}
    stated: Sequence[str] = [str(items[name]) for name in names if items.get(name)]
    return " ".join(stated) or NOT_STATED
