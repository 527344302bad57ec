"""Lesions are numbered from 1 without gaps, in everything that names them, and foci that are none have letters."""

from dataclasses import replace

import numpy as np

from explain.explanation import SanityCheckResult
from fedpet.core.messages import Message
from reports.lesion_numbers import letters, number_lesions
from tests.support import report_content as cases

FOCI = {1: 3, 2: 4, 3: 8, 4: 9, 5: 20, 6: 31}  # number in the report -> focus of the delineation


def with_gaps():
    """The case with its lesions under the numbers of hot foci."""
    content = cases.make_content()
    prediction, explanation = content.prediction, content.explanation
    array = np.array([0, *FOCI.values()], np.uint16)[prediction.lesion_labels.array]
    quantities = prediction.quantities
    lesions = tuple(replace(one, id=FOCI[one.id]) for one in quantities.lesions)
    terms = tuple(
        one if one.lesion is None else replace(
            one, name=f"lesion:{FOCI[one.lesion]}",
            label=Message(one.label.template, **{**one.label.values, "number": FOCI[one.lesion]}),
        )
        for one in explanation.terms
    )  # fmt: skip
    gate = SanityCheckResult("sign", False, Message("For lesion {numbers} the map says the opposite.", numbers="4, 31"))
    return (
        replace(
            prediction,
            lesion_labels=prediction.lesion_labels.like(array, "label"),
            quantities=replace(quantities, lesions=lesions),
        ),
        replace(
            explanation,
            lesion_share={FOCI.get(number, 0): share for number, share in explanation.lesion_share.items()},
            terms=terms,
            gates=(gate,),
        ),
    )


def test_numbers_without_gaps_stand_everywhere():
    expected = cases.make_content()
    numbered = number_lesions(*with_gaps())
    assert numbered.foci == FOCI
    assert numbered.prediction.quantities == expected.prediction.quantities
    np.testing.assert_array_equal(numbered.prediction.lesion_labels.array, expected.prediction.lesion_labels.array)
    assert numbered.explanation.lesion_share == expected.explanation.lesion_share
    assert numbered.explanation.terms == expected.explanation.terms
    assert str(numbered.explanation.gates[0].reason) == "For lesion 2, 6 the map says the opposite."


def test_what_is_numbered_already_stays_as_it_is():
    content = cases.make_content()
    numbered = number_lesions(content.prediction, None)
    assert numbered.prediction is content.prediction
    assert numbered.explanation is None


def test_letters_go_on_after_z():
    (one,) = cases.with_organs(cases.make_content()).prediction.components[6:7]
    named = letters([replace(one, id=i, included=False) for i in range(30)])
    assert [named[i] for i in (0, 25, 26, 29)] == ["a", "z", "aa", "ad"]
    assert letters([replace(one, id=4, included=True)]) == {}
