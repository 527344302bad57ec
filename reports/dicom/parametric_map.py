"""The attribution as a DICOM Parametric Map (PS3.3 A.75): float32 on the PET's frames, signed, exactly as computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping

from reports.dicom import codes
from reports.dicom.export import long_string, number
from reports.dicom.frames import frame_order, references

if TYPE_CHECKING:
    from reports.dicom.export import Export

_WINDOW_QUANTILE = 0.999  # of the voxels that are not 0


def parametric_map(export: Export) -> ParametricMap | None:
    """The map; None where there is none or a gate failed: a viewer would show it without its verdict.

    Raises:
        SliceGeometryError: the source images are not those of the case.
    """
    explanation, sources = export.content.explanation, export.sources
    if explanation is None or not explanation.reliable:
        return None
    attribution = explanation.attribution
    frames = np.ascontiguousarray(attribution.array.astype(np.float32)[frame_order(sources.pet, attribution)])
    mapping = RealWorldValueMapping(
        lut_label="ATTRIBUTION",
        lut_explanation=long_string(explanation.method),
        unit=codes.RATIO,
        value_range=(float(frames.min()), float(frames.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.SALIENCY,
    )
    sized = np.abs(frames[frames != 0])
    width = 2 * number(float(np.quantile(sized, _WINDOW_QUANTILE))) if sized.size else 1.0
    built = ParametricMap(
        source_images=references(sources.pet, attribution),
        pixel_array=frames,
        contains_recognizable_visual_features=True,  # the rim of the head may show
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(0.0, width, voi_lut_function="LINEAR_EXACT")],
        content_label="ATTRIBUTION",
        content_description=long_string(export.locale.translate(explanation.description))
        if explanation.description
        else long_string(explanation.method),
        **export.instance("saliency", frames.tobytes()),
    )
    built.Laterality = ""  # of the part examined: type 2C of the General Series module
    return built
