"""The lesions as a DICOM Segmentation (PS3.3 A.51): on the PET's frames, one segment a lesion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom.uid import UID

import fedpet
from explain.figures.drawing import lesion_colour
from fedpet.core.messages import Message
from fedpet.imaging.lesions.lesion import GIVEN_MASK
from reports.dicom import codes
from reports.dicom.anatomic_sites import SITES, finer_structure
from reports.dicom.export import deterministic_uid, long_string
from reports.dicom.frames import frame_order, references

if TYPE_CHECKING:
    from fedpet.imaging.lesions.lesion import Lesion
    from reports.dicom.export import Export


def segmentation(export: Export) -> Segmentation | None:
    """The Segmentation; segment i + 1 is lesion i of the quantities. None where there is no lesion.

    Binary, or a label map (PS3.3 A.51, Label Map Segmentation Storage) where the export asks for one.

    Raises:
        SliceGeometryError: the source images are not those of the case.
    """
    prediction, sources = export.content.prediction, export.sources
    lesions, labels = prediction.quantities.lesions, prediction.lesion_labels
    if not lesions:
        return None
    segment_of = np.zeros(int(labels.array.max()) + 1, np.uint16)
    segment_of[[lesion.id for lesion in lesions]] = np.arange(1, len(lesions) + 1)
    frames = segment_of[labels.array][frame_order(sources.pet, labels)]
    return Segmentation(
        source_images=references(sources.pet, labels),
        pixel_array=frames,
        segmentation_type=SegmentationTypeValues.LABELMAP if export.label_map else SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(number, lesion, export) for number, lesion in enumerate(lesions, start=1)],
        content_label="LESIONS",
        content_description=long_string(export.locale.translate(Message("Lesions of the FDG PET"))),
        **export.instance("lesions", frames.tobytes()),
    )


def _segment(number: int, lesion: Lesion, export: Export) -> SegmentDescription:
    method = export.content.prediction.quantities.method
    family = codes.ARTIFICIAL_INTELLIGENCE if "model" in method else codes.MORPHOLOGICAL_OPERATIONS
    label = Message("Lesion {number}: {region}", number=lesion.id, region=lesion.place)
    name = long_string(export.locale.translate(label))
    site, side = SITES.get(lesion.region, (None, None))
    finer, finer_side = finer_structure(lesion) or (None, None)
    red, green, blue = (255 * part for part in lesion_colour(lesion.id))
    segment = SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=codes.ABNORMAL,
        segmented_property_type=codes.LESION,
        algorithm_type=SegmentAlgorithmTypeValues.MANUAL
        if method == GIVEN_MASK
        else SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=None
        if method == GIVEN_MASK
        else AlgorithmIdentificationSequence(f"fedpet {method}", family, fedpet.__version__, source="fedpet"),
        tracking_uid=_tracking_uid(lesion, export),
        tracking_id=name,
        anatomic_regions=None if site is None else [site],
        primary_anatomic_structures=None if finer is None else [finer],
        display_color=CIELabColor.from_rgb(red, green, blue),
    )
    if side is not None:
        segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [CodedConcept.from_code(side)]
    if finer_side is not None:
        structure = segment.PrimaryAnatomicStructureSequence[0]
        structure.PrimaryAnatomicStructureModifierSequence = [CodedConcept.from_code(finer_side)]
    return segment


def _tracking_uid(lesion: Lesion, export: Export) -> UID:
    """That of the same lesion at the earlier examination, else one of its own.

    It follows from the PET series and the lesion's hottest voxel: it stays when the outline or the numbering changes.
    """
    if earlier := export.content.tracking.get(lesion.id):
        return UID(earlier)
    labels, pet = export.content.prediction.lesion_labels.array, export.content.study.pet.array
    voxels = np.flatnonzero(labels == lesion.id)
    hottest = int(voxels[np.argmax(pet.ravel()[voxels])])
    return deterministic_uid("lesion", export.sources.pet[0].SeriesInstanceUID, str(hottest))
