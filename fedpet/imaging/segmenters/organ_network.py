"""The organ network: a 3D network in ONNX that names the structure of every voxel of a PET/CT.

It was trained on simulated bodies (`training.organs`), never on a patient; its card beside it says on which, for how
long, and holds the digest of the network.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime
from scipy import ndimage

from fedpet.core.errors import IncompatibleBundleError
from fedpet.core.messages import Message
from fedpet.core.profile import Stage, stage
from fedpet.imaging.anatomy.morphology import GRID_MM
from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation, OrganSource
from fedpet.imaging.anatomy.structures import STRUCTURES
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT: Final = "fedpet-organs-1"
NETWORK, CARD = "organs.onnx", "organs.json"
SHIPPED: Final = Path(__file__).parent / "weights"
_DIVISOR: Final = 16  # voxels along each axis must be a multiple of it
_BODY_HU: Final = -300.0
_BODY_SUV: Final = 0.2, 5.0  # mean of a body; the network saw none outside
_USUAL_BODY_SUV: Final = 0.8
_MARGIN: Final = 2  # voxels around the body
_BODY_SHARE: Final = 0.002  # of a row or column, least, of voxels of the body
_SIDES: Final = {  # names of the network without a side
    "eyes": "eye", "ribs": "ribs", "clavicles": "clavicle", "scapulae": "scapula", "humeri": "humerus",
    "hip_bones": "hip_bone", "femora": "femur",
}  # fmt: skip
_SMOOTH_SLICES: Final = 25  # 10 cm
_SPINE: Final = ("spine_cervical", "spine_thoracic", "spine_lumbar", "sacrum", "spinal_cord")


@dataclass(frozen=True, eq=False)
class LearnedOrgans:
    """The network with its card: an `OrganSegmenter`.

    Attributes:
        onnx: the network.
        card: what it was trained on, its classes (from 1; 0 is what has no name), the side of its voxels, its digest.
        threads: of ONNX Runtime; 0 lets it choose.
    """

    onnx: bytes
    card: dict[str, Any]
    threads: int = 0

    @staticmethod
    def is_in(folder: Path = SHIPPED) -> bool:
        """Whether a folder holds a network and its card."""
        return (folder / NETWORK).is_file() and (folder / CARD).is_file()

    @classmethod
    def load(cls, folder: Path = SHIPPED, *, threads: int = 0) -> LearnedOrgans:
        """Read a network and check it against its card.

        Args:
            folder: holds `organs.onnx` and `organs.json`.
            threads: of ONNX Runtime; 0 lets it choose.

        Raises:
            IncompatibleBundleError: a file is missing, changed, or of another format.
        """
        try:
            onnx, card = (folder / NETWORK).read_bytes(), json.loads((folder / CARD).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise _refused(Message("The organ network or its card cannot be read.")) from error
        if not isinstance(card, dict) or card.get("format") != FORMAT:
            raise _refused(Message("The card of the organ network is not of the format {format}.", format=FORMAT))
        if hashlib.sha256(onnx).hexdigest() != card.get("sha256"):
            raise _refused(Message("The organ network is not the one that its card describes: its digest differs."))
        return cls(onnx, card, threads)

    @property
    def source(self) -> OrganSource:
        """A learned network."""
        return OrganSource.LEARNED

    @property
    def grid_mm(self) -> float:
        """Side of the voxels, mm."""
        return float(self.card["grid_mm"])

    @cached_property
    def known(self) -> frozenset[str]:
        """Names of `STRUCTURES` that the network finds; those its card lists as not found are left to the rules."""
        names = (
            f"{_SIDES[name]}_{side}" if name in _SIDES else name
            for name in self.card["classes"]
            for side in ("right", "left")
            if name not in self.card.get("not_found", ())
        )
        return frozenset(names)

    @stage(Stage.ORGANS)
    def segment(self, ct: Volume, pet: Volume) -> OrganSegmentation:
        """Segment the organs of one patient in one pass over the whole body.

        Args:
            ct: HU, any grid.
            pet: SUVbw, g/ml, any grid, the same frame of reference.

        Returns:
            Labels on cubic voxels of 4 mm along the patient's axes that cover the CT: the grid of `PatientAnatomy`.
        """
        grid, fine = Grid.around(ct, spacing_mm=self.grid_mm), Grid.around(ct, spacing_mm=GRID_MM)
        hu = resample(_averaged(ct, self.grid_mm), grid, outside=-1024).array.astype(np.float32)
        suv = np.nan_to_num(resample(_averaged(pet, self.grid_mm), grid, outside=0.0).array.astype(np.float32))
        box = _around_body(hu)
        suv *= _to_a_scale_of_bodies(suv[box], hu[box])
        classes, probability = np.zeros(hu.shape, np.uint8), np.full(hu.shape, 255, np.uint8)
        classes[box], probability[box] = self.name_voxels(suv[box], hu[box])
        labels = self._with_sides(_refined(classes, probability, fine.shape, GRID_MM / self.grid_mm))
        return OrganSegmentation(
            labels=Volume(labels, fine.affine, "label"),
            source=self.source,
            detail=f"{self.card['trained_on']}, {self.card['sha256'][:8]}",
            known=self.known,
        )

    def name_voxels(
        self, suv: NDArray[np.float32], hu: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Name the voxels of an image.

        Args:
            suv: (slices, rows, columns), any shape, voxels of `grid_mm`.
            hu: the CT on the same voxels.

        Returns:
            The class of every voxel, its place in the card's `classes` from 1; its probability, 255 is 1.
        """
        padding = [(0, -n % _DIVISOR) for n in suv.shape]
        image = np.stack([np.pad(suv, padding), np.pad(hu, padding, constant_values=-1000)])[None]
        labels, probability = self._session.run(["labels", "probability"], {"image": image.astype(np.float32)})
        slices, rows, columns = suv.shape
        return labels[0, :slices, :rows, :columns], probability[0, :slices, :rows, :columns]

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self.onnx, options, providers=["CPUExecutionProvider"])

    def _with_sides(self, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Numbers of `STRUCTURES`; what the network does not tell apart by side is divided at the spine."""
        names = list(self.card["classes"])
        right, left = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
        for number, name in enumerate(names, start=1):
            for table, side in ((right, "right"), (left, "left")):
                table[number] = STRUCTURES[f"{_SIDES[name]}_{side}" if name in _SIDES else name].number
        middle = _midline(np.isin(classes, [names.index(name) + 1 for name in _SPINE if name in names]), classes > 0)
        to_left = np.arange(classes.shape[2])[None, None, :] > middle[:, None, None]
        return np.where(to_left, left[classes], right[classes])


@cache
def shipped_organs() -> LearnedOrgans:
    """The network that is shipped, on one thread: read once, its session shared by all analyses of a process.

    Raises:
        IncompatibleBundleError: a file is missing or changed.
    """
    return LearnedOrgans.load(threads=1)


def _refused(found: Message) -> IncompatibleBundleError:
    return IncompatibleBundleError(
        found=found,
        needed=Message("The network and the card that were written together."),
        advice=Message("Install fedpet again, or train the network again (fedpet train organs)."),
    )


def _refined(
    classes: NDArray[np.uint8], probability: NDArray[np.uint8], shape: tuple[int, int, int], ratio: float
) -> NDArray[np.uint8]:
    """Classes on finer voxels: where the interpolated probability of a class is the highest.

    Only the probability of the most probable class is known; that of a neighbour's class is at most what remains.

    Args:
        classes: on the coarse voxels.
        probability: of that class, 255 is 1.
        shape: of the fine grid, whose first voxel is the first of the coarse one.
        ratio: side of the fine voxels, in coarse voxels.
    """
    share = probability.astype(np.float32) / 255
    best, labels = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    boxes = ndimage.find_objects(classes.astype(np.int32) + 1)
    for number in np.flatnonzero(np.bincount(classes.ravel())):
        box = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in boxes[number])
        of_class = np.where(classes[box] == number, share[box], 0.5 * (1 - share[box]))
        target, value = _interpolated(of_class, [part.start for part in box], shape, ratio)
        higher = value > best[target]
        best[target][higher] = value[higher]
        labels[target][higher] = number
    return labels


def _interpolated(
    values: NDArray[np.float32], start: list[int], shape: tuple[int, int, int], ratio: float
) -> tuple[tuple[slice, slice, slice], NDArray[np.float32]]:
    """Linear interpolation of a part of the coarse grid on the fine voxels within it, and where these lie."""
    target = []
    for axis in range(3):
        first = int(np.ceil(start[axis] / ratio - 1e-6))
        last = min(int(np.floor((start[axis] + values.shape[axis] - 1) / ratio + 1e-6)), shape[axis] - 1)
        if start[axis] + values.shape[axis] - 1 >= (shape[axis] - 1) * ratio - 1:  # the last voxels of the image
            last = shape[axis] - 1
        at = np.clip(np.arange(first, last + 1) * ratio - start[axis], 0, values.shape[axis] - 1)
        low = np.minimum(at.astype(int), max(values.shape[axis] - 2, 0))
        weight = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
        high = np.minimum(low + 1, values.shape[axis] - 1)
        values = np.take(values, low, axis) * (1 - weight) + np.take(values, high, axis) * weight
        target.append(slice(first, last + 1))
    return (target[0], target[1], target[2]), values


def _midline(spine: NDArray[np.bool_], body: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Column of the middle of the body in every slice: of the spine where there is any, smoothed over 10 cm."""
    columns = np.arange(spine.shape[2])
    mass = spine.sum(axis=(1, 2))
    where = np.flatnonzero(mass >= 4)
    if not len(where):
        centre = (body.sum(axis=(0, 1)) * columns).sum() / max(body.sum(), 1)
        return np.full(len(spine), float(centre) if body.any() else len(columns) / 2)
    middle = (spine.sum(axis=1)[where] * columns).sum(axis=1) / mass[where]
    return np.asarray(ndimage.uniform_filter1d(np.interp(np.arange(len(spine)), where, middle), _SMOOTH_SLICES), float)


def _averaged(volume: Volume, grid_mm: float) -> Volume:
    """An image averaged over blocks of whole voxels that are not larger than the voxels of the network."""
    steps = [max(1, int(grid_mm / step + 0.25)) for step in reversed(volume.spacing)]
    if steps == [1, 1, 1]:
        return volume
    sizes = [max(length // step, 1) for length, step in zip(volume.shape, steps, strict=True)]
    part = volume.array[tuple(slice(0, size * step) for size, step in zip(sizes, steps, strict=True))]
    mean = part.astype(np.float32, copy=False)
    for axis in range(3):
        shape = [*mean.shape[:axis], sizes[axis], -1, *mean.shape[axis + 1 :]]
        mean = mean.reshape(shape).mean(axis=axis + 1)
    affine = volume.affine @ np.diag([*steps[::-1], 1.0])
    affine[:3, 3] = volume.to_mm(np.array([(step - 1) / 2 for step in steps]))
    return Volume(mean, affine, volume.unit)


def _to_a_scale_of_bodies(suv: NDArray[np.float32], hu: NDArray[np.float32]) -> float:
    """The factor that brings a PET in a scale that no body has near the usual one; 1 for a possible scale.

    The organs of a scan whose SUV is wrong are found so too, so that the check of the scale can say by how much.
    """
    inside = suv[(hu > _BODY_HU) & (suv > 0)]
    mean = float(inside.mean()) if inside.size else 0.0
    low, high = _BODY_SUV
    return 1.0 if mean == 0 or low <= mean <= high else _USUAL_BODY_SUV / mean


def _around_body(hu: NDArray[np.float32]) -> tuple[slice, slice, slice]:
    """The box of the body and its couch; the whole image where it is empty."""
    body = ndimage.binary_opening(hu > _BODY_HU, np.ones((1, 3, 3), bool))
    slices = []
    for axis in range(3):
        share = body.mean(axis=tuple(other for other in range(3) if other != axis))
        where = np.flatnonzero(share > _BODY_SHARE)
        if not len(where):
            return slice(None), slice(None), slice(None)
        slices.append(slice(max(int(where[0]) - _MARGIN, 0), int(where[-1]) + 1 + _MARGIN))
    return slices[0], slices[1], slices[2]
