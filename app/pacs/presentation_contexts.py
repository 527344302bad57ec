"""Presentation contexts: which kinds of objects may travel over an association, and how encoded (PS3.8 7.1.1.13).

A context holds several transfer syntaxes, but the PACS chooses one of them. Each compressed one therefore has a context
of its own, so that the PACS can send every object as it stored it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.uid import (
    JPEG2000,
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    PositronEmissionTomographyImageStorage,
    RLELossless,
)
from pynetdicom import build_context, build_role

from fedpet.imaging.dicom.headers.unvalidated import values_as_written

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
    from pynetdicom.presentation import PresentationContext

_PLAIN: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_PACKED = (
    JPEGLosslessSV1, JPEG2000Lossless, JPEGLSLossless, RLELossless, JPEGLossless, DeflatedExplicitVRLittleEndian,
    JPEG2000, JPEGLSNearLossless, JPEGBaseline8Bit, JPEGExtended12Bit,
)  # fmt: skip
_MOST = 128  # of one association: their identifiers are odd, up to 255 (PS3.8 9.3.2.2)


def receiving(
    model: UID, kinds: Collection[str]
) -> tuple[list[PresentationContext], list[SCP_SCU_RoleSelectionNegotiation]]:
    """The contexts to request objects by `model` and to receive them over the same association, as C-GET does.

    Args:
        model: SOP class of the request.
        kinds: SOP classes to be received, as far as known; CT and PET images always are.

    Returns:
        The contexts, that of the request first, and the roles: we are the SCP of the objects.
    """
    classes = sorted({*kinds, CTImageStorage, PositronEmissionTomographyImageStorage})
    contexts = [build_context(model), *(build_context(kind, _PLAIN) for kind in classes)]
    contexts += [build_context(kind, syntax) for syntax in _PACKED for kind in classes]
    contexts = contexts[:_MOST]
    offered = {context.abstract_syntax for context in contexts}
    return contexts, [build_role(kind, scp_role=True) for kind in classes if kind in offered]


@values_as_written()
def sending(files: Sequence[Path]) -> list[PresentationContext]:
    """The contexts to send files: uncompressed ones may be converted on the way, others are sent unchanged."""
    kinds: dict[tuple[UID, UID | None], None] = {}
    for file in files:
        meta = dcmread(file, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).file_meta
        syntax = meta.TransferSyntaxUID
        kinds[meta.MediaStorageSOPClassUID, None if syntax in _PLAIN else syntax] = None
    return [build_context(kind, _PLAIN if syntax is None else syntax) for kind, syntax in kinds][:_MOST]
