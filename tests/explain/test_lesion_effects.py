"""Terms of a score that is computed from the lesion table: they add up, and agree with Captum."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, IntegratedGradients, ShapleyValues

from explain import lesion_effects
from explain.lesion_effects import (
    TableScore,
    ablation_credits,
    free_after,
    input_credits,
    own_value,
    score_terms,
    shapley_credits,
)
from explain.voxel_credit import credit_map, integrated_gradients, spread_credit
from fedpet.clinical.record import ClinicalRecord
from fedpet.core.messages import translate_message
from inference.calibration import RiskCalibration
from inference.encoding import encode
from inference.input_contract import QuantityTerm, table_contract
from tests.support.lesion_tables import VOXEL_MM, draw_record, draw_table

# beside those of the contract in force: what grows with volume, with uptake, and by a maximum
CONTRACT = replace(
    table_contract(),
    quantities=(
        *table_contract().quantities,
        QuantityTerm("tlg_g", "log1p", mean=5.0, sd=1.2),
        QuantityTerm("liver_ml", "log1p"),
        QuantityTerm("largest_ml", "number", sd=30.0),
    ),
)
CALIBRATION = RiskCalibration(
    0.1, 0.9, (0.1, 0.0, -0.1, 0.2), tuple(map(tuple, (0.01 * np.eye(6)).tolist())), 0.8, {}, (-0.3, 0.4), {}
)
EDGES = CONTRACT.month_edges


def drawn(seed: int, count: int) -> TableScore:
    rng = np.random.default_rng(seed)
    table, _pet, _labels = draw_table(rng, count)
    return TableScore(CONTRACT, rng.normal(0, 0.2, len(CONTRACT.inputs)), draw_record(rng), table)


def curve_of(raw: float):
    return CALIBRATION.survival(np.full(len(EDGES) - 1, -2.5) + raw, raw, EDGES)


def test_shapley_values_are_the_mean_gain_over_all_orders():
    score = drawn(1, 4)
    orders = list(permutations(score.lesions))
    gains = dict.fromkeys(score.lesions, 0.0)
    for order in orders:
        for place, number in enumerate(order):
            gains[number] += (score(order[: place + 1]) - score(order[:place])) / len(orders)
    for number, credit in shapley_credits(score, score.lesions).items():
        assert credit.value == pytest.approx(gains[number], abs=1e-9)
        assert credit.error == 0.0


def test_effects_and_shapley_values_are_captums_over_the_gates_of_the_lesions():
    score = drawn(2, 6)

    def gated(gates):
        values = [score([n for n, gate in zip(score.lesions, row, strict=True) if gate > 0.5]) for row in gates]
        return torch.tensor(values, dtype=torch.float64)

    matrix = input_credits(score, "shapley") @ score.weights
    captum = ShapleyValues(gated).attribute(torch.ones(1, 6, dtype=torch.float64))[0]
    ours = shapley_credits(score, score.lesions)
    np.testing.assert_allclose([ours[number].value for number in score.lesions], captum.numpy(), atol=1e-4)
    np.testing.assert_allclose(matrix, captum.numpy(), atol=1e-4)
    alone = FeatureAblation(gated).attribute(torch.ones(1, 6, dtype=torch.float64))[0]
    ours = ablation_credits(score, score.lesions)
    np.testing.assert_allclose([ours[number].value for number in score.lesions], alone.numpy(), atol=1e-4)
    np.testing.assert_allclose(input_credits(score, "ablation") @ score.weights, alone.numpy(), atol=1e-4)


def test_beyond_ten_lesions_the_sampled_values_keep_their_sum_and_know_their_error(monkeypatch):
    score = drawn(3, 11)
    sampled = shapley_credits(score, score.lesions)
    monkeypatch.setattr(lesion_effects, "EXACT_LESIONS", 11)
    exact = {number: one.value for number, one in shapley_credits(score, score.lesions).items()}
    whole = score(score.lesions) - score(())
    assert sum(one.value for one in sampled.values()) == pytest.approx(whole, abs=1e-9)
    gaps = np.array([sampled[number].value - exact[number] for number in score.lesions])
    errors = np.array([sampled[number].error for number in score.lesions])
    assert np.all(errors > 0)
    assert np.sqrt(np.mean((gaps / errors) ** 2)) < 2.0  # standard errors, not larger
    assert np.abs(gaps).max() < 0.03


@pytest.mark.parametrize("count", [0, 1, 5, 12])
def test_all_terms_sum_to_the_difference_from_the_reference(count):
    score = drawn(4 + count, count)
    terms = score_terms(score, shapley_credits(score, score.lesions), curve_of(score(score.lesions)), CALIBRATION.b)
    assert sum(term.score for term in terms) == pytest.approx(score(score.lesions) - score.reference(), abs=1e-5)
    assert not [term for term in terms if term.name == "remainder"]
    assert [term.lesion for term in terms if term.lesion is not None] == list(score.lesions)


def test_what_measured_effects_leave_is_common_to_the_lesions_and_what_others_leave_is_not():
    score = drawn(7, 6)
    alone = ablation_credits(score, score.lesions)
    terms = score_terms(score, alone, curve_of(score(score.lesions)), CALIBRATION.b)
    rest = next(term for term in terms if term.name == "common")
    assert abs(rest.score) > 0.01
    assert "remainder" not in {term.name for term in terms}
    at, raw = EDGES.index(12.0), score(score.lesions)
    together = curve_of(raw).probability[at] - curve_of(score(())).probability[at]
    lesions = [term.points for term in terms if term.lesion is not None]
    assert rest.points == pytest.approx(together - sum(lesions), abs=1e-6)
    wrong = {number: replace(one, value=0.9 * one.value) for number, one in alone.items()}
    others = score_terms(score, wrong, curve_of(raw), CALIBRATION.b)
    assert next(term for term in others if term.name == "common") == replace(rest, score=0.0)
    assert others[-1].name == "remainder"
    assert sum(term.score for term in terms) == pytest.approx(score(score.lesions) - score.reference(), abs=1e-5)


def test_the_effect_of_a_lesion_is_the_answer_with_it_minus_the_answer_without_it():
    score = drawn(8, 5)
    raw = score(score.lesions)
    terms = score_terms(score, shapley_credits(score, score.lesions), curve_of(raw), CALIBRATION.b)
    at = EDGES.index(12.0)
    for number, term in zip(score.lesions, terms, strict=False):
        others = [one for one in score.lesions if one != number]
        assert term.points == pytest.approx(curve_of(raw).probability[at] - curve_of(score(others)).probability[at])


def test_the_effect_of_a_variable_is_measured_against_the_reference_patient():
    score = drawn(9, 3)
    record = replace(score.record, bone_metastases=False, albumin=None)
    score = replace(score, record=record)
    raw = score(score.lesions)
    terms = {one.name: one for one in score_terms(score, shapley_credits(score, score.lesions), curve_of(raw), 0.9)}
    bone = terms["variable:bone_metastases"]
    weight = score.weights[CONTRACT.inputs.index("bone_metastases")]
    assert bone.score == pytest.approx(weight * -0.35, abs=1e-6)
    at = EDGES.index(12.0)
    there = curve_of(raw - bone.score).probability[at]
    assert bone.points == pytest.approx(curve_of(raw).probability[at] - there)
    assert str(bone.label) == "Known bone metastases: no"
    assert translate_message("fr")(bone.label).endswith("non")
    assert "variable:albumin" not in terms  # what is missing stays missing in the reference


def test_missing_variables_and_ratios_are_no_terms_but_part_of_the_reference():
    score = drawn(10, 2)
    score = replace(score, record=replace(score.record, albumin=33.0))
    silent = replace(
        score, table=replace(score.table, marrow_to_liver=None), record=replace(score.record, albumin=None)
    )
    names = CONTRACT.inputs
    inputs = encode(silent.record, CONTRACT, silent.table.without(silent.lesions)).values
    flags = [silent.weights[names.index(name)] for name in ("missing:albumin", "missing:lesion:marrow_to_liver")]
    assert inputs[names.index("missing:albumin")] == inputs[names.index("missing:lesion:marrow_to_liver")] == 1.0
    known = replace(silent, record=score.record, table=score.table)
    assert silent.reference() - known.reference() == pytest.approx(sum(flags), abs=1e-6)


def test_a_change_of_the_score_moves_the_curve_as_the_calibration_does():
    at = EDGES.index(12.0)
    assert free_after(curve_of(0.3), 0.9 * 0.5) == pytest.approx(curve_of(0.8).probability[at])
    assert free_after(curve_of(0.3), 0.0) == pytest.approx(curve_of(0.3).probability[at])


class _TorchTable(torch.nn.Module):
    """The differentiable part of the score as a function of the mask and the uptake of one lesion."""

    def __init__(self, score: TableScore, lesion: int):
        super().__init__()
        self.score, self.lesion = score, lesion
        self.others = score.table.without([lesion]).lesions
        self.own = next(one for one in score.table.lesions if one.id == lesion)

    def forward(self, mask, uptake):
        voxel = VOXEL_MM**3 / 1000
        volume, tlg = voxel * mask.sum(1), voxel * (mask * uptake).sum(1)
        same = [one.mtv_ml for one in self.others if one.organ == self.own.organ]
        values = {
            "tmtv_ml": sum(one.mtv_ml for one in self.others) + volume,
            "tlg_g": sum(one.tlg for one in self.others) + tlg,
            "largest_ml": torch.clamp(volume, min=max((one.mtv_ml for one in self.others), default=0.0)),
            f"{self.own.organ}_ml": sum(same) + volume,
        }
        total = torch.zeros_like(volume)
        for term in self.score.contract.quantities:
            if term.name in values:
                weight = self.score.weights[self.score.contract.inputs.index(f"lesion:{term.name}")]
                x = values[term.name]
                total = total + weight * ((torch.log1p(x) if term.transform == "log1p" else x) - term.mean) / term.sd
        return total


@pytest.mark.parametrize("lesion", [1, 2, 3])
def test_voxel_gradients_are_captums_integrated_gradients_of_the_table_in_torch(lesion):
    rng = np.random.default_rng(11)
    table, pet, labels = draw_table(rng, 3)
    score = TableScore(CONTRACT, rng.normal(0, 0.3, len(CONTRACT.inputs)), draw_record(rng), table)
    suv = pet.array[labels.array == lesion]
    ones = torch.ones(1, len(suv), dtype=torch.float64)
    captum = IntegratedGradients(_TorchTable(score, lesion)).attribute(
        (ones, torch.from_numpy(suv.astype(np.float64))[None]), n_steps=2000, method="riemann_middle",
        internal_batch_size=200,
    )  # fmt: skip
    np.testing.assert_allclose(integrated_gradients(score, lesion, suv), sum(captum)[0].numpy(), atol=1e-4)


def test_a_lesion_keeps_the_sign_and_the_size_of_its_credit():
    suv = np.array([2.0, 4.0, 8.0])
    gradients = np.array([0.1, -0.05, 0.2])
    np.testing.assert_allclose(spread_credit(0.6, gradients, suv), [0.2, 0.0, 0.4])
    np.testing.assert_allclose(spread_credit(-0.6, gradients, suv), [0.0, -0.6, 0.0])
    np.testing.assert_allclose(spread_credit(-0.7, np.abs(gradients), suv), [-0.1, -0.2, -0.4])  # by uptake
    np.testing.assert_allclose(spread_credit(0.3, np.zeros(3), np.zeros(3)), [0.1, 0.1, 0.1])


def test_the_map_sums_to_the_terms_of_lesions_and_organs():
    rng = np.random.default_rng(12)
    table, pet, labels = draw_table(rng, 4)
    score = TableScore(CONTRACT, rng.normal(0, 0.3, len(CONTRACT.inputs)), draw_record(rng), table)
    shared = {number: one.value for number, one in shapley_credits(score, score.lesions).items()}
    marrow = np.argwhere(np.ones((60, 4, 4), bool))
    found = credit_map(score, pet, labels, shared, {"marrow_to_liver": (-0.2, marrow)}).array
    for number, credit in shared.items():
        assert found[labels.array == number].sum(dtype=float) == pytest.approx(credit, abs=1e-5)
    assert found[labels.array == 0].sum(dtype=float) == pytest.approx(-0.2, abs=1e-5)


def test_an_ldh_below_its_limit_is_not_said_to_be_above_it():
    said = own_value(ClinicalRecord(ldh=159, ldh_uln=250), ("ldh", "ldh_uln"), "ldh_above_uln")
    assert str(said) == "LDH against the upper limit of normal: 159 U/L to 250 U/L"
