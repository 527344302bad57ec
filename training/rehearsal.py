"""`fedpet train rehearse`: a whole federation on one machine, from node data to a bundle."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedpet.errors import FederationError
from fedpet.messages import Message
from fedpet.progress import part, silent
from inference.contract import default_contract
from training.calibration import require_tables
from training.card import Site
from training.evaluation import HeldOut, evaluate
from training.federation import TAGS, Federation, node_name
from training.initial import read_initial, told_of
from training.method import CLEAR
from training.node_data import read_node, split
from training.outcome import collect, require_empty, write
from training.risk_table import MINIMUM_CASES
from training.runs import MODEL, members, plan_runs, to_config
from training.task import Task, facts
from training.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fedpet.journal import Journal
    from fedpet.progress import Progress
    from inference.contract import Contract
    from training.card import Trained
    from training.initial import Initial
    from training.method import Method
    from training.node_data import NodeData
    from training.runs import Run

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
    seeds: Sequence[int] = (0,),
    initial: Path | None = None,
    frozen: Sequence[str] = (),
    method: Method = CLEAR,
    contract: Contract | None = None,
    work: Path | None = None,
    journal: Journal | None = None,
    progress: Progress = silent,
) -> Path:
    """Train on the nodes' data, evaluate, export.

    Beside the network, the clinical-only baseline is trained by the same federation, for the comparison in the card.

    Args:
        nodes: node data folders, one a site, three or more.
        out: new or empty folder for the bundle.
        rounds: of the federation.
        local_epochs: passes over a node's patients in a round.
        batch_size: patients.
        learning_rate: AdamW's in the first round; a cosine over the rounds follows. Of SGD for Scaffold.
        network: name in the registry of `inference.network`.
        network_config: its configuration.
        holdout: node data folders for the evaluation only.
        name: of the model.
        version: of the model.
        seeds: of the first parameters and of the batches; a model is trained with each, the bundle is their average.
        initial: bundle whose parameters the model begins with.
        frozen: beginnings of the names of parameters that stay as they are.
        method: aggregation and privacy.
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
    if method.aggregation.personal:
        raise FederationError(
            found=Message("A rehearsal with personal parameters."),
            needed=Message("A bundle holds one model for every site."),
            advice=Message("Leave personal out; a training of hospitals may use it."),
        )
    require_empty(out)
    work_folder = work or Path(tempfile.mkdtemp(prefix="fedpet-"))
    require_empty(work_folder)
    model = Task(
        contract=contract,
        network=network,
        network_config=dict(network_config or {}),
        rounds=rounds,
        learning_rate=learning_rate,
        batch_size=batch_size,
        frozen=tuple(frozen),
        method=method,
    )
    first = read_initial(initial, model) if initial else None
    runs = plan_runs(model, local_epochs, seeds)
    for run in runs.values():
        run.task.require_sound(len(sites))
    named = _named(sites)
    if journal is not None:
        planned = {one: run.task.rounds for one, run in runs.items()}
        simulated = any(site.synthetic for site in sites)
        journal.write("started", name=name, version=version, sites=sorted(named), rounds=planned, synthetic=simulated)
    trained = _train(named, runs, work_folder, first, journal, part(progress, 0.0, 0.9))
    progress(0.9, Message("Evaluating and exporting the model"))
    some = [site.case(site.case_ids[0]) for site in (*held_out, *sites)]
    write(
        trained,
        out,
        about={
            "name": name,
            "version": version,
            "command": _command(trained, sites, held_out, initial),
            **told_of(first, model),
        },
        sites=[Site.of(site, one, model.validation_fraction) for one, site in named.items()],
        cases=some,
        held_out=sum(len(site.case_ids) for site in held_out),
        evaluation=lambda calibration: (
            evaluate(HeldOut.of(held_out), trained.networks, calibration, contract) if held_out else None
        ),
    )
    if work is None:
        shutil.rmtree(work_folder)
    progress(1.0, Message("The bundle is written"))
    return out


def _train(
    nodes: Mapping[str, NodeData],
    runs: Mapping[str, Run],
    work: Path,
    initial: Initial | None,
    journal: Journal | None,
    progress: Progress,
) -> Trained:
    """Run the federation and read back what the researcher left."""
    results = work / "results"
    results.mkdir(parents=True)
    progress(0.0, Message("Starting {count} nodes", count=len(nodes)))
    folders = {name: data.folder for name, data in nodes.items()}
    known = {name: facts(data, runs[MODEL].task.contract) for name, data in nodes.items()}
    with (
        Federation(folders, work, facts=known) as federation,
        Watch(runs, progress, journal=journal, tensorboard=work / "tensorboard") as watch,
    ):
        config = {
            "tags": TAGS,
            "sites": list(nodes),
            "minimum": len(nodes),
            **to_config(runs, results, initial),
            "round_seconds": _ROUND_SECONDS,
        }
        federation.run_researcher(config, watch)
    return collect(runs, results)


def _named(sites: Sequence[NodeData]) -> dict[str, NodeData]:
    """Data by node name.

    Raises:
        FederationError: two sites have one name.
    """
    nodes = {node_name(site.site): site for site in sites}
    if len(nodes) < len(sites):
        raise FederationError(
            found=Message("Two of the nodes have the same site name."),
            needed=Message("A name of its own for each node."),
            advice=Message("Prepare the node data with different site names."),
        )
    return nodes


def _command(trained: Trained, sites: Sequence[NodeData], held_out: Sequence[NodeData], initial: Path | None) -> str:
    """The command that trains this model again; folders by their last two names, not where they lay."""
    run = trained.first
    aggregation, privacy = run.task.method.aggregation, run.task.method.privacy
    options = {
        "--rounds": run.task.rounds,
        "--local-epochs": run.local_epochs,
        "--batch-size": run.task.batch_size,
        "--learning-rate": f"{run.task.learning_rate:g}",
        "--network": run.task.network if run.task.network != "evidence" else None,
        "--contract": "contract.json" if run.task.contract != default_contract() else None,
        "--initial": initial.name if initial else None,
        "--aggregation": aggregation.method if aggregation.method != "fedavg" else None,
        "--proximal": aggregation.proximal or None,
        "--server": aggregation.server if aggregation.server != "none" else None,
        "--server-rate": aggregation.server_rate,
        "--secure": privacy.secure_aggregation if privacy.secure_aggregation != "none" else None,
        "--clip": privacy.clip,
        "--noise": privacy.noise,
    }
    words = ["fedpet", "train", "rehearse"]
    words += [word for site in sites for word in ("--nodes", _place(site))]
    words += [word for site in held_out for word in ("--holdout", _place(site))]
    words += [word for name in members(trained.runs) for word in ("--seed", str(trained.runs[name].task.seed))]
    words += [word for one in run.task.frozen for word in ("--frozen", one)]
    words += [str(word) for option in options.items() if option[1] is not None for word in option]
    return shlex.join(words)


def _place(site: NodeData) -> str:
    folder = site.folder.resolve()
    return f"{folder.parent.name}/{folder.name}"
