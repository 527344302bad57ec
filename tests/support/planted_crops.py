"""Node data with crops whose surroundings tell the hazard, which no quantity of the lesion table does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from inference.input_contract import CROPS_VERSION, CropGrid, crop_contract
from training.data import node_data
from training.data.node_data import NodeCase, Patients, PreparedCase

if TYPE_CHECKING:
    from pathlib import Path

    from inference.input_contract import InputContract


def small_crops() -> InputContract:
    """Crops of 8 x 8 x 8 voxels around at most three lesions."""
    return replace(crop_contract(), crops=CropGrid(size=8, spacing_mm=8.0, lesions=3, version=CROPS_VERSION))


def draw_case(rng: np.random.Generator, effect: float) -> NodeCase:
    """A patient with one to three lesions; the log hazard is `effect` x how dense the surroundings of all are."""
    contract = small_crops()
    assert contract.crops is not None
    bag, density = np.zeros(contract.image_shape, np.float32), float(rng.normal())
    place = np.abs(np.stack(np.meshgrid(*[np.arange(8) - 3.5] * 3, indexing="ij"))).max(0)
    for lesion in range(int(rng.integers(1, 4))):
        inside = place < rng.choice([1.0, 2.0])
        bag[lesion, 0] = np.where(inside, rng.uniform(4, 15), rng.uniform(0.3, 1.5))
        bag[lesion, 1] = np.where(inside, 40, -700 + 150 * density) + rng.normal(0, 20, place.shape)
        bag[lesion, 2] = inside
    clinical = np.clip(rng.normal(0, 0.5, len(contract.inputs)), -2, 2).astype(np.float32)
    clinical[0] = rng.normal()
    flags = [name.startswith("missing:") for name in contract.inputs]
    clinical[flags] = 0
    time = rng.exponential(1 / (0.09 * np.exp(0.6 * clinical[0] + effect * density)))
    end = rng.uniform(6, 30)
    blank = np.zeros((len(contract.concepts), 1, 1, 1), np.uint8)
    return NodeCase(
        bag.astype(np.float16), clinical, float(min(time, end)), bool(time <= end), blank, np.zeros(len(blank), bool)
    )


def draw_centre(site: str, patients: int, effect: float, seed: int) -> Patients:
    """Patients of a centre in memory."""
    rng = np.random.default_rng(seed)
    ids = tuple(f"{site}{number:04d}" for number in range(patients))
    return Patients(site, ids, tuple(draw_case(rng, effect) for _ in ids))


def write_centre(folder: Path, patients: int, effect: float, seed: int) -> Path:
    """The same as node data; the folder's name is the site's."""
    centre = draw_centre(folder.name, patients, effect, seed)
    node_data.clear_cases(folder)
    prepared = []
    for case_id, case in zip(centre.case_ids, centre.cases, strict=True):
        node_data.write_case(folder, case_id, case)
        died = {"os_months": case.months + 1.0, "os_event": case.event}  # death follows progression
        prepared.append(PreparedCase(case_id, case.months, case.event, delineated=False, vendor="", **died))
    node_data.write_node(folder, prepared, small_crops(), {})
    return folder
