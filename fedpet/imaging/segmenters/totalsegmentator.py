"""TotalSegmentator as a segmenter, where it is installed (extra `totalsegmentator`).

Wasserthal 2023, Radiology: Artificial Intelligence 5:e230024; Apache-2.0. Its weights are downloaded by itself at first
use; see docs/organs.md. Only its documented Python entry is called, and only its files are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation, OrganSource
from fedpet.imaging.nifti import write_nifti
from fedpet.imaging.segmenters.organ_files import read_organs

if TYPE_CHECKING:
    from fedpet.imaging.volume import Volume


@dataclass(frozen=True)
class TotalSegmentatorOrgans:
    """Runs the task `total` of version 2 on the CT.

    Attributes:
        fast: its network of 3 mm instead of 1.5 mm: enough here, and the only one that is practical without a GPU.
    """

    fast: bool = True

    @property
    def source(self) -> OrganSource:
        """TotalSegmentator."""
        return OrganSource.TOTALSEGMENTATOR

    def segment(self, ct: Volume, pet: Volume) -> OrganSegmentation:  # noqa: ARG002  it works on the CT alone
        """Segment the organs of a CT; see `fedpet.imaging.anatomy.organ_segmentation.OrganSegmenter`.

        Raises:
            SettingsError: TotalSegmentator is not installed.
        """
        if find_spec("totalsegmentator") is None:
            raise SettingsError(
                found=Message("TotalSegmentator is not installed."),
                needed=Message("The extra `totalsegmentator` of fedpet, and its weights."),
                advice=Message("Install it as docs/organs.md says, or give its files with --organs."),
            )
        run = import_module("totalsegmentator.python_api").totalsegmentator
        with TemporaryDirectory() as folder:
            image, labels = Path(folder) / "ct.nii.gz", Path(folder) / "organs.nii.gz"
            write_nifti(ct, image)
            run(image, labels, task="total", ml=True, fast=self.fast, quiet=True)
            found = read_organs(labels, ct).segmentation
        return OrganSegmentation(
            found.labels, self.source, "total, 3 mm" if self.fast else "total, 1.5 mm", found.known
        )
