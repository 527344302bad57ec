"""Node data is read as it was written, what contradicts itself is refused, and the split never moves a patient."""

from __future__ import annotations

import json
from hashlib import sha256

import numpy as np
import pytest

from fedpet.core.errors import NodeDataError
from inference.input_contract import default_contract, table_contract
from training.data.node_data import FORMAT, built_in_contract, read_node, split


@pytest.fixture
def contract(training_nodes):
    return training_nodes.small_contract()


@pytest.fixture
def folder(tmp_path, training_nodes, contract):
    return training_nodes.write_node(tmp_path / "nice", contract, 6, seed=1)


def change_header(folder, **values):
    path = folder / "node.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_case(folder, case_id, **values):
    path = folder / "cases" / f"{case_id}.npz"
    with np.load(path) as arrays:
        content = dict(arrays)
    np.savez(path, **{**content, **values})


def test_reads_what_was_written(folder, contract):
    node = read_node(folder, contract)
    case = node.cases[2]
    assert (node.site, len(node.case_ids), node.synthetic) == ("nice", 6, True)
    assert case.image.shape == (2, 16, 16, 16)
    assert case.image.dtype == np.float16
    assert case.concepts[0].max() == 255
    assert case.supervised.tolist() == [True, False, False, False, False]
    assert set(node.truth) == set(node.case_ids)
    assert node.events == sum(case.event for case in node.cases)


def test_a_case_stays_in_the_memory_of_its_node_data_only(folder, contract):
    node = read_node(folder, contract)
    assert node.case("nice0002") is node.cases[2]
    change_case(folder, "nice0002", clinical=np.zeros(len(contract.inputs), np.float32))
    assert node.case("nice0002").clinical.any()
    assert not read_node(folder, contract).case("nice0002").clinical.any()


def test_another_format_is_refused_with_both_names(folder, contract):
    change_header(folder, format="something-else-99")
    with pytest.raises(NodeDataError) as refused:
        read_node(folder, contract)
    assert "something-else-99" in str(refused.value.found)
    assert FORMAT in str(refused.value.needed)
    assert "fedpet cohort prepare" in str(refused.value.advice)
    header = json.loads((folder / "node.json").read_text())
    del header["format"]
    (folder / "node.json").write_text(json.dumps(header))
    with pytest.raises(NodeDataError, match="the format “None”"):
        read_node(folder, contract)


def test_another_contract_is_refused(folder):
    with pytest.raises(NodeDataError, match="another input contract"):
        read_node(folder, default_contract())


@pytest.mark.parametrize("values", [{"cases": 7}, {"events": 0}, {"cases": None}])
def test_a_header_that_contradicts_the_table_is_refused(folder, contract, values):
    change_header(folder, **values)
    with pytest.raises(NodeDataError, match=r"node\.json of node “nice” counts .* cases\.csv lists 6 rows of 6 cases"):
        read_node(folder, contract)


def test_a_case_listed_twice_is_refused(folder, contract):
    table = folder / "cases.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:-1], lines[1]]) + "\n")
    with pytest.raises(NodeDataError, match="6 rows of 5 cases"):
        read_node(folder, contract)


def test_missing_and_unlisted_files_are_refused_without_naming_a_patient(folder, contract):
    file = folder / "cases" / "nice0001.npz"
    file.rename(file.with_stem("nice9999"))
    with pytest.raises(NodeDataError, match="lists 6 cases; 1 have no file, and 1 files belong to none") as refused:
        read_node(folder, contract)
    assert "nice0001" not in str(refused.value)
    assert "nice9999" not in str(refused.value)


@pytest.mark.parametrize("content", ['{"site": "nice"}', "[]", "no JSON"])
def test_an_unreadable_header_is_refused(folder, contract, content):
    (folder / "node.json").write_text(content)
    with pytest.raises(NodeDataError, match=r"no readable node\.json"):
        read_node(folder, contract)


def test_an_event_is_0_or_1(folder, contract):
    table = folder / "cases.csv"
    table.write_text(table.read_text().replace(",1,", ",2,"))
    with pytest.raises(NodeDataError, match=r"no readable node\.json and cases\.csv"):
        read_node(folder, contract)


def test_pickled_arrays_are_refused(folder, contract):
    np.savez(folder / "cases" / "nice0000.npz", image=np.array([object()]))
    with pytest.raises(NodeDataError, match="cannot be read"):
        read_node(folder, contract).case("nice0000")


def test_a_case_file_of_another_grid_is_refused(folder, contract):
    change_case(folder, "nice0003", image=np.zeros((2, 8, 16, 16), np.float16))
    with pytest.raises(NodeDataError, match="other shapes: image 2 x 8 x 16 x 16"):
        read_node(folder, contract).case("nice0003")


@pytest.mark.parametrize("values", [{"months": np.float32(1e3)}, {"event": None}])
def test_a_case_file_that_contradicts_its_row_is_refused(folder, contract, values):
    event = read_node(folder, contract).case("nice0003").event
    change_case(folder, "nice0003", **{name: ~np.bool_(event) if one is None else one for name, one in values.items()})
    with pytest.raises(NodeDataError, match="hold different outcomes"):
        read_node(folder, contract).case("nice0003")


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
    with pytest.raises(NodeDataError):
        split(("a",), 0.2)


def test_lesion_tables_of_other_rules_are_refused(tmp_path, training_nodes):
    contract = table_contract()
    folder = training_nodes.write_node(tmp_path / "nice", contract, 3, seed=1)
    assert read_node(folder, contract).cases[0].clinical.shape == (len(contract.inputs),)
    change_header(folder, table_version="0")
    with pytest.raises(NodeDataError, match="measured by the rules “0”"):
        read_node(folder, contract)


def test_data_without_lesion_tables_is_refused_for_a_model_of_them(folder):
    with pytest.raises(NodeDataError, match="measured by the rules “–”"):
        read_node(folder, table_contract())


def test_the_contract_of_the_lesion_table_is_known_by_its_fingerprint(tmp_path, folder, training_nodes):
    tables = training_nodes.write_node(tmp_path / "table" / "nice", table_contract(), 3, seed=1)
    assert built_in_contract(tables) == table_contract()
    assert built_in_contract(folder) == built_in_contract(tmp_path) == default_contract()
