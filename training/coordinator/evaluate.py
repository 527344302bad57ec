"""The evaluation of a finished model on the nodes of a federation: tables are summed under masks, the report is signed.

The sites' nodes evaluate on the patients whom they registered for that (`fedpet train node register --evaluation`), on
whom none of their trainings runs.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.bundle.storage import Bundle
from inference.network import build_network
from inference.registry import REPORT_FORMAT
from training.bundle.assembly import require_empty
from training.bundle.held_out import scores, write_report
from training.bundle.pooled_evaluation import CalibratedModel, evaluate_tables
from training.coordinator.train import researcher_config
from training.task.carried import ALL_SITES
from training.task.method import FederatedMethod
from training.task.registration import EVALUATION_TAGS
from training.task.runs import EVALUATION, Run, to_config
from training.task.task import TrainingTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from training.coordinator.config import TrainingConfig
    from training.coordinator.federation import HospitalFederation


def evaluate_on_nodes(
    folder: Path,
    config: TrainingConfig,
    federation: HospitalFederation,
    out: Path,
    *,
    on_event: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Path:
    """Evaluate a bundle on the nodes of hospitals and write the signed report.

    Args:
        folder: of the bundle.
        config: of the run file; its work folder takes the logs.
        federation: who takes part.
        out: new or empty folder for report.json.
        on_event: called with every event of the researcher.

    Returns:
        The report's file.

    Raises:
        BundleError: the folder is no bundle that can be used.
        FederationError: `out` is not empty, the sites did not answer, or their patients are too few for the tables.
    """
    require_empty(out)
    bundle = Bundle.load(folder)
    task = evaluation_task(bundle, federation.sites, config.training.minimum_cell)
    task.require_sound(federation.minimum)
    work = config.work / EVALUATION
    shutil.rmtree(work, ignore_errors=True)  # of an earlier evaluation
    results = work / "results"
    results.mkdir(parents=True)
    first = results / "bundle.safetensors"
    save_file(load_file(bundle.weights), first)
    entries = {**researcher_config(config, federation), **to_config({EVALUATION: Run(task, 1)}, results, None)}
    entries |= {"tags": EVALUATION_TAGS, "initial": {EVALUATION: str(first)}, "members": []}
    signer = federation.signer()
    with federation.start(work) as processes:
        processes.run_researcher(entries, on_event)
    history = json.loads((results / f"{EVALUATION}.json").read_text(encoding="utf-8"))
    facts = json.loads((results / "sites.json").read_text(encoding="utf-8"))
    report = _report(bundle, federation, history, facts) | {"minimum_cell": task.minimum_cell}
    return write_report(signer.sign(report), out)


def evaluation_task(bundle: Bundle, sites: tuple[str, ...], minimum_cell: int) -> TrainingTask:
    """No round of training; all sites validate the bundle's network under masks."""
    network = bundle.card["network"]
    return TrainingTask(
        contract=bundle.contract,
        network=network["name"],
        network_config=network["config"],
        rounds=0,
        augment=False,
        minimum_cell=minimum_cell,
        method=FederatedMethod(),
        validates_only=True,
        evaluated=tuple(sorted(sites)),
    )


def _report(
    bundle: Bundle, federation: HospitalFederation, history: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    network = build_network(bundle.card["network"]["name"], bundle.contract, bundle.card["network"]["config"])
    network.load_state_dict(load_file(bundle.weights))
    score, logits = scores(network, federation.export_cases(bundle.contract)[:1])
    model = CalibratedModel(bundle.calibration, logits[0] - score[0], bundle.contract.month_edges)
    pooled = history["final"][ALL_SITES]
    figures = evaluate_tables(pooled, history["by_site"], model)
    sites = history["patients"]
    if figures["patients"] != sum(sites.values()):
        raise FederationError(
            found=Message(
                "The sums are of {count} patients, the sites have {all}.",
                count=figures["patients"],
                all=sum(sites.values()),
            ),
            needed=Message("Every patient of the sites in the sums."),
            advice=Message("Let the sites compare the smallest counts of their policies with their patients."),
        )
    ranked = figures["concordance"]
    return {
        "format": REPORT_FORMAT,
        "bundle": bundle.digest,
        "created": datetime.now(UTC).date().isoformat(),
        "synthetic": any(facts[site].get("synthetic") for site in sites),
        "masked": True,
        "sites": sites,
        "observed_c_index": {"model": None if ranked is None else ranked["value"]},
        **figures,
    }
