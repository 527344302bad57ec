"""Each thing that cannot be true is refused with its pseudonym; node data as `prepare` writes it passes."""

from dataclasses import replace

import numpy as np
import pytest

from fedpet.core.errors import NodeDataError
from inference.input_contract import table_contract
from training.data.node_data import read_node
from training.data.plausibility import require_plausible


@pytest.fixture
def node(training_nodes, tmp_path):
    """Twelve cases, and a function that changes some of them."""
    contract = training_nodes.small_contract()
    data = read_node(training_nodes.write_node(tmp_path / "north", contract, 12, seed=1, as_records=True), contract)
    return data, lambda index, **changes: data._loaded.__setitem__(
        data.case_ids[index], replace(data.case(data.case_ids[index]), **changes)
    )


def refusal(data):
    with pytest.raises(NodeDataError) as refused:
        require_plausible(data)
    return str(refused.value)


def test_what_a_hospital_has_is_plausible(node):
    require_plausible(node[0])


@pytest.mark.parametrize("months", [-0.5, 241.0])
def test_impossible_months(node, months):
    data, change = node
    change(3, months=months)
    assert data.case_ids[3] in refusal(data)


@pytest.mark.parametrize(("term", "value"), [("age", 40.0), ("male", 2.0), ("nlr", 60.0), ("missing:nlr", 3.0)])
def test_impossible_values(node, term, value):
    data, change = node
    clinical = data.case(data.case_ids[2]).clinical.copy()
    clinical[data.contract.inputs.index(term)] = value
    change(2, clinical=clinical)
    assert term in refusal(data)


def test_blank_images(node):
    data, change = node
    image = data.case(data.case_ids[5]).image.copy()
    image[1] = -1000
    change(5, image=image)
    assert data.case_ids[5] in refusal(data)


def test_the_same_images_under_two_pseudonyms(node):
    data, change = node
    change(7, image=data.case(data.case_ids[1]).image)
    said = refusal(data)
    assert "same images" in said
    assert data.case_ids[1] in said
    assert data.case_ids[7] in said


def test_the_same_row_beside_other_images(node):
    data, change = node
    copied = data.case(data.case_ids[1])
    change(7, clinical=copied.clinical, months=copied.months, event=copied.event)
    assert "same record" in refusal(data)


def test_records_that_only_resemble_each_other(node):
    data, change = node
    copied = data.case(data.case_ids[1])
    change(7, clinical=copied.clinical, months=copied.months + 1, event=copied.event)
    require_plausible(data)


def test_values_that_are_no_numbers(node):
    data, change = node
    change(0, clinical=np.full(len(data.contract.inputs), np.nan, np.float32))
    assert "not numbers" in refusal(data)


@pytest.mark.parametrize(
    ("term", "value"), [("lesion:tmtv_ml", 9.0), ("lesion:liver_lesion", 2.0), ("missing:lesion:marrow_to_liver", 5.0)]
)
def test_impossible_quantities_of_a_lesion_table(training_nodes, tmp_path, term, value):
    contract = table_contract()
    folder = training_nodes.write_node(tmp_path / "north", contract, 6, seed=1, as_records=True)
    data = read_node(folder, contract)
    require_plausible(data)
    case = data.case(data.case_ids[2])
    case.clinical[contract.inputs.index(term)] = value
    assert term in refusal(data)
