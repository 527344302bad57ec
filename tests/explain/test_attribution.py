"""Attributions against cases worked out by hand, then the whole way on a small untrained network."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save

from explain import image_explanation, sanity_checks
from explain.attribution import explain_prediction
from explain.captum_methods import (
    Attribution,
    ExplainedInputs,
    attribute,
    load_network,
    randomize_parameters,
)
from explain.image_explanation import rims, to_pet_grid
from explain.lesion_effects import free_after
from explain.map_sums import lesion_shares, lesion_sums
from explain.methods import METHODS
from fedpet.clinical.record import ClinicalRecord
from fedpet.core.errors import (
    ArgumentError,
    CorruptBundleError,
    NothingToExplainError,
    PredictionMismatchError,
    SettingsError,
)
from fedpet.core.messages import translate_message
from fedpet.core.progress import no_progress
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.resampling import Grid
from fedpet.imaging.study import PetCtStudy, PetFacts
from fedpet.imaging.volume import Volume
from inference.bundle.storage import Bundle, write_bundle
from inference.calibration import RiskCalibration
from inference.encoding import encode
from inference.input_contract import default_contract
from inference.network import NetworkOutput, build_network
from inference.prediction import ModelReference, Prediction, PredictionOrigin
from inference.preprocessing import model_grid, model_image
from inference.uptake_removal import remove_uptake
from training.bundle.export import export_onnx

if TYPE_CHECKING:
    from pathlib import Path

CONTRACT = replace(default_contract(), shape=(16, 12, 12), spacing_mm=16.0)
RECORD = ClinicalRecord(age=72.0, sex="F", ecog_ps=1, pdl1_tps=60.0, ldh=400.0, ldh_uln=250.0, albumin=31.0)
CALIBRATION = RiskCalibration(
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
        return NetworkOutput(score, score, score, score, clinical * self.slopes)


SLOPES = np.array([0.3, 0.2, 0.9], np.float32)


@pytest.fixture
def by_hand():
    """Two lesions of SUV 3 to 9 in tissue of SUV 1, and a network whose attributions are known."""
    rng = np.random.default_rng(0)
    lesions = np.zeros((4, 6, 8), np.int64)
    lesions[:2, :3, :3], lesions[2:, 4:, 5:] = 1, 2
    suv = np.where(lesions > 0, rng.uniform(3, 9, lesions.shape), 1.0)
    hu = rng.uniform(-900, 900, lesions.shape)
    image, baseline = (np.stack([one, hu]).astype(np.float32) for one in (suv, np.ones_like(suv)))
    clinical = np.array([1.0, -2.0, 1.0], np.float32)
    weight = rng.normal(size=lesions.shape).astype(np.float32)
    inputs = ExplainedInputs(image, baseline, clinical, np.array([0.0, 0.0, 1.0], np.float32), lesions)
    expected = weight * (suv - 1) + (suv**2 - 1) / 2
    return _ByHand(weight, SLOPES), inputs, expected


@pytest.mark.parametrize(("method", "tolerance"), [("integrated_gradients", 1e-4), ("gradient_shap", 3.0)])
def test_gradient_methods_on_a_score_worked_out_by_hand(by_hand, method, tolerance):
    network, inputs, expected = by_hand
    found = attribute(network, inputs, method=method, steps=60, progress=no_progress)
    np.testing.assert_allclose(found.image, expected, atol=tolerance)
    np.testing.assert_allclose(found.clinical, [0.3, -0.4, 0.0], atol=1e-6)  # what is missing stays missing
    assert np.all(found.image[inputs.lesions == 0] == 0)
    assert found.difference == pytest.approx(expected.sum() - 0.1, rel=1e-4)
    assert found.completeness_error < (1e-4 if method == "integrated_gradients" else 0.1)


@pytest.mark.parametrize("method", ["lesion_occlusion", "block_occlusion"])
def test_occlusion_gives_each_lesion_what_the_score_loses_without_it(by_hand, method):
    network, inputs, expected = by_hand
    found = attribute(network, inputs, method=method, steps=1, progress=no_progress)
    for number in (1, 2):
        lesion = inputs.lesions == number
        assert found.image[lesion].sum() == pytest.approx(expected[lesion].sum(), rel=1e-4)
    assert np.all(found.image[inputs.lesions == 0] == 0)
    assert found.completeness_error < 1e-4  # lesions that do not interact


class _Saturating(torch.nn.Module):
    """score = relu(sum of SUV - 200) - relu(sum of SUV - 230): its gradient at the patient is 0."""

    def __init__(self):
        super().__init__()
        self.low, self.high = torch.nn.ReLU(), torch.nn.ReLU()

    def forward(self, image, clinical):
        total = image[:, 0].sum((1, 2, 3))
        score = self.low(total - 200.0) - self.high(total - 230.0)
        return NetworkOutput(score, score, score, score, 0.0 * clinical)


def test_deep_lift_adds_up_where_the_gradient_has_vanished(by_hand):
    _, inputs, _ = by_hand
    found = attribute(_Saturating(), inputs, method="deep_lift", steps=1, progress=no_progress)
    excess = inputs.image[0] - inputs.baseline[0]
    assert inputs.image[0].sum() > 230
    assert inputs.baseline[0].sum() < 200
    assert found.difference > 29
    np.testing.assert_allclose(found.image, found.difference * excess / excess.sum(), rtol=1e-4, atol=1e-6)


def test_completeness_error_is_what_is_missing_of_the_difference():
    credit = Attribution(np.full((2, 2, 2), 0.1), np.array([0.1]), score=3.0, difference=1.0)
    assert credit.completeness_error == pytest.approx(0.1)
    assert replace(credit, difference=0.0).completeness_error == pytest.approx(900.0)


def test_progress_reaches_one_pass_by_pass(by_hand):
    told = []
    network, inputs, _ = by_hand
    attribute(
        network, inputs, method="integrated_gradients", steps=4, progress=lambda fraction, _: told.append(fraction)
    )
    assert told[:4] == [0.25, 0.5, 0.75, 1.0]
    assert told[-1] == 1.0


def test_credit_follows_the_excess_of_the_pet_voxels_where_the_model_is_equally_sensitive():
    rng = np.random.default_rng(2)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    pet = Volume(rng.uniform(1.0, 8.0, (16, 16, 16)).astype(np.float32), affine, "g/ml")
    coarse = affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = 2.0
    grid = Grid((8, 8, 8), coarse)
    above = np.maximum(pet.array.reshape(8, 2, 8, 2, 8, 2).mean((1, 3, 5)) - 2.5, 0.0)
    excess = np.maximum(pet.array - 2.5, 0.0)
    shared = to_pet_grid(0.01 * above.astype(float), above, grid, pet, excess)
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
    grid = Grid(credit.shape, np.diag([8.0, 8.0, 8.0, 1.0]))
    shared = to_pet_grid(credit, above, grid, pet, np.maximum(pet.array - 2.5, 0.0)).array.astype(float)
    np.testing.assert_allclose(shared[shared > 0].sum(), credit[credit > 0].sum(), rtol=1e-4)
    np.testing.assert_allclose(shared[shared < 0].sum(), credit[credit < 0].sum(), rtol=1e-4)


def test_lesion_shares_sum_to_one_and_count_both_signs():
    attribution = Volume(np.array([[[1.0, -3.0, 4.0, 0.0]]], np.float32), np.eye(4), "1")
    labels = Volume(np.array([[[2, 2, 0, 7]]], np.uint16), np.eye(4), "label")
    assert lesion_shares(attribution, labels) == {0: 0.5, 2: 0.5, 7: 0.0}
    assert lesion_sums(attribution, labels) == {0: 4.0, 2: -2.0, 7: 0.0}
    nothing = attribution.like(np.zeros_like(attribution.array), "1")
    assert lesion_shares(nothing, labels) == {0: 1.0, 2: 0.0, 7: 0.0}


@pytest.fixture(autouse=True)
def _few_passes(monkeypatch):
    """The gates of a network with fewer copies and points than in earnest."""
    monkeypatch.setattr(image_explanation, "_RANDOM_COPIES", 4)
    monkeypatch.setattr(image_explanation, "_COARSE_STEPS", 2)


def _study() -> tuple[PetCtStudy, Volume]:
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
    return PetCtStudy("p", pet, ct, facts, (), ()), pet.like(lesion.astype(np.uint16), "label")


@cache
def _network(name: str):
    """A network with random parameters everywhere, which answers to the image; its configuration, and as ONNX."""
    torch.manual_seed(3)
    config = {"width": 4} if name == "evidence" else {}
    network = build_network(name, CONTRACT, config)
    with torch.no_grad():
        network.head.clinical.weight.normal_(0, 0.3)
        if name == "evidence":
            network.image_head.weight.normal_(0, 0.3)
            network.maps.draw.bias.zero_()
    return network, config, export_onnx(network, CONTRACT)


def _bundle(folder: Path, name: str) -> Bundle:
    network, config, onnx = _network(name)
    card = {"name": "test", "version": "1", "synthetic": True, "network": {"name": name, "config": config}}
    return write_bundle(
        folder, onnx=onnx, weights=save(network.state_dict()), contract=CONTRACT, calibration=CALIBRATION, card=card
    )


def _prediction(study: PetCtStudy, labels: Volume, bundle: Bundle, *, error: float = 0.0) -> Prediction:
    """The network's own answer; `error` spoils its score."""
    image, clinical = model_image(study, CONTRACT), encode(RECORD, CONTRACT).values
    with torch.no_grad():
        output = load_network(bundle)(torch.from_numpy(image)[None], torch.from_numpy(clinical)[None])
    curve = CALIBRATION.survival(output.hazard_logits[0].double().numpy(), float(output.score), CONTRACT.month_edges)
    return Prediction(
        model=ModelReference("test", "1", bundle.digest, CONTRACT.fingerprint, synthetic=True, provider="torch"),
        origin=PredictionOrigin.of(StudyAnalysis(study), RECORD),
        abstained=None,
        endpoints=CALIBRATION.endpoints(curve),
        survival=curve,
        risk_group="low",
        risk_score=bundle.calibration.score(float(output.score)) + error,
        interval_level=0.8,
        missing=(),
        contributions=dict(zip(CONTRACT.inputs, output.contributions[0].tolist(), strict=False)),
        quantities=quantify(study.pet, labels, method="given_mask"),
        lesion_labels=labels,
    )


def test_the_whole_way_on_a_network_that_reads_the_image(tmp_path):
    study, labels = _study()
    bundle = _bundle(tmp_path / "bundle", "evidence")
    prediction = _prediction(study, labels, bundle)
    explanation = explain_prediction(study, RECORD, bundle, prediction)
    gates = {gate.name: gate for gate in explanation.gates}
    assert list(gates) == ["same_score", "completeness", "sign", "containment", "randomisation", "concentration"]
    assert explanation.completeness_error < 0.01
    assert gates["completeness"].passed
    assert gates["same_score"].passed
    assert gates["sign"].passed
    assert not gates["concentration"].passed  # of a network that has learnt nothing
    assert explanation.lesion_share == {0: pytest.approx(0.0), 1: pytest.approx(1.0)}
    # the additive network: each clinical input's credit is its exact term of the score, what is missing stays missing
    for name, value in explanation.variable_contributions.items():
        assert value == pytest.approx(0.0 if "missing:" in name else prediction.contributions[name], abs=1e-6)
    # the map sums to what the score loses when the uptake of the lesion is painted out, and so does the what-if
    image, clinical = model_image(study, CONTRACT), encode(RECORD, CONTRACT).values
    without = model_image(replace(study, pet=remove_uptake(study.pet, labels, {1})), CONTRACT)
    network = load_network(bundle)
    with torch.no_grad():
        here, there = (
            float(network(torch.from_numpy(x)[None], torch.from_numpy(clinical)[None]).score) for x in (image, without)
        )
    assert abs(here - there) > 0.01
    assert float(explanation.attribution.array.sum(dtype=float)) == pytest.approx(here - there, rel=0.01)
    lesion, *others = explanation.terms
    assert lesion.score == pytest.approx(here - there, rel=0.01)
    moved = free_after(prediction.survival, CALIBRATION.b * (there - here))
    assert lesion.points == pytest.approx(prediction.endpoint("pfs_12m").probability - moved, abs=1e-5)
    assert lesion.points * (here - there) < 0
    assert sum(term.score for term in explanation.terms) + explanation.reference_score == pytest.approx(here, abs=1e-4)
    assert "ECOG performance status: 1" in [str(term.label) for term in others]
    assert explanation.attribution.shape == study.pet.shape
    assert np.all(explanation.attribution.array[rims(labels).array == 0] == 0)
    assert str(explanation.description) == (
        "integrated gradients (Captum), 32 steps, from the patient without the lesions"
    )
    assert translate_message("fr")(explanation.description).startswith("gradients intégrés (Captum), 32 pas")


def test_a_network_that_overrules_its_own_answer_about_a_lesion_shows_no_map(tmp_path, monkeypatch):
    """The map of the same network with the opposite sign."""
    study, labels = _study()
    bundle = _bundle(tmp_path / "bundle", "evidence")
    prediction = _prediction(study, labels, bundle)
    right = image_explanation.attribute

    def wrong(*args, **kwargs):
        found = right(*args, **kwargs)
        return replace(found, image=-found.image)

    monkeypatch.setattr(sanity_checks, "SIGN_POINTS", 0.0)  # an untrained network answers to little
    monkeypatch.setattr(image_explanation, "attribute", wrong)
    explanation = explain_prediction(study, RECORD, bundle, prediction, steps=8)
    failed = {gate.name: str(gate.reason) for gate in explanation.gates if not gate.passed}
    assert "sign" in failed
    assert "opposite" in failed["sign"]


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if one.reads == "images"])
def test_every_method_for_images_gives_an_explanation(tmp_path, method):
    study, labels = _study()
    bundle = _bundle(tmp_path / "bundle", "evidence")
    explanation = explain_prediction(study, RECORD, bundle, _prediction(study, labels, bundle), method=method, steps=2)
    assert np.any(explanation.attribution.array)
    assert str(METHODS[method].label) in explanation.method


def test_a_network_needs_a_method_for_images_and_torch(tmp_path, monkeypatch):
    study, labels = _study()
    bundle = _bundle(tmp_path / "bundle", "evidence")
    with pytest.raises(ArgumentError, match="integrated_gradients, gradient_shap"):
        explain_prediction(study, RECORD, bundle, _prediction(study, labels, bundle), method="shapley")
    monkeypatch.setitem(sys.modules, "captum.attr", None)  # as where the extra `explain` is not installed
    monkeypatch.delitem(sys.modules, "explain.captum_methods")
    monkeypatch.delitem(sys.modules, "explain.image_explanation", raising=False)
    with pytest.raises(SettingsError, match=r"captum.*fedpet\[explain\]"):
        explain_prediction(study, RECORD, bundle, _prediction(study, labels, bundle))


def test_an_explanation_of_another_answer_is_not_reliable(tmp_path):
    study, labels = _study()
    bundle = _bundle(tmp_path / "bundle", "evidence")
    explanation = explain_prediction(study, RECORD, bundle, _prediction(study, labels, bundle, error=0.05), steps=4)
    assert not explanation.reliable
    assert "same_score" in [gate.name for gate in explanation.gates if not gate.passed]


def test_a_network_without_images_has_no_map_to_show(tmp_path):
    study, labels = _study()
    bundle = _bundle(tmp_path / "bundle", "clinical")
    prediction = replace(_prediction(study, labels, bundle), endpoints=())  # such a network abstains from what-ifs
    explanation = explain_prediction(study, RECORD, bundle, prediction, steps=2)
    assert not np.any(explanation.attribution.array)
    assert explanation.lesion_share == {0: 1.0, 1: 0.0}
    assert not explanation.reliable
    assert explanation.variable_contributions["albumin"] == pytest.approx(prediction.contributions["albumin"], abs=1e-6)


def test_an_abstention_cannot_be_explained(tmp_path):
    study, labels = _study()
    bundle = _bundle(tmp_path / "bundle", "clinical")
    with pytest.raises(NothingToExplainError, match="abstained"):
        explain_prediction(study, RECORD, bundle, replace(_prediction(study, labels, bundle), risk_score=None))


def test_the_prediction_of_another_model_is_refused(tmp_path):
    study, labels = _study()
    bundle = _bundle(tmp_path / "bundle", "clinical")
    with pytest.raises(PredictionMismatchError, match="another model"):
        explain_prediction(study, RECORD, replace(bundle, digest="0" * 64), _prediction(study, labels, bundle))


def test_weights_of_another_network_are_refused(tmp_path):
    bundle = _bundle(tmp_path / "bundle", "evidence")
    other = replace(bundle, card={**bundle.card, "network": {"name": "clinical", "config": {}}})
    with pytest.raises(CorruptBundleError):
        load_network(other)


def test_shuffled_weights_are_the_same_numbers_elsewhere():
    network = build_network("evidence", CONTRACT, {"width": 4})
    before = dict(network.named_parameters())
    weight = "maps.scale_2.enter.weight"
    for stage, moved in (("head", False), ("decoder", False), ("encoder", True)):
        after = dict(randomize_parameters(network, seed=1, stage=stage).named_parameters())
        assert torch.equal(before[weight].flatten().sort().values, after[weight].flatten().sort().values)
        assert torch.equal(before[weight], after[weight]) is not moved
        assert torch.equal(before["maps.draw.weight"], after["maps.draw.weight"]) is (stage == "head")


def test_the_attribution_lies_where_the_study_does():
    study, labels = _study()
    grid = model_grid(study, CONTRACT)
    above = np.maximum(model_image(study, CONTRACT)[0] - 2.5, 0.0)
    place = np.array([40.0, 24.0, 32.0])  # the lesion's centre on the PET grid
    columns, rows, slices = np.round((np.linalg.inv(grid.affine) @ [*study.pet.to_mm(place), 1.0])[:3]).astype(int)
    credit = np.zeros(CONTRACT.shape)
    credit[slices, rows, columns] = above[slices, rows, columns]
    shared = to_pet_grid(credit, above, grid, study.pet, np.maximum(study.pet.array - 2.5, 0.0))
    centre = (np.argwhere(shared.array > 0) * shared.array[shared.array > 0][:, None]).sum(0) / shared.array.sum()
    np.testing.assert_allclose(centre, place, atol=2.1)
    assert lesion_shares(shared, labels) == {0: 0.0, 1: pytest.approx(1.0)}
