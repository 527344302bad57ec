"""The answers of PROBAST+AI on the card of the demonstration model, and on cards whose facts are other ones."""

from copy import deepcopy

import pytest

from inference.bundle.storage import load_model
from training.bundle.probast import probast
from training.bundle.tripod import TripodStudy

BUNDLE = load_model()
PARTICIPANTS = "Evaluation 1 Participants"
EVALUATED = "Evaluation 4 Analysis: enough patients"
ENOUGH = "Development 4 Analysis: enough patients"


def answers(study=None, **changes):
    """Of the demonstration's card with some facts changed, "part__key" for a key of a part."""
    card = deepcopy(BUNDLE.card)
    for place, value in changes.items():
        part, _, key = place.partition("__")
        if key:
            card[part][key] = value
        else:
            card[part] = value
    return probast(card, BUNDLE.contract, study or TripodStudy())


def test_the_demonstration_model_is_of_simulated_patients_and_not_externally_evaluated():
    found = answers()
    assert found["Applicability"] == "No: simulated patients."
    assert found[PARTICIPANTS].startswith("Probably no: 174 simulated patients of the centres of the development")
    assert found[ENOUGH] == "Probably yes: 303 events for 40 parameters."
    assert found[EVALUATED].startswith("Yes: 174 patients, about 135 events")
    assert "cross-validation" in found["Development 4 Analysis: overfitting"]
    said = ("Yes: ", "Probably yes: ", "Probably no: ", "No: ", "No information: ")
    assert all(answer.startswith(said) for answer in found.values())


@pytest.mark.parametrize(
    ("changes", "item", "answer"),
    [
        ({"data__events": 80}, ENOUGH, "Probably no: 80 events"),
        ({"data__events": 400}, ENOUGH, "Yes: 400 events"),
        ({"data__events": None}, ENOUGH, "No information"),
        ({"data__held_out": 50}, EVALUATED, "Probably no: 50 patients, about 39 events"),
        ({"evaluation": "No held-out patients were given."}, EVALUATED, "No: "),
        ({"evaluation": "No held-out patients were given."}, PARTICIPANTS, "No: no held-out"),
        ({"evaluation__by_centre": {"elsewhere": {}}}, PARTICIPANTS, "Probably yes: 174"),
        ({"synthetic": False}, "Development 1 Participants: inclusion", "No information: Not stated"),
        ({"risk_model__precision_of_the_sites_intercepts": 0.0},
         "Development 4 Analysis: differences between centres", "Probably no: 8 centres"),
    ],
)  # fmt: skip
def test_answers_follow_the_facts(changes, item, answer):
    assert answers(**changes)[item].startswith(answer)


def test_what_the_study_states_is_said():
    study = TripodStudy(eligibility="Stage IV, first line.", dates="2018 to 2024.")
    found = answers(study, synthetic=False)
    assert found["Development 1 Participants: inclusion"] == "Probably yes: Stage IV, first line."
    assert found["Development 1 Participants: data sources"].endswith("2018 to 2024.")
