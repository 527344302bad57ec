"""Reading node data, and the split that never moves a patient."""

from __future__ import annotations

import json
from hashlib import sha256

import numpy as np
import pytest

from fedpet.errors import NodeDataRefused
from inference.contract import default_contract
from training.augmentation import augmentation
from training.node_data import read_node, split


def test_reads_what_was_written(tmp_path, training_nodes):
    contract = training_nodes.small_contract()
    node = read_node(training_nodes.write_node(tmp_path / "a", contract, "nice", 6, seed=1), contract)
    case = node.cases[2]
    assert (node.site, len(node.case_ids), node.synthetic) == ("nice", 6, True)
    assert case.image.shape == (2, 16, 16, 16)
    assert case.image.dtype == np.float16
    assert case.concepts[0].max() == 255
    assert case.supervised.tolist() == [True, False, False, False, False]
    assert set(node.truth) == set(node.case_ids)
    assert node.case(node.case_ids[2]) is case  # kept in memory


def test_another_contract_is_refused(tmp_path, training_nodes):
    folder = training_nodes.write_node(tmp_path / "a", training_nodes.small_contract(), "nice", 2, seed=1)
    with pytest.raises(NodeDataRefused, match="another input contract"):
        read_node(folder, default_contract())


def test_missing_files_are_refused_without_naming_a_patient(tmp_path, training_nodes):
    contract = training_nodes.small_contract()
    folder = training_nodes.write_node(tmp_path / "a", contract, "nice", 3, seed=1)
    (folder / "cases" / "nice0001.npz").unlink()
    with pytest.raises(NodeDataRefused, match="lists 3 cases; 1 have no file") as refused:
        read_node(folder, contract)
    assert "nice0001" not in str(refused.value)
    (folder / "node.json").write_text(json.dumps({"site": "nice"}))
    with pytest.raises(NodeDataRefused, match=r"no readable node\.json"):
        read_node(folder, contract)


def test_pickled_arrays_are_refused(tmp_path, training_nodes):
    contract = training_nodes.small_contract()
    folder = training_nodes.write_node(tmp_path / "a", contract, "nice", 1, seed=1)
    np.savez(folder / "cases" / "nice0000.npz", image=np.array([object()]))
    with pytest.raises(NodeDataRefused, match="cannot be read"):
        read_node(folder, contract).case("nice0000")


def test_split_follows_the_hash_of_the_pseudonym():
    case_ids = tuple(f"p{number}" for number in range(50))
    training, validation = split(case_ids, 0.2)
    assert len(validation) == 10
    assert sorted(training + validation) == list(range(50))
    by_hash = sorted(case_ids, key=lambda case_id: sha256(case_id.encode()).hexdigest())
    assert {case_ids[index] for index in validation} == set(by_hash[:10])
    backwards = case_ids[::-1]
    assert {backwards[index] for index in split(backwards, 0.2)[1]} == set(by_hash[:10])


def test_split_leaves_a_case_on_each_side():
    assert [len(side) for side in split(("a", "b"), 0.01)] == [1, 1]
    assert [len(side) for side in split(("a", "b", "c"), 0.99)] == [1, 2]
    with pytest.raises(NodeDataRefused):
        split(("a",), 0.2)


def test_augmentation_keeps_ranges_and_units(training_nodes):
    contract = training_nodes.small_contract()
    image = np.stack([np.full(contract.shape, 20.0), np.full(contract.shape, 40.0)]).astype(np.float32)
    change = augmentation(contract, seed=3)
    means = np.array([change(image).mean((1, 2, 3)) for _ in range(40)])
    assert means.dtype == np.float32
    assert np.all(np.abs(means[:, 0] / 20 - 1) < 0.101)
    assert np.ptp(means[:, 0]) > 1.0
    assert np.all(np.abs(means[:, 1] - 40) < 16)
    hot = change(np.stack([np.full(contract.shape, 40.0), np.full(contract.shape, -1000.0)]).astype(np.float32))
    assert hot[0].max() <= contract.suv_range[1]
    assert hot[1].min() >= contract.hu_range[0]
    again = augmentation(contract, seed=3)
    assert np.array_equal(again(image), augmentation(contract, seed=3)(image))
