"""What `fedpet monitor` compares later patients with: from node data, or from the sums of a federation."""

from __future__ import annotations

from math import isnan, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.calibration import SEGMENT_ENDS
from inference.input_contract import LESION_PREFIX
from inference.monitoring import InputReference, MonitorReference
from training.bundle.calibration import at_endpoints
from training.task.risk_table import pooled_risk_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from inference.calibration import RiskCalibration
    from inference.input_contract import InputContract
    from training.data.node_data import NodeData
    from training.task.task import TrainingTask

_FLAG = "missing:"


def reference_of(nodes: Sequence[NodeData], contract: InputContract, answers: NDArray[np.float64]) -> MonitorReference:
    """What `fedpet monitor` compares later patients with.

    Args:
        nodes: node data of all centres.
        contract: of it. A clinical input without a flag counts as missing where it is exactly 0.
        answers: (n,) P(free of progression at 12 months) of all patients.
    """
    values = np.concatenate([[case.clinical for case in node.cases] for node in nodes])
    place = {name: at for at, name in enumerate(contract.inputs)}
    inputs = {}
    for name, at in place.items():
        flag = place.get(f"missing:{name}")
        clinical = not name.startswith(LESION_PREFIX)
        missing = values[:, flag] > 0.5 if flag is not None else clinical & (values[:, at] == 0.0)
        if not name.startswith("missing:"):
            inputs[name] = InputReference.of(np.where(missing, np.nan, values[:, at]))
    return MonitorReference(len(values), inputs, InputReference.of(answers))


def reference_of_training(
    task: TrainingTask, history: Mapping[str, Any], calibration: RiskCalibration, baseline: NDArray[np.float64]
) -> MonitorReference | None:
    """The reference of a federated training, from sums over all sites.

    Args:
        task: of the model.
        history: of its run.
        calibration: of the new bundle.
        baseline: (K,) the network's alpha.

    Returns:
        Inputs over the training patients and answers over the validation patients; None where the training asks for no
        sums of inputs (only an exact fit does). Shares of fewer patients than the smallest cell are left out.
    """
    means, variances = (history.get("newton", {}).get(name) for name in ("mean", "variance"))
    if not means:
        return None
    contract, patients = task.contract, sum(history["rounds"][-1]["patients"].values())
    moments = dict(zip(contract.inputs, zip(means, variances, strict=True), strict=True))
    indicators = _indicators(contract)
    inputs = {}
    for name in (one for one in contract.inputs if not one.startswith(_FLAG)):
        missing = _missing_share(name, moments, contract)
        known = 1 - (0.0 if isnan(missing) else missing)
        mean, variance = moments[name]
        centre = mean / known if known * patients >= 1 else 0.0
        told = known if name not in indicators else centre + indicators[name]
        if known * patients >= task.minimum_cell and not _is_small(told, known * patients, task.minimum_cell):
            spread = sqrt(max((variance + mean**2) / known - centre**2, 0.0))
            hidden = _is_small(missing, patients, task.minimum_cell)
            inputs[name] = InputReference(centre, spread, float("nan") if hidden else missing)
    return MonitorReference(patients, inputs, _answer_reference(task, history, calibration, baseline))


def _indicators(contract: InputContract) -> dict[str, float]:
    """Inputs that are yes or no, and the share at which they are encoded as 0."""
    clinical = {one.name: one.mean for one in contract.terms if one.kind not in {"number", "log_ratio"}}
    measured = {f"{LESION_PREFIX}{one.name}": one.mean for one in contract.quantities if one.transform == "flag"}
    return clinical | measured


def _missing_share(name: str, moments: Mapping[str, tuple[float, float]], contract: InputContract) -> float:
    """Share of the patients in whom an input is missing, by the flag of its variables; nan where there is no flag."""
    fields = next((one.variables for one in contract.terms if one.name == name), ())
    names = [name, *(one.name for one in contract.terms if fields and one.variables == fields)]
    flags = [moments[f"{_FLAG}{one}"][0] for one in names if f"{_FLAG}{one}" in moments]
    unknown = float("nan") if fields else 0.0  # a quantity of the lesion table without a flag is always measured
    return min(max(flags[0], 0.0), 1.0) if flags else unknown


def _is_small(share: float, patients: float, smallest: int) -> bool:
    """Whether a share tells of fewer patients than may be told of."""
    return 0.5 < min(share, 1 - share) * patients < smallest - 0.5


def _answer_reference(
    task: TrainingTask, history: Mapping[str, Any], calibration: RiskCalibration, baseline: NDArray[np.float64]
) -> InputReference:
    """P(free of progression at 12 months) over the validation patients, each at the mean score of his or her bin."""
    table = pooled_risk_table(history["final"].values(), len(baseline))
    free = at_endpoints(calibration, baseline, task.contract.month_edges)(table.score)[:, SEGMENT_ENDS.index(12.0)]
    mean = np.average(free, weights=table.patients)
    return InputReference(float(mean), float(np.sqrt(np.average((free - mean) ** 2, weights=table.patients))), 0.0)
