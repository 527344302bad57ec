"""Everything that a comparison of two examinations shows, from one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpet.imaging.response.comparison import align, match_lesions
from fedpet.imaging.response.percist import percist_caveats, percist_response

if TYPE_CHECKING:
    from fedpet.core.messages import Message
    from fedpet.imaging.response.comparison import Alignment, Examination, LesionMatch
    from fedpet.imaging.response.percist import Response


@dataclass(frozen=True)
class ResponseAssessment:
    """Two examinations of one patient, compared.

    Attributes:
        before: earlier examination.
        after: later examination.
        alignment: of the later examination to the earlier one.
        matches: lesions of both.
        response: by PERCIST 1.0.
        caveats: what makes the examinations less comparable.
    """

    before: Examination
    after: Examination
    alignment: Alignment
    matches: tuple[LesionMatch, ...]
    response: Response
    caveats: tuple[Message, ...]


def assess_response(before: Examination, after: Examination) -> ResponseAssessment:
    """Align two examinations of one patient, match their lesions and assess the response.

    Args:
        before: earlier examination.
        after: later examination.
    """
    alignment = align(before, after)
    matches = match_lesions(before, after, alignment)
    response = percist_response(before, after, matches)
    return ResponseAssessment(before, after, alignment, matches, response, percist_caveats(before, after))
