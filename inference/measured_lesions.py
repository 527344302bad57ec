"""The lesions of a study and their table, by one way for training data and for predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fedpet.core.messages import Message
from fedpet.core.profile import Stage, stage
from fedpet.imaging.anatomy.organ_segmentation import OrganSource
from fedpet.imaging.lesions.delineation import delineate, switch_components
from fedpet.imaging.lesions.interactive import LesionEdits, apply_edits, rename_regions
from fedpet.imaging.lesions.lesion import GIVEN_MASK
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.quantification import measure_table
from fedpet.imaging.study import CheckStatus, QualityCheck
from inference.prediction import reader_confirmed

if TYPE_CHECKING:
    from collections.abc import Collection

    from fedpet.imaging.analysis import StudyAnalysis
    from fedpet.imaging.lesions.delineation import HotComponent
    from fedpet.imaging.lesions.lesion import Quantities, ThresholdMethod
    from fedpet.imaging.lesions.lesion_table import LesionTable
    from fedpet.imaging.volume import Volume
    from inference.input_contract import InputContract
    from inference.prediction import Prediction

ORGAN_CHECK: Final = "organ_source"


@dataclass(frozen=True, eq=False)
class MeasuredLesions:
    """Lesions as they were given, or as they were delineated and corrected.

    Attributes:
        labels: lesion numbers on the PET grid, 0 is background.
        quantities: of the lesions, SUVbw.
        table: of the lesions and the healthy organs.
        components: every hot component with the decision on it; empty where the lesions were given.
        component_labels: the components by their numbers; None where the lesions were given.
    """

    labels: Volume
    quantities: Quantities
    table: LesionTable
    components: tuple[HotComponent, ...] = ()
    component_labels: Volume | None = None

    @property
    def excluded(self) -> tuple[int, ...]:
        """Components that the reader does not count as lesions, whatever the rules say."""
        return tuple(one.id for one in self.components if one.excluded)

    @property
    def confirmed(self) -> bool:
        """Whether a reader gave the lesions, or included one."""
        return reader_confirmed(self.quantities, self.components, self.component_labels)


def organ_source_check(table: LesionTable, contract: InputContract) -> QualityCheck:
    """Whether the lesions were told from healthy uptake by the same organs as those that the model was trained on.

    Args:
        table: of a study with a CT.
        contract: of a model that reads lesion tables.
    """
    trained, here = OrganSource(contract.organs or OrganSource.RULES), OrganSource(table.organs)
    if trained is here:
        return QualityCheck(ORGAN_CHECK, CheckStatus.PASS, Message("Organs as those that the model was trained with."))
    reason = Message(
        "Lesions are told from healthy uptake by {here}, those that the model was trained on by {trained}.",
        here=here.label,
        trained=trained.label,
    )
    compared = {trained, here} == {OrganSource.RULES, OrganSource.LEARNED}  # figures in docs/imaging.md
    return QualityCheck(ORGAN_CHECK, CheckStatus.PASS if compared else CheckStatus.WARN, reason)


def with_organ_check(analysis: StudyAnalysis, prediction: Prediction, contract: InputContract) -> StudyAnalysis:
    """The analysis of an answer with `organ_source_check`, where the model read lesions that the organs told apart."""
    if not contract.quantities or prediction.table is None or analysis.mask is not None:
        return analysis
    return analysis.with_check(organ_source_check(prediction.table, contract))


@stage(Stage.LESIONS)
def measure_lesions(
    analysis: StudyAnalysis,
    *,
    lesions: Volume | None = None,
    method: ThresholdMethod = "suv4",
    lesion_map: Volume | None = None,
    include: Collection[int] = (),
    exclude: Collection[int] = (),
    edits: LesionEdits | None = None,
) -> MeasuredLesions:
    """Measure the lesions given, else those that are delineated.

    Args:
        analysis: of the study; its PET in SUVbw, g/ml.
        lesions: the reader's label volume on the PET grid.
        method: how lesions are delineated (`fedpet.imaging.lesions.delineation.delineate`).
        lesion_map: a model's probability of lesion for the delineation.
        include: ids of hot components that the reader counts as lesions.
        exclude: ids of hot components that the reader does not.
        edits: what the reader outlined and renamed; without effect where lesions are given.

    Raises:
        ArgumentError: lesions on another grid than the PET, or an edit that does not fit it.
        UnknownComponentError: an id that the delineation does not have, or that is both included and excluded.
        ReferenceUptakeError: no healthy organ for the threshold of "percist".
    """
    pet, anatomy = analysis.study.pet, analysis.anatomy
    if lesions is not None:
        quantities = quantify(pet, lesions, method=GIVEN_MASK, anatomy=anatomy)
        return MeasuredLesions(lesions, quantities, measure_table(analysis, lesions, quantities=quantities))
    edits = edits or LesionEdits()
    if lesion_map is None:
        found = switch_components(analysis.delineation(method), include, exclude)
    else:
        references = analysis.references
        found = delineate(pet, anatomy, method=method, lesion_map=lesion_map, include=include, exclude=exclude,
                          references=references)  # fmt: skip
    found = apply_edits(found, pet, edits, anatomy)
    labels = found.lesions
    quantities = rename_regions(quantify(pet, labels, method=found.method, anatomy=anatomy), edits.regions, anatomy)
    table = measure_table(analysis, labels, quantities=quantities)
    return MeasuredLesions(labels, quantities, table, found.components, found.labels)
