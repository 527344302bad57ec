"""`fedpet train evaluate`: train what the designs ask for, score it, audit it and write the report."""

from __future__ import annotations

import math
import platform
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

import fedpet
from fedpet.core.errors import OutputError, SettingsError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress, sub_progress
from inference.bundle.storage import Bundle
from training.bundle.held_out import evaluate_bundle, write_report
from training.data.node_data import read_node
from training.evaluation import optional_terms
from training.evaluation.cohort import pool_node_data
from training.evaluation.config import read_config
from training.evaluation.designs import Trainer, count_fits, leave_one_centre_out, within_centre
from training.evaluation.leakage import audit
from training.evaluation.report import page
from training.evaluation.scoring import alarms, goals, score
from training.task.code_digest import code_digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fedpet.core.messages import Language
    from fedpet.core.progress import Progress
    from inference.report_signature import Signer
    from training.evaluation.cohort import PooledCohort
    from training.evaluation.config import EvaluationConfig

FORMAT = "fedpet.evaluation/1"
_GROUPED = {"leave_one_centre_out"}  # a model for each unseen centre
_DESIGNS = {"within_centre": within_centre, "leave_one_centre_out": leave_one_centre_out}


def evaluate(path: Path, out: Path, *, language: Language = "en", progress: Progress = no_progress) -> dict[str, Any]:
    """Run the evaluation that the file at `path` describes.

    Args:
        path: TOML, see `training.evaluation.config`.
        out: new or empty folder for report.json and report.html.
        language: of report.html.
        progress: reports every training.

    Returns:
        The content of report.json.

    Raises:
        SettingsError: the file cannot be used.
        NodeDataError: a folder was not prepared by the file's contract.
        OutputError: `out` is not empty.
    """
    _require_empty(out)
    start = time.monotonic()
    config = read_config(path)
    cohort = _with_endpoint(pool_node_data(config.nodes, config.contract, config.vendors), config)
    _require_names(cohort, config)
    _require_quantities(cohort, config)
    _require_optional_terms(config)
    trainer = Trainer(cohort, config, sub_progress(progress, 0.0, 0.8), count_fits(cohort, config))
    answers = {design: _DESIGNS[design](trainer) for design in config.designs}
    progress(0.8, Message("Computing the metrics"))
    designs: dict[str, Any] = {
        str(design): score(cohort, one, config, grouped=design in _GROUPED) for design, one in answers.items()
    }
    report: dict[str, Any] = _finite(
        {
            "format": FORMAT,
            "title": config.title,
            "synthetic": cohort.synthetic,
            "created": datetime.now(UTC).date().isoformat(),
            "seconds": 0.0,
            "data": _data(cohort),
            "config": config.model_dump(mode="json", exclude={"nodes"}),
            "goals": goals(designs),
            "alarms": alarms(designs, config.leakage.plausible_auc),
            "leakage": audit(cohort, config, sub_progress(progress, 0.85, 1.0)),
            "designs": designs,
            "software": {
                "fedpet": fedpet.__version__,
                "sources_sha256": code_digest(),
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }
    )
    report["seconds"] = round(time.monotonic() - start, 1)
    write_report(report, out)
    (out / "report.html").write_text(page(report, language), encoding="utf-8")
    progress(1.0, Message("The report of the evaluation is written"))
    return report


def evaluate_model(folder: Path, data: Sequence[Path], out: Path, signer: Signer) -> Path:
    """Evaluate a finished model on node data that its training did not see.

    Args:
        folder: of the bundle.
        data: folders of node data.
        out: new or empty folder for report.json.
        signer: of the report.

    Returns:
        The report's file.

    Raises:
        BundleError: the folder is no bundle that can be used.
        NodeDataError: node data is damaged or was prepared by another contract.
        OutputError: `out` is not empty.
    """
    _require_empty(out)
    bundle = Bundle.load(folder)
    report = _finite(evaluate_bundle(bundle, [read_node(one, bundle.contract) for one in data]))
    return write_report(signer.sign(report), out)


def _require_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(
            found=Message("The folder {name} is not empty.", name=out.name),
            needed=Message("A new or an empty folder."),
            advice=Message("Give another folder; nothing is overwritten."),
        )


def _with_endpoint(cohort: PooledCohort, config: EvaluationConfig) -> PooledCohort:
    """The cohort with the endpoint of the file; refused where the node data does not have it."""
    if config.endpoint == "progression_free_survival":
        return cohort
    overall = cohort.with_overall_survival()
    if overall is None:
        raise SettingsError(
            found=Message("Overall survival is not known for all patients of the node data."),
            needed=Message("The columns os_months and os_event in every cases.csv."),
            advice=Message("Give last news or death of every patient, and prepare the node data with this version."),
        )
    return overall


def _require_names(cohort: PooledCohort, config: EvaluationConfig) -> None:
    """Refuse centres and columns of the configuration that the data does not have."""
    unknown = [name for name in config.unseen if name not in cohort.sites]
    unknown += [name for name in config.references if name not in cohort.columns]
    if unknown or len(set(cohort.sites)) < len(cohort.sites):
        raise SettingsError(
            found=Message("Unknown or repeated in the node data: {names}.", names=", ".join(unknown) or "site"),
            needed=Message(
                "Centres: {sites}. Columns with numbers: {columns}.",
                sites=", ".join(cohort.sites),
                columns=", ".join(cohort.columns),
            ),
            advice=Message("Correct the file."),
        )


def _require_quantities(cohort: PooledCohort, config: EvaluationConfig) -> None:
    """Refuse quantities where there is nothing to measure them on."""
    if config.quantities and not cohort.quantities:
        raise SettingsError(
            found=Message("“quantities” requires measurements; the node data has no image, or lesions not delineated."),
            needed=Message("Images in which the lesions of all patients are delineated."),
            advice=Message("Remove “quantities” from the file, or prepare node data with images and masks."),
        )


def _require_optional_terms(config: EvaluationConfig) -> None:
    """Refuse optional terms of a model that is not fitted exactly, or whose contract has not what they are made of."""
    if config.optional_terms and not (
        optional_terms.applies(config.contract) and config.model.method.aggregation.method == "newton"
    ):
        raise SettingsError(
            found=Message("“optional_terms” for another model or contract than those of the lesion table."),
            needed=Message("The network “table”, fitted by Newton's method, and TMTV and PD-L1 in the input contract."),
            advice=Message("Remove it from the file, or prepare node data with “--table”."),
        )


def _data(cohort: PooledCohort) -> dict[str, Any]:
    centres = {}
    for name in cohort.sites:
        member = cohort.site == name
        vendors = sorted(set(cohort.vendor[member].tolist()) - {""})
        centres[name] = {
            "patients": int(member.sum()),
            "events": int(cohort.event[member].sum()),
            "vendors": vendors,
        }
    return {
        "patients": len(cohort.cases),
        "events": int(cohort.event.sum()),
        "centres": centres,
        "images": cohort.has_images,
        "contract_fingerprint": cohort.contract.fingerprint,
    }


def _finite(value: Any) -> Any:  # noqa: ANN401  a tree of plain data
    """JSON has no nan: null in its place."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
