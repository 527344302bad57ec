from reports.model_card import CardNode, ModelCard

FLAT = {
    "federation": {
        "framework": "Fed-BioMed", "framework_version": "6.4.1", "plan_sha256": "aa",
        "nodes": [{"site": "A", "training_cases": 12}, {"site": "B"}],
    },
    "limits": "One limit.",
    "metrics": {"auc_pfs_12m": {"value": 0.78, "lower": 0.7, "upper": 0.85}, "c_index": 0.7},
}  # fmt: skip
TRAINED = {
    "software": {"fedbiomed": "6.4.1"},
    "federation": {
        "nodes": {"A": {"training": 12, "validation": 3}},
        "training_plan_sha256": "aa",
        "differential_privacy": {"epsilon": 3.5, "delta": 1e-5},
    },
    "validation": {"model": {"final_by_node": {"A": {"loss": 2.1, "patients": 3}}}},
    "limits": ["One.", "Two."],
    "evaluation": {
        "patients": 96,
        "by_centre": {
            "A": {"patients": 3, "observed_c_index": None, "expected_auc_pfs_12m": None},
            "B": {"patients": 30, "expected_auc_pfs_12m": {"value": 0.75, "lower": 0.7, "upper": 0.8}},
            "C": {"value": 0.7, "lower": 0.6, "upper": 0.8},
        },
        "observed_c_index": {"model": 0.7, "clinical": 0.6},
        "conformal_sets": {
            "pfs_12m": {"all": {"coverage": {"value": 0.81, "lower": 0.7, "upper": 0.9}, "indeterminate": None}}
        },
        "expected_auc_pfs_12m": {
            "model": {"value": 0.78, "lower": 0.7, "upper": 0.85},
            "clinical": {"value": 0.66, "lower": 0.6, "upper": 0.72},
            "bayes_ceiling": {"value": 0.84, "lower": 0.8, "upper": 0.88},
        },
    },
}


def figures(card):
    return [(str(metric.label), metric.value, metric.interval) for metric in card.metrics]


def test_a_flat_card():
    card = ModelCard(FLAT)
    assert (card.framework, card.plan, card.limits) == ("Fed-BioMed 6.4.1", "aa", ("One limit.",))
    assert card.nodes == (CardNode("A", 12), CardNode("B", None))
    assert figures(card) == [("AUC, PFS at 12 months", 0.78, (0.7, 0.85)), ("C-index", 0.7, None)]


def test_the_card_of_a_rehearsal():
    card = ModelCard(TRAINED)
    assert (card.framework, card.plan, card.limits) == ("Fed-BioMed 6.4.1", "aa", ("One.", "Two."))
    assert card.nodes == (CardNode("A", 12, 3, 2.1),)
    assert card.privacy == 3.5
    assert [(name, metric.value, metric.interval) for name, metric in card.groups("centre")] == [
        ("B", 0.75, (0.7, 0.8)),
        ("C", 0.7, (0.6, 0.8)),
    ]
    assert (card.tested, card.blocks) == (96, None)
    assert str(card.metrics[0].label) == "Expected AUC against the true probability, PFS at 12 months"


def test_patients_who_all_train_and_validate_are_said_to_be_dealt_into_blocks():
    nodes = {"A": {"training": 12, "validation": 12}, "B": {"training": 7, "validation": 7}}
    assert ModelCard({"federation": {"nodes": nodes, "aggregation": {"folds": 5}}}).blocks == 5
    assert ModelCard({"federation": {"nodes": nodes | TRAINED["federation"]["nodes"]}}).blocks is None


def test_an_empty_card_and_one_without_held_out_patients():
    for card in (ModelCard({}), ModelCard({"evaluation": "No held-out patients were given."})):
        assert (card.framework, card.plan, card.limits, card.nodes, card.metrics) == (None, None, (), (), ())
        assert (card.privacy, card.groups("centre")) == (None, ())
        assert card.first("evaluation.patients", "created") is None
