"""The slices that show the lesions best and those that the reader kept, as a Key Object Selection (PS3.3 A.35.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import ImageContentItem, RelationshipTypeValues
from pydicom.valuerep import DA, TM

from fedpet.core.messages import Message
from reports.dicom import codes
from reports.dicom.frames import frame_order

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from reports.dicom.export import Export


def key_objects(export: Export) -> KeyObjectSelectionDocument | None:
    """References to the PET slice through the hottest voxel of each lesion, then to those of the reader's key images.

    None where there is neither.

    Raises:
        SliceGeometryError: the source images are not those of the case.
    """
    prediction, pet = export.content.prediction, export.content.study.pet
    lesions = prediction.quantities.lesions
    points = () if export.content.verdict is None else export.content.verdict.key_points
    if not lesions and not points:
        return None
    place_of = {int(slice_): frame for frame, slice_ in enumerate(frame_order(export.sources.pet, pet))}
    slices = [_hottest_slice(export, lesion.id) for lesion in lesions]
    slices += [min(max(round(float(pet.to_index(np.array(point))[0])), 0), pet.shape[0] - 1) for point in points]
    frames = [place_of[one] for one in dict.fromkeys(slices)]
    single = [header for header in export.sources.pet if "NumberOfFrames" not in header]
    chosen = [single[frame] for frame in frames] if single else [export.sources.pet[0]]
    said = Message("fedpet: slices through the hottest voxel of each lesion, and key images of the reader")
    selection = KeyObjectSelection(codes.OF_INTEREST, chosen, description=export.locale.translate(said))
    if not single:
        _name_frames(selection, export.sources.pet[0], [frame + 1 for frame in frames])
    payload = ",".join(map(str, frames)).encode()
    instance = export.instance("key_slices", payload)
    for keyword in ("manufacturer_model_name", "software_versions", "device_serial_number", "content_date",
                    "content_time"):  # fmt: skip
        instance.pop(keyword)
    document = KeyObjectSelectionDocument(evidence=chosen, content=selection, **instance)
    document.ContentDate, document.ContentTime = DA(export.created.date()), TM(export.created.time())
    return document


def _hottest_slice(export: Export, number: int) -> int:
    """Index of the slice with the hottest voxel of a lesion."""
    labels, pet = export.content.prediction.lesion_labels.array, export.content.study.pet.array
    voxels = np.flatnonzero(labels == number)
    return int(np.unravel_index(voxels[np.argmax(pet.ravel()[voxels])], pet.shape)[0])


def _name_frames(selection: KeyObjectSelection, header: Dataset, frames: list[int]) -> None:
    """Replace the reference to a multi-frame image by one to its frames."""
    named = ImageContentItem(
        codes.SOURCE_IMAGE,
        header.SOPClassUID,
        header.SOPInstanceUID,
        referenced_frame_numbers=frames,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    for item in selection[0].ContentSequence:
        if item.ValueType == "IMAGE":
            item.ReferencedSOPSequence = named.ReferencedSOPSequence
