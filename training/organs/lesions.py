"""Training of a network that finds lesions, on the cases of `training.data.lesion_cases`; some are kept back.

The architecture is that of the organ network with two classes. What it was trained on, under which licence, and how
well it agrees with the drawn lesions of the cases kept back, as the autoPET challenge measures it, is in its card.
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from fedpet.core.errors import NodeDataError
from fedpet.core.messages import Message
from fedpet.imaging.lesions.agreement import lesion_agreement
from inference.lesion_network import CARD, CONTRACT, FORMAT, NETWORK, find_lesions
from training.data.lesion_cases import LesionScores, ScanScore
from training.organs.export import export_organs, in_half_precision, trial_image, verify_organs
from training.organs.network import DIVISOR, OrganNetwork
from training.organs.training_run import TrainingState, one_step, progress, schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from inference.input_contract import InputContract
    from training.organs.training_run import OrganTraining

CLASSES: Final = 2
_AROUND_A_LESION: Final = 0.5  # share of the samples that hold a voxel of a lesion, where the case has one
_DRAWN: Final = 128  # of 255: half of the voxel is lesion
_HEAT: Final = 0.9, 1.1


def train_lesions(
    cases: Path,
    out: Path,
    plan: OrganTraining,
    contract: InputContract,
    *,
    held_out: float = 0.2,
    report: Callable[[int, float], None] = lambda *_: None,
) -> dict[str, Any]:
    """Train on most cases, measure on the others, and write the network with its card and its contract.

    Args:
        cases: folder that `import_scans` wrote.
        out: folder of the network; made if it is missing.
        plan: steps, minutes, rate, crop (multiples of 16) and seed; `bodies` is not used.
        contract: of the images of the cases.
        held_out: share of the cases that is kept back, at least one.
        report: told the step and its loss.

    Returns:
        The card.

    Raises:
        NodeDataError: another contract, fewer than two cases, or no lesion to learn from.
        ExportError: ONNX Runtime and torch differ.
    """
    dataset = json.loads((cases / "dataset.json").read_text("utf-8"))
    training, kept_back = _divided(dataset, contract, held_out, plan.seed)
    state = _start(plan)
    rng = np.random.default_rng([plan.seed, 7])
    while state.step < plan.steps and progress(plan, state) < 1:
        name = training[int(rng.integers(len(training)))]
        image, drawn = _read(cases, name)
        for group in state.optimizer.param_groups:
            group["lr"] = plan.rate * schedule(plan, state)
        loss = one_step(state, *_sample(image, drawn, plan.crop, rng))
        state.step += 1
        report(state.step, loss)
    network = in_half_precision(state.average)
    onnx = export_organs(network)
    scores = _scores(onnx, cases, kept_back, contract)
    card = {
        "format": FORMAT,
        "sha256": hashlib.sha256(onnx).hexdigest(),
        "contract": contract.fingerprint,
        "spacing_mm": contract.spacing_mm,
        "data": dataset["collection"],
        "licence_of_the_data": dataset["licence"],
        "training_cases": len(training),
        "held_out": {name: value for name, value in scores.to_json().items() if name not in ("scans", "left_out")},
        "plan": {"seed": plan.seed, "steps": plan.steps, "rate": plan.rate, "crop": list(plan.crop)},
        "steps": state.step,
        "parameters": sum(one.numel() for one in network.parameters()),
        "difference_from_torch": verify_organs(onnx, network, trial_image(plan.seed)),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / NETWORK).write_bytes(onnx)
    contract.write(out / CONTRACT)
    (out / CARD).write_text(json.dumps(card, indent=1) + "\n", "utf-8")
    return card


def _divided(
    dataset: dict[str, Any], contract: InputContract, held_out: float, seed: int
) -> tuple[list[str], list[str]]:
    """Names of the cases to train on and of those kept back; one with lesions is on either side where two have any."""
    if dataset["contract"] != contract.fingerprint:
        raise _refused(Message("The cases were made by another input contract."))
    order = [dataset["cases"][one] for one in np.random.default_rng(seed).permutation(len(dataset["cases"]))]
    order.sort(key=lambda one: one["lesions_ml"] > 0)  # stable: without lesions first
    with_lesions = sum(one["lesions_ml"] > 0 for one in order)
    count = max(1, round(held_out * len(order)))
    back = {one["case"] for one in order[:: max(1, len(order) // count)][:count]}
    if with_lesions > 1 and not any(one["lesions_ml"] > 0 for one in order if one["case"] in back):
        back.add(order[-1]["case"])
    training = [one for one in order if one["case"] not in back]
    if not any(one["lesions_ml"] > 0 for one in training):
        raise _refused(Message("There is no case with a lesion to learn from beside those kept back."))
    return [one["case"] for one in training], sorted(back)


def _start(plan: OrganTraining) -> TrainingState:
    torch.manual_seed(plan.seed)
    network = OrganNetwork(CLASSES).to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=1e-4)
    return TrainingState(network, copy.deepcopy(network), optimizer)


def _read(folder: Path, name: str) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image (2, ...) and drawn voxels (...), 1 is lesion."""
    with np.load(folder / f"{name}.npz") as held:
        return held["image"].astype(np.float32), (held["lesion"] >= _DRAWN).astype(np.uint8)


def _sample(
    image: NDArray[np.float32], drawn: NDArray[np.uint8], crop: Sequence[int], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A part of a case, half of the time around a voxel of a lesion, mirrored at random, the SUV scaled a little."""
    size = [min(want, n // DIVISOR * DIVISOR) for want, n in zip(crop, drawn.shape, strict=True)]
    last = [n - part for n, part in zip(drawn.shape, size, strict=True)]
    start = [int(rng.integers(one + 1)) for one in last]
    inside = np.argwhere(drawn)
    if len(inside) and rng.random() < _AROUND_A_LESION:
        centre = inside[int(rng.integers(len(inside)))]
        jitter = [int(rng.integers(-part // 4, part // 4 + 1)) for part in size]
        aim = [int(c) - part // 2 + move for c, part, move in zip(centre, size, jitter, strict=True)]
        start = [min(max(one, 0), most) for one, most in zip(aim, last, strict=True)]
    box = tuple(slice(first, first + part) for first, part in zip(start, size, strict=True))
    sample, labels = image[(slice(None), *box)].copy(), drawn[box]
    sample[0] *= rng.uniform(*_HEAT)
    if rng.random() < 0.5:
        sample, labels = sample[..., ::-1], labels[..., ::-1]
    return np.ascontiguousarray(sample), np.ascontiguousarray(labels)


def _scores(onnx: bytes, cases: Path, names: Sequence[str], contract: InputContract) -> LesionScores:
    """How well lesions agree on cases, on the grid of the images."""
    scans = []
    for name in names:
        image, drawn = _read(cases, name)
        agreement = lesion_agreement(find_lesions(onnx, image), drawn, voxel_ml=contract.spacing_mm**3 / 1000)
        scans.append(ScanScore(name, agreement))
    return LesionScores(tuple(scans), ())


def _refused(found: Message) -> NodeDataError:
    return NodeDataError(
        found=found,
        needed=Message("Cases that fedpet cohort import wrote by this contract, two or more with lesions."),
        advice=Message("Give the contract of the import, or import more cases."),
    )
