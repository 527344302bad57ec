"""Attributions against cases worked out by hand, then the whole way on a small untrained network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save

from clinical.record import ClinicalRecord
from explain.attribution import explain_prediction, lesion_shares, to_pet_grid
from explain.integration import Credit, integrated_gradients, load_network, shuffled
from fedpet.errors import BundleDamaged
from fedpet.messages import say
from fedpet.progress import silent
from imaging.lesions import Quantities
from imaging.resampling import Grid
from imaging.study import PetFacts, Study
from imaging.volume import Volume
from inference.bundle import Bundle, write_bundle
from inference.calibration import Calibration
from inference.contract import default_contract
from inference.encoding import encode
from inference.network import NetworkOutput, build_network
from inference.prediction import ModelReference, Prediction
from inference.preprocessing import model_grid, model_image

if TYPE_CHECKING:
    from pathlib import Path

CONTRACT = replace(default_contract(), shape=(32, 24, 24))
RECORD = ClinicalRecord(age=72.0, sex="F", ecog_ps=1, pdl1_tps=60.0, ldh=400.0, ldh_uln=250.0, albumin=31.0)
CALIBRATION = Calibration(
    a=0.1,
    b=0.9,
    shifts=(0.0, 0.0, 0.0, 0.0),
    covariance=tuple(tuple(0.01 * (i == j) for j in range(6)) for i in range(6)),
    interval_level=0.8,
    base_rates={"pfs_12m": 0.4, "dcb_6m": 0.5, "early_failure_3m": 0.3},
    risk_thirds=(-0.3, 0.3),
    thresholds={},
)


class _ByHand(torch.nn.Module):
    """score = sum(weight * SUV + HU * 1e-3) + sum(SUV^2) / 2 + clinical . slopes"""

    def __init__(self, weight, slopes):
        super().__init__()
        self.weight, self.slopes = torch.tensor(weight), torch.tensor(slopes)

    def forward(self, image, clinical):
        suv = image[:, 0]
        score = (self.weight * suv + 1e-3 * image[:, 1] + suv**2 / 2).sum((1, 2, 3)) + clinical @ self.slopes
        return NetworkOutput(score, score, score, score, score)


def test_integrated_gradients_of_a_score_worked_out_by_hand():
    rng = np.random.default_rng(0)
    image = np.stack([rng.uniform(0, 9, (4, 6, 8)), rng.uniform(-900, 900, (4, 6, 8))]).astype(np.float32)
    clinical, slopes = np.array([1.0, -2.0, 0.0], np.float32), np.array([0.3, 0.2, 0.9], np.float32)
    weight = rng.normal(size=(4, 6, 8)).astype(np.float32)
    credit = integrated_gradients(_ByHand(weight, slopes), image, clinical, steps=8, progress=silent)
    suv = image[0].astype(float)
    calm = np.minimum(suv, 2.5)
    np.testing.assert_allclose(credit.image, weight * (suv - calm) + (suv**2 - calm**2) / 2, atol=1e-4)
    np.testing.assert_allclose(credit.clinical, clinical * slopes, atol=1e-6)
    assert np.all(credit.image[suv <= 2.5] == 0)
    assert credit.completeness_error < 1e-5


def test_completeness_error_is_what_is_missing_of_the_difference():
    credit = Credit(np.full((2, 2, 2), 0.1), np.array([0.1]), score=3.0, difference=1.0)
    assert credit.completeness_error == pytest.approx(0.1)
    assert replace(credit, difference=0.0).completeness_error == pytest.approx(900.0)


def test_progress_reaches_one_pass_by_pass():
    told = []
    image = np.full((2, 2, 2, 2), 5.0, np.float32)
    network = _ByHand(np.ones((2, 2, 2), np.float32), np.ones(1, np.float32))
    integrated_gradients(
        network, image, np.zeros(1, np.float32), steps=4, progress=lambda fraction, _: told.append(fraction)
    )
    assert told[:4] == [0.25, 0.5, 0.75, 1.0]


def test_credit_follows_the_excess_of_the_pet_voxels_where_the_model_is_equally_sensitive():
    rng = np.random.default_rng(2)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    pet = Volume(rng.uniform(1.0, 8.0, (16, 16, 16)).astype(np.float32), affine, "g/ml")
    coarse = affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = 2.0
    grid = Grid((8, 8, 8), coarse)
    above = np.maximum(pet.array.reshape(8, 2, 8, 2, 8, 2).mean((1, 3, 5)) - 2.5, 0.0)
    shared = to_pet_grid(0.01 * above.astype(float), above, grid, pet)
    excess = np.maximum(pet.array - 2.5, 0.0)
    assert shared.unit == "1"
    np.testing.assert_allclose(shared.array, excess * 0.01 * above.sum() / excess.sum(), rtol=1e-4)


def test_both_signs_keep_their_sums_on_an_oblique_pet_grid():
    rng = np.random.default_rng(1)
    a = np.deg2rad(20)
    affine = np.eye(4)
    affine[:3, :3] = [[3 * np.cos(a), 0, 3 * np.sin(a)], [0, -3, 0], [-3 * np.sin(a), 0, 3 * np.cos(a)]]
    affine[:3, 3] = -20, 60, -10
    pet = Volume(rng.uniform(0, 8, (40, 40, 40)).astype(np.float32), affine, "g/ml")
    credit, above = rng.normal(size=(12, 12, 12)), rng.uniform(0.1, 3.0, (12, 12, 12)).astype(np.float32)
    shared = to_pet_grid(credit, above, Grid(credit.shape, np.diag([8.0, 8.0, 8.0, 1.0])), pet).array.astype(float)
    np.testing.assert_allclose(shared[shared > 0].sum(), credit[credit > 0].sum(), rtol=1e-4)
    np.testing.assert_allclose(shared[shared < 0].sum(), credit[credit < 0].sum(), rtol=1e-4)


def test_lesion_shares_sum_to_one_and_count_both_signs():
    attribution = Volume(np.array([[[1.0, -3.0, 4.0, 0.0]]], np.float32), np.eye(4), "1")
    labels = Volume(np.array([[[2, 2, 0, 7]]], np.uint16), np.eye(4), "label")
    assert lesion_shares(attribution, labels) == {0: 0.5, 2: 0.5, 7: 0.0}
    nothing = attribution.like(np.zeros_like(attribution.array), "1")
    assert lesion_shares(nothing, labels) == {0: 1.0, 2: 0.0, 7: 0.0}


def _study() -> tuple[Study, Volume]:
    """A body of SUV 1 with a lesion (label 1, SUV 8) and a bladder (SUV 12, no lesion)."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    shape = (64, 48, 48)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).astype(float)
    body = ((index - [32, 24, 24]) ** 4 / np.array([30, 18, 20]) ** 4).sum(-1) < 1
    lesion, bladder = (np.linalg.norm(index - centre, axis=-1) < 4.5 for centre in ([40, 24, 32], [12, 24, 24]))
    suv = np.where(bladder, 12.0, np.where(lesion, 8.0, np.where(body, 1.0, 0.0))).astype(np.float32)
    pet = Volume(suv, affine, "g/ml")
    facts = PetFacts(*("",) * 2, *(1.0,) * 2, "", None, None, *(None,) * 5, *("",) * 2, (), *("",) * 2)
    ct = pet.like(np.where(body, 40.0, -1000.0).astype(np.float32), "HU")
    return Study("p", pet, ct, facts, (), ()), pet.like(lesion.astype(np.uint16), "label")


def _bundle(folder: Path, name: str) -> Bundle:
    """A bundle whose network has random parameters everywhere, and answers to the image."""
    torch.manual_seed(3)
    config = {"width": 4} if name == "evidence" else {}
    network = build_network(name, CONTRACT, config)
    with torch.no_grad():
        network.head.clinical.weight.normal_(0, 0.3)
        if name == "evidence":
            network.image_head.weight.normal_(0, 0.3)
            network.maps.draw.bias.zero_()
    card = {"name": "test", "version": "1", "synthetic": True, "network": {"name": name, "config": config}}
    return write_bundle(
        folder, onnx=b"", weights=save(network.state_dict()), contract=CONTRACT, calibration=CALIBRATION, card=card
    )


def _prediction(study: Study, labels: Volume, bundle: Bundle, *, error: float = 0.0) -> Prediction:
    """The network's own answer; `error` spoils it."""
    image, clinical = model_image(study, CONTRACT), encode(RECORD, CONTRACT).values
    with torch.no_grad():
        output = load_network(bundle)(torch.from_numpy(image)[None], torch.from_numpy(clinical)[None])
    return Prediction(
        model=ModelReference("test", "1", bundle.digest, CONTRACT.fingerprint, synthetic=True, provider="torch"),
        abstained=None,
        endpoints=(),
        survival=None,
        risk_group="low",
        risk_score=bundle.calibration.score(float(output.score)) + error,
        interval_level=0.8,
        missing=(),
        contributions=dict(zip(CONTRACT.inputs, output.contributions[0].tolist(), strict=False)),
        quantities=Quantities("given_mask", (), 0.0, 0.0, 0.0, 0.0, 0.0),
        lesion_labels=labels,
    )


def test_the_whole_way_on_a_network_that_reads_the_image(tmp_path):
    study, labels = _study()
    bundle = _bundle(tmp_path / "bundle", "evidence")
    prediction = _prediction(study, labels, bundle)
    explanation = explain_prediction(study, RECORD, bundle, prediction)
    gates = {gate.name: gate for gate in explanation.gates}
    assert list(gates) == ["same_score", "completeness", "randomisation", "localisation"]
    assert explanation.completeness_error < 0.01
    assert gates["completeness"].passed
    assert gates["same_score"].passed
    assert sum(explanation.lesion_share.values()) == pytest.approx(1.0)
    assert set(explanation.lesion_share) == {0, 1}
    # the additive network: each clinical input's credit is its exact term of the score
    for name, value in explanation.variable_contributions.items():
        assert value == pytest.approx(prediction.contributions[name], abs=1e-6)
    # the image part, on the PET grid, is the rest of the difference of the score
    image, clinical = model_image(study, CONTRACT), encode(RECORD, CONTRACT).values
    calm = np.stack([np.minimum(image[0], 2.5), image[1]])
    network = load_network(bundle)
    with torch.no_grad():
        here, there = (
            float(network(torch.from_numpy(x)[None], torch.from_numpy(clinical)[None]).score) for x in (image, calm)
        )
    assert abs(here - there) > 0.01
    assert float(explanation.attribution.array.sum(dtype=float)) == pytest.approx(here - there, rel=0.01)
    assert explanation.attribution.shape == study.pet.shape
    assert np.all(explanation.attribution.array[study.pet.array <= 2.5] == 0)
    assert explanation.method == "integrated gradients (Captum), 32 steps, PET clipped at SUV 2.5"
    assert say("fr")(explanation.description).startswith("gradients intégrés (Captum), 32 pas")


def test_an_explanation_of_another_answer_is_not_reliable(tmp_path):
    study, labels = _study()
    bundle = _bundle(tmp_path / "bundle", "evidence")
    explanation = explain_prediction(study, RECORD, bundle, _prediction(study, labels, bundle, error=0.05), steps=4)
    assert not explanation.reliable
    assert next(gate.name for gate in explanation.gates if not gate.passed) == "same_score"


def test_a_network_without_images_has_no_map_to_show(tmp_path):
    study, labels = _study()
    bundle = _bundle(tmp_path / "bundle", "clinical")
    prediction = _prediction(study, labels, bundle)
    explanation = explain_prediction(study, RECORD, bundle, prediction, steps=2)
    assert not np.any(explanation.attribution.array)
    assert explanation.lesion_share == {0: 1.0, 1: 0.0}
    assert not explanation.reliable
    assert explanation.variable_contributions["albumin"] == pytest.approx(prediction.contributions["albumin"], abs=1e-6)


def test_an_abstention_cannot_be_explained(tmp_path):
    study, labels = _study()
    bundle = _bundle(tmp_path / "bundle", "clinical")
    with pytest.raises(ValueError, match="abstained"):
        explain_prediction(study, RECORD, bundle, replace(_prediction(study, labels, bundle), risk_score=None))


def test_weights_of_another_network_are_refused(tmp_path):
    bundle = _bundle(tmp_path / "bundle", "evidence")
    other = replace(bundle, card={**bundle.card, "network": {"name": "clinical", "config": {}}})
    with pytest.raises(BundleDamaged):
        load_network(other)


def test_shuffled_weights_are_the_same_numbers_elsewhere():
    network = build_network("evidence", CONTRACT, {"width": 4})
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    after = dict(shuffled(network, seed=1).named_parameters())
    weight = "maps.scale_2.enter.weight"
    assert torch.equal(before[weight].flatten().sort().values, after[weight].detach().flatten().sort().values)
    assert not torch.equal(before[weight], after[weight].detach())


def test_the_attribution_lies_where_the_study_does():
    study, labels = _study()
    grid = model_grid(study, CONTRACT)
    above = np.maximum(model_image(study, CONTRACT)[0] - 2.5, 0.0)
    place = np.array([40.0, 24.0, 32.0])  # the lesion's centre on the PET grid
    columns, rows, slices = np.round((np.linalg.inv(grid.affine) @ [*study.pet.to_mm(place), 1.0])[:3]).astype(int)
    credit = np.zeros(CONTRACT.shape)
    credit[slices, rows, columns] = above[slices, rows, columns]
    shared = to_pet_grid(credit, above, grid, study.pet)
    centre = (np.argwhere(shared.array > 0) * shared.array[shared.array > 0][:, None]).sum(0) / shared.array.sum()
    np.testing.assert_allclose(centre, place, atol=1.01)
    assert lesion_shares(shared, labels) == {0: 0.0, 1: pytest.approx(1.0)}
