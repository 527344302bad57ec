"""Training of the organ network on simulated bodies, with checkpoints from which it goes on."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.organs.bodies import kept_body
from training.organs.network import WIDTHS, OrganNetwork
from training.organs.samples import CROP, Scanner
from training.simulation.phantom.varied.structures import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CLASSES: Final = len(NAMES) + 1
CHECKPOINT: Final = "checkpoint.pt"
_WARM_UP: Final = 0.02  # share of the run
_AVERAGE: Final = 0.995  # share of the averaged weights that a step keeps
_DICE_SHARE: Final = 1.0
_AIR_HU: Final = -900.0
_SHARE_OF_AIR: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class OrganTraining:
    """How the organ network is trained.

    Attributes:
        seed: of bodies, samples and weights.
        bodies: how many different bodies are painted; each is scanned and deformed anew whenever it is shown.
        steps: samples shown.
        rate: largest learning rate.
        crop: voxels of a sample (slices, rows, columns).
        minutes: stop earlier, after so many minutes; the rate falls to zero by then.
        earlier: the digest of the network whose weights the run starts from; None for random weights.
        not_found: structures that the earlier network was too coarse for, left to rules.
    """

    seed: int = 1
    bodies: int = 400
    steps: int = 4000
    rate: float = 2e-3
    crop: tuple[int, int, int] = CROP
    minutes: float | None = None
    earlier: str | None = None
    not_found: tuple[str, ...] = ()


@dataclass
class TrainingState:
    """Where a training run stands.

    Attributes:
        network: the weights being trained.
        average: their running average: what is exported.
        step: samples shown so far.
        seconds: of training so far.
    """

    network: OrganNetwork
    average: OrganNetwork
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0


def start(plan: OrganTraining, widths: tuple[int, int, int, int] = WIDTHS) -> TrainingState:
    """A network with random weights."""
    torch.manual_seed(plan.seed)
    network = OrganNetwork(CLASSES, widths).to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=1e-4)
    return TrainingState(network, copy.deepcopy(network), optimizer)


def continue_from(
    plan: OrganTraining, weights: Mapping[str, NDArray[np.float32]], widths: tuple[int, int, int, int] = WIDTHS
) -> TrainingState:
    """A network with the weights of an earlier one, by name.

    Raises:
        RuntimeError: a weight is missing or of another shape.
    """
    state = start(plan, widths)
    tensors = {name: torch.from_numpy(np.array(weight, np.float32)) for name, weight in weights.items()}
    for network in (state.network, state.average):
        network.load_state_dict(tensors)
    return state


def train(
    plan: OrganTraining, state: TrainingState, folder: Path, report: Callable[[int, float], None], *, every: int = 50
) -> None:
    """Train until the last step or the last minute; keep a checkpoint in `folder` every so many steps.

    Args:
        plan: what to do.
        state: where to go on from; changed in place.
        folder: of painted bodies and of the checkpoint.
        report: told the step and the mean loss of the last `every` steps.
        every: steps.
    """
    rng = np.random.default_rng([plan.seed, 5, state.step])
    scanner = Scanner(int(rng.integers(2**31)))
    losses: list[float] = []
    begun = time.monotonic() - state.seconds
    while state.step < plan.steps and progress(plan, state) < 1:
        body = kept_body(folder, plan.seed, int(rng.integers(plan.bodies)))
        sample = scanner.sample(body, crop=plan.crop)
        for group in state.optimizer.param_groups:
            group["lr"] = plan.rate * schedule(plan, state)
        losses.append(one_step(state, sample.image, sample.labels))
        state.step += 1
        state.seconds = time.monotonic() - begun
        if state.step % every == 0:
            report(state.step, float(np.mean(losses)))
            losses.clear()
            save(state, plan, folder / CHECKPOINT)
    save(state, plan, folder / CHECKPOINT)


def progress(plan: OrganTraining, state: TrainingState) -> float:
    """Share of the run that is over, by steps or by minutes, whichever is further."""
    by_time = 0.0 if plan.minutes is None else state.seconds / (60 * plan.minutes)
    return max(state.step / plan.steps, by_time)


def schedule(plan: OrganTraining, state: TrainingState) -> float:
    """A short warm-up, then half a cosine."""
    warm = min(1.0, (state.step + 1) / (_WARM_UP * plan.steps))
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress(plan, state))))


def one_step(state: TrainingState, image: NDArray[np.float32], labels: NDArray[np.uint8]) -> float:
    """Show one sample (2, ...) with its labels (...); return the loss."""
    state.network.train()
    target, seen = cells_that_count(image, labels, np.random.default_rng(state.step))
    with torch.autocast("cpu", torch.bfloat16):
        features = state.network.features(torch.from_numpy(image)[None])[0]
        logits = state.network.named(features.permute(1, 2, 3, 0).reshape(-1, features.shape[0])[seen])
    loss = organ_loss(logits.float().reshape(-1, state.network.classes), target[seen].reshape(-1))
    state.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward([loss])
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
    if torch.isfinite(norm):  # else the sample is skipped: one overflow in 16 bits must not end the run
        state.optimizer.step()
    keep = min(_AVERAGE, (state.step + 1) / (state.step + 10))
    with torch.no_grad():
        for mean, new in zip(state.average.parameters(), state.network.parameters(), strict=True):
            mean.lerp_(new, 1 - keep)
    return float(loss.detach())


def cells_that_count(
    image: NDArray[np.float32], labels: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """The class of the eight voxels of every cell, (n, 8), and the cells that the loss looks at: little of the air."""
    target, dense = _cellwise(labels), _cellwise(image[1] > _AIR_HU).any(1)
    seen = dense | target.any(1) | (rng.random(len(target)) < _SHARE_OF_AIR)
    return torch.from_numpy(target.astype(np.int64)), torch.from_numpy(np.flatnonzero(seen))


def _cellwise(voxels: NDArray[Any]) -> NDArray[Any]:
    """(2s, 2r, 2c) -> (s r c, 8), in the order of `OrganNetwork.named`."""
    slices, rows, columns = (n // 2 for n in voxels.shape)
    return voxels.reshape(slices, 2, rows, 2, columns, 2).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 8)


def organ_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy and one minus the mean Dice of the structures that are there.

    Args:
        logits: (voxels, classes).
        target: (voxels,), class of each voxel.
    """
    classes = logits.shape[1]
    log_p = functional.log_softmax(logits, 1)
    at_target = log_p.gather(1, target[:, None])[:, 0]
    size = torch.bincount(target, minlength=classes).float()
    overlap = torch.zeros(classes).index_add(0, target, at_target.exp())
    total = log_p.exp().sum(0)
    dice = (2 * overlap + 1) / (size + total + 1)
    return _DICE_SHARE * (1 - dice[size > 0].mean()) - at_target.mean()


def save(state: TrainingState, plan: OrganTraining, path: Path) -> None:
    """Write the checkpoint whole, or not at all."""
    content: dict[str, Any] = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
        "plan": asdict(plan),
    }
    partial = path.with_suffix(".part")
    torch.save(content, partial)
    partial.replace(path)


def resume(plan: OrganTraining, path: Path, widths: tuple[int, int, int, int] = WIDTHS) -> TrainingState:
    """Go on from a checkpoint of `save`."""
    state = start(plan, widths)
    content = torch.load(path, weights_only=True)
    state.network.load_state_dict(content["network"])
    state.average.load_state_dict(content["average"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.step, state.seconds = int(content["step"]), float(content["seconds"])
    return state
