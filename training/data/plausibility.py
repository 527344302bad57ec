"""Node data that no hospital can have: refused before it is offered for training.

`training.data.node_data` refuses files that contradict each other; here are values that cannot be true: months, encoded
variables beyond what any accepted record encodes, blank images, one patient twice, and a record that stands beside the
images of two patients.
"""

from __future__ import annotations

from collections import defaultdict
from hashlib import sha256
from math import log
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.clinical.variables import VARIABLES
from fedpet.core.errors import NodeDataError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from inference.input_contract import ClinicalTerm, InputContract, QuantityTerm
    from training.data.node_data import NodeCase, NodeData

LONGEST_MONTHS: Final = 240.0
_TOLERANCE: Final = 1e-3  # of 32-bit floats
_STATED_TERMS: Final = 6  # that two equal records must state, to be one patient's
_NAMED: Final = 5  # pseudonyms in an error
_ADVICE = Message(
    "Look up the patients in the private key of the pseudonyms, correct the table and prepare the node's data again."
)


def require_plausible(data: NodeData) -> None:
    """Refuse node data that cannot be true.

    Args:
        data: of the node; every case is read.

    Raises:
        NodeDataError: what was found, with the pseudonyms.
    """
    low, high = (np.array(side, np.float32) for side in zip(*_bounds(data.contract), strict=True))
    wrong_months, wrong_terms, blank = [], set[str](), []
    for name, case in zip(data.case_ids, data.cases, strict=True):
        case.require_finite()
        if not 0 <= case.months <= LONGEST_MONTHS:
            wrong_months.append(name)
        outside = (case.clinical < low - _TOLERANCE) | (case.clinical > high + _TOLERANCE)
        wrong_terms |= {data.contract.inputs[i] for i in np.flatnonzero(outside)}
        if _is_blank(case, data.contract):
            blank.append(name)
    if wrong_months:
        needed = Message("0 to {longest:g} months from the first dose.", longest=LONGEST_MONTHS)
        raise _refused(Message("Impossible months of follow-up: {cases}.", cases=_listed(wrong_months)), needed)
    if wrong_terms:
        needed = Message("What an accepted record encodes, see docs/clinical.md.")
        raise _refused(Message("Impossible values of: {terms}.", terms=_listed(sorted(wrong_terms))), needed)
    if blank:
        raise _refused(Message("Images without content: {cases}.", cases=_listed(blank)), Message("A PET and a CT."))
    _require_distinct(data)


def _require_distinct(data: NodeData) -> None:
    images, records = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for name, case in zip(data.case_ids, data.cases, strict=True):
        if data.contract.reads_images:
            images[sha256(case.image.tobytes()).hexdigest()].append(name)
        if np.count_nonzero(case.clinical[: len(data.contract.terms)]) >= _STATED_TERMS:
            records[_record_digest(case)].append(name)
    if twice := [name for names in images.values() if len(names) > 1 for name in names]:
        found = Message("The same images under several pseudonyms: {cases}.", cases=_listed(twice))
        raise _refused(found, Message("Each patient once, beside their own images."))
    if twice := [name for names in records.values() if len(names) > 1 for name in names]:
        found = Message("The same record and outcome under several pseudonyms: {cases}.", cases=_listed(twice))
        raise _refused(found, Message("Each patient once; a row that was copied contradicts the images."))


def _record_digest(case: NodeCase) -> str:
    return sha256(case.clinical.tobytes() + np.float32(case.months).tobytes() + bytes([case.event])).hexdigest()


def _is_blank(case: NodeCase, contract: InputContract) -> bool:
    """Whether PET or CT is one value everywhere; node data of a model that reads no image has one voxel."""
    return contract.reads_images and any(float(np.ptp(channel)) == 0.0 for channel in case.image)


def _bounds(contract: InputContract) -> Iterator[tuple[float, float]]:
    """Lowest and highest value of each input: those of the reject ranges or definitions; 0 where missing."""
    for term in contract.terms:
        low, high = ((value - term.mean) / term.sd for value in _range(term))
        yield min(low, 0.0), max(high, 0.0)
    yield from _flag_bounds(contract.terms)
    for quantity in contract.quantities:
        low, high = quantity.bounds
        yield min(low, 0.0), max(high, 0.0)
    yield from _flag_bounds(contract.quantities)


def _flag_bounds(terms: Sequence[ClinicalTerm | QuantityTerm]) -> list[tuple[float, float]]:
    return [(0.0, 1.0) for term in terms if term.flag]


def _range(term: ClinicalTerm) -> tuple[float, float]:
    """Of the term before scaling."""
    ranges = [VARIABLES[name].reject for name in term.variables]
    if term.kind == "number" and ranges[0] is not None:
        return ranges[0]
    if term.kind == "log_ratio" and ranges[0] is not None and ranges[1] is not None:
        return log(ranges[0][0] / ranges[1][1]), log(ranges[0][1] / ranges[1][0])
    return 0.0, 1.0


def _listed(names: Sequence[str] | Collection[str]) -> str:
    some = list(names)[:_NAMED]
    return ", ".join(some) + (", …" if len(names) > _NAMED else "")


def _refused(found: Message, needed: Message) -> NodeDataError:
    return NodeDataError(found=found, needed=needed, advice=_ADVICE)
