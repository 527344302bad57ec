"""`fedpet train rehearse`: a whole federation on one machine, from node data to a bundle."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from fedpet.errors import FederationError
from fedpet.messages import Message
from fedpet.progress import part, silent
from inference.bundle import write_bundle
from inference.contract import default_contract
from training.calibration import calibrate, require_tables
from training.card import BASELINE, MODEL, Run, Trained, model_card, pooled_loss
from training.evaluation import HeldOut, evaluate, scores
from training.export import export_onnx, verify_onnx, weights
from training.federation import TAGS, Federation
from training.node_data import read_node, split
from training.risk_table import MINIMUM_CASES, pooled
from training.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fedpet.journal import Journal
    from fedpet.progress import Progress
    from inference.contract import Contract
    from training.node_data import NodeData

_BASELINE_EPOCHS = 2  # local epochs of the clinical baseline for each of the model's: its steps cost nothing
_VERIFIED = 4  # patients on which the export is compared with torch
_ROUND_SECONDS = 1800.0


def rehearse(  # noqa: PLR0913  one argument for each option of the command
    nodes: Sequence[Path],
    *,
    out: Path,
    rounds: int = 12,
    local_epochs: int = 1,
    batch_size: int = 4,
    learning_rate: float = 2e-3,
    network: str = "evidence",
    network_config: Mapping[str, Any] | None = None,
    holdout: Sequence[Path] = (),
    name: str = "fedpet-rehearsal",
    version: str = "0.1.0",
    seed: int = 0,
    contract: Contract | None = None,
    work: Path | None = None,
    journal: Journal | None = None,
    progress: Progress = silent,
) -> Path:
    """Train on the nodes' data by federated averaging, evaluate, export.

    Beside the network, the clinical-only baseline is trained by the same federation, for the comparison in the card.

    Args:
        nodes: node data folders, one a site, three or more.
        out: new or empty folder for the bundle.
        rounds: of federated averaging.
        local_epochs: passes over a node's patients in a round.
        batch_size: patients.
        learning_rate: AdamW's in the first round; a cosine over the rounds follows.
        network: name in the registry of `inference.network`.
        network_config: its configuration.
        holdout: node data folders for the evaluation only.
        name: of the model.
        version: of the model.
        seed: of the first parameters and of the batches.
        contract: of the node data; None takes the default contract.
        work: new or empty folder for the nodes' components and logs; None takes a temporary one, kept on failure.
        journal: told of the sites and of every round, for who watches from elsewhere.
        progress: told of every round.

    Returns:
        `out`.

    Raises:
        NodeDataRefused: a folder was not prepared by this contract.
        FederationError: the federation did not run as configured.
        ExportRefused: ONNX Runtime and torch differ.
    """
    contract = contract or default_contract()
    sites = [read_node(folder, contract) for folder in nodes]
    held_out = [read_node(folder, contract) for folder in holdout]
    require_tables(sum(len(split(site.case_ids)[1]) >= MINIMUM_CASES for site in sites))
    _require_empty(out)
    work_folder = work or Path(tempfile.mkdtemp(prefix="fedpet-"))
    _require_empty(work_folder)
    common: dict[str, Any] = {
        "contract": contract,
        "rounds": rounds,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "seed": seed,
    }
    runs = {
        MODEL: Run(Task(**common, network=network, network_config=dict(network_config or {})), local_epochs),
        BASELINE: Run(Task(**common, network="clinical", augment=False), _BASELINE_EPOCHS * local_epochs),
    }
    if journal is not None:
        planned = {one: run.task.rounds for one, run in runs.items()}
        journal.write("started", name=name, version=version, sites=sorted(_named(sites)), rounds=planned)
    trained = _train(sites, runs, work_folder, journal, part(progress, 0.0, 0.9))
    progress(0.9, Message("Evaluating and exporting the model"))
    _export(trained, sites, held_out, out, name=name, version=version)
    if work is None:
        shutil.rmtree(work_folder)
    progress(1.0, Message("The bundle is written"))
    return out


def _train(
    sites: Sequence[NodeData], runs: Mapping[str, Run], work: Path, journal: Journal | None, progress: Progress
) -> Trained:
    """Run the federation and read back what the researcher left."""
    results = work / "results"
    results.mkdir(parents=True)
    nodes = _named(sites)
    progress(0.0, Message("Starting {count} nodes", count=len(nodes)))
    with Federation(nodes, work) as federation:
        config = {
            "tags": TAGS,
            "sites": list(nodes),
            "args": {name: run.task.to_args() for name, run in runs.items()},
            "local_epochs": {name: run.local_epochs for name, run in runs.items()},
            "out": str(results),
            "round_seconds": _ROUND_SECONDS,
        }
        federation.run_researcher(config, _reporter(runs, journal, progress))
        plan = federation.plan.read_bytes()
    networks, histories = {}, {}
    for name, run in runs.items():
        networks[name] = run.task.build()
        networks[name].load_state_dict(load_file(results / f"{name}.safetensors"))
        histories[name] = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    return Trained(runs, networks, histories, plan)


def _export(
    trained: Trained, sites: Sequence[NodeData], held_out: Sequence[NodeData], out: Path, *, name: str, version: str
) -> None:
    """Calibrate, evaluate, convert, verify and write the bundle."""
    task, network = trained.runs[MODEL].task, trained.networks[MODEL]
    contract = task.contract
    some = [site.case(site.case_ids[0]) for site in (*held_out, *sites)][:_VERIFIED]
    score, logits = scores(network, some[:1])
    table = pooled(trained.histories[MODEL]["final"].values(), len(contract.month_edges) - 1)
    calibration = calibrate(table, logits[0] - score[0], contract.month_edges)
    model = export_onnx(network, contract)
    difference = verify_onnx(model, network, some)
    evaluation = evaluate(HeldOut.of(held_out), trained.networks, calibration, contract) if held_out else None
    card = model_card(trained, sites, held_out, evaluation, difference)
    write_bundle(
        out,
        onnx=model,
        weights=weights(network),
        contract=contract,
        calibration=calibration,
        card={"name": name, "version": version, **card},
    )


def _reporter(runs: Mapping[str, Run], journal: Journal | None, progress: Progress) -> Callable[[dict[str, Any]], None]:
    """Turns the researcher's events into progress: 8 % to start, then the model's rounds, then the baseline's."""
    shares = {MODEL: part(progress, 0.08, 0.9), BASELINE: part(progress, 0.9, 1.0)}

    def report(event: dict[str, Any]) -> None:
        if event["event"] == "ready":
            progress(0.08, Message("{count} nodes answer", count=len(event["sites"])))
            return
        if journal is not None:
            journal.write(**event)
        name = event["run"]
        values = {
            "round": event["round"],
            "rounds": runs[name].task.rounds,
            "loss": pooled_loss(event["validation"]),
        }
        message = (
            Message("Model: round {round} of {rounds}, validation loss {loss:.3f}", **values)
            if name == MODEL
            else Message("Clinical baseline: round {round} of {rounds}, validation loss {loss:.3f}", **values)
        )
        shares[name](event["round"] / values["rounds"], message)

    return report


def _named(sites: Sequence[NodeData]) -> dict[str, Path]:
    """Folder by node name: the site's name, fit for a file name.

    Raises:
        FederationError: two sites have one name.
    """
    nodes = {re.sub(r"[^A-Za-z0-9_-]", "_", site.site): site.folder for site in sites}
    if len(nodes) < len(sites):
        raise FederationError(
            found=Message("Two of the nodes have the same site name."),
            needed=Message("A name of its own for each node."),
            advice=Message("Prepare the node data with different site names."),
        )
    return nodes


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FederationError(
            found=Message("The folder {name} is not empty.", name=folder.name),
            needed=Message("A new or an empty folder."),
            advice=Message("Give another folder; nothing is overwritten."),
        )
