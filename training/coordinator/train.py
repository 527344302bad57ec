"""A training from its configuration to a bundle, with nodes on this machine or at hospitals alike."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress, sub_progress
from training.bundle.assembly import collect_results, require_empty, write_model_bundle
from training.bundle.held_out import HeldOut, evaluate
from training.bundle.learned_term import described, judged, require_table
from training.bundle.model_card import SiteSummary
from training.bundle.overall_survival import with_overall_survival
from training.coordinator.choice import require_better_than_clinical
from training.coordinator.monitoring import TrainingMonitor
from training.data.node_data import write_json
from training.task.initial_parameters import describe_initial_parameters, read_initial
from training.task.learned_term import LEARNED, is_gate_run
from training.task.method import Aggregation
from training.task.registration import TAGS
from training.task.runs import MODEL, OVERALL_SURVIVAL, Run, agreement_run, is_complete, plan_runs, to_config
from training.task.statistics import STATISTICS, describe_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fedpet.core.journal import Journal
    from fedpet.core.progress import Progress
    from inference.calibration import RiskCalibration
    from inference.overall_survival import OverallSurvivalModel
    from training.bundle.model_card import TrainingSummary
    from training.coordinator.config import TrainingConfig
    from training.coordinator.federation import Federation
    from training.task.initial_parameters import InitialParameters
    from training.task.task import TrainingTask

_TRAINED = 0.9  # of the progress, when the federation has ended


def train(
    config: TrainingConfig,
    federation: Federation,
    *,
    resume: bool = False,
    journal: Journal | None = None,
    progress: Progress = no_progress,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train, calibrate, evaluate on what was held out, and write the bundle.

    Beside the network, the clinical-only baseline is trained by the same federation, for the comparison in the card.

    Args:
        config: what is trained, how, and within which limits.
        federation: who takes part.
        resume: go on after the last finished round of the same work folder.
        journal: records the sites and every round, for those who watch from elsewhere.
        progress: reports every round.
        on_event: called with every event of the researcher.

    Returns:
        The folder of the bundle; with personal parameters, of which no bundle can be made, that of the shared weights.

    Raises:
        FederationError: the federation did not run as configured, or a setting would not do what it says.
        ExportError: ONNX Runtime and torch differ.
    """
    task = config.task()
    runs = plan_runs(
        task,
        config.training.local_epochs,
        config.training.seeds,
        overall_survival=config.training.overall_survival,
    )
    if config.learned_term is not None:
        require_table(task)
        runs |= config.learned_term.runs(task, tuple(federation.sites))
    first = agreement_run(task, len(federation.sites), federation.minimum)
    planned = {**first, **runs, **_statistics_run(config, task)}
    for run in planned.values():
        run.task.require_sound(federation.minimum)
    require_empty(config.out)
    if config.training.initial and task.newton is not None:
        raise FederationError(
            found=Message("First parameters (initial) with Newton's method."),
            needed=Message("None: the fit does not depend on where it begins."),
            advice=Message("Leave initial out."),
        )
    initial = read_initial(config.training.initial, task) if config.training.initial else None
    if not resume:
        federation.check(config)
    results = _results_folder(config.work, resume=resume)
    if journal is not None:
        journal.write(
            "started",
            name=config.name,
            version=config.version,
            sites=sorted(federation.sites),
            rounds={name: run.task.rounds for name, run in planned.items()},
            synthetic=federation.synthetic,
        )
    if not (resume and all(is_complete(results / f"{name}.json") for name in planned)):
        progress(0.0, Message("Starting the federation of {count} sites", count=len(federation.sites)))
        monitor = TrainingMonitor(
            planned,
            sub_progress(progress, 0.0, _TRAINED),
            journal=journal,
            tensorboard=config.work / "tensorboard",
            on_event=on_event,
        )
        entries = {**researcher_config(config, federation), **to_config(planned, results, initial), "resume": resume}
        begin_with_table = [name for name in runs if name == LEARNED or is_gate_run(name)]
        entries["initial"] |= dict.fromkeys(begin_with_table, str(results / f"{MODEL}.safetensors"))
        with federation.start(config.work) as processes, monitor:
            processes.run_researcher(entries, monitor)
    if config.aggregation.personal:
        return results
    progress(_TRAINED, Message("Evaluating and exporting the model"))
    trained = collect_results(runs, results)
    require_better_than_clinical(trained.histories)
    if config.learned_term is not None:
        trained = judged(trained)
        write_json(trained.gate, results / "learned_term.json")
    _export(trained, config, federation, results, initial)
    progress(1.0, Message("The bundle is written"))
    return config.out


def statistics_task(model: TrainingTask) -> TrainingTask:
    """One round of the model's federation in which the sites send statistics."""
    method = model.method.model_copy(update={"aggregation": Aggregation()})
    return replace(
        model, network=STATISTICS, network_config={}, rounds=1, ridge=0.0, augment=False, frozen=(), method=method
    )


def _statistics_run(config: TrainingConfig, task: TrainingTask) -> dict[str, Run]:
    """One more round for the statistics; none with differential privacy, for they carry no noise."""
    if not config.training.statistics or config.privacy.local:
        return {}
    return {STATISTICS: Run(statistics_task(task), 1)}


def _describe_statistics(results: Path, task: TrainingTask) -> dict[str, Any]:
    """The card's entry on the statistics; empty where the federation had none."""
    file = results / f"{STATISTICS}.safetensors"
    return {"clinical_statistics": describe_statistics(load_file(file), task.contract)} if file.exists() else {}


def researcher_config(config: TrainingConfig, federation: Federation) -> dict[str, Any]:
    """The entries of `training.coordinator.sites.RunConfig` that are not about the runs."""
    return {
        "tags": TAGS,
        "sites": list(federation.sites),
        "minimum": federation.minimum,
        **federation.connection(),
        "round_seconds": config.limits.round_seconds,
        "retries": config.limits.retries,
        "norm_jump": config.limits.norm_jump,
        "patience": config.training.patience,
        "use_gpu": config.training.gpu,
    }


def _results_folder(work: Path, *, resume: bool) -> Path:
    results = work / "results"
    if not resume:
        require_empty(results)
    elif not results.is_dir():
        raise FederationError(
            found=Message("There is no training to resume in {name}.", name=work.name),
            needed=Message("The work folder of a training that was stopped."),
            advice=Message("Start it without resume."),
        )
    results.mkdir(parents=True, exist_ok=True)
    return results


def _sites(trained: TrainingSummary, facts: Mapping[str, Mapping[str, Any]]) -> list[SiteSummary]:
    """Every site that trained in a round, as far as its node described itself."""
    patients: dict[str, int] = {}
    for entry in trained.rounds():
        patients |= entry["patients"]
    sites = []
    for name, training in sorted(patients.items()):
        known, synthetic = facts.get(name, {}), bool(facts.get(name, {}).get("synthetic"))
        if trained.first.task.newton is not None:
            sites.append(SiteSummary(name, training, training, synthetic, out_of_fold=True))
        else:
            sites.append(SiteSummary(name, training, known.get("patients", training) - training, synthetic))
    return sites


def _export(
    trained: TrainingSummary,
    config: TrainingConfig,
    federation: Federation,
    results: Path,
    initial: InitialParameters | None,
) -> None:
    """Write the bundle, evaluated on the patients that were held out, if there are any."""
    task = config.task()

    def evaluation(calibration: RiskCalibration, overall: OverallSurvivalModel | None) -> dict[str, Any] | None:
        if not federation.held_out:
            return None
        networks = {name: network for name, network in trained.networks.items() if name != OVERALL_SURVIVAL}
        found = evaluate(HeldOut.of(federation.held_out), networks, calibration, task.contract)
        return found | with_overall_survival(overall, federation.held_out, task.contract)

    write_model_bundle(
        trained,
        config.out,
        about={
            "name": config.name,
            "version": config.version,
            "command": federation.command(config),
            **federation.identity(),
            **_describe_statistics(results, task),
            **describe_initial_parameters(initial, task),
            **described(trained),
        },
        sites=_sites(trained, json.loads((results / "sites.json").read_text(encoding="utf-8"))),
        cases=federation.export_cases(task.contract),
        held_out=sum(len(one.case_ids) for one in federation.held_out),
        evaluation=evaluation,
        study=config.study,
    )
