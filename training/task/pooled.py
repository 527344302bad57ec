"""The validation losses of several sites as one, and how well that one is known."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def pooled_loss(sites: Collection[Mapping[str, float]]) -> float:
    """Mean validation loss over the patients of all sites; nan where no site validated."""
    known = [site for site in sites if site.get("loss") is not None]
    patients = sum(site["n"] for site in known)
    return sum(site["loss"] * site["n"] for site in known) / patients if patients else float("nan")


def loss_error(sites: Collection[Mapping[str, float]]) -> float:
    """Standard error of `pooled_loss`; nan where no site validated."""
    known = [site for site in sites if site.get("loss") is not None]
    patients = sum(site["n"] for site in known)
    if not patients:
        return float("nan")
    square = sum(site["loss_square"] * site["n"] for site in known) / patients
    return sqrt(max(square - pooled_loss(known) ** 2, 0.0) / patients)


def pooled_change(sites: Collection[Mapping[str, float]]) -> tuple[float, float]:
    """Mean change of the patients' losses since the last aggregate that the sites took, and its standard error.

    nan where no site compared.
    """
    return _mean_and_error(sites, "changed", "change")


def pooled_gain(sites: Collection[Mapping[str, float]]) -> tuple[float, float]:
    """Mean gain of log likelihood of a patient by the learned term, and its standard error; nan where none compared."""
    return _mean_and_error(sites, "compared", "gain")


def _mean_and_error(sites: Collection[Mapping[str, float]], count: str, name: str) -> tuple[float, float]:
    known = [site for site in sites if site.get(count)]
    patients = sum(site[count] for site in known)
    if not patients:
        return float("nan"), float("nan")
    mean, square = (sum(site[one] * site[count] for site in known) / patients for one in (name, f"{name}_square"))
    return mean, sqrt(max(square - mean**2, 0.0) / patients)


def vetoed(sites: Collection[Mapping[str, float]]) -> bool:
    """Whether more than half of the sites did not take the model (`training.node.veto`)."""
    return 2 * _total("vetoes", sites) > _total("sites", sites)


def worsened(sites: Collection[Mapping[str, float]]) -> bool:
    """Whether half of the sites or more have a worse model than the one before, beyond what chance explains at each."""
    return bool(_total("worse", sites)) and 2 * _total("worse", sites) >= _total("sites", sites)


def _total(name: str, sites: Collection[Mapping[str, float]]) -> float:
    return sum(site.get(name, 0.0) for site in sites)
