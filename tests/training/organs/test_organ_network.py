from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fedpet.core.errors import ExportError, IncompatibleBundleError
from fedpet.imaging.anatomy.organ_segmentation import OrganSource
from fedpet.imaging.anatomy.structures import STRUCTURES
from fedpet.imaging.segmenters.organ_network import CARD, NETWORK, LearnedOrgans
from fedpet.imaging.volume import Volume
from training.organs import training_run
from training.organs.bodies import kept_body
from training.organs.export import read_weights, verify_organs, write_network
from training.organs.samples import Scanner
from training.simulation.phantom.tissues import Tissue
from training.simulation.phantom.varied.structures import NAMES
from training.simulation.phantom.varied.structures import STRUCTURES as CLASSES

WIDTHS = (16, 16, 16, 16)
PLAN = training_run.OrganTraining(seed=3, bodies=1, steps=20, rate=4e-3, crop=(32, 32, 48))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one small body: a block of muscle with a liver and a bladder in it."""
    place = tmp_path_factory.mktemp("bodies")
    tissues = np.zeros((50, 48, 70), np.uint8)
    tissues[4:46, 6:42, 6:64] = Tissue.MUSCLE
    structures = np.where(tissues > 0, CLASSES["muscle"], 0).astype(np.uint8)
    for name, tissue, box in (
        ("liver", Tissue.LIVER, np.s_[28:42, 10:38, 10:34]),
        ("bladder", Tissue.URINE, np.s_[8:18, 14:28, 28:44]),
    ):
        tissues[box], structures[box] = tissue, CLASSES[name]
    np.savez_compressed(place / "body-3-00000.npz", tissues=tissues, structures=structures)
    return place


@pytest.fixture(scope="module")
def trained(folder):
    """A tiny network after 20 steps, and the losses on the way."""
    losses = []
    state = training_run.start(PLAN, WIDTHS)
    training_run.train(PLAN, state, folder, lambda _, loss: losses.append(loss), every=5)
    return state, losses


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    place = tmp_path_factory.mktemp("network")
    write_network(trained[0], PLAN, place)
    return place


def test_twenty_steps_lower_the_loss(trained):
    _, losses = trained
    assert losses[-1] < losses[0] - 0.1


def test_a_stopped_run_goes_on(trained, folder):
    state = training_run.resume(PLAN, folder / training_run.CHECKPOINT, WIDTHS)
    assert state.step == 20
    for mine, saved in zip(trained[0].average.parameters(), state.average.parameters(), strict=True):
        assert np.array_equal(mine.detach().numpy(), saved.detach().numpy())


def test_a_run_can_start_from_an_exported_network(trained, exported):
    plan = replace(PLAN, earlier="digest", not_found=("eyes",))
    weights = read_weights((exported / NETWORK).read_bytes())
    with pytest.raises(RuntimeError):  # of another width
        training_run.continue_from(plan, weights)
    state = training_run.continue_from(plan, weights, WIDTHS)
    for mine, earlier in zip(state.network.parameters(), trained[0].average.parameters(), strict=True):
        np.testing.assert_allclose(mine.detach(), earlier.detach(), rtol=2e-3, atol=1e-4)
    assert state.step == 0


def test_the_export_agrees_with_torch_and_says_what_it_was_trained_on(exported):
    card = json.loads((exported / CARD).read_text())
    assert card["difference_from_torch"] < 1e-4
    assert (card["trained_on"], card["steps"], card["seed"], card["licence"]) == (
        "simulated bodies",
        20,
        3,
        "Apache-2.0",
    )
    assert tuple(card["classes"]) == NAMES


def test_an_export_that_differs_from_torch_is_refused(exported):
    other = training_run.start(replace(PLAN, seed=4), WIDTHS).network
    image = np.random.default_rng(0).normal(0, 1, (1, 2, 16, 16, 16)).astype(np.float32)
    with pytest.raises(ExportError):
        verify_organs((exported / NETWORK).read_bytes(), other, image)


@pytest.mark.parametrize("fault", ["byte", "card", "format", "no card"])
def test_a_changed_network_is_refused(exported, tmp_path, fault):
    onnx, card = bytearray((exported / NETWORK).read_bytes()), json.loads((exported / CARD).read_text())
    if fault == "byte":
        onnx[len(onnx) // 2] ^= 1
    if fault == "format":
        card["format"] = "fedpet-organs-0"
    (tmp_path / NETWORK).write_bytes(onnx)
    if fault != "no card":
        (tmp_path / CARD).write_text("{" if fault == "card" else json.dumps(card))
    with pytest.raises(IncompatibleBundleError):
        LearnedOrgans.load(tmp_path)


def test_a_body_is_segmented_on_any_grid(exported, folder):
    network = LearnedOrgans.load(exported, threads=1)
    body = kept_body(folder, 3, 0)
    hu = np.where(body.tissues > 0, 50, -1000).astype(np.int16)
    suv = np.where(body.structures == CLASSES["bladder"], 20, 1).astype(np.float32)
    ct = Volume(hu, np.diag([4.0, 4.0, 4.0, 1.0]), "HU")
    pet = Volume(suv[::2, ::2, ::2], np.diag([8.0, 8.0, 8.0, 1.0]), "g/ml")
    found = network.segment(ct, pet)
    assert found.source is OrganSource.LEARNED
    assert "simulated bodies" in found.detail
    assert found.labels.spacing == (4.0, 4.0, 4.0)
    assert {"liver", "femur_right", "ribs_left"} <= found.known
    assert found.known <= set(STRUCTURES)
    assert found.volume_ml("muscle") > 100


def test_no_two_samples_are_alike_and_classes_keep_their_places(folder):
    body, scanner = kept_body(folder, 3, 0), Scanner(1)
    first, second = scanner.sample(body, crop=(32, 32, 48)), scanner.sample(body, crop=(32, 32, 48))
    assert first.image.shape == (2, 32, 32, 48)
    assert not np.array_equal(first.labels, second.labels)
    whole = scanner.sample(body, crop=None)
    assert set(np.unique(whole.labels)) == {0, *(CLASSES[name] for name in ("muscle", "liver", "bladder"))}
    share = np.mean(whole.labels == CLASSES["liver"]) / np.mean(body.structures == CLASSES["liver"])
    assert share == pytest.approx(body.structures.size / (whole.labels.size * 1.5**3), rel=0.1)


def test_every_class_is_a_structure():
    sided = {"eyes", "ribs", "clavicles", "scapulae", "humeri", "hip_bones", "femora"}
    assert {name for name in NAMES if name not in STRUCTURES} == sided
