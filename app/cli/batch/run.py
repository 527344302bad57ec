"""Each study of a batch in a process of its own turn: what was done is noted at once, so that a run can go on."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import fedpet
from app.cases.pipeline import predict_study
from fedpet.clinical.reading import read_record
from fedpet.core.errors import ClusterError, FedpetError
from fedpet.core.messages import Message
from fedpet.core.profile import Profile, profiled
from fedpet.core.progress import no_progress
from fedpet.core.pseudonyms import pseudonym
from fedpet.imaging.dicom.files import DAMAGED
from inference.bundle.storage import Bundle
from training.data.process_pool import Lost, surviving_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from app.cases.options import CaseOptions
    from app.cases.pipeline import CaseOutput, CaseResult
    from app.cli.batch.worklist import WorklistItem
    from fedpet.core.progress import Progress
    from fedpet.core.settings import Settings
    from training.data.process_pool import Workers

JOURNAL = "batch.jsonl"
_PART = ".part-"  # before what one process wrote, whole or not


class State(StrEnum):
    """What became of a study."""

    ANSWERED = "answered"
    ABSTAINED = "abstained"
    REFUSED = "refused"  # images or record cannot be used
    FAILED = "failed"  # the program stopped on it


@dataclass(frozen=True)
class BatchPlan:
    """What is done with every study.

    Attributes:
        out: folder of the batch.
        bundle: folder of the model.
        digest: of the model.
        settings: of the command.
        options: as of `fedpet predict`.
        wanted: what is written beside the answer.
        centre: see `centre_mark`.
    """

    out: Path
    bundle: Path
    digest: str
    settings: Settings
    options: CaseOptions
    wanted: CaseOutput
    centre: str

    def key(self, item: WorklistItem) -> str:
        """What a result depends on; another one is computed anew."""
        chosen = json.dumps([asdict(self.options), asdict(self.wanted)], default=str)
        return f"{fedpet.__version__}/{self.digest}/{chosen}/{item.digest}"


@dataclass(frozen=True)
class BatchRow:
    """What became of one study, without what identifies the patient.

    Attributes:
        line: of the worklist.
        folder: of the result within the batch; "" where there is none.
        state: see `State`.
        pseudonym: of the patient; "" where the images could not be read.
        reason: why there is no answer.
        endpoints: name, probability and interval (0 to 1) of each.
        lesions, tmtv_ml, suv_max: as measured, in SUVbw; None where nothing was.
        failed_checks: names of the failed checks.
        seconds: of one process.
        profile: where they went, see `fedpet.core.profile.Profile.to_json`; None where there is no result.
    """

    line: int
    folder: str
    state: State
    pseudonym: str = ""
    reason: Message | None = None
    endpoints: tuple[tuple[str, float, float, float], ...] = ()
    lesions: int | None = None
    tmtv_ml: float | None = None
    suv_max: float | None = None
    failed_checks: tuple[str, ...] = field(default=())
    seconds: float = 0.0
    profile: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "reason": self.reason and self.reason.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> BatchRow:
        """The inverse of `to_json`."""
        return cls(
            **{
                **data,
                "state": State(data["state"]),
                "reason": data["reason"] and Message.from_json(data["reason"]),
                "endpoints": tuple((name, p, low, high) for name, p, low, high in data["endpoints"]),
                "failed_checks": tuple(data["failed_checks"]),
            }
        )


def centre_mark(settings: Settings) -> str:
    """A pseudonym of nobody: another one where the centre's key is another."""
    return pseudonym("batch", settings.pseudonym_key())


def run_batch(
    items: Sequence[WorklistItem], plan: BatchPlan, *, workers: Workers, progress: Progress = no_progress
) -> tuple[BatchRow, ...]:
    """Predict every study; one that cannot be used, or whose process dies, stops no other.

    What an earlier run did in the same folder is kept where study, record, model and options are the same; a study
    that stopped the program is tried again.

    Args:
        items: the studies.
        plan: what is done with each.
        workers: processes, or a cluster; memory grows with them, not with the number of studies. The machines of a
            cluster see worklist, studies, model, home and folder of the batch at the same places.
        progress: reports each study.

    Returns:
        One row a study, in their order.
    """
    keys = [plan.key(item) for item in items]
    done = _noted(plan.out, keys)
    pending = [(item, key) for item, key in zip(items, keys, strict=True) if key not in done]
    results = surviving_map(partial(_predict, plan=plan), pending, workers=workers)
    for number, (result, (item, key)) in enumerate(zip(results, pending, strict=True), start=1):
        row = _stopped(item, result.why) if isinstance(result, Lost) else _in_place(plan.out, result)
        done[key] = row
        if row.state is not State.FAILED:
            with (plan.out / JOURNAL).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"of": key, "row": row.to_json()}) + "\n")
        progress(number / len(pending), Message("Predicting ({done} of {n})", done=number, n=len(pending)))
    for left in plan.out.glob(f"study-*{_PART}*"):  # of processes that were killed
        shutil.rmtree(left, ignore_errors=True)
    # an earlier result stands at the line at which the study stands now
    return tuple(replace(done[key], line=item.line) for item, key in zip(items, keys, strict=True))


def whole_profile(rows: Iterable[BatchRow]) -> Profile:
    """Where the time of all studies went, those of earlier runs included."""
    return sum((Profile.from_json(row.profile) for row in rows if row.profile), Profile())


def _noted(out: Path, keys: Iterable[str]) -> dict[str, BatchRow]:
    """Earlier results that still hold and whose folder is still there."""
    journal, wanted = out / JOURNAL, set(keys)
    if not journal.is_file():
        return {}
    found: dict[str, BatchRow] = {}
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            data = json.loads(line)
            row = BatchRow.from_json(data["row"])
        except (ValueError, KeyError, TypeError):
            continue  # a line that was cut off
        if data["of"] in wanted and (not row.folder or (out / row.folder / "result.json").is_file()):
            found[data["of"]] = row
    return found


@lru_cache(maxsize=1)
def _bundle(folder: Path) -> Bundle:
    return Bundle.load(folder)


def _in_place(out: Path, row: BatchRow) -> BatchRow:
    """The result in its folder: the command alone puts it there, so that of two tasks on one study one counts."""
    if not row.folder:
        return row
    folder = out / row.folder.partition(_PART)[0]
    shutil.rmtree(folder, ignore_errors=True)
    (out / row.folder).rename(folder)
    return replace(row, folder=folder.name)


def _predict(pending: tuple[WorklistItem, str], *, plan: BatchPlan) -> BatchRow:
    """One study, from its files to its report; whatever it holds, the batch goes on."""
    began = time.monotonic()
    item, wanted = pending
    key = plan.settings.pseudonym_key()
    folder = plan.out / f"study-{pseudonym(item.paths, key).removeprefix('P-')}{_PART}{uuid.uuid4().hex}"
    try:
        _require_same(item, wanted, plan)
        with profiled() as profile:
            result = predict_study(
                item.study,
                read_record(item.record),
                bundle=_bundle(plan.bundle),
                out=folder,
                settings=plan.settings,
                wanted=plan.wanted,
                options=plan.options,
            )
    except ClusterError as error:
        row = BatchRow(item.line, "", State.FAILED, reason=_sentences(error))
    except FedpetError as error:
        row = BatchRow(item.line, "", State.REFUSED, reason=_sentences(error))
    except (*DAMAGED, OSError, ArithmeticError, RuntimeError) as error:
        row = _stopped(item, type(error).__name__)
    else:
        row = _row(item, folder, result)
        return replace(row, seconds=time.monotonic() - began, profile=profile.to_json())
    shutil.rmtree(folder, ignore_errors=True)
    return row


def _require_same(item: WorklistItem, wanted: str, plan: BatchPlan) -> None:
    """Refuse a machine that is not set up as the one of the command: another key would give other pseudonyms.

    Raises:
        ClusterError: its key, its model or its copy of the study is another one, or it does not see them.
    """
    seen = item.study.exists() and item.record.is_file()
    same = {
        Message("the key of the pseudonyms (home)"): centre_mark(plan.settings) == plan.centre,
        Message("the model"): plan.bundle.is_dir() and _bundle(plan.bundle).digest == plan.digest,
        Message("the study or its record"): seen and plan.key(item) == wanted,
        Message("the folder of the batch"): (plan.out / JOURNAL).is_file(),
    }
    if other := [what for what, agrees in same.items() if not agrees]:
        raise ClusterError(
            found=Message("Where the study was to be computed, this is not as for the command: {what}.", what=other[0]),
            needed=Message("The same home, model, studies and folder of the batch at the same places on each machine."),
            advice=Message("Share these folders between the machines, then run the same line again."),
        )


def _sentences(error: FedpetError) -> Message:
    return Message("{found} {needed} {advice}", found=error.found, needed=error.needed, advice=error.advice)


def _row(item: WorklistItem, folder: Path, result: CaseResult) -> BatchRow:
    prediction = result.prediction
    quantities = prediction.quantities
    return BatchRow(
        item.line,
        folder.name,
        State.ANSWERED if prediction.abstained is None else State.ABSTAINED,
        pseudonym=result.study.pseudonym,
        reason=prediction.abstained,
        endpoints=tuple((one.name, one.probability, one.lower, one.upper) for one in prediction.endpoints),
        lesions=len(quantities.lesions),
        tmtv_ml=quantities.tmtv_ml,
        suv_max=quantities.suv_max,
        failed_checks=tuple(check.name for check in result.analysis.failed_checks),
    )


def _stopped(item: WorklistItem, why: str) -> BatchRow:
    reason = Message("The study stopped the program ({why}); it is tried again by the next run.", why=why)
    return BatchRow(item.line, "", State.FAILED, reason=reason)
