"""`fedpet train evaluate`: train what the designs ask for, score it, audit it and write the report."""

from __future__ import annotations

import json
import math
import platform
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

import fedpet
from fedpet.errors import OutputRefused, SettingsError
from fedpet.messages import Message
from fedpet.progress import part, silent
from training.designs import Trainer, count_fits, leave_one_centre_out, within_centre
from training.evaluation_config import read_config
from training.evaluation_report import page
from training.gather import gather
from training.leakage import audit
from training.scoring import alarms, goals, score
from training.task import code_digest

if TYPE_CHECKING:
    from pathlib import Path

    from fedpet.messages import Language
    from fedpet.progress import Progress
    from training.evaluation_config import EvaluationConfig
    from training.gather import Cohort

FORMAT = "fedpet.evaluation/1"
_GROUPED = {"leave_one_centre_out"}  # a model for each unseen centre
_DESIGNS = {"within_centre": within_centre, "leave_one_centre_out": leave_one_centre_out}


def evaluate(path: Path, out: Path, *, language: Language = "en", progress: Progress = silent) -> dict[str, Any]:
    """Run the evaluation that the file at `path` describes.

    Args:
        path: TOML, see `evaluation_config`.
        out: new or empty folder for report.json and report.html.
        language: of report.html.
        progress: told before every training.

    Returns:
        What report.json holds.

    Raises:
        SettingsError: the file cannot be used.
        NodeDataRefused: a folder was not prepared by the file's contract.
        OutputRefused: `out` is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputRefused(
            found=Message("The folder {name} is not empty.", name=out.name),
            needed=Message("A new or an empty folder."),
            advice=Message("Give another folder; nothing is overwritten."),
        )
    start = time.monotonic()
    config = read_config(path)
    cohort = gather(config.nodes, config.contract, config.vendors)
    _require_names(cohort, config)
    _require_quantities(cohort, config)
    trainer = Trainer(cohort, config, part(progress, 0.0, 0.8), count_fits(cohort, config))
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
            "leakage": audit(cohort, config, part(progress, 0.85, 1.0)),
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
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "report.html").write_text(page(report, language), encoding="utf-8")
    progress(1.0, Message("The report of the evaluation is written"))
    return report


def _require_names(cohort: Cohort, config: EvaluationConfig) -> None:
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


def _require_quantities(cohort: Cohort, config: EvaluationConfig) -> None:
    """Refuse to measure quantities where there is nothing to measure."""
    if config.quantities and not cohort.quantities:
        raise SettingsError(
            found=Message("“quantities” asks for measurements; the node data has no image, or lesions not delineated."),
            needed=Message("Images in which the lesions of all patients are delineated."),
            advice=Message("Take “quantities” out of the file, or prepare node data with images and masks."),
        )


def _data(cohort: Cohort) -> dict[str, Any]:
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
