"""How far a CT looks like the one made with the PET for attenuation correction, and not like a diagnostic one.

That CT covers the same body as the PET within minutes, in a wide field of view, with thick slices, little dose, a
smooth kernel and as a rule no contrast agent; it is the one registered with the PET by construction.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydicom.tag import Tag

from fedpet.core.errors import SliceGeometryError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.files import DAMAGED
from fedpet.imaging.dicom.headers.attributes import number, text
from fedpet.imaging.dicom.headers.parser import parse_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedpet.imaging.dicom.series import Series

_WIDE_MM = 600.0
_LITTLE_MAS = 80.0
_SAME_SPACING_MM = 0.5


def _words(pattern: str) -> re.Pattern[str]:
    """Whole words, where anything but a letter parts words: scanners join them by underscores and digits."""
    return re.compile(rf"(?<![a-z])({pattern})(?![a-z])", re.IGNORECASE)


_ATTENUATION = _words(
    r"(ct|tdm)?[ _-]?ac|ac[ _-]?(ct|tdm)|\w*ctac\w*|atten\w*|att[eé]nuation|low[ _-]?dose|ld(ct)?|wb|whole[ _-]?body"
    r"|(faible|basse)[ _-]?dose|corps[ _-]entier"
)
_DIAGNOSTIC = _words(r"diag\w*|lungs?|poumons?|parench\w*|thin|fin(es?)?|hr(ct)?|bone|os|mediast\w*|sharp|angio\w*|cta")
_CONTRAST = _words(r"c\+|ce(ct)?|iv|inj\w*|contrast\w*|art[eé]r\w*|portal\w*|ven(ous|eux)|vein\w*|late|tardi\w*")
_NO_CONTRAST = _words(r"(sans|non|no|without|w/?o)[ _-]*(iv|inj\w*|contrast\w*|pdc)|nativ\w*|unenhanced|c-|nc")
_SHARP = re.compile(r"^(lung|bone|edge|detail|yb|yc|yd|b[6-9]\d|br[6-9]\d|bl[5-9]\d|fc[358]\d)", re.IGNORECASE)
_REFERENCES = {
    Tag(keyword)
    for keyword in (
        "ReferencedImageSequence", "SourceImageSequence", "ReferencedSeriesSequence", "RelatedSeriesSequence",
        "SourceImageEvidenceSequence", "ReferencedImageEvidenceSequence",
    )
}  # fmt: skip
_UID = re.compile(rb"\d+(?:\.\d+)+")


def contrast(ct: Series) -> bool:
    """Whether a contrast agent is named, in its attribute or in the name of the series."""
    agent = text(ct.first, "ContrastBolusAgent").upper()
    named = bool(_CONTRAST.search(ct.description)) and not _NO_CONTRAST.search(ct.description)
    return agent not in ("", "NONE", "NO", "SANS", "N") or named


def attenuation_ct_score(ct: Series, pet: Series) -> int:
    """Number of signs for the attenuation CT, less those against it."""
    against = (_DIAGNOSTIC.search(ct.description), _SHARP.match(text(ct.first, "ConvolutionKernel")))
    return len(attenuation_ct_criteria(ct, pet)) - sum(1 for sign in against if sign)


def attenuation_ct_criteria(ct: Series, pet: Series) -> list[Message]:
    """What speaks for a CT being the one for attenuation correction."""
    return [sign for applies, sign in _SIGNS if applies(ct, pet)]


def referenced_series(pet: Series) -> set[str]:
    """UIDs of whatever the first PET image refers to (PS3.3 C.7.6.1, C.12.4.1); none where that cannot be read."""
    try:
        with pet.instances[0].file.open("rb") as stream:
            header = parse_header(stream, _REFERENCES).header
    except DAMAGED:
        return set()
    values = [header.get_item(tag).value for tag in header.keys() & _REFERENCES]
    return {uid.decode() for value in values if isinstance(value, bytes) for uid in _UID.findall(value)}


def is_referenced(ct: Series, uids: set[str]) -> bool:
    """Whether the UIDs name the series or one of its images."""
    own = {text(header, "SOPInstanceUID") for header in ct.headers} | {text(ct.first, "SeriesInstanceUID")}
    return not own.isdisjoint(uids)


def _wide(ct: Series, _pet: Series) -> bool:
    if isinstance(ct.geometry, SliceGeometryError):
        return False
    width = ct.geometry.shape[2] * ct.geometry.spacing[0]
    return max(width, number(ct.first, "ReconstructionDiameter") or 0.0) >= _WIDE_MM


def _spaced_alike(ct: Series, pet: Series) -> bool:
    if isinstance(ct.geometry, SliceGeometryError) or isinstance(pet.geometry, SliceGeometryError):
        return False
    return abs(ct.geometry.spacing[2] - pet.geometry.spacing[2]) <= _SAME_SPACING_MM


_SIGNS: tuple[tuple[Callable[[Series, Series], bool], Message], ...] = (
    (lambda ct, _: bool(_ATTENUATION.search(ct.description)), Message("named for attenuation correction")),
    (_wide, Message("wide field of view")),
    (_spaced_alike, Message("slices as far apart as the PET's")),
    (lambda ct, _: 0 < (number(ct.first, "Exposure") or 0.0) <= _LITTLE_MAS, Message("low dose")),
)
