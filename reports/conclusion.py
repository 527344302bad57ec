"""The conclusion of a report: what was found and what the model answers, in one or two sentences.

Composed from the confirmed lesions and the answer with its limits, unless the reader wrote another one.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.regions import REGIONS
from inference.encoding import input_label
from reports.labels import CATEGORIES, inline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fedpet.imaging.lesions.lesion import Lesion
    from inference.prediction import EndpointProbability, Prediction
    from reports.content import ReportContent
    from reports.locale import Locale

_SITES = 4  # regions that are named
_INPUTS = 3  # missing ones that are named


def conclusion(content: ReportContent, locale: Locale) -> str:
    """The reader's own conclusion, or the sentences composed from the case."""
    verdict = content.verdict
    if verdict is not None and verdict.conclusion.strip():
        return verdict.conclusion.strip()
    return " ".join(locale.translate(sentence) for sentence in composed(content, locale))


def composed(content: ReportContent, locale: Locale) -> Iterator[Message]:
    """The sentences: findings, comparison with an earlier examination, answer, limits."""
    prediction = content.prediction
    yield _findings(prediction, locale)
    if content.response is not None:
        before, response = content.response.before, content.response.response
        yield Message(
            "Compared with {day}: {category}.", day=locale.day(before.date), category=CATEGORIES[response.category]
        )
    yield from _answer(content, locale)
    if content.concordance is not None and content.concordance.contradictions:
        yield Message("The clinical record contradicts the images.")


def sites(lesions: Sequence[Lesion], locale: Locale) -> str:
    """Where lesions are, those of the largest volume first, with their number where a region has several."""
    _ = locale.text
    volumes: Counter[str] = Counter()
    for lesion in lesions:
        volumes[lesion.region] += lesion.mtv_ml  # type: ignore[assignment]  # a Counter adds any number
    counts = Counter(lesion.region for lesion in lesions)
    named = [region for region, _volume in volumes.most_common(_SITES)]
    words = [
        locale.translate(REGIONS[region]) + (f" ({counts[region]})" if counts[region] > 1 else "") for region in named
    ]
    if len(counts) > len(named):
        words.append(_("other sites"))
    return ", ".join(words)


def _findings(prediction: Prediction, locale: Locale) -> Message:
    found = prediction.quantities
    if not found.lesions:
        return Message("No hypermetabolic lesion was delineated.")
    values = {
        "sites": sites(found.lesions, locale),
        "tmtv": locale.decimal(found.tmtv_ml),
        "suv": locale.decimal(found.suv_max),
    }
    return Message(
        "One hypermetabolic lesion ({sites}), {tmtv} ml, SUVmax {suv}.",
        "{count} hypermetabolic lesions: {sites}; TMTV {tmtv} ml, SUVmax {suv}.",
        count=len(found.lesions),
        **values,
    )


def _answer(content: ReportContent, locale: Locale) -> Iterator[Message]:
    prediction, verdict = content.prediction, content.verdict
    main = prediction.endpoint("pfs_12m")
    if verdict is not None and verdict.decision == "reject":
        yield Message("The reader rejected the model's answer.")
    elif prediction.abstained is not None or main is None:
        yield Message("The model gives no answer.")
    else:
        if verdict is not None and verdict.decision == "amend":
            yield Message("The reader amended the model's answer.")
        yield _estimate(main, locale)
        if prediction.missing:
            yield _missing(prediction.missing, locale)


def _missing(names: Sequence[str], locale: Locale) -> Message:
    """How many inputs the model lacked, and which, as far as few are named."""
    named = [inline(locale.translate(input_label(name))) for name in names[:_INPUTS]]
    more = ["…"] if len(names) > _INPUTS else []
    return Message(
        "One input was missing: {names}.",
        "{count} inputs were missing: {names}.",
        count=len(names),
        names=", ".join([*named, *more]),
    )


def _estimate(main: EndpointProbability, locale: Locale) -> Message:
    """The probability with its interval, and what of it is certain."""
    certainty = {
        "free": Message("of the two outcomes it keeps only this one"),
        "progression": Message("of the two outcomes it keeps only progression or death"),
        "indeterminate": Message("it does not exclude either outcome"),
        None: Message("it does not say which outcome is certain"),
    }[main.verdict]
    return Message(
        "The model estimates the probability of being alive without progression at 12 months at {p} ({interval}),"
        " against {cohort} in its training cohort; {certainty}.",
        p=locale.percent(main.probability),
        interval=locale.interval(main.lower, main.upper),
        cohort=locale.percent(main.base_rate),
        certainty=certainty,
    )
