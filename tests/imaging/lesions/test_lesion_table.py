"""The lesion table on phantoms that are worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fedpet.core.errors import UnknownComponentError
from fedpet.core.messages import translate_message
from fedpet.imaging.anatomy.regions import REGIONS
from fedpet.imaging.lesions.lesion_table import ORGANS, QUANTITIES, LesionTable, TableLesion, build_table
from fedpet.imaging.lesions.necrosis import measure_necrosis
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.volume import Volume

SPACING = (2.0, 2.0, 3.0)
SHAPE = (30, 48, 48)
VOXEL_ML = 0.012


def volume(array, unit="g/ml", spacing=SPACING):
    return Volume(np.asarray(array), np.diag([*spacing, 1.0]), unit)


def ball(centre, radius):
    """Voxels within `radius` mm of `centre` (column, row, slice; mm)."""
    slices, rows, columns = np.indices(SHAPE)
    x, y, z = (axis * step for axis, step in zip((columns, rows, slices), SPACING, strict=True))
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 <= radius**2


@pytest.fixture
def phantom():
    """A ball of 15 mm with a cold core of 9 mm and a hot ball of 6 mm, 40 mm apart along x; CT of water."""
    outer, core, small = ball((30, 40, 45), 15), ball((30, 40, 45), 9), ball((70, 40, 45), 6)
    suv = np.full(SHAPE, 0.8, np.float32)
    suv[outer], suv[core], suv[small] = 10.0, 1.0, 6.0
    labels = np.where(outer & ~core, 1, np.where(small, 2, 0)).astype(np.uint16)
    return volume(suv), volume(np.full(SHAPE, 20, np.int16), "HU"), volume(labels, "label")


def table_of(pet, ct, labels):
    return build_table(pet, ct, labels, quantify(pet, labels, method="x"), None)


def test_a_shell_and_a_ball_worked_out_by_hand(phantom):
    pet, _, labels = phantom
    shell, core, small = (labels.array == 1).sum(), (pet.array == 1.0).sum(), (labels.array == 2).sum()
    values = table_of(*phantom).values()
    assert values["tmtv_ml"] == pytest.approx((shell + small) * VOXEL_ML)
    assert values["tlg_g"] == pytest.approx((10 * shell + 6 * small) * VOXEL_ML, rel=1e-6)
    assert values["lesion_count"] == 2
    assert values["dmax_mm"] == pytest.approx(40.0, abs=1e-6)
    assert values["largest_ml"] == pytest.approx(shell * VOXEL_ML)
    assert values["suv_max"] == 10.0
    assert values["necrotic_share"] == pytest.approx(core / (shell + core + small))
    assert values["other_ml"] == values["tmtv_ml"]  # without anatomy no region is known
    assert values["liver_lesion"] == 0.0
    assert values["marrow_to_liver"] is None


def test_the_necrosis_is_the_same_where_the_mask_includes_it(phantom):
    pet, ct, labels = phantom
    filled = labels.like(np.where(pet.array == 1.0, 1, labels.array).astype(np.uint16), "label")
    outlined, whole = measure_necrosis(pet, ct, labels), measure_necrosis(pet, ct, filled)
    assert outlined == whole
    assert outlined[2].necrotic_ml == 0.0


def test_a_core_that_is_open_on_one_side_is_closed_by_the_hull(phantom):
    pet, ct, labels = phantom
    opening = np.indices(SHAPE)[1] < 16  # rows before 32 mm: beyond the core on that side
    labels.array[opening & (labels.array == 1)] = 0
    pet.array[opening] = 0.8
    cut = measure_necrosis(pet, ct, labels)[1].necrotic_ml
    assert cut == pytest.approx((pet.array == 1.0).sum() * VOXEL_ML, rel=0.1)
    assert cut > 0.5


@pytest.mark.parametrize("hu", [-800, -100, 300])
def test_lung_fat_and_bone_are_no_necrosis(phantom, hu):
    pet, ct, labels = phantom
    ct.array[pet.array == 1.0] = hu
    assert measure_necrosis(pet, ct, labels)[1].necrotic_ml == 0.0


def test_another_lesion_within_the_hull_is_no_necrosis_of_the_first(phantom):
    pet, ct, labels = phantom
    inner = ball((30, 40, 45), 5)
    pet.array[inner], labels.array[inner] = 3.0, 3
    expected = ((pet.array == 1.0).sum()) * VOXEL_ML
    assert measure_necrosis(pet, ct, labels)[1].necrotic_ml == pytest.approx(expected)


def test_uptake_that_varies_within_a_lesion_is_no_necrosis(phantom):
    pet, ct, labels = phantom
    pet.array[pet.array == 1.0] = 4.5
    assert measure_necrosis(pet, ct, labels)[1].necrotic_ml == 0.0


def test_a_lesion_in_one_plane_has_no_necrosis(phantom):
    pet, ct, labels = phantom
    labels.array[:15] = 0
    labels.array[16:] = 0
    assert measure_necrosis(pet, ct, labels)[1].necrotic_ml == 0.0


def test_without_a_lesion_is_as_measured_without_it(phantom):
    pet, ct, labels = phantom
    removed = labels.like(np.where(labels.array == 1, 0, labels.array).astype(np.uint16), "label")
    table = table_of(*phantom)
    assert table.without({1}) == table_of(pet, ct, removed)
    assert table.without(()) == table
    with pytest.raises(UnknownComponentError, match="Lesions 9"):
        table.without({1, 9})


def test_an_empty_table_has_the_values_of_its_definitions(phantom):
    pet, ct, labels = phantom
    empty = table_of(pet, ct, labels.like(np.zeros_like(labels.array), "label"))
    assert empty == table_of(*phantom).without({1, 2})
    assert empty.values() == {name: one.without_lesions for name, one in QUANTITIES.items()}


def test_without_a_ct_the_necrosis_is_not_known(phantom):
    pet, _, labels = phantom
    assert table_of(pet, None, labels).values()["necrotic_share"] is None


def lesion(number, region, ml):
    return TableLesion(number, region, ml, 2 * ml, 5.0, 4.0, (0.0, 0.0, 0.0), 0.0, ml)


def test_every_region_belongs_to_one_organ_and_the_organs_sum_to_the_volume():
    table = LesionTable(tuple(lesion(n, region, 1.0 + n) for n, region in enumerate(REGIONS)), 0.7, None)
    values = table.values()
    assert sum(values[f"{organ}_ml"] for organ in ORGANS) == pytest.approx(values["tmtv_ml"])
    organs = {one.region: one.organ for one in table.lesions}
    expected = {"lung_left_upper": "lung", "hilum_right": "nodes", "mediastinum": "nodes", "liver": "liver",
                "bone_spine_lumbar": "bone", "bone": "bone", "adrenal_left": "adrenal", "brain": "other",
                "chest_wall": "other", "unknown": "other", "supraclavicular_left": "nodes"}  # fmt: skip
    assert {region: organs[region] for region in expected} == expected
    assert (values["liver_lesion"], values["marrow_to_liver"], values["spleen_to_liver"]) == (1.0, 0.7, None)


def test_the_json_gives_the_table_back():
    table = LesionTable((lesion(3, "liver", 2.5),), None, 0.9)
    assert LesionTable.from_json(json.loads(json.dumps(table.to_json()))) == table
    assert table.to_json()["values"]["liver_ml"] == 2.5


def test_every_quantity_is_defined_with_its_label_in_both_languages():
    values = LesionTable((), None, None).values()
    assert list(values) == list(QUANTITIES)
    assert {name for name, one in QUANTITIES.items() if one.optional} >= {n for n, v in values.items() if v is None}
    for name, one in QUANTITIES.items():
        assert translate_message("fr")(one.label) != str(one.label)
        assert name.endswith("_ml") == (one.unit == "ml")
