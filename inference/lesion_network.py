"""A network that finds lesions, trained by `fedpet train lesions`: lesions of a study without a rule."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime

from fedpet.core.errors import IncompatibleBundleError
from fedpet.core.messages import Message
from fedpet.imaging.lesions.delineation import connected_components
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.volume import Volume
from inference.input_contract import InputContract
from inference.preprocessing import model_grid, model_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fedpet.imaging.study import PetCtStudy

FORMAT: Final = "fedpet-lesions-1"
NETWORK, CARD, CONTRACT = "lesions.onnx", "lesions.json", "contract.json"


@dataclass(frozen=True, eq=False)
class LesionNetwork:
    """A network with its card and its input contract.

    Attributes:
        onnx: the network; image (1, 2, slices, rows, columns), SUVbw and HU, each size a multiple of 16.
        card: what it was trained on, under which licence, and how well it agreed on cases kept back.
        contract: of its images.
    """

    onnx: bytes
    card: dict[str, Any]
    contract: InputContract

    @classmethod
    def load(cls, folder: Path) -> LesionNetwork:
        """Read a network and check it against its card.

        Raises:
            IncompatibleBundleError: a file is missing, changed, or of another format.
        """
        try:
            onnx, card = (folder / NETWORK).read_bytes(), json.loads((folder / CARD).read_text("utf-8"))
            contract = InputContract.read(folder / CONTRACT)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _refused(Message("The lesion network, its card or its contract cannot be read.")) from error
        if not isinstance(card, dict) or card.get("format") != FORMAT:
            raise _refused(Message("The card of the lesion network is not of the format {format}.", format=FORMAT))
        if hashlib.sha256(onnx).hexdigest() != card.get("sha256") or contract.fingerprint != card.get("contract"):
            raise _refused(Message("The lesion network or its contract is not the one that its card describes."))
        return cls(onnx, card, contract)

    def find(self, study: PetCtStudy) -> Volume:
        """Label volume of the lesions on the PET grid, 0 is background.

        Raises:
            SeriesNotFoundError: the study holds no CT.
        """
        grid = model_grid(study, self.contract)
        mask = Volume(find_lesions(self.onnx, model_image(study, self.contract)).astype(np.float32), grid.affine, "1")
        on_pet = resample(mask, Grid.of(study.pet), outside=0.0).array >= 0.5
        return connected_components(study.pet.like(on_pet, "label"))


def find_lesions(onnx: bytes, image: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The voxels of an image (2, slices, rows, columns; SUVbw and HU) that the network calls lesion."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    padding = [(0, 0), *((0, -n % 16) for n in image.shape[1:])]
    (labels,) = session.run(["labels"], {"image": np.pad(image, padding, mode="edge")[None].astype(np.float32)})
    slices, rows, columns = image.shape[1:]
    return np.asarray(labels[0, :slices, :rows, :columns] > 0)


def _refused(found: Message) -> IncompatibleBundleError:
    return IncompatibleBundleError(
        found=found,
        needed=Message("The folder that fedpet train lesions wrote, unchanged."),
        advice=Message("Train the lesion network again (fedpet train lesions)."),
    )
