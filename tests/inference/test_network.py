from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from inference.input_contract import BIOMARKERS, default_contract, table_contract
from inference.network import _fold, _unfold, build_network, parameter_groups
from training.bundle.export import export_onnx

CONTRACT = replace(default_contract(), shape=(32, 16, 24))


def inputs(batch=2):
    torch.manual_seed(1)
    image = torch.rand(batch, 2, *CONTRACT.shape) * 4
    image[:, 1] = torch.randn(batch, *CONTRACT.shape) * 200
    return image, torch.randn(batch, len(CONTRACT.inputs))


def test_small_and_without_buffers():
    network = build_network("evidence", default_contract())
    assert sum(p.numel() for p in network.parameters()) <= 2_000_000
    assert list(network.buffers()) == []


def test_fold_and_unfold_are_inverse():
    x = torch.randn(2, 3, 8, 4, 6)
    assert torch.equal(_unfold(_fold(x)), x)


def test_a_patient_does_not_depend_on_the_rest_of_the_batch():
    network = build_network("evidence", CONTRACT).eval()
    image, clinical = inputs()
    together, alone = network(image, clinical), network(image[:1], clinical[:1])
    assert torch.allclose(together.score[:1], alone.score, atol=1e-5)
    assert torch.allclose(together.maps[:1], alone.maps, atol=1e-5)


def test_score_is_the_sum_of_its_contributions():
    network = build_network("evidence", CONTRACT)
    torch.nn.init.normal_(network.head.clinical.weight)
    torch.nn.init.normal_(network.image_head.weight)
    image, clinical = inputs()
    output = network(image, clinical)
    assert output.contributions.shape == (2, len(CONTRACT.inputs) + len(BIOMARKERS))
    assert torch.allclose(output.contributions.sum(1), output.score)
    assert torch.allclose(output.hazard_logits - output.score[:, None], network.head.baseline.expand(2, -1), atol=1e-6)


def test_biomarkers_of_known_maps():
    network = build_network("evidence", CONTRACT)
    suv = torch.full((1, *CONTRACT.shape), 1.0)
    maps = torch.zeros(1, len(CONTRACT.concepts), *CONTRACT.shape)
    suv[0, 4, 8, 12] = suv[0, 28, 8, 12] = 12.0  # two hot voxels, 24 slices apart
    maps[0, 0, 4, 8, 12] = maps[0, 0, 28, 8, 12] = 1.0
    suv[0, 10, :4, :4] = 2.4
    maps[0, 3, 10, :4, :4] = 1.0  # liver of SUV 2.4
    suv[0, 20, :4, :4] = 1.2
    maps[0, 4, 20, :4, :4] = 1.0  # marrow of SUV 1.2
    volume, uptake, spread, necrosis, liver_burden, ratio = network.biomarkers(suv, maps)[0].tolist()
    assert volume == pytest.approx((torch.log(torch.tensor(2 * 0.512 + 3.0)).item() - 4.5) / 1.05, abs=1e-4)
    assert uptake == pytest.approx((torch.log(torch.tensor(24.0 / 3.0 + 0.5)).item() - 1.8) / 0.4, abs=1e-4)
    assert spread == pytest.approx((96.0 - 110.0) / 50.0, abs=1e-3)  # 12 slices of 8 mm from the centroid
    assert necrosis == pytest.approx(-0.13 / 0.11)
    assert liver_burden == pytest.approx(-0.6)
    expected = torch.log(torch.tensor((16 * 1.2 + 1.5) / (16 * 2.4 + 1.5))).item()
    assert ratio == pytest.approx((expected + 0.33) / 0.21, abs=1e-4)


def test_clinical_network_ignores_the_image():
    network = build_network("clinical", CONTRACT)
    torch.nn.init.normal_(network.head.clinical.weight)
    image, clinical = inputs()
    assert torch.equal(network(image, clinical).score, network(image * 2, clinical).score)


@pytest.mark.parametrize(("name", "counts"), [("table", True), ("clinical", False)])
def test_the_table_uses_every_input_and_the_clinical_network_those_of_the_record(name, counts):
    """Inputs measured on the lesions, and their flags, do not reach the baseline; ONNX Runtime says the same."""
    contract = replace(table_contract(), shape=(1, 1, 1))
    network = build_network(name, contract)
    torch.nn.init.constant_(network.head.clinical.weight, 0.1)
    generator = np.random.default_rng(1)
    clinical = torch.tensor(generator.normal(size=(3, len(contract.inputs))), dtype=torch.float32)
    changed = clinical.clone()
    of_lesions = ["lesion:" in one for one in contract.inputs]
    assert 3 < sum(of_lesions) < len(of_lesions)
    changed[:, of_lesions] += 1.0
    image = torch.zeros(3, 2, *contract.shape)
    before, after = network(image, clinical), network(image, changed)
    assert torch.equal(before.score, after.score) != counts
    assert bool(after.contributions[:, of_lesions].any()) == counts
    torch.testing.assert_close(after.contributions.sum(1), after.score)
    assert before.maps.shape[1] == before.biomarkers.shape[1] == 0
    session = onnxruntime.InferenceSession(export_onnx(network, contract), providers=["CPUExecutionProvider"])
    answered = session.run(["score", "contributions"], {"image": image.numpy(), "clinical": changed.numpy()})
    np.testing.assert_allclose(answered[0], after.score.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(answered[1], after.contributions.detach().numpy(), atol=1e-5)


def test_every_parameter_is_in_one_optimiser_group():
    for name in ("evidence", "table", "clinical", "tmtv_clinical"):
        network = build_network(name, CONTRACT)
        grouped = [p for group in parameter_groups(network, 1e-3) for p in group["params"]]
        assert len(grouped) == len(list(network.parameters()))
        assert {id(p) for p in grouped} == {id(p) for p in network.parameters()}


def test_an_unknown_network_is_refused():
    with pytest.raises(KeyError):
        build_network("resnet", CONTRACT)
