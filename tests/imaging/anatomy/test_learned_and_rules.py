"""The network's organs checked by rules: planted second pieces and caps go, what it does not know comes from rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.anatomy import Case
from fedpet.imaging.anatomy.learned_and_rules import combine
from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation, OrganSource
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.anatomy.structures import STRUCTURES

KNOWN = frozenset(STRUCTURES) - {"salivary_glands", "ureter_right", "ureter_left", "adrenal_right", "adrenal_left"}


@pytest.fixture(scope="module")
def anatomy():
    return Case.draw(1, seed=77, spacing=(5.0, 5.0, 5.0)).anatomy


@pytest.fixture
def learned(anatomy):
    """The organs of the rules as those of a network, with muscle wherever they name nothing in the body."""
    labels = anatomy.organs.labels.array.copy()
    labels[
        np.isin(labels, [STRUCTURES[name].number for name in ("salivary_glands", "ureter_right", "ureter_left")])
    ] = 0
    labels[(labels == 0) & anatomy.body.body] = STRUCTURES["muscle"].number
    return labels


def combined(anatomy, labels, suv=None):
    organs = OrganSegmentation(anatomy.organs.labels.like(labels, "label"), OrganSource.LEARNED, known=KNOWN)
    images = anatomy.images if suv is None else replace(anatomy.images, suv=suv[anatomy.images.box])
    return combine(organs, anatomy.organs, images)


def plant(labels, name, mask):
    labels[mask] = STRUCTURES[name].number


def beyond(mask, *, above):
    """A block of 6 x 6 voxels on the top of a mask, from its highest slices up."""
    top = int(np.flatnonzero(mask.any(axis=(1, 2)))[-1])
    row, column = (int(axis.mean()) for axis in np.nonzero(mask[top - 1]))
    block = np.zeros_like(mask)
    block[top - 1 : top + above, row - 3 : row + 3, column - 3 : column + 3] = True
    return block & ~mask


@pytest.mark.parametrize("name", ["brain", "heart", "kidney_left", "bladder"])
def test_a_second_piece_is_no_part_of_an_organ(anatomy, learned, name):
    second = np.zeros(learned.shape, bool)
    lung = np.argwhere(anatomy.organs.mask("lung_right"))
    z, y, x = lung[len(lung) // 2]
    second[z - 3 : z + 3, y - 3 : y + 3, x - 3 : x + 3] = True
    plant(learned, name, second)
    assert not combined(anatomy, learned).mask(name)[second].any()


def test_what_sits_on_a_kidney_is_no_kidney(anatomy, learned):
    cap = beyond(anatomy.organs.mask("kidney_left"), above=8)
    plant(learned, "kidney_left", cap)
    kept = combined(anatomy, learned).mask("kidney_left")
    assert (kept & cap).sum() < 0.45 * cap.sum()
    assert (kept & anatomy.organs.mask("kidney_left")).sum() == anatomy.organs.mask("kidney_left").sum()


@pytest.mark.parametrize("name", ["brain", "heart_wall", "liver"])
def test_a_focus_alone_is_no_brain_heart_or_liver(anatomy, learned, name):
    """The network names nothing else of the organ: what it names is left to the rules, which find the organ."""
    group = "heart" if name == "heart_wall" else name
    organ = anatomy.organs.mask(group)
    learned[organ] = STRUCTURES["muscle"].number
    focus = np.zeros(learned.shape, bool)
    z, y, x = np.argwhere(anatomy.organs.mask("lung_right"))[1000]
    focus[z - 3 : z + 3, y - 3 : y + 3, x - 3 : x + 3] = True
    plant(learned, name, focus)
    found = combined(anatomy, learned)
    assert not found.mask(group)[focus].any()
    assert found.mask(group).sum() > 0.9 * organ.sum()


@pytest.mark.parametrize(("mass", "inner", "kept"), [(12.0, 3.0, False), (12.0, 10.0, True), (4.0, 3.0, True)])
def test_a_hot_mass_named_wall_of_a_cold_heart_is_no_heart(anatomy, learned, mass, inner, kept):
    """A hot heart keeps what is as hot and as far from its cavity; a mass no hotter than the heart stays its own."""
    heart = anatomy.organs.mask("heart")
    depth = ndimage.distance_transform_edt(heart)
    plant(learned, "heart_cavity", depth >= 0.6 * depth.max())
    plant(learned, "heart_wall", heart & (depth < 0.6 * depth.max()))
    to_left = np.arange(heart.shape[2]) > np.argwhere(heart)[:, 2].mean()
    beside = ndimage.binary_dilation(heart, iterations=8) & ~heart & to_left
    plant(learned, "heart_wall", beside)
    far = beside & (ndimage.distance_transform_edt(learned != STRUCTURES["heart_cavity"].number) > 7)
    suv = np.where(heart, inner, np.where(beside, mass, 1.0))
    found = combined(anatomy, learned, suv)
    assert far.sum() > 100
    share = found.mask("heart")[far].mean()
    assert share > 0.95 if kept else share < 0.05
    assert found.mask("heart")[heart].mean() > 0.95


def test_rules_fill_in_what_the_network_does_not_know(anatomy, learned):
    found = combined(anatomy, learned)
    assert found.source is OrganSource.LEARNED
    assert "salivary_glands" in found.filled_in
    assert (found.mask("salivary_glands") & anatomy.organs.mask("salivary_glands")).any()
    assert found.mask("ureters").any()
    assert "muscle" not in found.filled_in
    assert found.volume_ml("liver") == pytest.approx(anatomy.organs.volume_ml("liver"), rel=0.02)


class EverythingIsBladder:
    source = OrganSource.LEARNED
    asked = False

    def segment(self, ct, pet):  # noqa: ARG002  the contract of a segmenter
        self.asked = True
        labels = np.full(ct.shape, STRUCTURES["bladder"].number, np.uint8)
        return OrganSegmentation(ct.like(labels, "label"), OrganSource.LEARNED, known=KNOWN)


@pytest.mark.parametrize(("lungs", "source"), [(False, OrganSource.RULES), (True, OrganSource.LEARNED)])
def test_where_no_lungs_are_seen_the_network_is_not_asked(anatomy, lungs, source):
    """A slab of the trunk, on the 4 mm grid of the body: below the lungs, or with them."""
    lowest = int(np.flatnonzero(anatomy.body.lungs.any(axis=(1, 2)))[0])
    z = slice(lowest - 60, lowest + 60 if lungs else lowest)
    ct = replace(anatomy.body.ct, array=anatomy.body.ct.array[z])
    pet = ct.like(np.nan_to_num(anatomy.suv[z]), anatomy.pet.unit)
    network = EverythingIsBladder()
    assert PatientAnatomy(pet, ct, network).organs.source is source
    assert network.asked == lungs
