"""Statistics of the clinical inputs, from the carrier's parameters back to units."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.task.statistics import Carrier, contract_with_statistics, describe_statistics, site_statistics


def test_missing_values_do_not_count(training_nodes, tmp_path):
    """Half of the patients without a flagged term: mean and spread are those of the others."""
    from training.data.node_data import read_node

    contract = training_nodes.small_contract()
    term = next(term for term in contract.terms if term.flag)
    at, flag = contract.inputs.index(term.name), contract.inputs.index(f"missing:{term.name}")
    folder = training_nodes.write_node(tmp_path / "nice", contract, 8, seed=1)
    node = read_node(folder, contract)
    for number, case in enumerate(node.cases):
        case.clinical[flag] = number % 2
        case.clinical[at] = 0.0 if number % 2 else 1.0 + (number % 4)
    row = next(
        row for row in describe_statistics(site_statistics(node, range(8)), contract) if row["term"] == term.name
    )
    known = term.mean + term.sd * np.array([1.0, 3.0, 1.0, 3.0])
    assert row["mean"] == pytest.approx(known.mean(), rel=1e-5)
    assert row["sd"] == pytest.approx(known.std(), rel=1e-4)
    assert row["missing"] == 0.5
    assert (row["contract_mean"], row["contract_sd"]) == (term.mean, term.sd)


def test_a_term_that_nobody_knows_has_no_mean(training_nodes):
    contract = training_nodes.small_contract()
    term = next(term for term in contract.terms if term.flag)
    parameters = {"mean": torch.zeros(len(contract.inputs)), "square": torch.zeros(len(contract.inputs))}
    parameters["mean"][contract.inputs.index(f"missing:{term.name}")] = 1.0
    row = next(row for row in describe_statistics(parameters, contract) if row["term"] == term.name)
    assert (row["mean"], row["sd"], row["missing"]) == (None, None, 1.0)


def test_the_federations_own_means_make_a_contract_that_centres_its_patients(training_nodes, tmp_path):
    from training.data.node_data import read_node

    contract = training_nodes.small_contract()
    folder = training_nodes.write_node(tmp_path / "nice", contract, 40, seed=1)
    node = read_node(folder, contract)
    rows = describe_statistics(site_statistics(node, range(40)), contract)
    agreed = contract_with_statistics(contract, rows)
    assert agreed.fingerprint != contract.fingerprint
    age = next(at for at, term in enumerate(contract.terms) if term.name == "age")
    old, new = contract.terms[age], agreed.terms[age]
    years = old.mean + old.sd * np.array([case.clinical[age] for case in node.cases])
    assert ((years - new.mean) / new.sd).mean() == pytest.approx(0.0, abs=1e-3)
    assert ((years - new.mean) / new.sd).std() == pytest.approx(1.0, abs=1e-3)
    male = next(at for at, term in enumerate(contract.terms) if term.name == "male")
    assert agreed.terms[male].sd == 1.0
    assert contract_with_statistics(contract, [row | {"mean": None} for row in rows]) == contract


def test_the_carrier_learns_nothing(training_nodes):
    contract = training_nodes.small_contract()
    carrier = Carrier(contract)
    output = carrier(torch.zeros(2, 2, *contract.shape), torch.ones(2, len(contract.inputs)))
    output.hazard_logits.sum().backward()
    assert not carrier.mean.grad.any()
    assert output.hazard_logits.shape == (2, len(contract.month_edges) - 1)
